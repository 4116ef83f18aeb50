"""Seeds depend on names alone."""

from pointillist.seeds import generator, seed_for


def test_the_same_names_give_the_same_draws_and_others_do_not():
    assert seed_for(0, "a", "b") == seed_for(0, "a", "b")
    assert len({seed_for(0, "a", "b"), seed_for(1, "a", "b"), seed_for(0, "ab"), seed_for(0, "b", "a")}) == 4
    assert generator(3, "x").random() == generator(3, "x").random()
    assert generator(3, "x").random() != generator(3, "y").random()

"""The tree against the order of archetypes, and the radius rule against its definition written out."""

import numpy as np
from scipy.spatial.distance import cdist

from pointillist.archetypes import archetype_tree, merge_by_radius


def partition(labels):
    return {frozenset(np.flatnonzero(labels == label)) for label in np.unique(labels)}


def leaves(node):
    return [node["name"]] if not node["children"] else [name for child in node["children"] for name in leaves(child)]


def test_the_tree_does_not_depend_on_the_order_of_archetypes():
    points = np.random.default_rng(0).normal(size=(9, 4))
    order = np.random.default_rng(1).permutation(9)
    tree, shuffled = archetype_tree(points), archetype_tree(points[order])
    for level, labels in tree.groups.items():
        assert partition(labels[order]) == partition(shuffled.groups[level])
    assert sorted(leaves(tree.nested)) == sorted(leaves(shuffled.nested))
    assert tree.nested["height"] == tree.linkage[-1, 2]


def radius_rule(pcs, archetypes, radius):
    """Neighbours of each archetype among spots and archetypes stacked; later ones are taken in, in index order."""
    stacked = np.vstack([pcs, archetypes])
    owner = {}
    for i in range(len(archetypes)):
        if i in owner:
            continue
        owner[i] = i
        nearest = np.argsort(cdist(archetypes[i : i + 1], stacked)[0], kind="stable")[:radius]
        for j in sorted(nearest[nearest >= len(pcs)] - len(pcs)):
            if j > i and j not in owner:
                owner[j] = i
    return np.array([owner[i] for i in range(len(archetypes))])


def test_the_radius_rule_is_starfyshs():
    rng = np.random.default_rng(2)
    n_groups = set()
    for radius in (1, 5, 20, 60, 170):
        pcs, archetypes = rng.normal(size=(150, 3)), rng.normal(size=(12, 3)) * 1.5
        expected = radius_rule(pcs, archetypes, radius)
        assert partition(merge_by_radius(pcs, archetypes, radius)) == partition(expected)
        n_groups.add(len(set(expected)))
    assert len(n_groups) > 2

"""Settings: every problem at once, the nearest key, defaults, and YAML's own traps."""

import pytest

from pointillist.errors import InputError
from pointillist.record import Method
from pointillist.schema import add_methods, check_settings, load_yaml

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["samples"],
    "properties": {
        "samples": {"type": "string"},
        "seed": {"type": "integer", "default": 0},
        "graph": {
            "type": "object",
            "default": {},
            "additionalProperties": False,
            "properties": {"kind": {"enum": ["square", "hexagonal"], "default": "square"}},
        },
        "rate": {"type": "number"},
        "deconvolution": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"methods": {"type": "array", "default": ["nnls"]}},
        },
    },
}


def test_defaults_are_filled_in_at_every_level_and_the_input_is_left_alone():
    given = {"samples": "samples.tsv"}
    filled, problems = check_settings(given, SCHEMA, "config.yaml")
    assert problems == []
    assert filled == {"samples": "samples.tsv", "seed": 0, "graph": {"kind": "square"}}
    assert given == {"samples": "samples.tsv"}


def test_every_problem_at_once_with_the_nearest_known_key():
    given = {"sampels": "x", "graph": {"knid": "square"}, "rate": "1e-4", "seed": "one"}
    problems = {problem.column: problem for problem in check_settings(given, SCHEMA, "config.yaml")[1]}
    assert set(problems) == {"sampels", "samples", "graph.knid", "rate", "seed"}
    assert problems["sampels"].fix == "write 'samples'"
    assert problems["graph.knid"].fix == "write 'kind'"
    assert problems["rate"].fix == "write 1.0e-04"
    assert all(problem.file == "config.yaml" for problem in problems.values())


def test_a_misspelt_value_is_named():
    (problem,) = check_settings({"samples": "x", "graph": {"kind": "hexagnal"}}, SCHEMA, "c.yaml")[1]
    assert (problem.code, problem.column, problem.fix) == ("unknown-value", "graph.kind", "write 'hexagonal'")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\nsamples: a\nseed: 2\n")
    with pytest.raises(InputError, match="'seed' stands twice"):
        load_yaml(path)


def test_yaml_with_objects_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        load_yaml(path)


def test_methods_bring_their_names_and_options():
    import copy

    schema = copy.deepcopy(SCHEMA)
    record = Method("svr", "SVR", "Regression", print, options={"nu": {"type": "number", "default": 0.5}})
    add_methods(schema, "deconvolution", {"svr": record})
    settings = {"samples": "x", "deconvolution": {"methods": ["svr"]}}
    filled, problems = check_settings(settings, schema, "c.yaml")
    assert problems == []
    assert filled["deconvolution"]["svr"] == {"nu": 0.5}
    (problem,) = check_settings({**settings, "deconvolution": {"methods": ["svrr"]}}, schema, "c.yaml")[1]
    assert problem.fix == "write 'svr'"

"""What is pinned, cited and documented agrees with what there is."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pin():
    spec = importlib.util.spec_from_file_location("pin", ROOT / "envs/pin.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_conda_environments_agree_with_the_lock(pin):
    made = pin.environments()
    assert set(made) == {path.name for path in (ROOT / "envs").glob("*.yaml")}
    for name, text in made.items():
        assert (ROOT / "envs" / name).read_text() == text, f"run `make envs`: envs/{name} is not what the lock says"


def test_the_lock_names_no_cuda_package_and_no_local_version(pin):
    versions = pin.read_lock()
    assert versions["torch"] == "2.13.0"
    assert not [name for name in versions if re.match("nvidia|cuda|triton", name)]
    assert not [name for name, version in versions.items() if "+" in version]


def test_the_lock_holds_every_dependency(pin):
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = pin.read_lock()
    for text in project["dependencies"] + project["optional-dependencies"]["test"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), text


def test_every_rule_names_an_environment_that_is_there():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for name in re.findall(r'"\.\./\.\./envs/(\S+)"', path.read_text()):
            assert (ROOT / "envs" / name).exists()


def test_every_rule_has_all_parts_in_one_order_and_a_script_of_its_name():
    order = ["input", "output", "wildcard_constraints", "log", "benchmark", "params", "threads", "resources", "conda"]
    optional = {"input", "wildcard_constraints", "params"}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for block in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]:
            name = block.split(":")[0]
            parts = re.findall(r"^    (\w+):", block, flags=re.M)
            assert parts[-1] == "script", name
            assert parts[:-1] == [part for part in order if part in parts], name
            assert set(order) - optional <= set(parts), name
            assert f"scripts/{name}.py" in block, name
            assert (ROOT / f"scripts/{name}.py").read_text().startswith('"""Creates '), name


def test_every_citation_of_a_method_is_known():
    from pointillist.catalogue import RECORDS
    from pointillist.report.provenance import bibtex, load_citations

    known = load_citations()
    for record in RECORDS.values():
        assert record.citations, record.name
        assert set(record.citations) <= set(known), record.name
    assert bibtex(sorted(known)).count("@article") == len(known)


def test_every_default_of_a_method_is_that_of_its_function():
    import inspect

    from pointillist.catalogue import RECORDS

    for record in RECORDS.values():
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(record.function).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        for name, value in record.defaults().items():
            if name in defaults and name not in ("seed",):
                given = defaults[name]
                assert value == (list(given) if isinstance(given, tuple) else given), f"{record.name}.{name}"


def test_every_object_of_the_schema_says_what_else_it_may_hold():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())

    def closed(node, path=""):
        if isinstance(node, dict):
            if node.get("type") == "object" and path != "":
                assert "additionalProperties" in node, path
            for key, value in node.items():
                closed(value, f"{path}/{key}")

    closed(schema)

"""The list of methods: what the rest of the pipeline derives from it."""

import inspect
import subprocess
import sys

import jsonschema
import pytest

from pointillist.factorization import JOINT, METHODS

RECORDS = [*METHODS.values(), JOINT]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_options_are_the_function_s_own(record):
    parameters = inspect.signature(record.function).parameters
    for name, schema in record.options.items():
        assert schema["default"] == parameters[name].default
        assert schema["description"]
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(schema["default"], schema)
    assert set(parameters) - set(record.options) <= {"X", "modalities", "n_factors", "seed"}


def test_listing_methods_loads_nothing_heavy():
    code = "import sys, pointillist.factorization; print({'torch', 'sklearn', 'scanpy', 'squidpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

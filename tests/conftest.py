"""Fixtures shared by every test."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """Path of a real data file; the test is skipped, visibly, where the data are not at hand."""

    def path(name):
        if not (SHARED / name).exists():
            pytest.skip(f"real data set {name} is not at hand")
        return SHARED / name

    return path

"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real test data that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the test data are not on this machine ({SHARED} is missing)")
    return SHARED

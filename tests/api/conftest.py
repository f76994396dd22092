"""Fixtures that the tests of the API share."""

import pytest

from tests.api.fakes import ApiHarness


@pytest.fixture
def api() -> ApiHarness:
    """Return both applications in front of a fake service."""
    return ApiHarness()

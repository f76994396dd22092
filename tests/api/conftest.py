"""What the tests of the API share."""

import pytest

from tests.api.fakes import ApiHarness


@pytest.fixture
def api() -> ApiHarness:
    """Return both applications in front of a service that does as it is told."""
    return ApiHarness()

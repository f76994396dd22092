"""What the tests of the API share."""

import pytest

from tests.api.fakes import Api


@pytest.fixture
def api() -> Api:
    """Return both applications in front of a service that does as it is told."""
    return Api()

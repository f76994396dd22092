"""Fixtures for the tests of the use cases."""

import pytest

from otp_service.store.client import ScriptClient
from tests.installation import Installation


@pytest.fixture
def installation(script_client: ScriptClient) -> Installation:
    """Return an installation on each kind of Redis in turn."""
    return Installation(script_client)

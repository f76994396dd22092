"""A world for every test of the use cases."""

import pytest

from otp_service.store.client import Link
from tests.installation import World


@pytest.fixture
def world(link: Link) -> World:
    """The service on each kind of Redis in turn."""
    return World(link)

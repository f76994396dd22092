"""What the tests of the audit log share."""

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.audit import scenario
from tests.audit.scenario import Step


@pytest.fixture(scope="session")
def told(server: EmbeddedServer) -> list[Step]:
    """What a run has told that emits every event."""
    return scenario.tell(server)

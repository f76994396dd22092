"""Every command of the service is answered by the model as by a real server, in whole scenarios."""

from collections.abc import AsyncIterator

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.embedded import EmbeddedServer
from tests.installation import Installation
from tests.simulation.redis_model.commands import DATA_COMMANDS
from tests.simulation.redis_model.script_table import ScriptTable
from tests.simulation.store_scenarios import SCENARIOS
from tests.simulation.twin_lines import TwinLines, create_twin_client


@pytest.fixture
async def twins(server: EmbeddedServer) -> AsyncIterator[tuple[ScriptClient, TwinLines]]:
    """A client of both, whose data are compared at the end."""
    client, lines = create_twin_client(server)
    async with client:
        yield client, lines


async def test_each_command_of_the_service_is_answered_as_by_a_real_server(
    twins: tuple[ScriptClient, TwinLines],
) -> None:
    """All that the scenarios send, with the same data after each of them; and the model has no other."""
    client, lines = twins
    for scenario in SCENARIOS:
        await scenario(Installation(client))
        lines.compare_data()
        client.failure_log = type(client.failure_log)()

    # A table of its own: other tests add scripts to the one of the process.
    digests = {sha.decode() for sha in ScriptTable().by_sha}
    commands = {name.decode() for name in DATA_COMMANDS}
    sent = {"AUTH", "CLIENT", "SELECT"}  # of an introduction, which is compared elsewhere
    assert commands | digests <= lines.compared.keys() | sent

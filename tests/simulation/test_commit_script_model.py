"""The model of the commit script against the script on a real server (issue 16)."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.timestamps import DAY_MS, HOUR_MS
from otp_service.store.embedded import EmbeddedServer
from tests.simulation.commit_twins.moves import MOVES, play
from tests.simulation.commit_twins.player import LogOptions, Player
from tests.simulation.commit_twins.twins import TwinClient


EXAMPLES = int(os.environ.get("OTP_MODEL_EXAMPLES", "60"))

log_options = st.builds(
    LogOptions,
    has_archive=st.booleans(),
    max_stream_entries=st.sampled_from([5000, 9, 40, 80]),
    retention_ms=st.sampled_from([7 * DAY_MS, HOUR_MS]),
)
histories = st.lists(
    st.tuples(st.sampled_from(list(MOVES)), st.integers(0, 2**32)), min_size=5, max_size=40
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(log_options, histories, st.sampled_from([True, True, False]))
async def test_any_history_of_commits_has_the_replies_and_the_data_of_a_real_server(
    server: EmbeddedServer,
    options: LogOptions,
    history: list[tuple[str, int]],
    is_frozen: bool,  # noqa: FBT001  # drawn by hypothesis
) -> None:
    """Every key with its content and expiry, after each call; with clocks that jump and restarts.

    A clock that only the history moves meets each edge to the millisecond.
    """
    async with TwinClient(server, is_frozen=is_frozen) as client:
        await play(Player(client, options), history)

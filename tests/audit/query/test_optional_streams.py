"""A reader that does without Redis, and says so."""

from collections.abc import Mapping

from otp_service.audit.query.optional_streams import OptionalEventStreams
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import Entry, StreamPosition


class FailingStreams:
    """Answers once, and fails after that."""

    def __init__(self) -> None:
        self.read_count = 0

    async def fetch_newest(
        self,
        before: Mapping[int, StreamPosition],
        *,
        since: int,  # noqa: ARG002  # as the protocol has it
        count: int,  # noqa: ARG002
    ) -> dict[int, list[Entry]]:
        self.read_count += 1
        if self.read_count > 1:
            raise StoreUnavailable(cause="Redis answered LOADING")
        return {partition: [] for partition in before}


async def test_after_a_lost_answer_redis_is_not_asked_again():
    """An outage costs the time of one call, and the reason is kept for the user."""
    inner = FailingStreams()
    streams = OptionalEventStreams(inner)
    before = {7: StreamPosition(1, 0)}

    answers = [await streams.fetch_newest(before, since=0, count=4) for _ in range(4)]

    assert [{7: []}, {}, {}, {}] == answers
    assert 2 == inner.read_count
    assert "Redis answered LOADING" == streams.missing_because

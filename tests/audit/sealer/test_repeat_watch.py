"""The sealer recognizes an event that the log has twice, and archives both."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format.event_copies import MAX_REPEAT_MS
from otp_service.audit.sealer import repeat_watch
from otp_service.audit.sealer.repeat_watch import RepeatWatch
from otp_service.core.log_entry import Entry, PendingEntries, StreamPosition
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.store import redis_servers


async def test_a_call_that_is_repeated_after_a_failover_is_logged(
    server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The archive has the event already, and the new master has lost the record of its operation."""
    with redis_servers.open_client(server) as admin:
        admin.flushall()
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            log = SealedLog(link, tmp_path / "archive")
            sealer = log.create_sealer()
            await log.append_events("a", "b")
            await run_until_idle(sealer)
            assert not [line for line in caplog.messages if "twice" in line]

            admin.hset("{07}:log", "server", "another server")  # as after a failover
            await log.append_events("a", "c")
            await run_until_idle(sealer)
            await run_until_idle(sealer)

    (line,) = [line for line in caplog.messages if "twice" in line]
    assert line.startswith("1 events are in the log twice: calls were repeated")
    assert 2 == sum(b'"id":"a"' in line for line in log.read_lines())


def build_entry(event: bytes, *, epoch: int = 1, sequence: int = 1, at: int = 1000) -> Entry:
    return Entry(
        partition=7,
        position=StreamPosition(at, sequence),
        epoch=epoch,
        event=event,
        mac="",
        stamp=b"",
    )


def count(watch: RepeatWatch, *entries: Entry) -> int:
    pending = PendingEntries(
        partition=7,
        now=0,
        last_position=StreamPosition(0, 0),
        epoch=1,
        archived_position=None,
        sequence_id=None,
        waiting_count=0,
        events=entries,
        refusals=(),
        is_complete=True,
    )
    return watch.count_repeats([pending])


FIRST = build_entry(b'{"id":"a","type":"otp.issued"}')


@pytest.mark.parametrize(
    ("second", "is_repeat"),
    [
        (replace(FIRST, epoch=2), True),
        (build_entry(FIRST.event, sequence=2), True),
        (FIRST, False),
        (build_entry(FIRST.event, epoch=2, at=1001 + MAX_REPEAT_MS), False),
        (build_entry(b'{"id":"b"}', epoch=2), False),
        (replace(FIRST, epoch=2, partition=8), False),
    ],
    ids=["another epoch", "another position", "read again", "much later", "another", "elsewhere"],
)
def test_an_event_is_repeated_at_another_position_of_its_partition(
    second: Entry,
    *,
    is_repeat: bool,
) -> None:
    watch = RepeatWatch()

    assert 0 == count(watch, FIRST)
    assert is_repeat == count(watch, second)


@pytest.mark.parametrize("event", [b"", b"[", b"{}", b'{"id":7}', b'{"id":"epoch"}'])
def test_what_has_no_id_of_its_own_is_not_repeated(event: bytes) -> None:
    """Only an attacker appends an invalid event; each partition begins each epoch with the same one."""
    watch = RepeatWatch()

    assert 0 == count(watch, build_entry(event), build_entry(event, epoch=2))


def test_ids_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr(repeat_watch, "MAX_WATCHED_EVENTS", 10)
    watch = RepeatWatch()

    count(watch, *(build_entry(b'{"id":"%d"}' % i, sequence=i) for i in range(100)))

    assert 10 == len(watch._places)

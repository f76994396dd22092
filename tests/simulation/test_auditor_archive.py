"""The archive has every event of the log once, verifies, and reaches its sinks."""

import pytest
from msgspec.structs import replace

from tests.simulation.history import ArchiveFinding, ArchiveRecord, FaultKind
from tests.simulation.history_builder import HistoryBuilder


LINES = (b'{"id":"01-1-1"}', b'{"id":"01-1-2"}', b'{"seal":{"number":1}}')


@pytest.fixture
def history():
    """A history with a login, all of which is archived."""
    builder = HistoryBuilder()
    challenge = builder.issue()
    builder.verify(challenge)
    events = tuple(builder.events)
    builder.archive = ArchiveRecord(lines=LINES, delivered=LINES, events=events, log_events=events)
    return builder


def change_archive(history, **members):
    history.archive = replace(history.archive, **members)


def test_an_archive_with_every_event_is_sound(history):
    assert [] == history.list_rules()


def test_a_run_without_an_archive_has_nothing_to_check(history):
    history.archive = None

    assert [] == history.list_rules()


def test_an_archive_may_have_events_that_the_log_has_trimmed(history):
    change_archive(history, log_events=history.archive.log_events[2:])

    assert [] == history.list_rules()


def test_an_event_that_is_not_archived_is_found(history):
    change_archive(history, events=history.archive.events[:-1])

    assert ["an event of the log is not archived"] == history.list_rules()


def test_an_event_that_is_archived_twice_is_found(history):
    events = history.archive.events
    change_archive(history, events=(*events, events[1]))

    assert ["an event is archived twice"] == history.list_rules()


@pytest.mark.parametrize(
    "change", [{"members": {"type": "otp.issued"}}, {"at": 1}, {"is_authentic": False}]
)
def test_an_event_that_is_archived_differently_is_found(history, change):
    first, *others = history.archive.events
    change_archive(history, events=(replace(first, **change), *others))

    assert ["an archived event differs from that of the log"] == history.list_rules()


@pytest.mark.parametrize("kind", ["doubled", "fence", "heads", "missing", "seals", "accepted"])
def test_an_archive_that_does_not_verify_is_found(history, kind):
    change_archive(history, findings=(ArchiveFinding(kind=kind, text="a place"),))

    assert [f"the archive does not verify: {kind}"] == history.list_rules()


def test_a_code_may_be_accepted_twice_once_writes_were_lost(history):
    """docs/security.md, "What is not protected": without enough replicas."""
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=3)
    events = tuple(history.events)
    change_archive(history, events=events, log_events=events)

    change_archive(history, findings=(ArchiveFinding(kind="accepted", text="a challenge"),))
    assert [] == history.list_rules()

    change_archive(history, findings=(ArchiveFinding(kind="doubled", text="a place"),))
    assert ["the archive does not verify: doubled"] == history.list_rules()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"proof_errors": ("no proof",)}, "an archived event cannot be proved"),
        ({"gaps": ("{}",)}, "a gap is declared although the log has lost nothing"),
        (
            {"lost_positions": ("01-1-2",)},
            "a machine lost an event that the log counts as archived",
        ),
        ({"is_caught_up": False}, "the sealers do not catch up after the faults"),
        ({"unsealed_count": 1}, "archived lines are not sealed at the end"),
        ({"waiting_count": 1}, "the log counts archived events as waiting"),
        ({"delivered": LINES[:-1]}, "a sink did not get a line of the archive"),
        ({"delivered": (*LINES, b"{}")}, "a sink got a line that is not in the archive"),
    ],
)
def test_what_the_archive_must_not_have_is_found(history, change, rule):
    change_archive(history, **change)

    assert [rule] == history.list_rules()


def test_a_sink_may_get_a_line_twice(history):
    """audit/SINKS.md: at least once."""
    change_archive(history, delivered=LINES * 2)

    assert [] == history.list_rules()


def test_an_event_that_only_the_archive_has_may_be_repeated_in_a_new_epoch(history):
    """audit/README.md: a failover has lost it, and its call was repeated."""
    old = history.events[-1]
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=3)
    again = replace(old, epoch=history.epoch, sequence=2, at=history.now)
    history.events.append(again)
    log_events = tuple(event for event in history.events if event is not old)
    change_archive(history, events=tuple(history.events), log_events=log_events)

    assert "one event is at two positions" not in history.list_rules()

    change_archive(history, log_events=tuple(history.events))
    assert "one event is at two positions" in history.list_rules()

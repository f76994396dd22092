"""`limit-key status` and `limit-key move`, and what `check` says about limit keys."""

import asyncio
import getpass
import os
import re

import msgspec
import pytest

from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.cli.common import read_settings
from otp_service.cli.limit_key_report import list_errors, list_notes
from otp_service.cli.numbers import create_cli_app
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import generate_secret
from otp_service.store.event_streams import RedisEventStreams
from otp_service.store.limit_key_contents import ContentKind, LimitKeyContents, MisplacedKey
from otp_service.store.limit_key_move import LimitKeyMover
from tests.store import redis_servers


ONE, OTHER = "+447400123456", "+447400123457"
RING = re.compile(r"^limit = \[(.*)\]$", re.MULTILINE)


@pytest.fixture
def set_ring(config):
    """Return a function that writes the limit keys with these numbers; 1 is that of `init`."""
    entries = [RING.search(config.read_text())[1]]
    entries += [f'{{ id = "later-{i}", secret = "{generate_secret(os.urandom)}" }}' for i in (2, 3)]

    def write_ring(*numbers: int) -> None:
        ring = ", ".join(entries[number - 1].strip() for number in numbers)
        config.write_text(RING.sub(f"limit = [{ring}]", config.read_text()))

    write_ring.first_id = re.search(r'id = "(.*?)"', entries[0])[1]
    return write_ring


def read_moves(config) -> list[dict]:
    """Return the events limit_key.moved, the oldest first."""

    async def read_all():
        async with create_cli_app(read_settings(config)) as app:
            streams = RedisEventStreams(app.script_client, app.store.key_names)
            newest = await streams.fetch_newest(
                dict.fromkeys(range(PARTITION_COUNT), MAX_POSITION), since=0, count=100
            )
            entries = sorted(
                (entry for found in newest.values() for entry in found), key=lambda e: e.position
            )
            return [msgspec.json.decode(entry.event) for entry in entries]

    return [event for event in asyncio.run(read_all()) if event["type"] == "limit_key.moved"]


def test_a_rotation_by_its_steps_needs_no_wait(run_otp, config, lock_number, set_ring):
    """Status and check say at each step what is left; at the end the old key is not needed."""
    old = set_ring.first_id
    run_otp("block", "--config", config, stdin=ONE)
    lock_number(OTHER)
    before = run_otp("limit-key", "status", "--config", config)
    set_ring(1, 2)
    spread = run_otp("limit-key", "status", "--config", config)
    set_ring(2, 1)
    used = run_otp("limit-key", "status", "--config", config)
    checked = run_otp("check", "--config", config)
    moved = run_otp("limit-key", "move", "--config", config)
    after = run_otp("limit-key", "status", "--config", config)
    checked_after = run_otp("check", "--config", config)
    set_ring(2)
    over = run_otp("limit-key", "status", "--config", config)

    ended = (before, spread, used, checked, moved, after, checked_after, over)
    assert [0, 0, 1, 0, 0, 0, 0, 0] == [one.exit_code for one in ended], ended
    assert re.search(rf"^{old} \(in force\) +0 +1 +1 +- +- +-$", before.out, re.MULTILINE)
    assert re.search(rf"^{old} +0 +1 +1 +0 +0 +0$", used.out, re.MULTILINE)
    note = f"keys.limit: blocks (1) and consecutive failures (1) are under '{old}': keep it."
    assert note in used.out
    assert note in checked.out
    assert "Moved to 'later-2': 2." in moved.out
    nothing = f"keys.limit: nothing is under '{old}'. If it is the earlier key, remove it;"
    assert nothing in after.out
    assert nothing in checked_after.out
    assert re.search(r"^later-2 \(in force\) +0 +1 +1 +- +- +-$", over.out, re.MULTILINE)
    assert old not in over.out
    assert "+44********56" in run_otp("blocked", "--config", config).out
    assert "+44********57" in run_otp("locked", "--config", config).out


def test_a_key_that_was_removed_too_early_is_an_error(run_otp, config, lock_number, set_ring):
    """`check` says so before the reload, and names the key and what to do."""
    old = set_ring.first_id
    run_otp("block", "--config", config, stdin=ONE)
    lock_number(OTHER)
    set_ring(2)

    checked = run_otp("check", "--config", config)
    status = run_otp("limit-key", "status", "--config", config)
    moved = run_otp("limit-key", "move", "--config", config)
    set_ring(2, 1)
    put_back = run_otp("check", "--config", config)

    error = f"keys.limit: misses the key '{old}', which blocks (1) and consecutive failures (1) are under"
    assert (1, 1, 1, 0) == tuple(one.exit_code for one in (checked, status, moved, put_back))
    assert error in checked.err
    assert (
        "Put it back after 'later-2', reload, and run 'otp-service limit-key move'" in checked.err
    )
    assert error in status.out
    assert re.search(rf"^{old} \(missing\) +0 +1 +1 +0 +0 +0$", status.out, re.MULTILINE)
    assert error in moved.out
    assert [] == read_moves(config)


def test_a_move_is_recorded_at_its_start_and_at_its_end(run_otp, config, lock_number, set_ring):
    """R72: who ran it, with how much; the ids of the keys in force are in `versions`."""
    run_otp("block", "--config", config, stdin=f"{ONE}\n{OTHER}")
    lock_number(OTHER)
    set_ring(2, 1)

    run_otp("limit-key", "move", "--config", config)
    run_otp("limit-key", "move", "--config", config)  # which has nothing to move

    moves = read_moves(config)
    assert [("started", 3), ("finished", 3)] == [(one["reason"], one["count"]) for one in moves]
    assert {(getpass.getuser(), "cli", "later-2")} == {
        (one["by"], one["key_id"], one["versions"]["limit"]) for one in moves
    }


def test_what_cannot_be_read_is_reported_and_fails(run_otp, config, set_ring, server):
    """It cannot be moved, and is not deleted."""
    run_otp("block", "--config", config, stdin=ONE)
    with redis_servers.open_client(server) as client:
        (key,) = client.keys("*:blocked:*")
        client.set(key, b"garbage")
    set_ring(2, 1)

    ended = [run_otp(*words, "--config", config) for words in (("limit-key", "move"), ("check",))]

    assert [1, 1] == [one.exit_code for one in ended]
    for text in (ended[0].out, ended[1].err):
        assert "keys.limit: does not open blocks (1): another program has changed them" in text


def test_a_stopped_move_says_what_to_do(run_otp, config, set_ring, monkeypatch):
    """The store is away in the middle; the start is recorded."""
    run_otp("block", "--config", config, stdin=ONE)
    set_ring(2, 1)

    async def fail(*_):
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(LimitKeyMover, "move", fail)
        ended = run_otp("limit-key", "move", "--config", config)

    assert 1 == ended.exit_code
    assert "Stopped: run 'otp-service limit-key move' again for the rest." in ended.err
    assert ["started"] == [one["reason"] for one in read_moves(config)]
    assert 0 == run_otp("limit-key", "move", "--config", config).exit_code


def test_what_a_valid_code_keeps_under_the_earlier_key_is_moved_later():
    """A move leaves it, so the note must not name the same command without saying when."""
    contents = build_contents(FAILURES=2, LIVE_CODE=1)
    contents.live_numbers = {ONE}
    contents.misplaced = [
        MisplacedKey(ContentKind.FAILURES, "of one", "target", ONE),
        MisplacedKey(ContentKind.FAILURES, "of another one", "target", OTHER),
        MisplacedKey(ContentKind.BLOCK, "of one, too", "target", ONE),
    ]

    notes = [note.remedy for note in list_notes(contents)]

    assert notes[-1].endswith(
        "in 10 minutes at most. The consecutive failures of their numbers (1) are moved by a run after that"
    )


def build_contents(**counts: int) -> LimitKeyContents:
    contents = LimitKeyContents(("new", "old"))
    for name, count in counts.items():
        contents.elsewhere["old", ContentKind[name]] = count
    return contents


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (build_contents(), ["nothing is under 'old'. If it is the earlier key, remove it"]),
        (
            build_contents(OPT_OUT=2, BLOCK=1, FAILURES=5),
            ["opt-outs (2), blocks (1) and consecutive failures (5) are under 'old': keep it."],
        ),
        (
            build_contents(LIVE_CODE=3),
            ["valid codes (3) are under 'old': keep it until they end, in 10 minutes at most"],
        ),
        (
            build_contents(RECIPIENT=7),
            ["recipients (7) are under 'old': without it their STOP does not count."],
        ),
        (
            build_contents(KNOWN_NUMBER=7),
            ["known numbers (7) are under 'old': without it the brake on SMS pumping charges them"],
        ),
        (
            LimitKeyContents(("new",)),
            [],
        ),
    ],
)
def test_the_note_says_what_is_left_under_the_other_key(contents, expected):
    """Nothing but what expires by itself is no reason to move."""
    notes = [note.remedy for note in list_notes(contents)]

    assert [] == list(list_errors(contents))
    assert len(expected) == len(notes)
    assert all(note.startswith(text) for note, text in zip(notes, expected, strict=True))

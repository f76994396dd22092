"""The lines of a partition: whatever Redis has, each sequence is archived once."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.audit.archive_format.entries import (
    GAP_PREFIX,
    decode_entry,
    decode_gap,
    encode_entry,
    parse_sequence_id,
)
from otp_service.audit.sealer.partition_lines import align_by_time, build_partition_lines
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sealer.state import ArchiveState
from otp_service.core.log_entry import Entry, PendingEntries, StreamPosition
from tests.audit.sealed_log import SIGNING_KEY


def entry(epoch: int, sequence: int) -> Entry:
    """Return an entry with the MAC of a worker."""
    event = json.dumps({"id": f"{epoch}-{sequence}"}).encode()
    return Entry(
        partition=7,
        position=StreamPosition(epoch + sequence, sequence),
        epoch=epoch,
        event=event,
        mac="right",
        stamp=b"",
    )


def pending(
    entries: list[Entry], epoch: int, last: int, *, is_complete: bool = True
) -> PendingEntries:
    """Return the entries that Redis has of an epoch whose last sequence is `last`."""
    return PendingEntries(
        partition=7,
        now=10**6,
        last_position=StreamPosition(epoch + last, last),
        epoch=epoch,
        archived_position=None,
        sequence_id=None,
        waiting_count=0,
        events=tuple(sorted(entries, key=lambda entry: entry.position)),
        refusals=(),
        is_complete=is_complete,
    )


@given(
    last=st.integers(0, 30),
    known=st.integers(0, 30),
    missing=st.sets(st.integers(1, 30)),
    forged=st.lists(st.tuples(st.sampled_from([1000, 2000, 3000]), st.integers(31, 99))),
    twice=st.sets(st.integers(1, 30)),
)
def test_each_sequence_is_archived_once_or_in_a_gap(
    last: int, known: int, missing: set[int], forged: list[tuple[int, int]], twice: set[int]
) -> None:
    """Though some are missing, archived or repeated, and an attacker adds ids of the future."""
    known = min(known, last)
    here = [s for s in range(1, last + 1) if s not in missing]
    entries = [entry(2000, s) for s in here + [s for s in here if s in twice]]
    entries += [entry(e, s) for e, s in forged if (e, s) > (2000, last)]

    lines = build_partition_lines(
        pending(entries, 2000, last), lambda _, e: known if e == 2000 else 0, lambda *_: True
    )

    runs = []
    for _, _, line in lines.lines:
        if line.startswith(GAP_PREFIX):
            gap = decode_gap(line)
            runs.append((gap.first, gap.last))
            assert set(range(gap.first, gap.last + 1)) <= missing
        else:
            place = parse_sequence_id(decode_entry(line).id)
            assert 2000 == place.epoch
            runs.append((place.sequence, place.sequence))
    assert ([known + 1] if known < last else []) == [first for first, _ in runs[:1]]
    assert all(before[1] + 1 == after[0] for before, after in pairwise(runs))
    assert ([last] if known < last else []) == [until for _, until in runs[-1:]]
    assert lines.missing == len([s for s in missing if known < s <= last])


@given(st.lists(st.sampled_from([(7, 1000), (7, 2000), (8, 1000)]), max_size=30), st.data())
def test_a_state_read_from_seals_equals_one_read_from_all_lines(
    places: list[tuple[int, int]], data: st.DataObject
) -> None:
    """So the sealed part of a segment is not read line by line."""
    writer, reader = ArchiveState(), ArchiveState()
    counts: dict[tuple[int, int], int] = {}
    order = sorted(places, key=lambda place: place[1])
    for partition, epoch in order:
        sequence = counts[partition, epoch] = counts.get((partition, epoch), 0) + 1
        one = entry(epoch, sequence)
        writer.add_line(encode_entry(replace(one, partition=partition), has_valid_mac=True))
        if data.draw(st.booleans()):
            seal = Signer(SIGNING_KEY).build_seal_line(writer, 10**12, fence=1)
            writer.add_line(seal)
            reader.add_line(seal)
            assert {k: writer.get_last_sequence(*k) for k in counts} == {
                k: reader.get_last_sequence(*k) for k in counts
            }
            assert [writer.get_newest_epoch(p) for p in (7, 8)] == [
                reader.get_newest_epoch(p) for p in (7, 8)
            ]
            assert (writer.seal_number, writer.previous_hash) == (
                reader.seal_number,
                reader.previous_hash,
            )
            assert writer.is_sealed


@given(
    st.lists(st.lists(st.integers(1, 99), max_size=30), min_size=2, max_size=4), st.integers(1, 9)
)
def test_a_sealer_that_catches_up_keeps_the_order_of_time(
    scenario_steps: list[list[int]], count: int
) -> None:
    """However many entries wait where: no line is before an earlier one of another partition."""
    logs = [[entry(at, 1) for at in sorted(log)] for log in scenario_steps]
    written: list[int] = []
    while any(logs):
        read = [pending(log[:count], 0, 99, is_complete=len(log) <= count) for log in logs]
        aligned = align_by_time(read)
        logs = [log[len(one.entries) :] for log, one in zip(logs, aligned, strict=True)]
        assert all(one.is_complete or log for log, one in zip(logs, aligned, strict=True))
        written += sorted(one.position.at for some in aligned for one in some.entries)

    assert sorted(written) == written
    assert sum(map(len, scenario_steps)) == len(written)

"""The archive has each event of the log once, verifies, and catches up once faults have stopped.

The contract: docs/audit-log.md (the sealer copies events to the archive, and signs what it has copied);
audit/README.md "How it is written" (nothing is lost and nothing archived twice after a crash at any step;
sinks get each line before it is marked), "Verification" (what a finding is, and that a gap is declared for
entries that Redis no longer has) and "Proof of one event".
"""

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import HistoryIndex
from tests.simulation.auditor.log_order import describe_event
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import ArchiveRecord, StoredEvent


build = partial(build_violation, Promise.ARCHIVE)

LOSS_FINDINGS = frozenset({"accepted"})
"""What is about the log and not about the archive: a failover lost the first of two successes."""


def check_archive(index: HistoryIndex) -> Iterator[Violation]:
    """Yield what is wrong with the archive of a run that has one."""
    archive = index.history.archive
    if archive is None:
        return
    for rule, details in _list_faults(index, archive):
        yield build(rule, [], details=details, at=index.history.ended_at)
    for rule, event in _compare_events(archive):
        yield build(rule, [], details=describe_event(event), at=event.at)


def _list_faults(index: HistoryIndex, archive: ArchiveRecord) -> Iterator[tuple[str, str]]:
    """Yield each broken rule with its details."""
    has_loss = index.disturbance.has_lost_writes(-math.inf, math.inf)
    for finding in archive.findings:
        if not (has_loss and finding.kind in LOSS_FINDINGS):
            yield f"the archive does not verify: {finding.kind}", finding.text
    for error in archive.proof_errors:
        yield "an archived event cannot be proved", error
    for gap in archive.gaps:
        yield "a gap is declared although the log has lost nothing", gap
    for position in archive.lost_positions:
        yield "a machine lost an event that the log counts as archived", position
    if not archive.is_caught_up:
        yield "the sealers do not catch up after the faults", ""
    elif archive.unsealed_count:
        yield "archived lines are not sealed at the end", str(archive.unsealed_count)
    elif archive.waiting_count:
        yield "the log counts archived events as waiting", str(archive.waiting_count)
    yield from _compare_deliveries(archive)


def _compare_deliveries(archive: ArchiveRecord) -> Iterator[tuple[str, str]]:
    lines, delivered = set(archive.lines), set(archive.delivered)
    for line in lines - delivered:
        yield "a sink did not get a line of the archive", line.decode()
    for line in delivered - lines:
        yield "a sink got a line that is not in the archive", line.decode()


def _compare_events(archive: ArchiveRecord) -> Iterator[tuple[str, StoredEvent]]:
    """Yield each event that the archive lacks, has differently, or has twice."""
    archived = {_name_position(event): event for event in archive.events}
    for event in archive.log_events:
        copy = archived.get(_name_position(event))
        if copy is None:
            yield "an event of the log is not archived", event
        elif copy != event:
            yield "an archived event differs from that of the log", event
    for position, count in Counter(map(_name_position, archive.events)).items():
        if count > 1:
            yield "an event is archived twice", archived[position]


def _name_position(event: StoredEvent) -> tuple[int, int, int]:
    return event.partition, event.epoch, event.sequence

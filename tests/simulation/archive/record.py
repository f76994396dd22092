"""What an archive holds at the end of a run, read with the service's own verification and proofs."""

from collections.abc import Sequence

import msgspec

from otp_service.audit.archive_format import entries
from otp_service.audit.archive_format.seals import PublicKey, build_anchor, find_anchors
from otp_service.audit.verification.inclusion_proof import build_proof, verify_proof
from otp_service.audit.verification.verifier import verify_folder
from otp_service.core.log_entry import decode_stamp
from otp_service.core.timestamps import parse_rfc3339
from tests.simulation.archive.site import ArchiveSite, build_key
from tests.simulation.history import ArchiveFinding, ArchiveRecord, StoredBytes, StoredEvent
from tests.simulation.world.stored_events import create_cipher


_decode_event = msgspec.json.Decoder(dict[str, object]).decode


def build_archive_record(
    archive: ArchiveSite, log_events: Sequence[StoredEvent], waiting_count: int
) -> ArchiveRecord:
    """Return what was archived, with the events of the log, and how many it counts as not archived."""
    lines = [line for _, line in archive.folder.read_lines()]
    keys = [build_key(number).public for number in range(1, archive.key_count + 1)]
    anchors = find_anchors(b"\n".join(archive.anchor_sink.lines).decode())
    report = verify_folder(archive.folder.path, keys, anchors)
    return ArchiveRecord(
        lines=tuple(lines),
        delivered=tuple(archive.sink.lines),
        events=tuple(_build_event(line) for line in lines if _is_entry(line)),
        log_events=tuple(log_events),
        gaps=tuple(line.decode() for line in lines if line.startswith(entries.GAP_PREFIX)),
        findings=tuple(ArchiveFinding(kind=f.kind, text=str(f)) for f in report.findings),
        proof_errors=tuple(_list_proof_errors(lines, keys)),
        unsealed_count=report.unsealed,
        waiting_count=waiting_count,
        lost_positions=tuple(archive.lost_positions),
        is_caught_up=archive.is_caught_up,
    )


def collect_archived_bytes(archive: ArchiveSite) -> list[StoredBytes]:
    """Return every line that was archived, under the name of its file, and every anchor."""
    stored = [StoredBytes(place=name, content=line) for name, line in archive.folder.read_lines()]
    anchors = b"\n".join(archive.anchor_sink.lines)
    return [*stored, StoredBytes(place="anchors", content=anchors)]


def merge_events(record: ArchiveRecord) -> list[StoredEvent]:
    """Return the events of the store, and those that only the archive has, in order."""
    events = {_name_position(event): event for event in (*record.events, *record.log_events)}
    return [events[position] for position in sorted(events)]


def _name_position(event: StoredEvent) -> tuple[int, int, int, int]:
    return event.partition, event.at, event.sequence, event.epoch


def _is_entry(line: bytes) -> bool:
    """Return whether a line is an entry that can be read: one that cannot is a finding."""
    if line.startswith((entries.GAP_PREFIX, entries.SEAL_PREFIX)):
        return False
    try:
        entries.decode_entry(line)
    except ValueError:
        return False
    return True


def _list_proof_errors(lines: list[bytes], keys: list[PublicKey]) -> list[str]:
    """Prove the first, the middle and the last event, and return what is wrong with the proofs."""
    ids = [entries.sequence_id_from_line(line).id for line in lines if _is_entry(line)]
    errors = []
    for event_id in dict.fromkeys((*ids[:1], *ids[len(ids) // 2 :][:1], *ids[-1:])):
        proof = build_proof(lines, event_id)
        if proof is None:
            errors.append(f"{event_id} has no proof")
            continue
        try:
            verify_proof(proof, keys, [build_anchor(proof.seal.encode())])
        except ValueError as error:
            errors.append(f"the proof of {event_id} is invalid: {error}")
    return errors


def _build_event(line: bytes) -> StoredEvent:
    entry = entries.decode_entry(line)
    position = entries.parse_sequence_id(entry.id)
    stamp = b"" if entry.stamp is msgspec.UNSET else bytes(entry.stamp)
    has_valid_mac = entry.integrity is msgspec.UNSET
    return StoredEvent(
        partition=position.partition,
        at=parse_rfc3339(entry.at),
        sequence=position.sequence,
        epoch=position.epoch,
        members=_decode_event(entry.event) | decode_stamp(stamp),
        is_authentic=has_valid_mac and create_cipher().verify_event(bytes(entry.event), entry.mac),
    )

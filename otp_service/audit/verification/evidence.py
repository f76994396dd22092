"""Evidence for one challenge: all its events in an archive, each with its proof, and their seals.

    bundle = build_evidence(Path("archive"), "c07-5d41402abc4b2a76b9719d911017c592")
    for proven in verify_evidence(bundle, public_keys): ...

The recipient needs the public key alone. The bundle holds no event of another challenge: of those it
has hashes, and the sequences that the seals name. It proves that each event is in the archive as it was
sealed; that no event was left out is only shown by the archive itself.
"""

import mmap
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from otp_service.audit.archive_format import merkle, seals, segments
from otp_service.audit.archive_format.entries import SEAL_PREFIX, decode_entry
from otp_service.audit.verification.inclusion_proof import (
    InclusionProof,
    ProvenEntry,
    verify_proof,
)
from otp_service.core.log_entry import MAX_JSON_BRACKETS, create_bounded_decoder


MAX_EVIDENCE_EVENTS: Final = 1000
"""A challenge has some twenty events; a client of Redis may have written more."""


_CHALLENGE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,100}")
"""Wide enough for each id. `core.challenge` has the form of ours, with modules that an auditor lacks."""


class EvidenceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the archive and its path to the root in a seal."""

    line: str
    index: int
    count: int
    path: tuple[str, ...]
    seal: int
    """Its position in `seals` of the bundle."""


class EvidenceBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is given to a recipient, as JSON."""

    challenge: str
    entries: tuple[EvidenceEntry, ...]
    """In the order of the archive, oldest first."""
    seals: tuple[str, ...]
    unsealed: int
    """Events of the challenge that no seal covers yet. A seal follows within seconds."""


class _ChallengeField(msgspec.Struct, frozen=True):
    challenge: str | None = None


def build_evidence(folder: Path, challenge: str) -> EvidenceBundle:
    """Return the evidence for a challenge; its lines and seals are not verified.

    Reads the whole archive: call it in a thread. Seals count the lines of all tenants, so only a
    reader who may see all of them should get a bundle. Raises OSError, and ValueError for a line that
    is not UTF-8 or for more than `MAX_EVIDENCE_EVENTS` events.
    """
    entries, sealed, unsealed = list[EvidenceEntry](), list[str](), 0
    for segment in segments.list_segments(folder):
        if not _has_text(segment, challenge.encode()):
            continue
        for batch, seal in _iterate_batches(segment):
            indices = [i for i, line in enumerate(batch) if _is_about(line, challenge)]
            if seal is None:
                unsealed += len(indices)
            elif indices:
                entries += _build_entries(batch, indices, len(sealed))
                sealed.append(seal.decode())
            if len(entries) > MAX_EVIDENCE_EVENTS:
                raise ValueError(f"the challenge has more than {MAX_EVIDENCE_EVENTS} events")
    return EvidenceBundle(challenge, tuple(entries), tuple(sealed), unsealed)


def verify_evidence(
    bundle: EvidenceBundle,
    keys: Sequence[seals.PublicKey],
    anchors: Collection[seals.Anchor] = (),
) -> list[ProvenEntry]:
    """Return what the bundle proves, oldest first.

    `keys` and `anchors` are as in `verify_proof`, for each seal. Raises ValueError with the reason if a
    proof is invalid or about another challenge, if events are not in the order of the archive or given
    twice, if a seal covers none of them, or if no event is given.
    """
    if not _CHALLENGE_ID.fullmatch(bundle.challenge):
        raise ValueError("it is about no challenge")
    proven = list[ProvenEntry]()
    for entry in bundle.entries:
        if not 0 <= entry.seal < len(bundle.seals):
            raise ValueError("an entry names a seal that the bundle does not have")
        seal = bundle.seals[entry.seal]
        proof = InclusionProof(entry.line, entry.index, entry.count, entry.path, seal)
        proven.append(verify_proof(proof, keys, anchors))
        if not _is_about(entry.line.encode(), bundle.challenge):
            raise ValueError(f"the event {proven[-1].entry.id} is not of this challenge")
    _require_archive_order(bundle, proven)
    return proven


def _require_archive_order(bundle: EvidenceBundle, proven: Sequence[ProvenEntry]) -> None:
    """Raise ValueError unless the entries are listed as in the archive, each once, under the seals given.

    A reader takes the order for that of the events, and the seals for those that were verified.
    """
    if not proven:
        raise ValueError("it has no event")
    pairs = zip(proven, bundle.entries, strict=True)
    places = [(one.anchor.number, entry.index) for one, entry in pairs]
    if len(set(places)) != len(places):
        raise ValueError("it has an event twice")
    if places != sorted(places):
        raise ValueError("its events are not in the order of the archive")
    if {entry.seal for entry in bundle.entries} != set(range(len(bundle.seals))):
        raise ValueError("it has a seal that covers none of its events")


def _has_text(segment: Path, text: bytes) -> bool:
    """Whether a segment contains a text; retention may have deleted the segment, or it is empty."""
    with (
        suppress(FileNotFoundError, ValueError),
        segment.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(text) >= 0
    return False


def _iterate_batches(segment: Path) -> Iterator[tuple[list[bytes], bytes | None]]:
    """Yield the lines of each batch and its seal; None for lines that no seal covers yet."""
    batch: list[bytes] = []
    for raw_line in segments.iterate_raw_lines(segment):
        line = raw_line.removesuffix(b"\n")
        if line.startswith(SEAL_PREFIX):
            yield batch, line
            batch = []
        else:
            batch.append(line)
    yield batch, None


def _is_about(line: bytes, challenge: str) -> bool:
    """Whether a line is an event of the challenge; a line that is no entry is not."""
    if challenge.encode() not in line:
        return False
    with suppress(ValueError):
        return _decode_challenge(bytes(decode_entry(line).event)).challenge == challenge
    return False


def _build_entries(batch: list[bytes], indices: list[int], seal: int) -> Iterator[EvidenceEntry]:
    leaves = [merkle.hash_leaf(line) for line in batch]
    for index in indices:
        path = tuple(hashed.hex() for hashed in merkle.build_inclusion_path(leaves, index))
        yield EvidenceEntry(batch[index].decode(), index, len(batch), path, seal)


_decode_challenge = create_bounded_decoder(_ChallengeField, MAX_JSON_BRACKETS)

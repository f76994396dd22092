"""Proofs that one event is in the archive, without any other event.

A proof holds the event's line, the hashes from it to the Merkle root of its batch, and the seal
over that root. Of other events it shows hashes only, and the sequences that the seal names.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format import merkle, seals
from otp_service.audit.archive_format.entries import SEAL_PREFIX, EntryLine, decode_entry


class InclusionProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proof for a recipient that has only the public keys."""

    line: str
    index: int
    count: int
    path: tuple[str, ...]
    seal: str


class ProvenEntry(NamedTuple):
    """What a valid proof proves: this entry is under the seal that the anchor names."""

    entry: EntryLine
    key_id: str
    anchor: seals.Anchor


def build_proof(lines: Iterable[bytes], event_id: str) -> InclusionProof | None:
    """Return the proof of an event, or None if the event is missing or not sealed.

    `lines` are those of an archive, or of the segment that has the event. They are not verified.
    Raises ValueError for a line that is not UTF-8.
    """
    start = b'{"id":"%b",' % event_id.encode()
    batch: list[bytes] = []
    index = None
    for line in lines:
        if not line.startswith(SEAL_PREFIX):
            if line.startswith(start):
                index = len(batch)
            batch.append(line)
        elif index is None:
            batch.clear()
        else:
            return _encode_proof(batch, index, line)
    return None


def verify_proof(
    proof: InclusionProof,
    keys: Sequence[seals.PublicKey],
    anchors: Collection[seals.Anchor] = (),
) -> ProvenEntry:
    """Return what a proof proves. Raises ValueError with the reason if the proof is invalid.

    `keys` are oldest first. The seal must be by the last one, or have an anchor: an attacker with a key
    that was replaced could sign a seal of an archive that never existed. With anchors, its own must be
    among them.
    """
    line, sealed = proof.line.encode(), proof.seal.encode()
    seal_line, seal = seals.decode_seal_line(sealed), seals.decode_seal(sealed)
    key = next((key for key in keys if key.id == seal.key), None)
    if key is None:
        raise ValueError(f"its seal names the key {seal.key}, which is not among the public keys")
    if not (key.has_signed(seal_line) and seals.is_canonical(seal_line, sealed)):
        raise ValueError("the signature of its seal is invalid")
    _check_anchors(seal, seals.build_anchor(sealed), keys, anchors)
    path = [bytes.fromhex(sibling) for sibling in proof.path]
    if proof.count != seal.count:
        raise ValueError("its seal is over another number of lines")
    try:
        leaf = merkle.hash_leaf(line)
        root = merkle.compute_root_from_path(leaf, proof.index, proof.count, path)
    except ValueError:
        raise ValueError("its path fits no tree of that many lines") from None
    if root.hex() != seal.root:
        raise ValueError("its line is not among those that were sealed")
    return ProvenEntry(decode_entry(line), key.id, seals.build_anchor(sealed))


def _check_anchors(
    seal: seals.Seal,
    anchor: seals.Anchor,
    keys: Sequence[seals.PublicKey],
    anchors: Collection[seals.Anchor],
) -> None:
    """Raise ValueError if the seal has no anchor although it needs one, or another one."""
    if anchor in anchors:
        return
    if any(one.number == seal.number for one in anchors):
        raise ValueError(f"its seal {seal.number} differs from the anchor of that number")
    if anchors:
        raise ValueError(f"no anchor is one of its seal {seal.number}")
    if seal.key != keys[-1].id:
        cause = f"its seal is by the key {seal.key}, which {keys[-1].id} has replaced"
        raise ValueError(f"{cause}: give the anchor of seal {seal.number} with --anchor")


def _encode_proof(batch: list[bytes], index: int, seal: bytes) -> InclusionProof:
    path = merkle.build_inclusion_path([merkle.hash_leaf(line) for line in batch], index)
    siblings = tuple(sibling.hex() for sibling in path)
    return InclusionProof(batch[index].decode(), index, len(batch), siblings, seal.decode())

"""That one event is in the archive, proved without showing any other.

The proof holds the event's line, the way from it to the Merkle root of its stretch, and the seal
over that. What it shows of other events are hashes, and the sequences that the seal names.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format import merkle
from otp_service.audit.archive_format.entries import SEAL_PREFIX, EntryLine, decode_entry
from otp_service.audit.archive_format.seals import (
    Anchor,
    PublicKey,
    build_anchor,
    decode_seal,
    decode_seal_line,
    is_canonical,
)


class InclusionProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is handed to somebody who has nothing but the public keys."""

    line: str
    index: int
    count: int
    path: tuple[str, ...]
    seal: str


class ProvenEntry(NamedTuple):
    """What a right proof proves: this entry, under the seal that this anchor names."""

    entry: EntryLine
    key_id: str
    anchor: Anchor


def build_proof(lines: Iterable[bytes], event_id: str) -> InclusionProof | None:
    """Return the proof of an event, from the lines of an archive or of the segment that has it.

    None if there is no such event, or none that is sealed. Nothing is verified by this. Raises
    ValueError for a line that is no text, or a seal that is none.
    """
    start = b'{"id":"%b",' % event_id.encode()
    stretch: list[bytes] = []
    index = None
    for line in lines:
        if not line.startswith(SEAL_PREFIX):
            if line.startswith(start):
                index = len(stretch)
            stretch.append(line)
        elif index is None:
            stretch.clear()
        else:
            return _encode_proof(stretch, index, line)
    return None


def verify_proof(proof: InclusionProof, keys: Iterable[PublicKey]) -> ProvenEntry:
    """Return what a proof proves. Raises ValueError, which says why it proves nothing."""
    line, sealed = proof.line.encode(), proof.seal.encode()
    told, seal = decode_seal_line(sealed), decode_seal(sealed)
    key = next((one for one in keys if one.id == seal.key), None)
    if key is None:
        raise ValueError(f"its seal is said to be signed with {seal.key}, which is not among them")
    if not (key.has_signed(told) and is_canonical(told, sealed)):
        raise ValueError("its seal is not what the key has signed")
    through = [bytes.fromhex(hashed) for hashed in proof.path]
    if proof.count != seal.count:
        raise ValueError("its seal is over another number of lines")
    try:
        root = merkle.compute_root_from_path(
            merkle.hash_leaf(line), proof.index, proof.count, through
        )
    except ValueError:
        raise ValueError("its path fits no tree of that many lines") from None
    if root.hex() != seal.root:
        raise ValueError("its line is not among those that were sealed")
    return ProvenEntry(decode_entry(line), key.id, build_anchor(sealed))


def _encode_proof(batch: list[bytes], index: int, seal: bytes) -> InclusionProof:
    path = merkle.build_inclusion_path([merkle.hash_leaf(line) for line in batch], index)
    return InclusionProof(
        batch[index].decode(),
        index,
        len(batch),
        tuple(hashed.hex() for hashed in path),
        seal.decode(),
    )

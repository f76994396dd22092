"""The chain of an archive's seals: each made on the one before, by the key that is right there.

The key of the first seal is one of those that the auditor has; every other is handed over by the
last seal of the one before. A seal that its key has not signed is not believed: nothing that it
says changes what is expected of the next.
"""

from collections.abc import Sequence

from otp_service.audit.archive_format.seals import (
    ZERO_HASH,
    Anchor,
    DroppedPrefix,
    NextKey,
    PublicKey,
    Seal,
    SealLine,
    decode_seal,
    decode_seal_line,
    hash_seal_line,
    is_canonical,
)
from otp_service.audit.verification.findings import FindingLog


class SealChain:
    """Follows the seals; `begins` is the number of the first one."""

    def __init__(
        self,
        finding_log: FindingLog,
        first_number: int,
        keys: Sequence[PublicKey],
        anchors: Sequence[Anchor],
    ) -> None:
        self.last_anchor: Anchor | None = None
        """The last seal that can be believed."""
        self._last_number = first_number - 1
        self._skipped_seals = 0
        self._finding_log = finding_log
        self._first_number = first_number
        self._keys = keys
        self._keys_by_id = {key.id: key for key in keys}
        self._current_key: PublicKey | None = None
        self._unexpected_key_id: str | None = None
        self._anchors = set(anchors)
        self._previous_hash = ZERO_HASH if first_number == 1 else None
        self._first_previous_hash: str | None = None
        self._fence = 0
        self._dropped: DroppedPrefix | None = None
        self._segment_end_hashes: dict[int, str] = {}

    def verify_seal(self, line: bytes, line_number: int) -> Seal | None:
        """Take the next seal, and return it if it can be believed."""
        try:
            told, seal = decode_seal_line(line), decode_seal(line)
        except ValueError:
            self._finding_log.add_finding("unreadable", "is no seal", line_number)
            self._skipped_seals += 1
            return None
        if not self._verify_signature(seal, told, line, line_number):
            self._skipped_seals += 1
            return None
        self._check_link(seal, line_number)
        self._accept_seal(seal, hash_seal_line(line), line_number)
        return seal

    def end_segment(self) -> None:
        """Remember where a segment ends: retention drops whole ones."""
        if self._previous_hash and not self._skipped_seals:
            self._segment_end_hashes[self._last_number] = self._previous_hash

    def is_next(self, number: int) -> bool:
        """Whether the next seal can have this number: one that is not believed was one, or none."""
        return self._last_number < number <= self._last_number + 1 + self._skipped_seals

    def finish_checks(self) -> None:
        """Compare with what is known from elsewhere, once all seals were taken."""
        self._finding_log.file = None
        self._check_beginning()
        for anchor in sorted(self._anchors):
            if anchor.number > self._last_number + self._skipped_seals:
                says = "the archive ends before it: its tail was cut off"
                self._finding_log.add_finding("truncated", f"{anchor}: {says}", seal=anchor.number)
            elif anchor.number >= self._first_number:
                says = "the archive has no such seal that is right"
                self._finding_log.add_finding("anchor", f"{anchor}: {says}", seal=anchor.number)
            else:
                says = "is older than what is still there, and says nothing about it"
                self._finding_log.add_note("anchor", f"{anchor}: {says}", seal=anchor.number)

    # ------------------------------------------------------------------------------- signatures

    def _verify_signature(
        self, seal: Seal, seal_line: SealLine, line: bytes, line_number: int
    ) -> bool:
        if self._current_key is None:
            self._current_key = self._select_first_key(seal, line_number)
        key = self._current_key
        if key and seal.key == key.id:
            self._unexpected_key_id = None
        else:
            key = self._keys_by_id.get(seal.key)
            if self._unexpected_key_id != seal.key:
                self._report_unexpected_key(seal, line_number)
        if key and not (key.has_signed(seal_line) and is_canonical(seal_line, line)):
            says = "is not what its key has signed"
            self._finding_log.add_finding("signature", says, line_number, seal=seal.number)
            return False
        return key is not None

    def _select_first_key(self, seal: Seal, line_number: int) -> PublicKey | None:
        """Return the key of the first seal: of an archive that is whole the oldest one."""
        key = self._keys_by_id.get(seal.key)
        if key and self._first_number == 1 and key.id != self._keys[0].id:
            says = (
                f"the archive begins with the key {key.id}, and the first of the public keys is"
                f" {self._keys[0].id}: sealed anew with a newer key, or the file is not in order"
            )
            self._finding_log.add_finding("key", says, line_number, seal=seal.number)
        return key

    def _report_unexpected_key(self, seal: Seal, line_number: int) -> None:
        """Tell of a key where it is not right: once for all the seals that follow with it."""
        self._unexpected_key_id = seal.key
        right = (
            f"{self._current_key.id} is the right one here"
            if self._current_key
            else "it is none of the known"
        )
        known = (
            "" if seal.key in self._keys_by_id else ", so neither it nor its lines can be believed"
        )
        says = f"is said to be signed with the key {seal.key}, and {right}{known}"
        self._finding_log.add_finding("key", says, line_number, seal=seal.number)

    # ------------------------------------------------------------------------------- the chain

    def _check_link(self, seal: Seal, line_number: int) -> None:
        """Compare a seal with the one before."""
        number, expected = seal.number, self._last_number + 1
        if number < expected:
            says = f"stands behind seal {self._last_number}: a copy, or a second continuation"
            self._finding_log.add_finding("fork", says, line_number, seal=number)
        elif not self.is_next(number):
            says = f"what stands before it is seal {self._last_number}: those between are missing"
            self._finding_log.add_finding("seals", says, line_number, seal=number)
        elif number == expected and self._previous_hash not in {None, seal.previous}:
            says = "was not made on the seal before it: one of the two comes from elsewhere"
            self._finding_log.add_finding("fork", says, line_number, seal=number)
        if seal.fence < self._fence:
            says = f"its fence {seal.fence} is behind {self._fence}: its sealer had lost the lease"
            self._finding_log.add_finding("fence", says, line_number, seal=number)

    def _accept_seal(self, seal: Seal, seal_hash: str, line_number: int) -> None:
        """Take over what a seal says."""
        anchor = Anchor(seal.number, seal.at, seal_hash)
        self._compare_anchors(anchor, line_number)
        if self._unexpected_key_id is None and seal.next:
            self._switch_key(seal, seal.next, line_number)
        if seal.dropped:
            self._record_dropped(seal, seal.dropped, line_number)
        if seal.number == self._first_number:
            self._first_previous_hash = seal.previous
        self.last_anchor, self._last_number, self._previous_hash, self._skipped_seals = (
            anchor,
            seal.number,
            seal_hash,
            0,
        )
        self._fence = max(self._fence, seal.fence)

    def _compare_anchors(self, candidate: Anchor, line_number: int) -> None:
        for anchor in [one for one in self._anchors if one.number == candidate.number]:
            self._anchors.discard(anchor)
            if anchor != candidate:
                says = f"the anchor knows another one ({anchor}): from here or before, it is a fork"
                self._finding_log.add_finding("anchor", says, line_number, seal=candidate.number)

    def _switch_key(self, seal: Seal, next_key: NextKey, line_number: int) -> None:
        try:
            key = PublicKey.from_text(next_key.public)
            if key.id != next_key.id:
                raise ValueError(key.id)
        except ValueError:
            self._finding_log.add_finding(
                "key", "hands over to what is no key", line_number, seal=seal.number
            )
            return
        unknown = "" if key.id in self._keys_by_id else ", which is not in your file of public keys"
        self._finding_log.add_note(
            "key", f"hands over to {key.id}{unknown}", line_number, seal=seal.number
        )
        self._current_key = self._keys_by_id[key.id] = key

    # ------------------------------------------------------------------------------- retention

    def _record_dropped(self, seal: Seal, dropped: DroppedPrefix, line_number: int) -> None:
        """Take down up to where retention has deleted; what is still there has to agree."""
        self._dropped = dropped
        kept = self._segment_end_hashes.get(dropped.number, dropped.hash)
        if dropped.number >= seal.number or kept != dropped.hash:
            says = f"says that seal {dropped.number} was dropped, which is another one"
            self._finding_log.add_finding("beginning", says, line_number, seal=seal.number)

    def _check_beginning(self) -> None:
        """Find an archive that begins late without a seal that says why."""
        before = self._first_number - 1
        dropped = self._dropped
        if not before:
            return
        if dropped is None or dropped.number < before:
            says = f"seals 1 to {before} are not there, and no seal says that they were dropped"
            self._finding_log.add_finding("beginning", says, seal=self._first_number)
        elif dropped.number == before and self._first_previous_hash not in {None, dropped.hash}:
            says = f"the first seal was not made on seal {before} as it was when it was dropped"
            self._finding_log.add_finding("beginning", says, seal=self._first_number)
        else:
            says = f"everything up to seal {before} was dropped: its retention had ended"
            self._finding_log.add_note("beginning", says, seal=self._first_number)

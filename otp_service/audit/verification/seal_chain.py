"""The chain of an archive's seals: each names the seal before it, and is signed by the key in force.

The auditor has the key of the first seal; the last seal of each key names the next one. A seal with
an invalid signature is ignored: nothing in it changes what is expected of the next.
"""

from collections.abc import Sequence

from otp_service.audit.archive_format import seals
from otp_service.audit.archive_format.seals import Anchor, PublicKey, Seal
from otp_service.audit.verification.findings import FindingLog


class SealChain:
    """Follows the seals; `first_number` is the number of the first one that is expected."""

    def __init__(
        self,
        finding_log: FindingLog,
        first_number: int,
        keys: Sequence[PublicKey],
        anchors: Sequence[Anchor],
    ) -> None:
        self.last_anchor: Anchor | None = None
        """The last valid seal."""
        self._last_number = first_number - 1
        self._skipped_seals = 0
        self._log = finding_log
        self._first_number = first_number
        self._keys = keys
        self._keys_by_id = {key.id: key for key in keys}
        self._current_key: PublicKey | None = None
        self._unexpected_key_id: str | None = None
        self._anchors = set(anchors)
        self._previous_hash = seals.ZERO_HASH if first_number == 1 else None
        self._first_previous_hash: str | None = None
        self._fence = 0
        self._dropped: seals.DroppedPrefix | None = None
        self._segment_end_hashes: dict[int, str] = {}

    def verify_seal(self, line: bytes, line_number: int) -> Seal | None:
        """Check the next seal, and return it if its signature is valid."""
        try:
            seal_line, seal = seals.decode_seal_line(line), seals.decode_seal(line)
        except ValueError:
            self._log.add_finding("unreadable", "is not a seal", line_number)
            self._skipped_seals += 1
            return None
        if not self._verify_signature(seal, seal_line, line, line_number):
            self._skipped_seals += 1
            return None
        self._check_link(seal, line_number)
        self._accept_seal(seal, seals.hash_seal_line(line), line_number)
        return seal

    def end_segment(self) -> None:
        """Record the last seal of a segment: retention drops whole segments."""
        if self._previous_hash and not self._skipped_seals:
            self._segment_end_hashes[self._last_number] = self._previous_hash

    def is_next(self, number: int) -> bool:
        """Whether the next seal may have this number; an invalid seal may or may not have taken one."""
        return self._last_number < number <= self._last_number + 1 + self._skipped_seals

    def finish_checks(self) -> None:
        """Compare the seals with the anchors, after the last seal."""
        self._log.file = None
        self._check_beginning()
        for anchor in sorted(self._anchors):
            if anchor.number > self._last_number + self._skipped_seals:
                message = "the archive ends before it: its tail was cut off"
                self._log.add_finding("truncated", f"{anchor}: {message}", seal=anchor.number)
            elif anchor.number >= self._first_number:
                message = "the archive has no valid seal of this number"
                self._log.add_finding("anchor", f"{anchor}: {message}", seal=anchor.number)
            else:
                message = "is older than the archive's first seal, so it proves nothing"
                self._log.add_note("anchor", f"{anchor}: {message}", seal=anchor.number)

    def _verify_signature(
        self, seal: Seal, seal_line: seals.SealLine, line: bytes, line_number: int
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
        if key and not (key.has_signed(seal_line) and seals.is_canonical(seal_line, line)):
            message = "its signature is invalid"
            self._log.add_finding("signature", message, line_number, seal=seal.number)
            return False
        return key is not None

    def _select_first_key(self, seal: Seal, line_number: int) -> PublicKey | None:
        """Return the key of the first seal; in a whole archive it is the oldest one."""
        key = self._keys_by_id.get(seal.key)
        if key and self._first_number == 1 and key.id != self._keys[0].id:
            message = (
                f"the archive begins with the key {key.id}, and the first of the public keys is"
                f" {self._keys[0].id}: it was sealed again with a newer key, or the file is unsorted"
            )
            self._log.add_finding("key", message, line_number, seal=seal.number)
        return key

    def _report_unexpected_key(self, seal: Seal, line_number: int) -> None:
        """Report a key that is not in force: once for all seals in a row that name it."""
        self._unexpected_key_id = seal.key
        message = f"names the key {seal.key}"
        if self._current_key:
            message += f", but {self._current_key.id} is in force"
        if seal.key not in self._keys_by_id:
            effect = "so neither it nor its lines are verified"
            message += f", and the public keys do not hold it, {effect}"
        self._log.add_finding("key", message, line_number, seal=seal.number)

    def _check_link(self, seal: Seal, line_number: int) -> None:
        number, expected = seal.number, self._last_number + 1
        if number < expected:
            message = f"follows seal {self._last_number}: a copy, or a second continuation"
            self._log.add_finding("fork", message, line_number, seal=number)
        elif not self.is_next(number):
            message = f"follows seal {self._last_number}: those between are missing"
            self._log.add_finding("seals", message, line_number, seal=number)
        elif number == expected and self._previous_hash not in {None, seal.previous}:
            message = "names another previous seal: one of the two is from another archive"
            self._log.add_finding("fork", message, line_number, seal=number)
        if seal.fence < self._fence:
            cause = "its sealer had lost the lease"
            message = f"its fence {seal.fence} is below {self._fence}: {cause}"
            self._log.add_finding("fence", message, line_number, seal=number)

    def _accept_seal(self, seal: Seal, seal_hash: str, line_number: int) -> None:
        """Apply a valid seal to what is expected of the next."""
        anchor = Anchor(seal.number, seal.at, seal_hash)
        self._compare_anchors(anchor, line_number)
        if self._unexpected_key_id is None and seal.next:
            self._switch_key(seal, seal.next, line_number)
        if seal.dropped:
            self._record_dropped(seal, seal.dropped, line_number)
        if seal.number == self._first_number:
            self._first_previous_hash = seal.previous
        self.last_anchor, self._last_number, self._previous_hash = anchor, seal.number, seal_hash
        self._skipped_seals = 0
        self._fence = max(self._fence, seal.fence)

    def _compare_anchors(self, candidate: Anchor, line_number: int) -> None:
        for anchor in [one for one in self._anchors if one.number == candidate.number]:
            self._anchors.discard(anchor)
            if anchor != candidate:
                message = f"differs from its anchor ({anchor}): a fork, from here or before"
                self._log.add_finding("anchor", message, line_number, seal=candidate.number)

    def _switch_key(self, seal: Seal, next_key: seals.NextKey, line_number: int) -> None:
        try:
            key = PublicKey.from_text(next_key.public)
            if key.id != next_key.id:
                raise ValueError(key.id)
        except ValueError:
            message = "hands over to an invalid key"
            self._log.add_finding("key", message, line_number, seal=seal.number)
            return
        unknown = "" if key.id in self._keys_by_id else ", which is not in your file of public keys"
        message = f"hands over to {key.id}{unknown}"
        self._log.add_note("key", message, line_number, seal=seal.number)
        self._current_key = self._keys_by_id[key.id] = key

    def _record_dropped(self, seal: Seal, dropped: seals.DroppedPrefix, line_number: int) -> None:
        """Record up to where retention has deleted; the segments that are left have to agree."""
        self._dropped = dropped
        kept = self._segment_end_hashes.get(dropped.number, dropped.hash)
        if dropped.number >= seal.number or kept != dropped.hash:
            message = f"declares another seal {dropped.number} dropped than the archive had"
            self._log.add_finding("beginning", message, line_number, seal=seal.number)

    def _check_beginning(self) -> None:
        """Report an archive that begins late without a seal that declares the rest dropped."""
        before = self._first_number - 1
        dropped = self._dropped
        if not before:
            return
        if dropped is None or dropped.number < before:
            message = f"seals 1 to {before} are missing, and no seal declares them dropped"
            self._log.add_finding("beginning", message, seal=self._first_number)
        elif dropped.number == before and self._first_previous_hash not in {None, dropped.hash}:
            message = f"the first seal names another seal {before} than the one that was dropped"
            self._log.add_finding("beginning", message, seal=self._first_number)
        else:
            message = f"everything up to seal {before} was dropped: its retention had ended"
            self._log.add_note("beginning", message, seal=self._first_number)

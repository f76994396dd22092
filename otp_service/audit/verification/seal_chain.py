"""The chain of an archive's seals: each made on the one before, by the key that is right there.

The key of the first seal is one of those that the auditor has; every other is handed over by the
last seal of the one before. A seal that its key has not signed is not believed: nothing that it
says changes what is expected of the next.
"""

from collections.abc import Sequence

from otp_service.audit.archive_format.seals import (
    NOTHING,
    Anchor,
    Dropped,
    NextKey,
    PublicKey,
    Seal,
    SealLine,
    hash_of,
    is_plain,
    seal_line,
    seal_on,
)
from otp_service.audit.verification.findings import Notebook


class Chain:
    """Follows the seals; `begins` is the number of the first one."""

    def __init__(
        self, book: Notebook, begins: int, keys: Sequence[PublicKey], anchors: Sequence[Anchor]
    ) -> None:
        self.last: Anchor | None = None
        """The last seal that can be believed."""
        self._number = begins - 1
        self._skipped = 0
        self._book = book
        self._begins = begins
        self._keys = keys
        self._known = {key.id: key for key in keys}
        self._key: PublicKey | None = None
        self._stray: str | None = None
        self._anchors = set(anchors)
        self._previous = NOTHING if begins == 1 else None
        self._first_previous: str | None = None
        self._fence = 0
        self._dropped: Dropped | None = None
        self._ends: dict[int, str] = {}

    def take(self, line: bytes, at: int) -> Seal | None:
        """Take the next seal, and return it if it can be believed."""
        try:
            told, seal = seal_line(line), seal_on(line)
        except ValueError:
            self._book.find("unreadable", "is no seal", at)
            self._skipped += 1
            return None
        if not self._is_signed(seal, told, line, at):
            self._skipped += 1
            return None
        self._follow(seal, at)
        self._believe(seal, hash_of(line), at)
        return seal

    def end_segment(self) -> None:
        """Remember where a segment ends: retention drops whole ones."""
        if self._previous and not self._skipped:
            self._ends[self._number] = self._previous

    def is_next(self, number: int) -> bool:
        """Whether the next seal can have this number: one that is not believed was one, or none."""
        return self._number < number <= self._number + 1 + self._skipped

    def end(self) -> None:
        """Compare with what is known from elsewhere, once all seals were taken."""
        self._book.file = None
        self._compare_beginning()
        for anchor in sorted(self._anchors):
            if anchor.number > self._number + self._skipped:
                says = "the archive ends before it: its tail was cut off"
                self._book.find("truncated", f"{anchor}: {says}", seal=anchor.number)
            elif anchor.number >= self._begins:
                says = "the archive has no such seal that is right"
                self._book.find("anchor", f"{anchor}: {says}", seal=anchor.number)
            else:
                says = "is older than what is still there, and says nothing about it"
                self._book.note("anchor", f"{anchor}: {says}", seal=anchor.number)

    # ------------------------------------------------------------------------------- signatures

    def _is_signed(self, seal: Seal, told: SealLine, line: bytes, at: int) -> bool:
        if self._key is None:
            self._key = self._first_key(seal, at)
        key = self._key
        if key and seal.key == key.id:
            self._stray = None
        else:
            key = self._known.get(seal.key)
            if self._stray != seal.key:
                self._find_stray(seal, at)
        if key and not (key.is_signed(told) and is_plain(told, line)):
            says = "is not what its key has signed"
            self._book.find("signature", says, at, seal=seal.number)
            return False
        return key is not None

    def _first_key(self, seal: Seal, at: int) -> PublicKey | None:
        """Return the key of the first seal: of an archive that is whole the oldest one."""
        key = self._known.get(seal.key)
        if key and self._begins == 1 and key.id != self._keys[0].id:
            says = (
                f"the archive begins with the key {key.id}, and the first of the public keys is"
                f" {self._keys[0].id}: sealed anew with a newer key, or the file is not in order"
            )
            self._book.find("key", says, at, seal=seal.number)
        return key

    def _find_stray(self, seal: Seal, at: int) -> None:
        """Tell of a key where it is not right: once for all the seals that follow with it."""
        self._stray = seal.key
        right = f"{self._key.id} is the right one here" if self._key else "it is none of the known"
        known = "" if seal.key in self._known else ", so neither it nor its lines can be believed"
        says = f"is said to be signed with the key {seal.key}, and {right}{known}"
        self._book.find("key", says, at, seal=seal.number)

    # ------------------------------------------------------------------------------- the chain

    def _follow(self, seal: Seal, at: int) -> None:
        """Compare a seal with the one before."""
        number, expected = seal.number, self._number + 1
        if number < expected:
            says = f"stands behind seal {self._number}: a copy, or a second continuation"
            self._book.find("fork", says, at, seal=number)
        elif not self.is_next(number):
            says = f"what stands before it is seal {self._number}: those between are missing"
            self._book.find("seals", says, at, seal=number)
        elif number == expected and self._previous not in {None, seal.previous}:
            says = "was not made on the seal before it: one of the two comes from elsewhere"
            self._book.find("fork", says, at, seal=number)
        if seal.fence < self._fence:
            says = f"its fence {seal.fence} is behind {self._fence}: its sealer had lost the lease"
            self._book.find("fence", says, at, seal=number)

    def _believe(self, seal: Seal, hashed: str, at: int) -> None:
        """Take over what a seal says."""
        anchor = Anchor(seal.number, seal.at, hashed)
        self._compare_anchors(anchor, at)
        if self._stray is None and seal.next:
            self._hand_over(seal, seal.next, at)
        if seal.dropped:
            self._drop(seal, seal.dropped, at)
        if seal.number == self._begins:
            self._first_previous = seal.previous
        self.last, self._number, self._previous, self._skipped = anchor, seal.number, hashed, 0
        self._fence = max(self._fence, seal.fence)

    def _compare_anchors(self, seal: Anchor, at: int) -> None:
        for anchor in [one for one in self._anchors if one.number == seal.number]:
            self._anchors.discard(anchor)
            if anchor != seal:
                says = f"the anchor knows another one ({anchor}): from here or before, it is a fork"
                self._book.find("anchor", says, at, seal=seal.number)

    def _hand_over(self, seal: Seal, following: NextKey, at: int) -> None:
        try:
            key = PublicKey.from_text(following.public)
            if key.id != following.id:
                raise ValueError(key.id)
        except ValueError:
            self._book.find("key", "hands over to what is no key", at, seal=seal.number)
            return
        unknown = "" if key.id in self._known else ", which is not in your file of public keys"
        self._book.note("key", f"hands over to {key.id}{unknown}", at, seal=seal.number)
        self._key = self._known[key.id] = key

    # ------------------------------------------------------------------------------- retention

    def _drop(self, seal: Seal, dropped: Dropped, at: int) -> None:
        """Take down up to where retention has deleted; what is still there has to agree."""
        self._dropped = dropped
        kept = self._ends.get(dropped.number, dropped.hash)
        if dropped.number >= seal.number or kept != dropped.hash:
            says = f"says that seal {dropped.number} was dropped, which is another one"
            self._book.find("beginning", says, at, seal=seal.number)

    def _compare_beginning(self) -> None:
        """Find an archive that begins late without a seal that says why."""
        before = self._begins - 1
        dropped = self._dropped
        if not before:
            return
        if dropped is None or dropped.number < before:
            says = f"seals 1 to {before} are not there, and no seal says that they were dropped"
            self._book.find("beginning", says, seal=self._begins)
        elif dropped.number == before and self._first_previous not in {None, dropped.hash}:
            says = f"the first seal was not made on seal {before} as it was when it was dropped"
            self._book.find("beginning", says, seal=self._begins)
        else:
            says = f"everything up to seal {before} was dropped: its retention had ended"
            self._book.note("beginning", says, seal=self._begins)

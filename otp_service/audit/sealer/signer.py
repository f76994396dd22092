"""With which key the next seal is signed, and how one key hands over to another."""

from typing import NamedTuple

from otp_service.audit.archive_format.seals import NextKey, SigningKey
from otp_service.audit.sealer.state import ArchiveDamagedError, ArchiveState
from otp_service.core.timestamps import format_rfc3339


class Signer(NamedTuple):
    """The key that seals, and the one before it, as long as that has not handed over."""

    current: SigningKey
    previous: SigningKey | None = None

    def is_key_change_due(self, state: ArchiveState) -> bool:
        """Whether the next seal is the last one of the key before."""
        return state.next_key_id not in {None, self.current.public.id}

    def build_seal_line(self, state: ArchiveState, now: int, *, fence: int) -> bytes:
        """Return the line that seals an archive as it stands. Raises ArchiveDamaged without its key."""
        signer, to = self.current, None
        if self.is_key_change_due(state):
            if self.previous is None or self.previous.public.id != state.next_key_id:
                raise ArchiveDamagedError(
                    f"its seals are by the key {state.next_key_id}: make it audit.previous_signing_key"
                )
            signer, to = self.previous, self.current.public
        told = state.build_seal(
            format_rfc3339(now),
            key_id=signer.public.id,
            fence=fence,
            next_key=NextKey(to.id, to.text) if to else None,
        )
        return signer.sign_seal(told)

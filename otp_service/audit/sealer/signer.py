"""The keys that sign seals, and the handover from one key to the next."""

from typing import NamedTuple

from otp_service.audit.archive_format.seals import NextKey, SigningKey
from otp_service.audit.sealer.state import ArchiveDamagedError, ArchiveState
from otp_service.core.timestamps import format_rfc3339


class Signer(NamedTuple):
    """The current key, and the previous one until it has signed its handover."""

    current: SigningKey
    previous: SigningKey | None = None

    def is_key_change_due(self, state: ArchiveState) -> bool:
        """Whether the next seal is the last one of the previous key."""
        return state.next_key_id not in {None, self.current.public.id}

    def build_seal_line(self, state: ArchiveState, now: int, *, fence: int) -> bytes:
        """Return the signed line of a seal over everything that is not sealed.

        Raises ArchiveDamagedError if the key that has to sign it is not here.
        """
        key, successor = self.current, None
        if self.is_key_change_due(state):
            if self.previous is None or self.previous.public.id != state.next_key_id:
                cause = f"its seals are by the key {state.next_key_id}"
                raise ArchiveDamagedError(f"{cause}: make it audit.previous_signing_key")
            key, successor = self.previous, self.current.public
        next_key = NextKey(successor.id, successor.text) if successor else None
        at, key_id = format_rfc3339(now), key.public.id
        return key.sign_seal(state.build_seal(at, key_id=key_id, fence=fence, next_key=next_key))

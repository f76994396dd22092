"""With which key the next seal is signed, and how one key hands over to another."""

from typing import NamedTuple

from otp_service.audit.archive_format.seals import NextKey, SigningKey
from otp_service.audit.sealer.state import ArchiveDamaged, Standing
from otp_service.core.log_entry import rfc3339


class Signing(NamedTuple):
    """The key that seals, and the one before it, as long as that has not handed over."""

    current: SigningKey
    previous: SigningKey | None = None

    def hands_over(self, standing: Standing) -> bool:
        """Whether the next seal is the last one of the key before."""
        return standing.key not in {None, self.current.public.id}

    def seal(self, standing: Standing, now: int, *, fence: int) -> bytes:
        """Return the line that seals an archive as it stands. Raises ArchiveDamaged without its key."""
        signer, to = self.current, None
        if self.hands_over(standing):
            if self.previous is None or self.previous.public.id != standing.key:
                raise ArchiveDamaged(
                    f"its seals are by the key {standing.key}: make it audit.previous_signing_key"
                )
            signer, to = self.previous, self.current.public
        told = standing.seal(
            rfc3339(now),
            key=signer.public.id,
            fence=fence,
            next_key=NextKey(to.id, to.text) if to else None,
        )
        return signer.line(told)

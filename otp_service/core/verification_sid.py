"""The ids of Twilio's API: two letters and 128 bits in 32 hexadecimal digits.

The id of a challenge begins with its partition (`c20-…`), for which such an id has no digits. So the
low 6 bits of a challenge that is started through that API equal its partition: its `VE…` names the
partition without another read, and 122 of its bits are random.
"""

import hashlib
import re
from typing import Final

from otp_service.core.challenge import PARTITION_COUNT, build_challenge_id


ACCOUNT_SID_PATTERN: Final = r"AC[0-9a-f]{32}"
SERVICE_SID_PATTERN: Final = r"VA[0-9a-f]{32}"

_VERIFICATION_SID: Final = re.compile(r"VE([0-9a-f]{32})", re.ASCII)
_PARTITION_BITS: Final = PARTITION_COUNT - 1


def build_verification_challenge_id(partition: int, random_bytes: bytes) -> str:
    """Return the id of a new challenge that has a `VE…`; `random_bytes` is 16 bytes of a CSPRNG."""
    last_byte = random_bytes[-1] & ~_PARTITION_BITS | partition
    return build_challenge_id(partition, random_bytes[:-1] + bytes((last_byte,)))


def to_verification_sid(challenge_id: str) -> str:
    """Return the `VE…` of a challenge with an id of `build_verification_challenge_id`."""
    return f"VE{challenge_id.partition('-')[2]}"


def parse_verification_sid(sid: str) -> str | None:
    """Return the id of the challenge; None for an invalid `VE…`, so that it becomes no key."""
    match = _VERIFICATION_SID.fullmatch(sid)
    if match is None:
        return None
    id_bytes = bytes.fromhex(match[1])
    return build_challenge_id(id_bytes[-1] & _PARTITION_BITS, id_bytes)


def derive_attempt_sid(challenge_id: str, send: int) -> str:
    """Return the `VL…` of one send of a challenge."""
    return f"VL{hashlib.sha256(f'{challenge_id}.{send}'.encode()).hexdigest()[:32]}"

"""Records at rest: sealed, and closed with a MAC over key name, version and bytes.

    record = version (8) ‖ n (1) ‖ "seal id/state id" (n) ‖ nonce (12) ‖ AES-256-GCM(body) ‖ MAC (32)

The name is part of what is authenticated, so a record copied under another name does not open.
Whoever can write to Redis can delete a record or put back an older one, and nothing else.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from otp_service.core.codes import same
from otp_service.core.errors import StoreTampered
from otp_service.core.keys import Keys, joined


NONCE, MAC, VERSION = 12, 32, 8


class Vault:
    """Closes and opens records with the keys in force; `random` is a CSPRNG's bytes."""

    def __init__(self, keys: Keys, random: Callable[[int], bytes]) -> None:
        self._state = keys.state
        self._ciphers = {key.id: AESGCM(key.secret[:32]) for key in keys.seal}
        self._cipher = self._ciphers[keys.seal.current.id]
        ids = f"{keys.seal.current.id}/{keys.state.current.id}".encode()
        self._ids = len(ids).to_bytes(1, "big") + ids
        self._random = random

    def close(self, name: str, version: int, body: bytes) -> bytes:
        """Return the record to store under this name."""
        head = self.version(version).encode() + self._ids
        nonce = self._random(NONCE)
        record = head + nonce + self._cipher.encrypt(nonce, body, joined(name.encode(), head))
        return record + self._state.current.mac("record", name.encode(), record)

    def open(self, name: str, record: bytes) -> tuple[int, bytes]:
        """Return version and body. Raises StoreTampered if it was not closed by us, for here."""
        signed, mac = record[:-MAC], record[-MAC:]
        try:
            end = VERSION + 1 + signed[VERSION]
            seal_id, state_id = signed[VERSION + 1 : end].decode().split("/")
            state, cipher = self._state.get(state_id), self._ciphers[seal_id]
            if state is None or not same(mac, state.mac("record", name.encode(), signed)):
                raise StoreTampered(name)
            context = joined(name.encode(), signed[:end])
            body = cipher.decrypt(signed[end : end + NONCE], signed[end + NONCE :], context)
        except (InvalidTag, LookupError, ValueError) as error:
            raise StoreTampered(name) from error
        return int(record[:VERSION]), body

    @staticmethod
    def version(number: int) -> str:
        """Return what a record of this version begins with: digits, which Lua can compare."""
        return str(number).zfill(VERSION)

    def sign(self, event: bytes) -> str:
        """Return the MAC of an event: which key, and what it says."""
        key = self._state.current
        return f"{key.id}:{key.mac('event', event).hex()}"

    def verify(self, event: bytes, signature: str) -> bool:
        """Whether an event carries the MAC that a worker put on it."""
        key_id, _, mac = signature.partition(":")
        key = self._state.get(key_id)
        return key is not None and same(mac.encode(), key.mac("event", event).hex().encode())

    def knows(self, signature: str) -> bool:
        """Whether the key is still there that an event's MAC was made with."""
        return self._state.get(signature.partition(":")[0]) is not None

"""Records in Redis: encrypted, with a MAC over key name, version and bytes.

    record = version (8) ‖ n (1) ‖ "seal id/state id" (n) ‖ nonce (12) ‖ AES-256-GCM(body) ‖ MAC (16)

The MAC includes the key name, so a record that was copied to another key does not open. An attacker
with write access to Redis can delete a record or restore an older one (version_guard.py), and nothing
else.

The keys are those of `seal` and `state`, which are removed a day after they were replaced. What is kept
for longer than any key of these has keys that are derived from the ring which it depends on anyway
(`_DERIVED_KEY_RINGS`):

- Which codes of a recovery set were used: the `authenticator` ring, like the token of the set.
- Entries of the do-not-send list, which last for years, and the subjects of consecutive failures: the
  `limit` ring, whose key names them. So a record can be opened as long as it can be found, and moved to
  the name that a later key gives it. The holder of the key can enumerate the numbers by the names
  alone.
- The scopes of the brake that operators have opened and closed, for up to a week: the `limit` ring as
  well, whose keys stay for 90 days.
"""

import re
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from otp_service.core.codes import constant_time_equal
from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.keys import Key, KeyRing, ServiceKeys, join_length_prefixed
from otp_service.store.key_names import parse_kind


NONCE_BYTES, VERSION_DIGITS = 12, 8
MAC_BYTES = 16
"""The first half of an HMAC-SHA-256, as in RFC 4868 §2.6: each challenge has two records."""

CONSTANT_VERSION = 1
"""The version of every record that never changes."""

_KEY_IDS = re.compile(r"([A-Za-z0-9._-]{1,32})/([A-Za-z0-9._-]{1,32})")
_DERIVED_KEY_RINGS: Final = {
    "recovery": ("authenticator", "recovery"),
    "blocked": ("limit", "do-not-send"),
    "opted-out": ("limit", "do-not-send"),
    "limit": ("limit", "consecutive failures"),
    "brake-overrides": ("limit", "brake overrides"),
}
"""By the kind in the key name: the ring that the keys of such records are derived from, and the label."""


class _RecordKeys:
    """The rings that seal and authenticate one class of records."""

    def __init__(self, seal: KeyRing, state: KeyRing, names: tuple[str, str]) -> None:
        self.state_ring = state
        self.ciphers = {key.id: AESGCM(key.secret[:32]) for key in seal}
        self.current_cipher = self.ciphers[seal.current.id]
        ids = f"{seal.current.id}/{state.current.id}".encode()
        self.encoded_key_ids = len(ids).to_bytes(1, "big") + ids
        self.seal_name, self.state_name = names
        """The rings in `[keys]`, for errors."""


class RecordCipher:
    """Seals and opens records with the keys in force; `random` returns bytes of a CSPRNG."""

    def __init__(self, keys: ServiceKeys, random: Callable[[int], bytes]) -> None:
        self._state_ring = keys.state
        self._keys = _RecordKeys(keys.seal, keys.state, ("seal", "state"))
        self._derived_keys = {
            kind: _derive_record_keys(keys, ring, label)
            for kind, (ring, label) in _DERIVED_KEY_RINGS.items()
        }
        self._random = random

    def seal_record(self, key_name: str, version: int, body: bytes) -> bytes:
        """Return the record to store under this key name."""
        return self._seal(key_name, version, body, self._random(NONCE_BYTES))

    def seal_constant(self, key_name: str, body: bytes) -> bytes:
        """Return the record of a body that this key name always has, as the same bytes each time.

        It is sealed at each attempt, under a limit key, which has no schedule. With random nonces one
        key may seal 2³² records, which is a year at 50 logins a second. A nonce that is derived from
        name and body is used for one text alone.
        """
        key = self._choose_keys(key_name).state_ring.current
        nonce = key.compute_mac("nonce", key_name.encode(), body)[:NONCE_BYTES]
        return self._seal(key_name, CONSTANT_VERSION, body, nonce)

    def _seal(self, key_name: str, version: int, body: bytes, nonce: bytes) -> bytes:
        keys = self._choose_keys(key_name)
        head = self.format_version(version).encode() + keys.encoded_key_ids
        context = join_length_prefixed(key_name.encode(), head)
        record = head + nonce + keys.current_cipher.encrypt(nonce, body, context)
        mac = keys.state_ring.current.compute_mac("record", key_name.encode(), record)
        return record + mac[:MAC_BYTES]

    def open_record(self, key_name: str, record: bytes) -> tuple[int, bytes]:
        """Return version and body.

        Raises StoreTampered if it was not sealed for this key name, and StoreKeyUnknown if it names a
        key that is not in force here: that is no sign of tampering while a key is rotated.
        """
        keys = self._choose_keys(key_name)
        signed, mac = record[:-MAC_BYTES], record[-MAC_BYTES:]
        try:
            end = VERSION_DIGITS + 1 + signed[VERSION_DIGITS]
            seal_id, state_id = _split_key_ids(signed[VERSION_DIGITS + 1 : end])
            if (state := keys.state_ring.get(state_id)) is None:
                raise StoreKeyUnknown(keys.state_name, state_id)
            expected = state.compute_mac("record", key_name.encode(), signed)[:MAC_BYTES]
            if not constant_time_equal(mac, expected):
                raise StoreTampered(key_name)
            if (cipher := keys.ciphers.get(seal_id)) is None:
                raise StoreKeyUnknown(keys.seal_name, seal_id)
            context = join_length_prefixed(key_name.encode(), signed[:end])
            nonce, sealed = signed[end : end + NONCE_BYTES], signed[end + NONCE_BYTES :]
            body = cipher.decrypt(nonce, sealed, context)
        except (InvalidTag, LookupError, ValueError) as error:
            raise StoreTampered(key_name) from error
        return int(record[:VERSION_DIGITS]), body

    def _choose_keys(self, key_name: str) -> _RecordKeys:
        return self._derived_keys.get(parse_kind(key_name), self._keys)

    @staticmethod
    def parse_key_id(record: bytes) -> str:
        """Return the id of the key that a record names as its seal. Raises StoreTampered."""
        try:
            end = VERSION_DIGITS + 1 + record[VERSION_DIGITS]
            return _split_key_ids(record[VERSION_DIGITS + 1 : end])[0]
        except (LookupError, ValueError) as error:
            raise StoreTampered from error

    @staticmethod
    def format_version(number: int) -> str:
        """Return the first digits of a record of this version, which Lua can compare."""
        return str(number).zfill(VERSION_DIGITS)

    def sign_event(self, event: bytes) -> str:
        """Return the id of the current key, and the MAC of an event under it."""
        key = self._state_ring.current
        return f"{key.id}:{key.compute_mac('event', event).hex()}"

    def verify_event(self, event: bytes, signature: str) -> bool:
        """Return whether a signature of `sign_event` is valid for this event."""
        key_id, _, mac = signature.partition(":")
        key = self._state_ring.get(key_id)
        return key is not None and constant_time_equal(
            mac.encode(), key.compute_mac("event", event).hex().encode()
        )

    def has_key_for(self, signature: str) -> bool:
        """Return whether the key of a signature is still in force."""
        return self._state_ring.get(signature.partition(":")[0]) is not None


def _derive_record_keys(keys: ServiceKeys, ring_name: str, label: str) -> _RecordKeys:
    ring: KeyRing = getattr(keys, ring_name)
    seal = _derive_ring(ring, f"{label} record seal")
    return _RecordKeys(seal, _derive_ring(ring, f"{label} record state"), (ring_name, ring_name))


def _derive_ring(ring: KeyRing, label: str) -> KeyRing:
    return KeyRing(tuple(Key(key.id, key.compute_mac(label)) for key in ring))


def _split_key_ids(ids: bytes) -> tuple[str, str]:
    """Return the ids of the seal and the state key. Raises ValueError if they cannot be ids."""
    match = _KEY_IDS.fullmatch(ids.decode())
    if match is None:
        raise ValueError("no ids of keys")
    return match[1], match[2]

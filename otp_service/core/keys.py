"""The five keys, each with an id, two of each in force while one is rotated.

pepper     makes code hashes worthless to whoever has only Redis
seal       encrypts what is known of a person, for the life of the challenge
state      authenticates the records in Redis, and the events that workers write
pseudonym  turns numbers and accounts into stable names in events
limit      names buckets and partitions; not rotated on a schedule, for that gives every budget back
"""

import functools
import hmac
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

import msgspec


MIN_KEY_BYTES = 32
"""Every key has at least 256 bits (R11)."""


class Key(msgspec.Struct, frozen=True):
    """One secret and the id under which records name it."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec gives each struct one that shows its fields to pretty tracebacks.
        return [("id", self.id)]

    def compute_mac(self, label: str, *fields: bytes) -> bytes:
        """Return HMAC-SHA-256 over the label and the fields, each with its length in front."""
        mac = _create_keyed_hmac(self.secret).copy()
        mac.update(join_length_prefixed(label.encode(), *fields))
        return mac.digest()


class KeyRing(msgspec.Struct, frozen=True):
    """The key in force first, then those that only open what they closed."""

    keys: tuple[Key, ...]

    @property
    def current(self) -> Key:
        """The key for everything new."""
        return self.keys[0]

    def get(self, key_id: str) -> Key | None:
        """Return the key with this id, or None if it is gone."""
        return next((key for key in self.keys if key.id == key_id), None)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)


class ServiceKeys(msgspec.Struct, frozen=True):
    """All five."""

    pepper: KeyRing
    seal: KeyRing
    state: KeyRing
    pseudonym: KeyRing
    limit: KeyRing


KEY_RING_NAMES = ServiceKeys.__struct_fields__


@functools.lru_cache
def _create_keyed_hmac(secret: bytes) -> hmac.HMAC:
    """Return HMAC-SHA-256 that has taken the key in, which is half of what a short one costs."""
    return hmac.new(secret, digestmod="sha256")


def join_length_prefixed(*fields: bytes) -> bytes:
    """Return the fields with a four-byte length before each: no two lists join to the same."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def parse_key(key_id: str, text: str) -> Key:
    """Return the key whose secret is this base64url text."""
    return Key(key_id, urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def create_single_key_ring(key_id: str, text: str) -> KeyRing:
    """Return a ring of this one key."""
    return KeyRing((parse_key(key_id, text),))

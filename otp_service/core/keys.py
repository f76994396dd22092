"""The six keys, each with an id, and several of each during a rotation.

pepper         makes code hashes useless to an attacker with only Redis
seal           encrypts personal data for the lifetime of the challenge
state          authenticates the records in Redis and the events of workers
pseudonym      replaces numbers and accounts by stable names in events
limit          names buckets and partitions, and seals the do-not-send list and the subjects of failures;
               not rotated on a schedule, because that empties every bucket
authenticator  seals the tokens that callers store: a key is kept as long as a token sealed under it
               is in use, because nothing but the caller can bring it back
"""

import functools
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import msgspec


MIN_KEY_BYTES = 32
"""Every key has at least 256 bits (R11)."""

MIN_DISTINCT_BYTES = 12
"""32 random bytes have about 30 different values; fewer than 12 mean a typed key."""

MAX_LETTER_SHARE = 0.75
"""In base64url of 32 random bytes 41 % of the characters are lower-case letters, and 41 % capitals;
one in 300,000 such texts has more than 75 % of either."""


class Key(msgspec.Struct, frozen=True):
    """One secret, and the id by which records refer to it."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # The default of msgspec shows the secret in pretty tracebacks.
        return [("id", self.id)]

    def compute_mac(self, label: str, *fields: bytes) -> bytes:
        """Return HMAC-SHA-256 over the label and the fields, each prefixed by its length."""
        mac = _create_keyed_hmac(self.secret).copy()
        mac.update(join_length_prefixed(label.encode(), *fields))
        return mac.digest()

    def derive_pseudonym(self, label: str, value: str) -> str:
        """Return the name in events of a `number`, a `prefix`, a `block` or an `account`: a keyed hash (R69)."""
        return f"{self.id}:{self.compute_mac(label, value.encode())[:16].hex()}"


class KeyRing(msgspec.Struct, frozen=True):
    """The current key, then those that only decrypt and verify older data."""

    keys: tuple[Key, ...]

    @property
    def current(self) -> Key:
        return self.keys[0]

    def get(self, key_id: str) -> Key | None:
        return next((key for key in self.keys if key.id == key_id), None)

    def derive_pseudonyms(self, label: str, value: str) -> frozenset[str]:
        """Return the pseudonyms under every key, because events outlive the key of theirs."""
        return frozenset(key.derive_pseudonym(label, value) for key in self)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)


class ServiceKeys(msgspec.Struct, frozen=True):
    pepper: KeyRing
    seal: KeyRing
    state: KeyRing
    pseudonym: KeyRing
    limit: KeyRing
    authenticator: KeyRing


KEY_RING_NAMES = ServiceKeys.__struct_fields__


@functools.lru_cache
def _create_keyed_hmac(secret: bytes) -> hmac.HMAC:
    """Return HMAC-SHA-256 with the key applied, which is half of the cost for a short input."""
    return hmac.new(secret, digestmod="sha256")


def join_length_prefixed(*fields: bytes) -> bytes:
    """Return the fields, each after its four-byte length, so that different lists never collide."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def parse_key(key_id: str, text: str) -> Key:
    """Return the key whose secret is this base64url text."""
    return Key(key_id, urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def create_single_key_ring(key_id: str, text: str) -> KeyRing:
    return KeyRing((parse_key(key_id, text),))


def is_random_secret(secret: bytes) -> bool:
    """Return whether the secret can come from a random generator, and not from a person.

    Text is not random, neither as the bytes nor as their base64url: a sentence that was typed as a
    key is one of the two. One random secret in 300,000 looks like such a sentence, too:
    `generate_secret` draws another one.
    """
    encoded = encode_secret(secret)
    letters = max(sum(map(str.islower, encoded)), sum(map(str.isupper, encoded)))
    return letters <= MAX_LETTER_SHARE * len(encoded) and is_random_digest(secret)


def is_random_digest(digest: bytes) -> bool:
    """Return whether the bytes can be a hash: they differ, and are not text."""
    return len(set(digest)) >= MIN_DISTINCT_BYTES and not _is_text(digest)


def generate_secret(token_bytes: Callable[[int], bytes]) -> str:
    """Return base64url of 32 random bytes that `is_random_secret` takes.

    `token_bytes` must be of a CSPRNG (os.urandom).
    """
    while not is_random_secret(secret := token_bytes(MIN_KEY_BYTES)):
        pass
    return encode_secret(secret)


def encode_secret(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode("ascii")


def _is_text(data: bytes) -> bool:
    try:
        return all(char.isprintable() or char.isspace() for char in data.decode())
    except UnicodeDecodeError:
        return False

"""Seals: the signed statement about a stretch of the archive, and the key that signs it.

    {"seal":{"number":12,"previous":"<SHA-256 of the line of seal 11>",…},"signature":"<Ed25519>"}

A stretch is what stands between two seals. A seal is signed as the bytes between `{"seal":` and
`,"signature"`, behind CONTEXT, and each holds the hash of the one before, so whoever keeps one
(an anchor) holds everything before it. When a key is changed the last seal of the old one names
the new one: from there on only that one's seals are right, and before it only the old one's.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from otp_service.core.log_entry import create_bounded_decoder


SIGNATURE_CONTEXT = b"otp-service seal 1\n"

ZERO_HASH = "0" * 64
"""What the first seal says of the one before."""


class SequenceRange(NamedTuple):
    """The sequences of one epoch of one partition that stand in a stretch, gaps among them."""

    partition: int
    epoch: int
    first: int
    last: int


class PartitionHead(NamedTuple):
    """The last sequence of a partition's newest epoch that was archived."""

    partition: int
    epoch: int
    sequence: int


class NextKey(msgspec.Struct, frozen=True):
    """The key that signs from the next seal on."""

    id: str
    public: str


class DroppedPrefix(msgspec.Struct, frozen=True):
    """Everything up to this seal was deleted, because its retention had ended."""

    number: int
    hash: str


class Seal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is stated about a stretch."""

    number: int
    """From 1 on, without a gap."""
    at: str
    """When it was sealed, by the sealer's clock, in UTC."""
    previous: str
    count: int
    """Lines in the stretch, declared gaps among them."""
    root: str
    """Merkle root over the lines, in hexadecimal."""
    runs: tuple[SequenceRange, ...]
    key: str
    fence: int
    """Which lease of the sealer it was: they only grow."""
    heads: tuple[PartitionHead, ...] = ()
    """Where every partition stands after it; in the first seal of each segment."""
    next: NextKey | None = None
    dropped: DroppedPrefix | None = None


class SealLine(msgspec.Struct, frozen=True):
    """A seal with its signature; `seal` holds the bytes that are signed."""

    seal: msgspec.Raw
    signature: str


_encode = msgspec.json.Encoder().encode
_decode_line = create_bounded_decoder(SealLine)
_decode_seal = create_bounded_decoder(Seal)


class SigningKey:
    """The private half, which only the sealer has."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key())

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new one, from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Return the key in a PEM file. Raises ValueError for anything but an Ed25519 key."""
        private = load_pem_private_key(pem, None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("it is no Ed25519 key")  # noqa: TRY004  # a wrong file, not a bug
        return cls(private)

    def to_pem(self) -> bytes:
        """Return the key as a PEM file holds it (PKCS #8)."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign_seal(self, seal: Seal) -> bytes:
        """Return the line of a seal, signed, without its end."""
        told = _encode(seal)
        signature = self._private.sign(SIGNATURE_CONTEXT + told)
        return _encode(SealLine(msgspec.Raw(told), b64encode(signature).decode()))


class PublicKey:
    """The public half, with which anybody can verify; its id is the beginning of its hash."""

    LINE_PREFIX = "otp-audit-key"

    def __init__(self, public: Ed25519PublicKey) -> None:
        self._public = public
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.text = b64encode(raw).decode()
        self.id = hashlib.sha256(raw).hexdigest()[:16]

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """Return the key that this base64 is. Raises ValueError."""
        return cls(Ed25519PublicKey.from_public_bytes(b64decode(text, validate=True)))

    def has_signed(self, line: SealLine) -> bool:
        """Whether this key has signed the seal."""
        try:
            signature = b64decode(line.signature, validate=True)
            self._public.verify(signature, SIGNATURE_CONTEXT + bytes(line.seal))
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        """How it stands in a file of public keys, one a line."""
        return f"{self.LINE_PREFIX} {self.id} {self.text}"


def parse_public_keys(text: str) -> list[PublicKey]:
    """Return the keys of a file of public keys. Raises ValueError, naming the line."""
    found = []
    for place, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            word, key_id, key = line.split()
            public = PublicKey.from_text(key)
        except ValueError:
            raise ValueError(f"line {place} is no '{PublicKey.LINE_PREFIX} ID KEY'") from None
        if word != PublicKey.LINE_PREFIX or public.id != key_id:
            raise ValueError(f"line {place}: the id is not that of the key")
        found.append(public)
    return found


def decode_seal_line(line: bytes) -> SealLine:
    """Return what stands on the line of a seal. Raises msgspec.MsgspecError."""
    return _decode_line(line)


def decode_seal(line: bytes) -> Seal:
    """Return the seal on a line, whoever signed it. Raises msgspec.MsgspecError."""
    return _decode_seal(bytes(_decode_line(line).seal))


def is_canonical(seal_line: SealLine, line: bytes) -> bool:
    """Whether nothing stands on a seal's line but what its signature is about."""
    signature = b64encode(b64decode(seal_line.signature)).decode()
    return line == _encode(SealLine(seal_line.seal, signature))


def hash_seal_line(line: bytes) -> str:
    """Return the hash of a seal's line, as the next one and anchors hold it."""
    return hashlib.sha256(line).hexdigest()


# ------------------------------------------------------------------------------------- anchors


class Anchor(NamedTuple):
    """What is kept elsewhere of one seal: the archive must have it, and everything before it."""

    number: int
    at: str
    hash: str

    def __str__(self) -> str:
        """In one line, for a ticket or a mail."""
        return f"otp-audit-anchor {self.number} {self.at} {self.hash}"


_ANCHOR = re.compile(r"otp-audit-anchor (\d{1,15}) (\d{4}-\S{10,30}Z) ([0-9a-f]{64})\b")


def build_anchor(line: bytes) -> Anchor:
    """Return the anchor of a seal's line."""
    seal = decode_seal(line)
    return Anchor(seal.number, seal.at, hash_seal_line(line))


def find_anchors(text: str) -> list[Anchor]:
    """Return the anchors in a text, which may be a mail or a log."""
    return [Anchor(int(n), at, hashed) for n, at, hashed in _ANCHOR.findall(text)]


def select_newest_anchor(anchors: Iterable[Anchor]) -> Anchor | None:
    """Return the anchor that holds most."""
    return max(anchors, key=lambda anchor: anchor.number, default=None)

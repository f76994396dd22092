"""Seals: signed checkpoints over a batch of archive lines, and the key that signs them.

    {"seal":{"number":12,"previous":"<SHA-256 of the line of seal 11>",…},"signature":"<Ed25519>"}

A batch is the lines between two seals. The signature covers SIGNATURE_CONTEXT and the bytes between
`{"seal":` and `,"signature"`. Each seal holds the hash of the seal before it, so a copy of one (an
anchor) commits to everything before it. At a change of keys the last seal of the old key names the
new key: later seals are valid only under the new key, earlier ones only under the old key.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from otp_service.audit.archive_format.entries import SequenceId
from otp_service.core.log_entry import create_bounded_decoder


SIGNATURE_CONTEXT = b"otp-service seal 1\n"

ZERO_HASH = "0" * 64
"""The `previous` of the first seal."""


class SequenceRange(NamedTuple):
    """A run: the sequences of one epoch of a partition in a batch, declared gaps included."""

    partition: int
    epoch: int
    first: int
    last: int


class NextKey(msgspec.Struct, frozen=True):
    """The key that signs the next seal and those after it."""

    id: str
    public: str


class DroppedPrefix(msgspec.Struct, frozen=True):
    """The last seal of the segments that retention deleted; the archive begins after it."""

    number: int
    hash: str


class Seal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A signed checkpoint: the statement about one batch."""

    number: int
    """Counted from 1, without a gap."""
    at: str
    """The time of sealing, by the sealer's clock, in UTC."""
    previous: str
    count: int
    """Lines of the batch, declared gaps included."""
    root: str
    """The tree head: the Merkle root over the lines, in hexadecimal."""
    runs: tuple[SequenceRange, ...]
    key: str
    fence: int
    """The fencing token of the lease under which it was written; tokens only grow."""
    heads: tuple[SequenceId, ...] = ()
    """Of every partition the last sequence of its newest epoch; in the first seal of a segment."""
    next: NextKey | None = None
    dropped: DroppedPrefix | None = None


class SealLine(msgspec.Struct, frozen=True):
    """A seal and its signature; `seal` holds the signed bytes."""

    seal: msgspec.Raw
    signature: str


decode_seal_line = create_bounded_decoder(SealLine)
"""Return the seal and signature on a line. Raises msgspec.MsgspecError, which is a ValueError."""

_encode = msgspec.json.Encoder().encode
_decode_seal = create_bounded_decoder(Seal)


class SigningKey:
    """The Ed25519 private key, which only the sealer has."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key())

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Return the key in a PEM file. Raises ValueError for anything but an Ed25519 key."""
        private = serialization.load_pem_private_key(pem, None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")  # noqa: TRY004  # a wrong file, not a bug
        return cls(private)

    def to_pem(self) -> bytes:
        """Return the key in PEM (PKCS #8, unencrypted)."""
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self._private.private_bytes(pem, pkcs8, serialization.NoEncryption())

    def sign_seal(self, seal: Seal) -> bytes:
        """Return the signed line of a seal, without a line break."""
        signed = _encode(seal)
        signature = self._private.sign(SIGNATURE_CONTEXT + signed)
        return _encode(SealLine(msgspec.Raw(signed), b64encode(signature).decode()))


class PublicKey:
    """An Ed25519 public key; its id is the first 16 hex digits of its SHA-256."""

    LINE_PREFIX = "otp-audit-key"

    def __init__(self, public: Ed25519PublicKey) -> None:
        self._public = public
        raw = public.public_bytes_raw()
        self.text = b64encode(raw).decode()
        self.id = hashlib.sha256(raw).hexdigest()[:16]

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """Return the key that is encoded in base64. Raises ValueError."""
        return cls(Ed25519PublicKey.from_public_bytes(b64decode(text, validate=True)))

    def has_signed(self, line: SealLine) -> bool:
        try:
            signature = b64decode(line.signature, validate=True)
            self._public.verify(signature, SIGNATURE_CONTEXT + bytes(line.seal))
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        """Return its line in a file of public keys."""
        return f"{self.LINE_PREFIX} {self.id} {self.text}"


def parse_public_keys(text: str) -> list[PublicKey]:
    """Return the keys in the text of a file of public keys. Raises ValueError, naming the line."""
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            prefix, key_id, key = line.split()
            public = PublicKey.from_text(key)
        except ValueError:
            raise ValueError(f"line {number} is not '{PublicKey.LINE_PREFIX} ID KEY'") from None
        if prefix != PublicKey.LINE_PREFIX or public.id != key_id:
            raise ValueError(f"line {number}: the id is not that of the key")
        keys.append(public)
    return keys


def decode_seal(line: bytes) -> Seal:
    """Return the seal on a line, without checking its signature. Raises as `decode_seal_line`."""
    return _decode_seal(bytes(decode_seal_line(line).seal))


def is_canonical(seal_line: SealLine, line: bytes) -> bool:
    """Whether a line holds nothing but a seal and the canonical base64 of its signature."""
    signature = b64encode(b64decode(seal_line.signature)).decode()
    return line == _encode(SealLine(seal_line.seal, signature))


def hash_seal_line(line: bytes) -> str:
    """Return the SHA-256 of a seal's line in hexadecimal, for `previous` and anchors."""
    return hashlib.sha256(line).hexdigest()


class Anchor(NamedTuple):
    """One line about a seal, stored elsewhere: its hash commits to everything before that seal."""

    number: int
    at: str
    hash: str

    def __str__(self) -> str:
        return f"otp-audit-anchor {self.number} {self.at} {self.hash}"


_ANCHOR_PATTERN = re.compile(r"otp-audit-anchor (\d{1,15}) (\d{4}-\S{10,30}Z) ([0-9a-f]{64})\b")


def build_anchor(line: bytes) -> Anchor:
    seal = decode_seal(line)
    return Anchor(seal.number, seal.at, hash_seal_line(line))


def find_anchors(text: str) -> list[Anchor]:
    """Return the anchors in any text, such as a mail or a log."""
    return [Anchor(int(n), at, hashed) for n, at, hashed in _ANCHOR_PATTERN.findall(text)]

"""What an attacker with a copy of Redis can read, and the searches that it can run.

No code but the right one can match, except by an accident of 2^-128. Where a search over all 10^6
codes would take hours, only the right ones are searched for.
"""

import base64
import contextlib
import hashlib
import hmac
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis
from argon2.low_level import Type, hash_secret_raw

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


DIGEST_PREFIX_BYTES = 16
"""Bytes of a digest that are enough to recognize it."""


class RedisCopy:
    """All data of a stolen Redis."""

    def __init__(self, values: list[bytes], blobs: dict[str, bytes]) -> None:
        self.values = values
        """Every value and every key name."""
        self.texts = blobs | {"VALUES": b"\0".join(values)}
        """The values, the files of Redis, and its records of the commands that it received."""

    @cached_property
    def byte_windows(self) -> set[bytes]:
        """All byte sequences as long as a digest prefix."""
        return _list_windows(self.texts.values(), (DIGEST_PREFIX_BYTES,))


class MonitorRecorder:
    """Records every command that Redis receives, with MONITOR."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(60)
        self._connection.connect(str(server.socket_path))
        self._connection.sendall(b"MONITOR\r\n")
        self._received = bytearray()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def read_recording(self) -> bytes:
        """Return the recorded commands as they were sent, and close the connection."""
        self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        return _unescape_monitor(bytes(self._received))

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while heard := self._connection.recv(1 << 16):
                self._received += heard


@contextlib.contextmanager
def start_verbose_redis(folder: Path) -> Iterator[EmbeddedServer]:
    """Start a Redis that logs as much as it can."""
    with redis_servers.start_server(
        folder,
        slowlog_log_slower_than="0",
        slowlog_max_len="100000",
        rdbcompression="no",
        auto_aof_rewrite_percentage="0",
    ) as server:
        yield server


def copy_redis(server: EmbeddedServer, monitor: MonitorRecorder | None = None) -> RedisCopy:
    """Return all values, files and logs of a server."""
    with redis_servers.open_client(server) as client:
        blobs = {"SLOWLOG": b"\0".join(_flatten_reply(client.slowlog_get(100_000)))}
        blobs["MONITOR"] = monitor.read_recording() if monitor else b""
        blobs |= {f"AOF {f.name}": f.read_bytes() for f in server.data.glob("appendonlydir/*")}
        client.save()
        client.bgrewriteaof()
        redis_servers.wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        blobs |= {f"AOF 2 {f.name}": f.read_bytes() for f in server.data.glob("appendonlydir/*")}
        blobs["RDB"] = (server.data / "dump.rdb").read_bytes()
        return RedisCopy(list(_read_values(client)), blobs)


def _read_values(client: redis.Redis) -> Iterator[bytes]:
    read: dict[Any, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    for name in client.scan_iter("*"):
        yield name
        yield from _flatten_reply(read[client.type(name)](name))


def _flatten_reply(value: Any) -> Iterator[bytes]:
    """Yield every string in a reply."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flatten_reply(pair)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _flatten_reply(item)


def _unescape_monitor(text: bytes) -> bytes:
    r"""Return the bytes that MONITOR has escaped as \x1f, \n and the like."""
    known = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}

    def unescape_match(match: re.Match[bytes]) -> bytes:
        letter = match[1]
        if letter.startswith(b"x"):
            return bytes([int(letter[1:], 16)])
        return known.get(letter, letter)

    return re.sub(rb"\\(x[0-9a-f]{2}|.)", unescape_match, text)


# ------------------------------------------------------------------------ what an attacker can read


def has_standalone_code(code: str, text: bytes) -> bool:
    """Return whether the text contains the digits outside a longer number, fraction or hex string."""
    if code.encode() not in text:  # the expression takes twenty times as long
        return False
    return re.search(rb"(?<![0-9A-Fa-f.])%b(?![0-9A-Fa-f])" % code.encode(), text) is not None


def encode_digits(digits: str) -> dict[str, bytes]:
    """Return the encodings of digits that an attacker could decode, by name."""
    text = digits.encode()
    escaped = "".join(f"\\u{ord(c):04x}" for c in digits)
    encodings = {
        "hex": text.hex().encode(),
        "HEX": text.hex().upper().encode(),
        "percent": "".join(f"%{ord(c):02x}" for c in digits).encode(),
        "PERCENT": "".join(f"%{ord(c):02X}" for c in digits).encode(),
        "JSON": escaped.encode(),
        "JSON twice": escaped.replace("\\", "\\\\").encode(),
        "UTF-16": digits.encode("utf-16-le"),
    }
    for shift in range(3):  # each offset within a base64 group
        whole = base64.b64encode(b"\0" * shift + text)
        first, last = -(-shift * 8 // 6), (shift + len(text)) * 8 // 6
        encodings[f"base64 + {shift}"] = whole[first:last]
    return encodings


def encode_number(number: str) -> dict[str, bytes]:
    """Return the encodings of a whole number, with its country code and as it is dialled there."""
    digits, national = number[1:], number[3:]
    integer = int(digits).to_bytes(5, "big")
    encodings = {"digits": digits.encode(), "national": national.encode()}
    encodings |= {"integer": integer, "little": integer[::-1], "BCD": bytes.fromhex(digits)}
    encodings |= encode_digits(digits) | {
        f"national {name}": f for name, f in encode_digits(national).items()
    }
    encodings |= {"percent +": b"%2B" + digits.encode(), "reversed": digits[::-1].encode()}
    return encodings


# ------------------------------------------------------------------ what an attacker can search for


class HashMethod(NamedTuple):
    """A hash of codes that a less careful service might use."""

    name: str
    compute: Callable[[bytes, bytes], bytes]
    """Computes the hash from a code and a salt."""


def _build_digest_methods(name: str) -> tuple[HashMethod, ...]:
    make: Any = getattr(hashlib, name)

    def hash_salt_first(code: bytes, salt: bytes) -> bytes:
        return bytes(make(salt + code).digest())

    def hash_code_first(code: bytes, salt: bytes) -> bytes:
        return bytes(make(code + salt).digest())

    def hash_keyed(code: bytes, salt: bytes) -> bytes:
        return hmac.digest(salt, code, name)

    return (
        HashMethod(f"{name}(salt + code)", hash_salt_first),
        HashMethod(f"{name}(code + salt)", hash_code_first),
        HashMethod(f"HMAC-{name}", hash_keyed),
    )


FAST_HASH_METHODS = (
    *_build_digest_methods("sha256"),
    *_build_digest_methods("sha1"),
    *_build_digest_methods("md5"),
)


def build_argon2id_method(profile: Argon2Profile) -> HashMethod:
    """Return argon2id with the parameters that the service publishes."""

    def hash_argon2id(code: bytes, salt: bytes) -> bytes:
        m, t, p = profile.memory_kib, profile.passes, profile.lanes
        return hash_secret_raw(code, salt, t, m, p, 32, Type.ID)

    return HashMethod("argon2id", hash_argon2id)


def find_matching_hashes(
    redis_copy: RedisCopy,
    codes: Iterable[str],
    salts: Iterable[bytes],
    hashes: Iterable[HashMethod],
) -> set[tuple[str, str]]:
    """Return (code, hash name) for each code whose hash with one of the salts is in the copy.

    Names and pseudonyms are cut to 16 bytes, so the first 16 bytes of a hash are compared.
    """
    code_list, methods = list(codes), list(hashes)
    return {
        (code, hash_.name)
        for salt in salts
        for hash_ in methods
        for code in code_list
        if hash_.compute(code.encode(), salt)[:DIGEST_PREFIX_BYTES] in redis_copy.byte_windows
    }


def find_salts(redis_copy: RedisCopy) -> set[bytes]:
    """Return every value that looks like a salt or a key: a field of bytes, or the end of a record."""
    salts = {b""}
    for value in (v for v in redis_copy.values if not v.isascii()):
        if len(value) in {8, 12, 16, 20, 32, 64}:
            salts.add(value)
        if len(value) > 64:
            salts |= {value[-16:], value[-32:]}
        for match in re.finditer(rb"\xc4(?=(.))", value, re.DOTALL):  # a msgpack field of bytes
            size, start = match[1][0], match.end() + 1
            if size in {16, 32} and start + size <= len(value):
                salts.add(value[start : start + size])
    return salts


def list_byte_windows(redis_copy: RedisCopy, *sizes: int) -> set[bytes]:
    """Return all byte sequences of these sizes in all binary values."""
    return _list_windows((v for v in redis_copy.values if not v.isascii()), sizes)


def _list_windows(texts: Iterable[bytes], sizes: tuple[int, ...]) -> set[bytes]:
    """Return all byte sequences of these sizes, also those encoded in hexadecimal or base64."""
    return {
        text[i : i + size]
        for whole in texts
        for text in (whole, *_decode_text_runs(whole))
        for size in sizes
        for i in range(len(text) - size + 1)
    }


def _decode_text_runs(text: bytes) -> Iterator[bytes]:
    for match in re.finditer(rb"(?:[0-9a-f]{2}){16,}", text):
        yield bytes.fromhex(match[0].decode())
    for match in re.finditer(rb"[A-Za-z0-9+/_-]{22,}", text):
        run = match[0].translate(bytes.maketrans(b"-_", b"+/"))
        with contextlib.suppress(ValueError):
            yield base64.b64decode(run[: len(run) // 4 * 4])

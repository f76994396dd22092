"""Every key of a Redis as text: name, type, time to live and content.

Values that a run cannot fix are hidden: instants (Redis's own clock), ids of operations and events,
MACs over those, hashes of codes (the deadline is one of their inputs), and the id of the server.
"""

import re
from collections import Counter
from typing import Any

import msgspec

from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.record_cipher import RecordCipher
from tests.golden.fixed_inputs import OPERATION_NAME, fixed_bytes
from tests.golden.stored_records import show_value
from tests.installation import Installation


TTL_STEP_MS = 120 * SECOND_MS
"""Times to live are rounded up to this, so that a slow run does not change them."""

SLOTS_AND_HEAD = 15
"""Values of a window of a debt: its head, seven unverified amounts, and seven that have verified."""

HIDDEN_PATTERNS = (
    (OPERATION_NAME, "<operation>"),
    (re.compile(r"\bstate-1:[0-9a-f]{64}"), "state-1:<mac>"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "<server>"),
    (re.compile(r'(?<="phone_metadata":")[^"]+'), "<version>"),
    (re.compile(r'(?<="expires_at":")[^"]+'), "<deadline>"),
    (re.compile(r'(?<=\[)"hex:[0-9a-f]{64}"(?=,"pepper-1")'), '"<hash of a code>"'),
    (re.compile(r"\b1[6-9]\d{11}(\.\d+)?\b"), "<instant>"),
    (re.compile(r'(?<="wait\\":)\d+|(?<="wait":)\d+'), "<wait>"),
    (re.compile(r'(\["refused",<instant>,\d+,\d+),\d+\]'), r"\1,<wait>]"),
)


def format_keys(client: Any, installation: Installation) -> str:
    """Return every key with its type, time to live and content; operations are only counted."""
    cipher = RecordCipher(installation.keys, lambda count: fixed_bytes("unused", count))
    names = sorted({name.decode() for name in client.scan_iter()})
    texts: list[str] = []
    operations: Counter[str] = Counter()
    for name in names:
        head = f"{name}\n  {client.type(name).decode()}, {_format_ttl(client.pttl(name))}"
        text = _hide_changes(
            "\n".join((head, *(f"  {line}" for line in _format_content(client, cipher, name))))
        )
        if ":operation:" in name:
            operations[text] += 1
        else:
            texts.append(text)
    texts += [f"{text}\n  {count} such keys" for text, count in sorted(operations.items())]
    return "\n\n".join(texts) + "\n"


def _format_ttl(milliseconds: int) -> str:
    if milliseconds < 0:
        return "does not expire"
    steps = -(-milliseconds // TTL_STEP_MS)
    return f"expires within {steps * TTL_STEP_MS // 60_000} min"


def _format_content(client: Any, cipher: RecordCipher, name: str) -> list[str]:
    match client.type(name):
        case b"string":
            value = client.get(name)
            is_debt = ":debt:" in name
            return _sum_slots(value) if is_debt else [_format_string(cipher, name, value)]
        case b"hash":
            return _format_hash(cipher, name, client.hgetall(name))
        case b"set":
            return sorted(member.decode() for member in client.smembers(name))
        case b"zset":
            members = client.zrange(name, 0, -1, withscores=True)
            return sorted(f"{member.decode()} at {score:.0f}" for member, score in members)
        case b"stream":
            return [
                line
                for entry, fields in client.xrange(name)
                for line in (
                    entry.decode(),
                    *(
                        f"  {key.decode()} = {_format_field(key, value)}"
                        for key, value in fields.items()
                    ),
                )
            ]
        case other:
            raise TypeError(f"{name} is a {other!r}")


def _sum_slots(packed: bytes) -> list[str]:
    """Return the sums of each window of a debt: a run may cross the end of a slot."""
    values: list[Any] = msgspec.msgpack.decode(packed)
    lines, names = [], ["hour", "day"]
    if isinstance(values[1], str):  # countries, each with its slots of a day
        values, names = values[1:], values[1::SLOTS_AND_HEAD]
    for i, name in enumerate(names):
        _, *slots = values[i * SLOTS_AND_HEAD : (i + 1) * SLOTS_AND_HEAD]
        unverified, verified = sum(slots[: len(slots) // 2]), sum(slots[len(slots) // 2 :])
        lines.append(f"{name}: {unverified} unverified, {verified} verified")
    return lines


def _format_hash(cipher: RecordCipher, name: str, fields: dict[bytes, bytes]) -> list[str]:
    if ":traffic:" in name:
        return _sum_totals(fields)
    return [
        f"{k.decode()} = {_format_hash_field(cipher, name, k, v)}"
        for k, v in sorted(fields.items())
    ]


def _sum_totals(fields: dict[bytes, bytes]) -> list[str]:
    """Return the total of each kind, over all hours."""
    totals: Counter[str] = Counter()
    for field, value in fields.items():
        totals[field.decode().partition(":")[2]] += int(value)
    return [f"{kind} = {total}" for kind, total in sorted(totals.items())]


def _format_field(name: bytes, value: bytes) -> str:
    """Return a field of a stream entry; Lua does not fix the order of a stamp's members."""
    if name == b"stamp" and value:
        return show_value(msgspec.json.decode(value))
    return value.decode()


def _format_hash_field(cipher: RecordCipher, name: str, field: bytes, value: bytes) -> str:
    if field != b"subject":
        return _format_bytes(value)
    head = value[: 8 + 1 + value[8]].decode()
    return f"sealed as {head!r}: {cipher.open_record(name, value)[1].decode()}"


def _format_string(cipher: RecordCipher, name: str, value: bytes) -> str:
    try:
        version, body = cipher.open_record(name, value)
    except (StoreTampered, StoreKeyUnknown):
        return _format_bytes(value)
    head = value[: 8 + 1 + value[8]].decode(errors="backslashreplace")
    return f"sealed as {head!r}, version {version}: {show_value(msgspec.msgpack.decode(body))}"


def _format_bytes(value: bytes) -> str:
    """Return text unchanged, and decode everything else as MessagePack."""
    if value.decode(errors="replace").isprintable():
        return value.decode()
    try:
        return f"packed {show_value(msgspec.msgpack.decode(value))}"
    except UnicodeDecodeError:  # a reply of the commit script with a record in it
        return "packed, with an encrypted record"


def _hide_changes(text: str) -> str:
    for pattern, word in HIDDEN_PATTERNS:
        text = pattern.sub(word, text)
    return text

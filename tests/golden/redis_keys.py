"""Every key of a Redis as text: name, type, life and content.

What a run cannot fix is hidden: instants (Redis's own clock), names of operations and events, MACs
over those, hashes of codes (the deadline is in them), and the id of the server.
"""

import re
from collections import Counter
from typing import Any

import msgspec

from otp_service.core.errors import StoreTampered
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.record_cipher import RecordCipher
from tests.golden.fixed_inputs import OPERATION_NAME, fixed_bytes
from tests.golden.stored_records import show_value
from tests.installation import Installation


TTL_STEP_MS = 120 * SECOND_MS
"""Lives are rounded up to this, so that a slow run does not change them."""

HIDDEN = (
    (OPERATION_NAME, "<operation>"),
    (re.compile(r"\bstate-1:[0-9a-f]{64}"), "state-1:<mac>"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "<server>"),
    (re.compile(r'(?<="phone_metadata":")[^"]+'), "<version>"),
    (re.compile(r'(?<=\[)"hex:[0-9a-f]{64}"(?=,"pepper-1")'), '"<hash of a code>"'),
    (re.compile(r"\b1[6-9]\d{11}(\.\d+)?\b"), "<instant>"),
    (re.compile(r'(?<="wait\\":)\d+|(?<="wait":)\d+'), "<wait>"),
    (re.compile(r'(\["refused",<instant>,\d+,\d+),\d+\]'), r"\1,<wait>]"),
)


def format_keys(client: Any, world: Installation) -> str:
    """Return every key with its type, its life and what it holds; operations are only counted."""
    vault = RecordCipher(world.keys, lambda count: fixed_bytes("unused", count))
    names = sorted({name.decode() for name in client.scan_iter()})
    shown: list[str] = []
    operations: Counter[str] = Counter()
    for name in names:
        head = f"{name}\n  {client.type(name).decode()}, {_show_life(client.pttl(name))}"
        text = _hide_changes(
            "\n".join((head, *(f"  {line}" for line in _list_content(client, vault, name))))
        )
        if ":operation:" in name:
            operations[text] += 1
        else:
            shown.append(text)
    shown += [f"{text}\n  {count} such keys" for text, count in sorted(operations.items())]
    return "\n\n".join(shown) + "\n"


def _show_life(milliseconds: int) -> str:
    if milliseconds < 0:
        return "does not expire"
    steps = -(-milliseconds // TTL_STEP_MS)
    return f"expires within {steps * TTL_STEP_MS // 60_000} min"


def _list_content(client: Any, vault: RecordCipher, name: str) -> list[str]:
    match client.type(name):
        case b"string":
            return [_show_string(vault, name, client.get(name))]
        case b"hash":
            return [
                f"{k.decode()} = {_show_bytes(v)}" for k, v in sorted(client.hgetall(name).items())
            ]
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
                        f"  {key.decode()} = {_show_field(key, value)}"
                        for key, value in fields.items()
                    ),
                )
            ]
        case other:
            raise TypeError(f"{name} is a {other!r}")


def _show_field(name: bytes, value: bytes) -> str:
    """Return a field of a stream entry; Lua fixes no order of the members of a stamp."""
    if name == b"stamp" and value:
        return show_value(msgspec.json.decode(value))
    return value.decode()


def _show_string(vault: RecordCipher, name: str, value: bytes) -> str:
    try:
        version, body = vault.open_record(name, value)
    except StoreTampered:
        return _show_bytes(value)
    head = value[: 8 + 1 + value[8]].decode(errors="backslashreplace")
    return f"sealed as {head!r}, version {version}: {show_value(msgspec.msgpack.decode(body))}"


def _show_bytes(value: bytes) -> str:
    """Return text as it is, and everything else as the MessagePack that it has to be."""
    if value.decode(errors="replace").isprintable():
        return value.decode()
    return f"packed {show_value(msgspec.msgpack.decode(value))}"


def _hide_changes(text: str) -> str:
    for pattern, word in HIDDEN:
        text = pattern.sub(word, text)
    return text

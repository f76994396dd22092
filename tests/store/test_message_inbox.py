"""The inbox of tests in Redis, which every process reads."""

import asyncio
import os

import msgspec

from otp_service.core.ports import InboxMessage
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.message_inbox import INBOX_TTL_MS, RedisInbox
from otp_service.store.record_cipher import RecordCipher
from tests.installation import Installation


MESSAGE = InboxMessage("+447700900123", "Your code is 864209.", "inbox", "shop", 1_790_000_000_123)
KEY = KeyNames.inbox_key()


def read_clock() -> int:
    """Return an instant at which all messages have arrived."""
    return MESSAGE.at + 2 * INBOX_TTL_MS


def build_later(milliseconds: int) -> InboxMessage:
    return msgspec.structs.replace(MESSAGE, at=MESSAGE.at + milliseconds)


async def test_another_process_reads_what_one_has_stored(script_client: ScriptClient) -> None:
    """A worker sends, and the admin listener shows it, newest first."""
    installation = Installation(script_client)
    worker, admin = (
        RedisInbox(installation.store, read_clock),
        RedisInbox(installation.restart().store, read_clock),
    )

    for delay in (0, 5, 2):
        await worker.add(build_later(delay), max_messages=10)

    assert [build_later(5), build_later(2), MESSAGE] == await admin.list_messages()


async def test_the_oldest_messages_go_first(script_client: ScriptClient) -> None:
    """Neither their number nor their age is unbounded."""
    inbox = RedisInbox(Installation(script_client).store, read_clock)
    for delay in range(5):
        await inbox.add(build_later(delay), max_messages=3)
    assert [build_later(delay) for delay in (4, 3, 2)] == await inbox.list_messages()

    late = build_later(INBOX_TTL_MS + 3)
    await inbox.add(late, max_messages=3)

    assert [late, build_later(4)] == await inbox.list_messages()
    (ttl,) = await script_client.repeat_commands(KEY, [("PTTL", KEY)])
    assert 0 < ttl <= INBOX_TTL_MS


async def test_a_copy_of_redis_shows_no_code_and_no_number(script_client: ScriptClient) -> None:
    """R67: the messages of tests are sealed as records are."""
    await RedisInbox(Installation(script_client).store, read_clock).add(MESSAGE, max_messages=3)

    (dumped,) = await script_client.repeat_commands(KEY, [("ZRANGE", KEY, 0, -1, "WITHSCORES")])

    assert b"864209" not in repr(dumped).encode()
    assert b"7700900123" not in repr(dumped).encode()


async def test_a_message_of_other_keys_is_left_out(script_client: ScriptClient) -> None:
    """After a rotation, or a change by an attacker, the other messages are still listed."""
    installation = Installation(script_client)
    inbox, other = (
        RedisInbox(installation.store, read_clock),
        RedisInbox(Installation(script_client).store, read_clock),
    )
    await other.add(build_later(1), max_messages=9)
    await inbox.add(MESSAGE, max_messages=9)
    forged = RecordCipher(installation.keys, os.urandom).seal_record("{00}:other", 1, b"")
    await script_client.repeat_commands(KEY, [("ZADD", KEY, MESSAGE.at + 2, forged)])

    assert [MESSAGE] == await inbox.list_messages()


async def test_messages_that_come_at_once_are_all_kept(script_client: ScriptClient) -> None:
    """Several workers send at the same instant."""
    inbox = RedisInbox(Installation(script_client).store, read_clock)

    await asyncio.gather(*(inbox.add(MESSAGE, max_messages=99) for _ in range(20)))

    assert [MESSAGE] * 20 == await inbox.list_messages()


async def test_a_message_is_listed_from_its_arrival_on(script_client: ScriptClient) -> None:
    """A late one is stored when it is sent, so that a restart does not lose it, and a reset does."""
    installation = Installation(script_client)
    worker, clock = RedisInbox(installation.store, read_clock), [MESSAGE.at]
    admin = RedisInbox(installation.restart().store, lambda: clock[0])
    late = build_later(35_000)
    await worker.add(late, max_messages=9)
    await worker.add(MESSAGE, max_messages=9)

    assert [MESSAGE] == await admin.list_messages()
    clock[0] = late.at - 1
    assert [MESSAGE] == await admin.list_messages()
    clock[0] = late.at
    assert [late, MESSAGE] == await admin.list_messages()

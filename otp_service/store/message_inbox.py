"""The messages of tests, in Redis, so that every worker and the admin listener have the same inbox.

They contain codes of fictitious numbers, or in `dev` of numbers that nothing is sent to. Each is sealed
like a record, so a copy of Redis contains no code in plain text. But a process with the `seal` key can read
them, unlike the codes of live mode, which are stored nowhere.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.ports import InboxMessage
from otp_service.core.timestamps import HOUR_MS
from otp_service.store.key_names import KeyNames
from otp_service.store.redis_store import RedisStore


INBOX_TTL_MS: Final = HOUR_MS
"""Longer than any code is valid, and than a test waits for one."""

INBOX_KEY: Final = KeyNames.inbox_key()
RECORD_VERSION: Final = 1

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(InboxMessage).decode


class RedisInbox:
    """Implements `core.ports.MessageInbox`. Every method raises StoreUnavailable.

    `now` returns milliseconds since 1970.
    """

    def __init__(self, store: RedisStore, now: Callable[[], int]) -> None:
        self._client = store.client
        self._cipher = store.cipher
        self._now = now

    async def add(self, message: InboxMessage, *, max_messages: int) -> None:
        """Add a message, and delete those that are too old or beyond `max_messages`.

        The member of a sorted set is the sealed message, so that a repeated call adds nothing.
        """
        sealed = self._cipher.seal_record(INBOX_KEY, RECORD_VERSION, _encode(message))
        await self._client.repeat_commands(
            INBOX_KEY,
            [
                ("ZADD", INBOX_KEY, message.at, sealed),
                ("ZREMRANGEBYSCORE", INBOX_KEY, "-inf", message.at - INBOX_TTL_MS),
                ("ZREMRANGEBYRANK", INBOX_KEY, 0, -(max_messages + 1)),
                ("PEXPIRE", INBOX_KEY, INBOX_TTL_MS),
            ],
        )

    async def list_messages(self) -> list[InboxMessage]:
        """Return the messages that have arrived, newest first.

        Those that the keys in force cannot open are left out.
        """
        (sealed,) = await self._client.repeat_commands(
            INBOX_KEY, [("ZRANGE", INBOX_KEY, 0, -1, "REV")]
        )
        messages, now = (self._open_message(one) for one in sealed), self._now()
        return [message for message in messages if message is not None and message.at <= now]

    def _open_message(self, sealed: bytes) -> InboxMessage | None:
        try:
            return _decode(self._cipher.open_record(INBOX_KEY, sealed)[1])
        except (StoreKeyUnknown, StoreTampered, msgspec.MsgspecError):
            return None  # of another key, or changed: a test asks for another code

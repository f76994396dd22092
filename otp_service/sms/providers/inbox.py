"""The development inbox: keeps messages in memory, for a person or a test to read.

It accepts every message, so it has no fault table.
"""

from collections import deque
from collections.abc import Callable
from typing import Annotated

import msgspec

from otp_service.core.delivery import Accepted, Message
from otp_service.core.timestamps import format_rfc3339
from otp_service.sms.router import ProviderDependencies


class Inbox(msgspec.Struct, frozen=True, tag_field="type", tag="inbox", forbid_unknown_fields=True):
    """The settings of the inbox."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> "InboxProvider":
        """Return an empty inbox."""
        return InboxProvider(name, now=dependencies.now, keep=self.keep)

    def find_errors(self) -> list[tuple[str, str]]:
        """Return nothing: the settings as a whole decide where an inbox is allowed."""
        return []


class InboxProvider:
    """The inbox itself. Its messages contain codes, so it is served in development only (R38)."""

    def __init__(self, name: str, *, now: Callable[[], int], keep: int) -> None:
        self.name = name
        self._now = now
        self._messages: deque[dict[str, str]] = deque(maxlen=keep)

    async def send(self, message: Message) -> Accepted:
        """Keep the message; the oldest is dropped when there are more than `keep`."""
        self._messages.appendleft(
            {
                "to": message.to.e164,
                "text": message.text,
                "provider": "inbox",
                "at": format_rfc3339(self._now()),
            }
        )
        return Accepted(message.reference)

    async def aclose(self) -> None:
        """Delete all messages."""
        self._messages.clear()

    def list_messages(self) -> list[dict[str, str]]:
        """Return the messages, newest first."""
        return [dict(message) for message in self._messages]

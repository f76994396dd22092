"""The inbox of tests: a provider that stores messages, for a person or a test to read.

It accepts every message, so it has no fault table.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from otp_service.core.delivery import Accepted, Message
from otp_service.core.ports import InboxMessage, MessageInbox
from otp_service.sms.router import ProviderDependencies


class Inbox(msgspec.Struct, frozen=True, tag_field="type", tag="inbox", forbid_unknown_fields=True):
    """The settings of the inbox."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> "InboxProvider":
        """Return the provider. Without `dependencies.inbox` it stores nothing, as in live mode."""
        return InboxProvider(name, dependencies.inbox, now=dependencies.now, keep=self.keep)

    def find_errors(self) -> list[tuple[str, str]]:
        """Return nothing: `settings.mode_rules` decides where an inbox is allowed."""
        return []


class InboxProvider:
    """The inbox as a provider. Its messages contain codes, so no live service has one (R38)."""

    def __init__(
        self, name: str, inbox: MessageInbox | None, *, now: Callable[[], int], keep: int
    ) -> None:
        self.name = name
        self._inbox = inbox
        self._now = now
        self._keep = keep

    async def send(self, message: Message) -> Accepted:
        """Store the message; the oldest is dropped when there are more than `keep`.

        Raises StoreUnavailable: the router then assumes that it may have been sent.
        """
        if self._inbox is not None:
            stored = InboxMessage(
                message.to.e164, message.text, self.name, message.tenant, self._now()
            )
            await self._inbox.add(stored, max_messages=self._keep)
        return Accepted(message.reference)

    async def aclose(self) -> None:
        """Do nothing: the messages end by themselves."""

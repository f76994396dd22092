"""An inbox in memory, for tests without Redis."""

from otp_service.core.ports import InboxMessage


class FakeInbox:
    """Implements `core.ports.MessageInbox`."""

    def __init__(self, *messages: InboxMessage) -> None:
        self.messages = list(messages)
        """Newest first."""

    async def add(self, message: InboxMessage, *, max_messages: int) -> None:
        self.messages = [message, *self.messages][:max_messages]

    async def list_messages(self) -> list[InboxMessage]:
        return list(self.messages)

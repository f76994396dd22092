"""The inbox as a provider; its storage is tested in tests/store."""

import msgspec

from otp_service.core.delivery import Accepted
from otp_service.core.ports import InboxMessage
from otp_service.sms.providers import Provider
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.router import ProviderDependencies
from tests.fake_inbox import FakeInbox


NOW_MS = 1_790_000_000_123


def build_provider(inbox, keep=200):
    dependencies = ProviderDependencies(transport=None, now=lambda: NOW_MS, inbox=inbox)
    return Inbox(keep=keep).build_provider("dev", dependencies)


async def test_the_inbox_stores_what_was_sent(message):
    """Number, text, provider, tenant and time, and no more."""
    inbox = FakeInbox()

    reply = await build_provider(inbox).send(message)

    assert Accepted("ref-3f9") == reply
    text = "864209 is your Example code."
    assert [InboxMessage("+447400123456", text, "dev", message.tenant, NOW_MS)] == inbox.messages


async def test_the_setting_keep_bounds_the_inbox(message):
    """The oldest message is dropped."""
    inbox = FakeInbox()
    provider = build_provider(inbox, keep=2)

    for text in ("one", "two", "three"):
        await provider.send(msgspec.structs.replace(message, text=text))

    assert ["three", "two"] == [each.text for each in inbox.messages]


async def test_without_a_place_for_messages_none_is_kept(message):
    """Live mode has no such place, and `send-test` needs none (R38)."""
    provider = build_provider(None)

    assert Accepted("ref-3f9") == await provider.send(message)
    assert "864209" not in repr(vars(provider))


def test_a_message_does_not_print_its_code():
    """R68: a traceback or a log line may contain its `repr`."""
    stored = InboxMessage("+447700900123", "Your code is 864209.", "inbox", "shop", NOW_MS)

    assert "864209" not in repr(stored)
    assert "447700900123" not in repr(stored)


def test_settings_are_read_by_their_type():
    """`type = "inbox"` is all that is needed."""
    read = msgspec.convert({"type": "inbox"}, Provider)

    assert Inbox() == read
    assert [] == read.find_errors()

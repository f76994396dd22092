"""The development inbox."""

import msgspec

from otp_service.core.delivery import Accepted
from otp_service.sms.providers import Provider
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.router import ProviderDependencies


def inbox(keep=200, now=lambda: 1_790_000_000_123):
    """An empty one."""
    return Inbox(keep=keep).build_provider("dev", ProviderDependencies(transport=None, now=now))


async def test_inbox_shows_what_was_sent(message):
    """Number, text, provider and time, and no more."""
    dev = inbox()

    reply = await dev.send(message)

    assert Accepted("ref-3f9") == reply
    assert [
        {
            "to": "+447400123456",
            "text": "864209 is your Example code.",
            "provider": "inbox",
            "at": "2026-09-21T14:13:20.123Z",
        }
    ] == dev.list_messages()


async def test_newest_comes_first_and_the_oldest_goes(message):
    """Memory is bounded."""
    dev = inbox(keep=2)

    for text in ("one", "two", "three"):
        await dev.send(msgspec.structs.replace(message, text=text))

    assert ["three", "two"] == [each["text"] for each in dev.list_messages()]


async def test_reader_cannot_change_the_inbox(message):
    """The returned value is a copy."""
    dev = inbox()
    await dev.send(message)

    dev.list_messages()[0]["text"] = "changed"

    assert message.text == dev.list_messages()[0]["text"]


async def test_inbox_is_empty_once_closed(message):
    """Codes are not kept longer than the service runs, nor shown in a `repr` (R68)."""
    dev = inbox()
    await dev.send(message)
    assert "864209" not in repr(dev)

    await dev.aclose()

    assert [] == dev.list_messages()


def test_settings_are_read_by_their_type():
    """`type = "inbox"` is all that is needed."""
    read = msgspec.convert({"type": "inbox"}, Provider)

    assert Inbox() == read
    assert [] == read.find_errors()

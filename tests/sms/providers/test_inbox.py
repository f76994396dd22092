"""The inbox as a provider; its storage is tested in tests/store."""

import asyncio

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Receipt
from otp_service.core.errors import StoreUnavailable
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import InboxMessage
from otp_service.sms.providers import Provider
from otp_service.sms.providers.inbox import Inbox, InboxProvider
from otp_service.sms.providers.inbox_outcomes import RECEIPT_DELAY_SECONDS, SLOW_REPLY_SECONDS
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


REFERENCE = f"shop.c07-{'0' * 32}.1.1"


class OutcomeHarness:
    """An inbox whose sleeps the test ends, and the receipts that it reported."""

    def __init__(self, inbox, error=None):
        self.inbox = inbox
        self.sleeps = []
        self.wake = asyncio.Event()
        self.receipts = []
        self.error = error
        dependencies = ProviderDependencies(
            None, now=lambda: NOW_MS, inbox=inbox, on_receipt=self.handle_receipt
        )
        self.provider = InboxProvider("dev", dependencies, keep=9, sleep=self.sleep)

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        await self.wake.wait()

    async def handle_receipt(self, provider, receipt):
        self.receipts.append((provider, receipt))
        if self.error:
            raise self.error


@pytest.fixture
def build_message(message):
    """Builds the message of a send to a fictitious number."""

    def build_one(number, reference=REFERENCE):
        phone = parse_number(number, allow_fictitious=True)
        return msgspec.structs.replace(message, to=phone, reference=reference)

    return build_one


async def test_a_receipt_is_reported_after_the_reply(build_message):
    """The service has stored the reply by then: a receipt of an unknown submission is dropped."""
    harness = OutcomeHarness(FakeInbox())

    reply = await harness.provider.send(build_message("+447700900996"))
    await asyncio.sleep(0)

    assert (Accepted(REFERENCE), [], []) == (reply, harness.receipts, harness.inbox.messages)
    assert [RECEIPT_DELAY_SECONDS] == harness.sleeps
    harness.wake.set()
    await asyncio.sleep(0.01)
    receipt = Receipt("permanent-failure", REFERENCE, reason="absent-subscriber")
    assert [("dev", receipt)] == harness.receipts


async def test_a_stop_does_not_wait_for_receipts(build_message):
    """They are lost, as if the provider had not reported."""
    harness = OutcomeHarness(FakeInbox())
    await harness.provider.send(build_message("+447700900990"))

    await harness.provider.aclose()
    harness.wake.set()
    await asyncio.sleep(0.01)

    assert [] == harness.receipts


async def test_without_redis_a_receipt_is_lost(build_message):
    """It raises nothing that no caller waits for: asyncio would log it."""
    harness = OutcomeHarness(FakeInbox(), StoreUnavailable())
    harness.wake.set()
    await harness.provider.send(build_message("+447700900990"))
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}

    await task

    assert 1 == len(harness.receipts)


async def test_a_slow_message_arrives_with_the_reply(build_message):
    """It is stored before the wait: after a shorter deadline it may still arrive, as a real one does."""
    harness = OutcomeHarness(FakeInbox())
    sending = asyncio.create_task(harness.provider.send(build_message("+19895550195")))
    await asyncio.sleep(0.01)

    (stored,) = harness.inbox.messages
    assert NOW_MS + SLOW_REPLY_SECONDS * 1000 == stored.at
    assert ([SLOW_REPLY_SECONDS], False) == (harness.sleeps, sending.done())
    harness.wake.set()
    assert Accepted(REFERENCE) == await sending


async def test_a_reference_of_another_form_is_of_the_first_message(build_message):
    """Nothing but a challenge sends several codes."""
    harness = OutcomeHarness(FakeInbox())

    reply = await harness.provider.send(build_message("+447700900999", "another.form"))

    assert Accepted("another.form") == reply


async def test_without_an_inbox_no_number_has_an_outcome(build_message):
    """`send-test` only tries the settings."""
    harness = OutcomeHarness(None)

    assert Accepted(REFERENCE) == await harness.provider.send(build_message("+447700900991"))


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

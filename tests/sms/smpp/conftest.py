"""An SMSC, and providers that use it."""

import asyncio

import pytest

from otp_service.sms.router import ProviderDependencies
from tests.sms.smpp.fake_smsc import FakeSmsc
from tests.sms.smpp.samples import build_settings


@pytest.fixture
async def smsc():
    """An SMSC that accepts everything."""
    async with FakeSmsc() as centre:
        yield centre


@pytest.fixture
def receipts():
    """What was received, with the provider's name."""
    return asyncio.Queue()


@pytest.fixture
def inbound_messages():
    """The messages from phones that were passed on, with the provider's name."""
    return asyncio.Queue()


@pytest.fixture
def skipped_events():
    """What was counted instead of a receipt or a message: the provider's name, and the reason."""
    return []


@pytest.fixture
async def create_provider(smsc, receipts, inbound_messages, skipped_events):
    """Builds providers that use the SMSC, and closes them."""
    providers = []

    async def record_receipt(name, receipt):
        await receipts.put((name, receipt))

    async def record_message(name, message):
        await inbound_messages.put((name, message))

    def create_one(
        received=record_receipt, submissions=None, received_message=record_message, **more
    ):
        given = build_settings(smsc.port, **more)
        tools = ProviderDependencies(
            None,
            lambda: 0,
            received,
            received_message,
            message_ids=submissions,
            count_skipped_event=lambda *counted: skipped_events.append(counted),
        )
        provider = given.build_provider("acme", tools)
        providers.append(provider)
        return provider

    yield create_one
    for provider in providers:
        await provider.aclose()


@pytest.fixture
def provider(create_provider):
    """One that is patient."""
    return create_provider()

"""A centre, and providers that speak to it."""

import asyncio

import pytest

from otp_service.sms.router import Tools
from tests.sms.smpp.fake_smsc import Centre
from tests.sms.smpp.samples import settings


@pytest.fixture
async def centre():
    """A centre that takes everything."""
    async with Centre() as centre:
        yield centre


@pytest.fixture
def news():
    """What was received, with the provider's name."""
    return asyncio.Queue()


@pytest.fixture
async def made(centre, news):
    """Makes providers that speak to the centre, and takes leave of it."""
    providers = []

    async def received(name, receipt):
        await news.put((name, receipt))

    def make(received=received, submissions=None, **more):
        given = settings(centre.port, **more)
        tools = Tools(None, lambda: 0, received, submissions)
        provider = given.as_sender("acme", tools)
        providers.append(provider)
        return provider

    yield make
    for provider in providers:
        await provider.aclose()


@pytest.fixture
def provider(made):
    """One that is patient."""
    return made()

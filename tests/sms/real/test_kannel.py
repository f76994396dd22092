"""Kannel for real, through the real provider: the text that the network prints is the one sent."""

import asyncio

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.provider_callbacks import Callback
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.providers.kannel import Kannel as Dialect
from otp_service.sms.router import (
    LocalProviderHealth,
    ProviderDependencies,
    ProviderRouter,
    RouterEnvironment,
)
from otp_service.sms.routes import Routes
from tests.fake_inbox import FakeInbox
from tests.sms.real.kannel import (
    DENIED_PREFIX,
    PASSWORD,
    USERNAME,
    KannelGateway,
    list_missing_programs,
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kannel(tmp_path_factory):
    """A Kannel with its network open."""
    if names := list_missing_programs():
        pytest.skip(f"no {names}: apt install kannel kannel-extras")
    with KannelGateway(tmp_path_factory.mktemp("kannel")) as kannel:
        kannel.connect_network()
        yield kannel


@pytest.fixture
def closed(tmp_path):
    """A Kannel whose network is closed."""
    if names := list_missing_programs():
        pytest.skip(f"no {names}: apt install kannel kannel-extras")
    with KannelGateway(tmp_path) as kannel:
        yield kannel


def dialect(kannel, **more):
    """Its settings."""
    given = {"username": USERNAME, "password": Secret(PASSWORD), "sender": "A&B"} | more
    return Dialect(base_url=kannel.url, **given)


async def reported(gateway, token):
    """The reports with this token, once the last one of them is here."""
    while True:
        found = [each.target for each in gateway.requests if token in each.target]
        if any("type=1&" in target for target in found):
            return [Callback("GET", f"https://otp.example{target}", {}, b"", 0) for target in found]
        gateway.request_received.clear()
        await asyncio.wait_for(gateway.request_received.wait(), 20)


async def test_code_arrives_and_is_reported(kannel, gateway, transport, message):
    """The network prints the message that was sent, and its report is a receipt of delivery."""
    address = gateway.url.replace("/v1/messages", "/v1/callbacks/kannel?token=a%2Bb%C3%A9%25d")
    provider = HttpProvider("kannel", dialect(kannel), transport)

    reply = await provider.send(msgspec.structs.replace(message, callback_url=address))
    await asyncio.to_thread(kannel.wait_for_output, f"<A&B +447400123456 text {message.text}>")
    taken, delivered = await reported(gateway, "token=a%2Bb%C3%A9%25d&")

    assert Accepted() == reply
    assert [Receipt("pending")] == dialect(kannel).parse_callback(taken)
    (receipt,) = dialect(kannel).parse_callback(delivered)
    assert ("delivered", None) == (receipt.status, receipt.reason)
    assert receipt.message_id


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("864209", "text 864209>"),
        ("50% & <864209> + %20 é€", "text 50% & <864209> + %20 é€>"),
        ("864 код", "ucs-2 %008%006%004%00+%04%3A%04%3E%044>"),
    ],
)
async def test_every_text_arrives_as_it_is(kannel, transport, message, text, printed):
    """Also one of digits alone, which may be taken for hexadecimal, and one like a query."""
    provider = HttpProvider("kannel", dialect(kannel), transport)

    assert Accepted() == await provider.send(msgspec.structs.replace(message, text=text))

    await asyncio.to_thread(kannel.wait_for_output, printed)


async def test_refusals_are_understood(kannel, transport, message):
    """A password that is wrong, and a number in the black-list."""
    wrong = HttpProvider("kannel", dialect(kannel, password=Secret("wrong")), transport)
    right = HttpProvider("kannel", dialect(kannel), transport)
    denied = msgspec.structs.replace(message.to, e164=f"{DENIED_PREFIX}123456")

    refused = Refused(Fault.PROVIDER, "authorization-failed", scope=RefusalScope.ACCOUNT)
    assert refused == await wrong.send(message)
    assert Refused(Fault.RECIPIENT, "number-denied") == await right.send(
        msgspec.structs.replace(message, to=denied)
    )


async def test_next_provider_takes_over(closed, transport, message):
    """Kannel keeps a message while its network is closed; once it has stopped, no send waits."""
    received = FakeInbox()
    tools = ProviderDependencies(transport, now=lambda: 0, inbox=received)
    inbox = Inbox().build_provider("inbox", tools)
    kannel = HttpProvider("kannel", dialect(closed), transport)
    moment = [0]
    clock = asyncio.get_running_loop().time
    outside = RouterEnvironment(clock, lambda: moment[0], lambda: 0.5, lambda _: "somebody")
    router = ProviderRouter(
        [kannel, inbox], Routes(("kannel", "inbox")), LocalProviderHealth(), environment=outside
    )

    kept = await router.send(message)
    closed.smsbox.kill()
    closed.smsbox.wait()
    moment[0] = 60_000  # it has rested
    gone = await router.send(message)

    assert ["queued", None] == [each.reason for each in kept]
    assert "inbox" == gone[-1].provider
    assert "accepted" != gone[0].outcome
    assert 2 == len(received.messages)

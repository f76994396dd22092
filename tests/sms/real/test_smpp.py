"""SMPP for real: a centre that others wrote reads our messages, and we its receipts."""

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.core.inbound import Keyword
from otp_service.core.keywords import DEFAULT_KEYWORDS, KeywordTable
from otp_service.core.secret import Secret
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.router import (
    LocalProviderHealth,
    ProviderDependencies,
    ProviderRouter,
    RouterEnvironment,
)
from otp_service.sms.routes import Routes
from tests.fake_inbox import FakeInbox
from tests.sms.real.smpp.node_smsc import (
    PASSWORD,
    SYSTEM_ID,
    NodeSmsc,
    PackageNotInstalled,
    install_package,
)
from tests.sms.real.smpp.reply_forms import REPLY_FORMS, build_reply


pytestmark = pytest.mark.slow

KEYWORDS = KeywordTable(DEFAULT_KEYWORDS)


@pytest.fixture(scope="module")
def package():
    """The package, installed for this module alone."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield install_package(Path(folder))
        except PackageNotInstalled as error:
            pytest.skip(str(error))


@pytest.fixture
def centre(package, tmp_path):
    """A centre that listens."""
    with NodeSmsc(package, tmp_path) as centre:
        yield centre


@pytest.fixture
def news():
    """What was received."""
    return asyncio.Queue()


@pytest.fixture
def replies():
    """The messages from phones that were received."""
    return []


@pytest.fixture
async def made(centre, news, replies, transport):
    """Builds providers that use the SMSC, and closes them."""
    providers = []

    async def received(name, receipt):
        await news.put((name, receipt))

    async def replied(name, message):
        replies.append((name, message))

    def make(**more):
        given = {"system_id": SYSTEM_ID, "password": Secret(PASSWORD), "sender": "Example"} | more
        settings = Smpp(host="127.0.0.1", port=centre.port, **given)
        assert [] == settings.find_errors()
        tools = ProviderDependencies(transport, lambda: 0, received, replied)
        providers.append(settings.build_provider("centre", tools))
        return providers[-1]

    yield make
    for provider in providers:
        await provider.aclose()


def to(message, ending):
    """Return the message to a number with this ending, which selects the reply of the centre."""
    number = msgspec.structs.replace(message.to, e164=f"+4474001234{ending}")
    return msgspec.structs.replace(message, to=number)


async def sees(centre, event, **fields):
    """What it has printed, once it has."""
    return await asyncio.to_thread(lambda: centre.wait_for_event(event, **fields))


async def test_code_arrives_and_is_reported(centre, made, message, news):
    """Every field is what it should be; the receipt has the id in decimal, the answer had not."""
    reply = await made().send(message)

    assert Accepted("7a2f") == reply
    printed = await sees(centre, "submit", text=message.text)
    expected = {
        "source_addr": "Example",
        "source_addr_ton": 5,
        "source_addr_npi": 0,
        "destination_addr": "447400123456",
        "dest_addr_ton": 1,
        "dest_addr_npi": 1,
        "registered_delivery": 1,
        "data_coding": 0,
        "esm_class": 0,
    }
    assert expected.items() <= printed.items()
    receipt = Receipt("delivered", "ref-3f9", "0000031279")
    assert ("centre", receipt) == await asyncio.wait_for(news.get(), 10)
    assert await sees(centre, "receipt", status=0)
    assert await sees(centre, "bind", known=True, version=0x34)


async def test_receipt_in_optional_parameters(centre, made, message, news):
    """One receipt reports that the message was not delivered."""
    await made().send(to(message, "77"))

    receipt = Receipt("technical-failure", "ref-3f9", "7a2f", "undeliv")
    assert ("centre", receipt) == await asyncio.wait_for(news.get(), 10)
    assert await sees(centre, "receipt", status=0)


@pytest.mark.parametrize("form", REPLY_FORMS)
async def test_a_reply_of_a_phone_is_read_in_every_form(form, centre, made, message, replies):
    """As the package encodes it; the text is a STOP, whole, and the answer 0."""
    await made().send(message)

    parts = [build_reply("447400123456", "12025550123", fields) for fields in REPLY_FORMS[form]]
    statuses = [
        await asyncio.to_thread(lambda part=part: centre.deliver_message(**part)) for part in parts
    ]

    assert {0} == {*statuses}
    ((name, reply),) = replies
    assert ("centre", "447400123456", "12025550123") == (name, reply.sender, reply.receiver)
    assert Keyword.STOP == KEYWORDS.find(reply.text)
    assert reply.is_signed


@pytest.mark.parametrize(
    ("text", "data_coding"),
    [
        ("@£$¥_ΔΞ ÆÄÖÑÜ§¿äöñüà\n@example.com #864209", 0),
        ("[864209] {^~|} \\ €", 0),
        ("864209 — ваш код", 8),
        ("864209 😀", 8),
    ],
)
async def test_every_text_arrives_as_it_is(centre, made, message, text, data_coding):
    """In GSM 03.38 with its extension table, and in UCS-2."""
    assert isinstance(await made().send(msgspec.structs.replace(message, text=text)), Accepted)

    assert await sees(centre, "submit", text=text, data_coding=data_coding)


async def test_refusals_are_understood(made, message):
    """The causes are an invalid number, too many messages at once, and a wrong password."""
    right, wrong = made(), made(password=Secret("wr0ng"))

    assert Refused(Fault.RECIPIENT, "smpp-0b") == await right.send(to(message, "11"))
    throttled = Refused(Fault.PROVIDER, "smpp-58", scope=RefusalScope.THROTTLED)
    assert throttled == await right.send(to(message, "58"))
    account = Refused(Fault.PROVIDER, "smpp-0e", scope=RefusalScope.ACCOUNT)
    assert account == await wrong.send(message)


async def test_silence_is_no_refusal(made, message):
    """A centre that hangs, and one that drops the connection: it may have been sent."""
    provider = made(reply_timeout=0.3)

    hung = await provider.send(to(message, "98"))
    dropped = await provider.send(to(message, "99"))

    assert Refused(Fault.UNKNOWN, "read-timeout", scope=RefusalScope.SILENCE) == hung
    assert Refused(Fault.UNKNOWN, "disconnected", scope=RefusalScope.SILENCE) == dropped


async def test_asks_whether_the_centre_is_there_and_takes_leave(centre, made, message):
    """enquire_link and unbind, as the package understands them; the link stays."""
    provider = made(enquire_every=0.05)
    await provider.send(message)

    await sees(centre, "enquire_link")
    await asyncio.sleep(0.2)
    await provider.aclose()

    assert 2 <= len(centre.list_events("enquire_link"))
    assert 1 == len(centre.list_events("unbind")) == len(centre.list_events("bind"))


async def test_next_provider_takes_over_and_the_centre_comes_back(centre, made, message):
    """The centre is killed during a message: no send waits, and after its return it is used again."""
    received = FakeInbox()
    tools = ProviderDependencies(None, lambda: 0, inbox=received)
    inbox = Inbox().build_provider("inbox", tools)
    provider = made()
    moment = [0]
    clock = asyncio.get_running_loop().time
    outside = RouterEnvironment(clock, lambda: moment[0], lambda: 0.5, lambda _: "somebody")
    router = ProviderRouter(
        [provider, inbox], Routes(("centre", "inbox")), LocalProviderHealth(), environment=outside
    )

    (taken,) = await router.send(message)
    sending = asyncio.create_task(router.send(to(message, "98")))
    await sees(centre, "submit", destination_addr="447400123498")
    centre.kill_process()
    lost = await sending
    gone = await router.send(message)
    centre.start_process()
    await sees(centre, "bind", known=True)
    moment[0] = 3_600_000  # its breaker has closed
    (back,) = await router.send(message)

    assert ("centre", "accepted") == (taken.provider, taken.outcome)
    assert [("centre", "disconnected"), ("inbox", None)] == [
        (each.provider, each.reason) for each in lost
    ]
    assert ["unknown", "accepted"] == [each.outcome for each in lost]
    assert "inbox" == gone[-1].provider
    assert ("centre", "accepted") == (back.provider, back.outcome)
    assert 2 == len(received.messages)

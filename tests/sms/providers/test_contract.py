"""The ten cases that every HTTP provider passes, against a real server (as GOV.UK Notify's are).

A new provider adds one entry to CONTRACTS: its settings for an address, and what its gateway
says in each case.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from otp_service.core.delivery import About, Accepted, Fault, Refused
from otp_service.sms.http import Dialect, HttpProvider
from otp_service.sms.providers.http import Acceptance, Http


class Says(NamedTuple):
    """A reply of the gateway."""

    status: int
    body: Any


class Contract(NamedTuple):
    """How one vendor's gateway says each of the things that they all say."""

    dialect: Callable[[str], Dialect]
    accepted: Says
    message_id: str
    recipient: Says
    recipient_code: str
    account: Says
    account_code: str
    throttled: Says
    throttled_code: str
    unknown: Says
    unknown_code: str
    without_id: Says
    account_about: About = About.ACCOUNT
    """MESSAGE where nothing but a code of its settings tells."""


SHORT: dict[str, Any] = {"connect_timeout": 0.3, "read_timeout": 0.3}


def plain(url: str) -> Http:
    """A gateway with JSON and honest statuses."""
    return Http(
        url=url,
        fields={"to": "{to}", "text": "{text}"},
        message_id="message.id",
        code="error.code",
        recipient_codes=frozenset({21211, "no-such-number"}),
        provider_codes=frozenset({20003}),
        throttled_codes=frozenset({20429}),
        **SHORT,
    )


def always_200(url: str) -> Http:
    """A gateway that takes a form, and says 200 whatever it means."""
    return Http(
        url=url,
        body="form",
        fields={"to": "{to_digits}", "text": "{text}", "from": "{from}"},
        accepted=Acceptance(path="messages.0.status", values=frozenset({0})),
        message_id="messages.0.message-id",
        code="messages.0.status",
        recipient_codes=frozenset({"7", "33"}),
        provider_codes=frozenset({"2", "9"}),
        throttled_codes=frozenset({"1"}),
        **SHORT,
    )


def _error(code: object) -> dict[str, object]:
    return {"error": {"code": code, "text": "+447400123456 is not good: 864209"}}


def _status(status: str, **more: str) -> dict[str, object]:
    return {"message-count": "1", "messages": [{"status": status, **more}]}


CONTRACTS = {
    "http": Contract(
        plain,
        accepted=Says(201, {"message": {"id": "SM-1"}}),
        message_id="SM-1",
        recipient=Says(400, _error(21211)),
        recipient_code="21211",
        account=Says(401, _error(20003)),
        account_code="20003",
        throttled=Says(429, _error(20429)),
        throttled_code="20429",
        unknown=Says(400, _error("E-77")),
        unknown_code="E-77",
        without_id=Says(201, {"message": {}}),
    ),
    "http, always 200": Contract(
        always_200,
        accepted=Says(200, _status("0", **{"message-id": "0A00000001"})),
        message_id="0A00000001",
        recipient=Says(200, _status("7")),
        recipient_code="7",
        account=Says(200, _status("9")),
        account_code="9",
        throttled=Says(200, _status("1")),
        throttled_code="1",
        unknown=Says(200, _status("99")),
        unknown_code="99",
        without_id=Says(200, _status("0")),
        account_about=About.MESSAGE,
    ),
}


@pytest.fixture(params=CONTRACTS.values(), ids=list(CONTRACTS))
def contract(request):
    """What one gateway says."""
    return request.param


@pytest.fixture
def provider(contract, gateway, transport):
    """A provider that speaks to the gateway."""
    return HttpProvider("acme", contract.dialect(gateway.url), transport)


async def test_settings_of_the_contract_are_safe(contract, gateway):
    """What is tested here would pass `check`."""
    assert [] == contract.dialect(gateway.url).faults()


async def test_accepted(contract, gateway, provider, message):
    """A message that was taken comes back with the gateway's own name for it."""
    gateway.says(*contract.accepted)

    reply = await provider.send(message)

    assert Accepted(contract.message_id) == reply
    assert 1 == len(gateway.asked)


async def test_refused_for_good(contract, gateway, provider, message):
    """A number that nobody can reach is the recipient's fault: the chain stops (R88)."""
    gateway.says(*contract.recipient)

    reply = await provider.send(message)

    assert (Fault.RECIPIENT, contract.recipient_code) == (reply.fault, reply.reason)


async def test_account_fault(contract, gateway, provider, message):
    """A closed account or a wrong key is the provider's fault: the next one is tried."""
    gateway.says(*contract.account)

    reply = await provider.send(message)

    assert (Fault.PROVIDER, contract.account_code) == (reply.fault, reply.reason)
    assert reply.about is contract.account_about


async def test_throttled_with_retry_after(contract, gateway, provider, message):
    """How long it wants to be left alone is kept for the next sends (R90)."""
    gateway.says(*contract.throttled, retry_after="17")

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, contract.throttled_code, 17, About.THROTTLED) == reply


async def test_throttled_without_retry_after(contract, gateway, provider, message):
    """Throttling without a time is the provider's fault too."""
    gateway.says(*contract.throttled)

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, contract.throttled_code, None, About.THROTTLED) == reply


async def test_unknown_code(contract, gateway, provider, message):
    """A code that is in no table is the provider's, never the recipient's."""
    gateway.says(*contract.unknown)

    assert Refused(Fault.PROVIDER, contract.unknown_code) == await provider.send(message)


@pytest.mark.parametrize(
    "body", [b"", b"OK", b"[]", b'"queued"', b"<ok/>", b"\xff\xfe", b"[" * 60_000, b"9" * 6000]
)
async def test_not_what_it_should_be(gateway, provider, message, body):
    """A 2xx that cannot be understood may mean that the message was sent (R88)."""
    gateway.says(200, body)

    assert Fault.UNKNOWN == (await provider.send(message)).fault


async def test_2xx_without_the_message_id(contract, gateway, provider, message):
    """Accepted, as it seems, but without the proof: it may have been sent."""
    gateway.says(*contract.without_id)

    assert Refused(Fault.UNKNOWN, "no-message-id") == await provider.send(message)


async def test_connect_timeout(contract, deaf_url, transport, message):
    """Nothing was sent, so it is the provider's fault (waits for the timeout itself)."""
    provider = HttpProvider("acme", contract.dialect(deaf_url), transport)

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, "connect-timeout", None, About.SILENCE) == reply


async def test_read_timeout(gateway, provider, message):
    """The request was written, so it may have been sent (waits for the timeout itself)."""
    gateway.hangs()

    reply = await provider.send(message)

    assert Refused(Fault.UNKNOWN, "read-timeout", None, About.SILENCE) == reply
    assert 1 == len(gateway.asked)

"""The ten cases that every HTTP provider passes, against a real server (as GOV.UK Notify's are).

A new provider adds one file to contracts/: its settings for an address, and what its gateway says
in each case.
"""

import gzip
import json
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.sms.http_provider import HttpProvider
from tests.sms.providers.provider_contract import ProviderContract


FILES = sorted(Path(__file__).with_name("contracts").glob("*.py"))
CONTRACTS: dict[str, ProviderContract] = {
    name: contract
    for file in FILES
    for name, contract in import_module(
        f"tests.sms.providers.contracts.{file.stem}"
    ).CONTRACTS.items()
}


def those_with(field):
    """The contracts in which this is said at all."""
    with_it = {name: each for name, each in CONTRACTS.items() if getattr(each, field)}
    return pytest.mark.parametrize("contract", with_it.values(), ids=list(with_it), indirect=True)


@pytest.fixture(params=CONTRACTS.values(), ids=list(CONTRACTS))
def contract(request):
    """The contract of one gateway."""
    return request.param


@pytest.fixture
def provider(contract, gateway, transport):
    """A provider that speaks to the gateway."""
    return HttpProvider("acme", contract.dialect(gateway.url), transport)


async def test_settings_of_the_contract_are_safe(contract, gateway):
    """The settings tested here pass `check`, with a sender where one is required."""
    settings = contract.dialect(gateway.url)

    assert (
        [] == msgspec.structs.replace(settings, sender=settings.sender or "Example").find_errors()
    )


async def test_accepted(contract, gateway, provider, message):
    """A message that was taken comes back with the gateway's own name for it."""
    gateway.set_reply(*contract.accepted)

    reply = await provider.send(message)

    assert Accepted(contract.message_id) == reply
    assert 1 == len(gateway.requests)


@those_with("recipient")
async def test_refused_for_good(contract, gateway, provider, message):
    """An unreachable number is the recipient's fault: the chain stops (R88)."""
    gateway.set_reply(*contract.recipient)

    reply = await provider.send(message)

    assert (Fault.RECIPIENT, contract.recipient_code) == (reply.fault, reply.reason)


async def test_account_fault(contract, gateway, provider, message):
    """A closed account or a wrong key is the provider's fault: the next one is tried."""
    gateway.set_reply(*contract.account)

    reply = await provider.send(message)

    assert (Fault.PROVIDER, contract.account_code) == (reply.fault, reply.reason)
    assert reply.scope is contract.account_scope


async def test_throttled_with_retry_after(contract, gateway, provider, message):
    """How long it wants to be left alone is kept for the next sends (R90)."""
    gateway.set_reply(*contract.throttled, retry_after="17")

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, contract.throttled_code, 17, RefusalScope.THROTTLED) == reply


async def test_throttled_without_retry_after(contract, gateway, provider, message):
    """Throttling without a time is the provider's fault too."""
    gateway.set_reply(*contract.throttled)

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, contract.throttled_code, None, RefusalScope.THROTTLED) == reply


async def test_unknown_code(contract, gateway, provider, message):
    """A code that is in no table is the provider's, never the recipient's."""
    gateway.set_reply(*contract.unknown)

    assert Refused(Fault.PROVIDER, contract.unknown_code) == await provider.send(message)


@pytest.mark.parametrize(
    "body", [b"", b"OK", b"[]", b'"queued"', b"<ok/>", b"\xff\xfe", b"[" * 60_000, b"9" * 6000]
)
async def test_not_what_it_should_be(gateway, provider, message, body):
    """A 2xx that cannot be understood may mean that the message was sent (R88)."""
    gateway.set_reply(200, body)

    assert Fault.UNKNOWN == (await provider.send(message)).fault


@those_with("without_id")
async def test_2xx_without_the_message_id(contract, gateway, provider, message):
    """Accepted, as it seems, but without the proof: it may have been sent."""
    gateway.set_reply(*contract.without_id)

    assert Refused(Fault.UNKNOWN, "no-message-id") == await provider.send(message)


@those_with("taken_without_id")
async def test_taken_without_the_message_id(contract, gateway, provider, message):
    """The vendor's own word says that it was taken, so it is not sent again."""
    gateway.set_reply(*contract.taken_without_id)

    assert Accepted() == await provider.send(message)


ODD_BODIES = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "NULs at the end": lambda body: body + b"\0\0",
    "a blank line before": lambda body: b"\r\n" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
}
ODD_JSON_BODIES = {
    "a Latin-1 byte in another member": lambda body: b'{"description":"f\xfcr",' + body[1:],
    "a line break in another member": lambda body: b'{"description":"a\nb",' + body[1:],
    "an invalid number in another member": lambda body: b'{"price":NaN,' + body[1:],
    "markup after it": lambda body: body + b"<!-- gw-3 -->",
}


def list_odd_bodies(said):
    """Return what this reply's body could be, with the same meaning."""
    if isinstance(said.body, bytes):
        odd = ODD_BODIES.values()
        # XML names its encoding itself.
        return [
            change(said.body)
            for change in odd
            if said.body[:1] != b"<" or b"\xff" not in change(b"")
        ]
    body = json.dumps(said.body).encode()
    return [change(body) for change in (ODD_BODIES | ODD_JSON_BODIES).values()]


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        pytest.param(contract, says, id=f"{name}-{says}")
        for name, contract in CONTRACTS.items()
        for says in ("accepted", "recipient", "account", "throttled")
        if getattr(contract, says)
    ],
    indirect=["contract"],
)
async def test_what_nobody_reads_decides_nothing(contract, gateway, provider, message, says):
    """A body that is odd in a place that is not used means what it means without it."""
    said = getattr(contract, says)
    gateway.set_reply(*said)
    plain = await provider.send(message)

    for body in list_odd_bodies(said):
        gateway.set_reply(said.status, body)

        assert plain == await provider.send(message), body


async def test_an_acceptance_is_read_though_it_is_compressed(contract, gateway, provider, message):
    """`identity` was asked for, and the gateway or its proxy compresses all the same."""
    said = contract.accepted
    body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
    gateway.set_reply(said.status, gzip.compress(body), content_encoding="gzip")

    assert Accepted(contract.message_id) == await provider.send(message)


async def test_connect_timeout(contract, unresponsive_url, transport, message):
    """Nothing was sent, so it is the provider's fault (waits for the timeout itself)."""
    provider = HttpProvider("acme", contract.dialect(unresponsive_url), transport)

    reply = await provider.send(message)

    assert Refused(Fault.PROVIDER, "connect-timeout", None, RefusalScope.SILENCE) == reply


async def test_read_timeout(gateway, provider, message):
    """The request was written, so it may have been sent (waits for the timeout itself)."""
    gateway.hold_replies()

    reply = await provider.send(message)

    assert Refused(Fault.UNKNOWN, "read-timeout", None, RefusalScope.SILENCE) == reply
    assert 1 == len(gateway.requests)

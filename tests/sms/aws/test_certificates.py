"""Certificates are fetched once, without redirects, and not at everybody's wish."""

import asyncio

import httpx
import pytest

from otp_service.core.secret import Secret
from otp_service.sms.aws.certificates import KEPT_FOR, Certificates, NotFetched
from otp_service.sms.callbacks import BadSignature, Callback
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers.aws import Aws
from tests.sms.aws.sns_topic import ARN, CERTIFICATE, Topic


class Needy(HttpSettings, frozen=True):
    """A dialect that needs whatever the callback's address is."""

    def needs(self, callback):
        """The same address."""
        return callback.url


class Clock:
    """Stands still."""

    seconds = 1000.0

    def __call__(self):
        return self.seconds


def of(url):
    """A callback of this address."""
    return Callback("POST", url, {}, b"", 0)


@pytest.fixture
def clock():
    """A clock that can be moved."""
    return Clock()


@pytest.fixture
def certificates(transport, clock):
    """What fetches, over the transport of the providers."""
    return Certificates(transport, clock=clock)


async def test_certificate_is_fetched_once_a_day(gateway, certificates, clock):
    """By one GET, with nothing of ours in it."""
    gateway.says(200, b"PEM")

    found = [await certificates.complete(Needy(), of(gateway.url)) for _ in range(3)]
    clock.seconds += KEPT_FOR
    await certificates.complete(Needy(), of(gateway.url))

    assert [{gateway.url: b"PEM"}] * 3 == [callback.certificates for callback in found]
    assert [("GET", "/v1/messages", b"")] * 2 == [
        (asked.method, asked.target, asked.body) for asked in gateway.asked
    ]


async def test_fetched_once_for_many_at_a_time(gateway, certificates):
    """A hundred receipts after a start are one fetch."""
    gateway.says(200, b"PEM")
    callbacks = [certificates.complete(Needy(), of(gateway.url)) for _ in range(100)]

    await asyncio.gather(*callbacks)

    assert 1 == len(gateway.asked)


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 204])
async def test_only_200_is_a_certificate(gateway, gateways, certificates, status):
    """A redirect is not followed."""
    other = await gateways()
    gateway.says(status, b"PEM", location=other.url)

    with pytest.raises(NotFetched):
        await certificates.complete(Needy(), of(gateway.url))

    assert [] == other.asked


async def test_big_one_is_not_read(gateway, certificates):
    """16 KiB are enough for any."""
    gateway.says(200, b"x" * 20_000)

    with pytest.raises(NotFetched):
        await certificates.complete(Needy(), of(gateway.url))


async def test_silence_ends(gateway, transport, monkeypatch):
    """Nobody waits for long."""
    monkeypatch.setattr("otp_service.sms.aws.certificates.SECONDS", 0.1)
    gateway.hangs()

    with pytest.raises(NotFetched):
        await Certificates(transport, clock=Clock()).complete(Needy(), of(gateway.url))


async def test_refused_connection_is_told(certificates):
    """As everything that did not work: the vendor comes again."""
    with pytest.raises(NotFetched):
        await certificates.complete(Needy(), of("http://127.0.0.1:9/a.pem"))


async def test_made_up_addresses_are_few(gateway, certificates, clock):
    """Five a minute; what is known is answered all the while."""
    gateway.says(200, b"PEM")
    for number in range(5):
        await certificates.complete(Needy(), of(f"{gateway.url}/{number}.pem"))

    with pytest.raises(NotFetched):
        await certificates.complete(Needy(), of(f"{gateway.url}/5.pem"))
    await certificates.complete(Needy(), of(f"{gateway.url}/0.pem"))

    assert 5 == len(gateway.asked)
    clock.seconds += 60
    await certificates.complete(Needy(), of(f"{gateway.url}/5.pem"))
    assert 6 == len(gateway.asked)


async def test_nothing_is_fetched_where_nothing_is_needed(gateway, certificates):
    """Most vendors."""
    callback = of(gateway.url)

    assert callback is await certificates.complete(HttpSettings(), callback)
    assert [] == gateway.asked


async def test_notification_is_verified_with_what_was_fetched():
    """From SNS's own address to the receipt."""
    topic, asked = Topic(), []

    def answer(request):
        asked.append(str(request.url))
        return httpx.Response(200, content=topic.pem)

    certificates = Certificates(httpx.MockTransport(answer), clock=Clock())
    aws = _aws()
    event = {"eventType": "TEXT_DELIVERED", "messageId": "m-1"}
    callback = topic.callback(topic.brings(event), fetched=False)

    receipts = aws.receipts(await certificates.complete(aws, callback))

    assert ["m-1"] == [receipt.message_id for receipt in receipts]
    assert [CERTIFICATE] == asked


@pytest.mark.parametrize(
    "change",
    [
        {"TopicArn": "arn:aws:sns:eu-west-1:999999999999:theirs"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem"},
        {"SigningCertURL": "http://127.0.0.1:8080/a.pem"},
    ],
)
async def test_foreign_topic_lookalike_and_loopback_make_no_connection(change):
    """They are refused before anybody is asked, however well they are signed."""
    topic, asked = Topic(), []
    certificates = Certificates(httpx.MockTransport(asked.append), clock=Clock())
    callback = topic.callback(topic.brings("{}", **change), fetched=False)

    with pytest.raises(BadSignature):
        await certificates.complete(_aws(), callback)

    assert [] == asked


def _aws():
    return Aws(
        region="eu-west-1",
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key=Secret("hunter2"),
        topic_arn=ARN,
    )

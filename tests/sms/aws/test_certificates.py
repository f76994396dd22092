"""Certificates are fetched once, without redirects, and not for any address."""

import asyncio

import httpx
import pytest

from otp_service.core.secret import Secret
from otp_service.sms.aws.certificates import (
    CERTIFICATE_TTL_SECONDS,
    CertificateCache,
    CertificateUnavailable,
)
from otp_service.sms.provider_callbacks import Callback, CallbackSignatureError
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers.aws import Aws
from tests.sms.aws.sns_topic import CERTIFICATE_URL, TOPIC_ARN, SnsTopic


class Needy(HttpSettings, frozen=True):
    """A dialect that needs whatever the callback's address is."""

    def find_certificate_url(self, callback):
        """The same address."""
        return callback.url


class Clock:
    """Does not move."""

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
    return CertificateCache(transport, clock=clock)


async def test_certificate_is_fetched_once_a_day(gateway, certificates, clock):
    """By one GET, with nothing of ours in it."""
    gateway.set_reply(200, b"PEM")

    found = [await certificates.attach_certificates(Needy(), of(gateway.url)) for _ in range(3)]
    clock.seconds += CERTIFICATE_TTL_SECONDS
    await certificates.attach_certificates(Needy(), of(gateway.url))

    assert [{gateway.url: b"PEM"}] * 3 == [callback.certificates for callback in found]
    assert [("GET", "/v1/messages", b"")] * 2 == [
        (asked.method, asked.target, asked.body) for asked in gateway.requests
    ]


async def test_fetched_once_for_many_at_a_time(gateway, certificates):
    """A hundred receipts after a start are one fetch."""
    gateway.set_reply(200, b"PEM")
    callbacks = [certificates.attach_certificates(Needy(), of(gateway.url)) for _ in range(100)]

    await asyncio.gather(*callbacks)

    assert 1 == len(gateway.requests)


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 204])
async def test_only_200_is_a_certificate(gateway, start_gateway, certificates, status):
    """A redirect is not followed."""
    other = await start_gateway()
    gateway.set_reply(status, b"PEM", location=other.url)

    with pytest.raises(CertificateUnavailable):
        await certificates.attach_certificates(Needy(), of(gateway.url))

    assert [] == other.requests


async def test_big_one_is_not_read(gateway, certificates):
    """16 KiB are enough for any."""
    gateway.set_reply(200, b"x" * 20_000)

    with pytest.raises(CertificateUnavailable):
        await certificates.attach_certificates(Needy(), of(gateway.url))


async def test_silence_ends(gateway, transport, monkeypatch):
    """A caller does not wait long."""
    monkeypatch.setattr("otp_service.sms.aws.certificates.FETCH_TIMEOUT_SECONDS", 0.1)
    gateway.hold_replies()

    with pytest.raises(CertificateUnavailable):
        await CertificateCache(transport, clock=Clock()).attach_certificates(
            Needy(), of(gateway.url)
        )


async def test_refused_connection_is_reported(certificates):
    """As everything that did not work: the vendor comes again."""
    with pytest.raises(CertificateUnavailable):
        await certificates.attach_certificates(Needy(), of("http://127.0.0.1:9/a.pem"))


async def test_made_up_addresses_are_few(gateway, certificates, clock):
    """Five a minute; what is known is answered all the while."""
    gateway.set_reply(200, b"PEM")
    for number in range(5):
        await certificates.attach_certificates(Needy(), of(f"{gateway.url}/{number}.pem"))

    with pytest.raises(CertificateUnavailable):
        await certificates.attach_certificates(Needy(), of(f"{gateway.url}/5.pem"))
    await certificates.attach_certificates(Needy(), of(f"{gateway.url}/0.pem"))

    assert 5 == len(gateway.requests)
    clock.seconds += 60
    await certificates.attach_certificates(Needy(), of(f"{gateway.url}/5.pem"))
    assert 6 == len(gateway.requests)


async def test_nothing_is_fetched_where_nothing_is_needed(gateway, certificates):
    """Most vendors."""
    callback = of(gateway.url)

    assert callback is await certificates.attach_certificates(HttpSettings(), callback)
    assert [] == gateway.requests


async def test_notification_is_verified_with_what_was_fetched():
    """From SNS's own address to the receipt."""
    topic, asked = SnsTopic(), []

    def answer(request):
        asked.append(str(request.url))
        return httpx.Response(200, content=topic.pem)

    certificates = CertificateCache(httpx.MockTransport(answer), clock=Clock())
    aws = _aws()
    event = {"eventType": "TEXT_DELIVERED", "messageId": "m-1"}
    callback = topic.build_callback(topic.build_notification(event), has_certificate=False)

    receipts = aws.parse_callback(await certificates.attach_certificates(aws, callback))

    assert ["m-1"] == [receipt.message_id for receipt in receipts]
    assert [CERTIFICATE_URL] == asked


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
    topic, asked = SnsTopic(), []
    certificates = CertificateCache(httpx.MockTransport(asked.append), clock=Clock())
    callback = topic.build_callback(topic.build_notification("{}", **change), has_certificate=False)

    with pytest.raises(CallbackSignatureError):
        await certificates.attach_certificates(_aws(), callback)

    assert [] == asked


def _aws():
    return Aws(
        region="eu-west-1",
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key=Secret("hunter2"),
        topic_arn=TOPIC_ARN,
    )

"""A CA of one's own, required senders, and limits that only the vendor would report."""

import ssl

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault
from otp_service.core.secret import Secret
from otp_service.settings.provider_rules import find_provider_errors
from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.providers.aws import Aws
from otp_service.sms.providers.jasmin import Jasmin
from otp_service.sms.providers.plivo import Plivo
from otp_service.sms.providers.sns import Sns
from otp_service.sms.providers.telnyx import Telnyx
from otp_service.sms.providers.twilio import Twilio
from otp_service.sms.router import ProviderDependencies
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.generic_http import create_json_gateway
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.messagebird import create_messagebird
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.smpp.fake_smsc import FakeSmsc
from tests.sms.smpp.samples import build_settings


URL = "https://sms.example"
SECRET = Secret("s3cret")
AWS_KEYS = {"access_key_id": Secret("AKIDEXAMPLE"), "secret_access_key": SECRET}


def fields_of(provider):
    """Return the fields that `check` names."""
    return [field for field, _ in find_provider_errors(provider)]


@pytest.mark.parametrize(
    "create",
    [create_bird, create_messagebird, create_plivo, create_telnyx],
    ids=lambda create: create.__name__,
)
def test_a_vendor_that_refuses_messages_without_a_sender_needs_one(create):
    """Every message would be refused, and `check` said that all is well."""
    assert ["sender"] == fields_of(create(URL))
    assert [] == fields_of(create(URL, sender="Example"))
    assert [] == fields_of(create(URL, senders={"GB": "Example"}))


@pytest.mark.parametrize(
    "provider",
    [
        Telnyx(api_key=SECRET, messaging_profile_id="p1"),
        Plivo(auth_id="MA1", auth_token=SECRET, powerpack_uuid="p1"),
        Twilio(
            account_sid=f"AC{'0' * 32}", auth_token=SECRET, messaging_service_sid=f"MG{'0' * 32}"
        ),
        create_infobip(URL),
    ],
    ids=lambda provider: type(provider).__name__,
)
def test_a_pool_or_a_sender_of_the_account_is_enough(provider):
    """The vendor selects it."""
    assert [] == fields_of(provider)


@pytest.mark.parametrize("field", ["username", "password"])
def test_jasmin_takes_sixteen_characters(field):
    """Its API answers 400 to more, for each message."""
    fits = Jasmin(**{"username": "u", "password": Secret("p"), field: to_field(field, "x" * 16)})
    long = Jasmin(**{"username": "u", "password": Secret("p"), field: to_field(field, "x" * 17)})

    assert [] == fields_of(fits)
    assert [field] == fields_of(long)


def to_field(field, text):
    """The value of a field."""
    return Secret(text) if field == "password" else text


@pytest.mark.parametrize(
    ("region", "topic", "errors"),
    [
        ("eu-west-1", "arn:aws:sns:eu-west-1:123456789012:sms", []),
        ("cn-north-1", "arn:aws-cn:sns:cn-north-1:123456789012:sms", []),
        ("us-gov-west-1", "arn:aws-us-gov:sns:us-gov-west-1:123456789012:sms", []),
        ("cn-north-1", "arn:aws:sns:cn-north-1:123456789012:sms", ["topic_arn"]),
        ("eu-west-1", "arn:aws-cn:sns:eu-west-1:123456789012:sms", ["topic_arn"]),
        ("eu-west-1", "arn:aws-iso:sns:us-iso-east-1:123456789012:sms", ["topic_arn"]),
    ],
)
def test_topics_of_every_supported_partition(region, topic, errors):
    """One that could never be verified is refused."""
    assert errors == fields_of(Aws(region=region, topic_arn=topic, **AWS_KEYS))


def test_endpoints_in_china_have_their_own_domain():
    """Elsewhere it is amazonaws.com."""
    assert "https://sns.cn-north-1.amazonaws.com.cn/" == Sns(region="cn-north-1", **AWS_KEYS).url
    assert "https://sns.eu-west-1.amazonaws.com/" == Sns(region="eu-west-1", **AWS_KEYS).url


async def test_http_provider_trusts_its_own_ca_alone(gateway, transport, message, certificate):
    """With the file a message goes out; the same provider without it sends nothing."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    gateway._server.close()
    await gateway.listen(tls)
    gateway.set_reply(201, {"message": {"id": "m-1"}})
    settings = create_json_gateway(gateway.url)
    trusting = msgspec.structs.replace(settings, tls_ca=str(certificate))

    refused = await HttpProvider("a", settings, transport).send(message)
    accepted = await HttpProvider("b", trusting, transport).send(message)

    assert (Fault.PROVIDER, "tls-error") == (refused.fault, refused.reason)
    assert Accepted("m-1") == accepted
    assert [] == fields_of(trusting)


async def test_smpp_provider_trusts_its_own_ca(certificate, message):
    """An SMSC has a certificate of the operator's own CA more often than not."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with FakeSmsc(tls=tls) as smsc:
        settings = build_settings(smsc.port, tls=True, tls_ca=str(certificate))
        provider = settings.build_provider("smsc", ProviderDependencies(None, lambda: 0))

        assert Accepted("7a2f") == await provider.send(message)
        await provider.aclose()


@pytest.mark.parametrize("content", [None, "", "no certificate"])
@pytest.mark.parametrize("create", [create_infobip, "smpp"])
def test_a_file_without_certificates_is_refused(tmp_path, content, create):
    """`check` says it, and not the first login."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    if create == "smpp":
        provider = build_settings(2775, tls=True, tls_ca=str(path))
    else:
        provider = create(URL, tls_ca=str(path))

    assert ["tls_ca"] == fields_of(provider)


def test_a_ca_without_tls_is_refused():
    """It would have no effect."""
    assert "tls_ca" in fields_of(build_settings(2775, tls=False, tls_ca="/nowhere.pem"))

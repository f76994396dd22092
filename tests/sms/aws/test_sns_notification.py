"""Only what SNS has signed for our own topic counts, and nothing else has us fetch anything."""

import json

import pytest

from otp_service.core.secret import Secret
from otp_service.sms.aws.sns_notification import verified
from otp_service.sms.callbacks import BadSignature
from otp_service.sms.providers.aws import Aws
from tests.sms.aws.sns_topic import ARN, CERTIFICATE, NOW, Topic, at


AWS = Aws(
    region="eu-west-1",
    access_key_id=Secret("AKIDEXAMPLE"),
    secret_access_key=Secret("hunter2"),
    topic_arn=ARN,
)
ELSEWHERE = [
    "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem",
    "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://evil.example/?https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-1.pem",
    "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com/?Action=Echo&Text=.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem#.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem\n",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.txt",
    "https://sns.eu-west-1.amazonaws.com/",
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://snsxeu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://evil.s3.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "http://127.0.0.1/SimpleNotificationService-1.pem",
    "https://127.0.0.1:8443/SimpleNotificationService-1.pem",
    "https://[::1]/SimpleNotificationService-1.pem",
    "https://localhost/SimpleNotificationService-1.pem",
    "file:///etc/ssl/SimpleNotificationService-1.pem",
    "",
]


@pytest.fixture(scope="module")
def topic():
    """A topic that signs."""
    return Topic()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "Ünïcode\nand lines"}])
def test_signed_notification_is_taken(topic, version, subject):
    """With both versions of the signature, with and without a subject."""
    body = topic.brings("news\n€", SignatureVersion=version, **subject)

    assert "news\n€" == verified(topic.callback(body), ARN).message


def test_certificate_is_asked_for_by_its_address(topic):
    """Whoever runs the dialect fetches it; without it nothing is taken."""
    callback = topic.callback(topic.brings("{}"), fetched=False)

    assert CERTIFICATE == AWS.needs(callback)
    with pytest.raises(BadSignature):
        AWS.receipts(callback)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sns:eu-west-1:999999999999:sms-events",
        "arn:aws:sns:eu-west-1:123456789012:sms-events2",
        "arn:aws:sns:us-east-1:123456789012:sms-events",
        "",
    ],
)
def test_signed_message_of_a_foreign_topic_is_refused(topic, arn):
    """Anybody can have SNS sign what they like: for a topic of their own. Nothing is fetched."""
    callback = topic.callback(topic.brings("{}", TopicArn=arn))

    with pytest.raises(BadSignature):
        AWS.needs(callback)
    with pytest.raises(BadSignature):
        AWS.receipts(callback)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_certificate_of_another_host_is_refused(topic, url):
    """Lookalikes, users, ports, queries, loopback: neither fetched nor used if it were there."""
    callback = topic.callback(topic.brings("{}", SigningCertURL=url))
    callback = type(callback)(
        callback.method, callback.url, {}, callback.body, NOW, {url: topic.pem}
    )

    with pytest.raises(BadSignature):
        AWS.needs(callback)
    with pytest.raises(BadSignature):
        AWS.receipts(callback)


@pytest.mark.parametrize("off", [-15 * 60_001, 15 * 60_001, -86_400_000])
def test_old_notification_is_refused(topic, off):
    """And one of the future: 15 minutes at most."""
    callback = topic.callback(topic.brings("{}", Timestamp=at(NOW + off)))

    with pytest.raises(BadSignature):
        AWS.needs(callback)


@pytest.mark.parametrize("off", [-15 * 60_000, 14 * 60_000])
def test_late_notification_is_taken(topic, off):
    """SNS tries again for a while."""
    callback = topic.callback(topic.brings("{}", Timestamp=at(NOW + off)))

    assert "{}" == verified(callback, ARN).message


@pytest.mark.parametrize("name", ["Message", "MessageId", "Subject", "Timestamp"])
def test_every_signed_field_is_signed(topic, name):
    """Whatever is changed afterwards is noticed."""
    body = topic.brings("{}", Subject="as it was")
    changed = at(NOW - 2000) if name == "Timestamp" else "changed"

    with pytest.raises(BadSignature):
        verified(topic.callback(body | {name: changed}), ARN)


@pytest.mark.parametrize(
    "change",
    [
        {"SignatureVersion": "2"},  # signed as 1
        {"SignatureVersion": "3"},
        {"SignatureVersion": "none"},
        {"Signature": ""},
        {"Signature": "no base64 …"},
        {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://a/"},
        {"Subject": "added"},
    ],
)
def test_wrong_signature_is_refused(topic, change):
    """Another version, another type, none at all."""
    with pytest.raises(BadSignature):
        verified(topic.callback(topic.brings("{}") | change), ARN)


def test_another_key_is_refused(topic):
    """The certificate that was fetched decides."""
    with pytest.raises(BadSignature):
        verified(topic.callback(Topic().brings("{}")), ARN)


def test_certificate_that_has_expired_is_refused():
    """It was valid once."""
    topic = Topic(days=-1)

    with pytest.raises(BadSignature):
        verified(topic.callback(topic.brings("{}")), ARN)


@pytest.mark.parametrize("pem", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_refused(topic, pem):
    """Whatever was found at that address."""
    callback = topic.callback(topic.brings("{}"))
    callback = type(callback)("POST", callback.url, {}, callback.body, NOW, {CERTIFICATE: pem})

    with pytest.raises(BadSignature):
        verified(callback, ARN)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"eventType": "TEXT_DELIVERED"}',  # raw delivery: nobody has signed it
        json.dumps(Topic.brings(Topic(), "{}", Timestamp="yesterday")).encode(),
        json.dumps(Topic.brings(Topic(), "{}") | {"Message": 7}).encode(),
    ],
)
def test_what_is_no_envelope_cannot_be_read(topic, body):
    """It is not SNS's."""
    with pytest.raises(ValueError, match=r"."):
        AWS.needs(topic.callback(body))


def test_timestamp_without_a_zone_is_refused(topic):
    """It might be any hour."""
    body = topic.brings("{}", Timestamp=at(NOW).removesuffix("Z"))

    with pytest.raises(BadSignature):
        AWS.needs(topic.callback(body))


def test_type_without_a_use_cannot_be_read(topic):
    """The end of a subscription is nothing to a delivery."""
    body = topic.brings("…", Type="UnsubscribeConfirmation", Token="t", SubscribeURL="https://a/")

    with pytest.raises(KeyError):
        AWS.receipts(topic.callback(body))


def test_without_a_topic_nothing_is_taken(topic):
    """Not even what has none either."""
    none = Aws(region="eu-west-1", access_key_id=Secret("a"), secret_access_key=Secret("b"))

    with pytest.raises(BadSignature):
        none.needs(topic.callback(topic.brings("{}", TopicArn="")))


@pytest.mark.parametrize("arn", ["sms-events", f"{ARN}.fifo", f"{ARN}\n", ARN.replace("eu-", "")])
def test_topic_of_the_settings_is_a_topic(arn):
    """Its region becomes part of a host."""
    settings = Aws(
        region="eu-west-1",
        access_key_id=Secret("a"),
        secret_access_key=Secret("b"),
        topic_arn=arn,
    )

    assert ["topic_arn"] == [field for field, _ in settings.faults()]


def test_envelope_does_not_show_its_message(topic):
    """It holds a number."""
    envelope = verified(topic.callback(topic.brings("+447400123456")), ARN)

    assert "Notification(Notification)" == repr(envelope)
    assert [("type", "Notification")] == envelope.__rich_repr__()

"""Only what SNS has signed for our own topic counts, and nothing else has us fetch anything."""

import pytest

from otp_service.core.secret import Secret
from otp_service.sms.aws.sns_notification import verify_notification
from otp_service.sms.provider_callbacks import CallbackSignatureError, UnreadableCallback
from otp_service.sms.providers.aws import Aws
from tests.sms.aws.sns_topic import CERTIFICATE_URL, NOW_MS, TOPIC_ARN, SnsTopic, format_timestamp


AWS = Aws(
    region="eu-west-1",
    access_key_id=Secret("AKIDEXAMPLE"),
    secret_access_key=Secret("hunter2"),
    topic_arn=TOPIC_ARN,
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
    return SnsTopic()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "Ünïcode\nand lines"}])
def test_signed_notification_is_taken(topic, version, subject):
    """With both versions of the signature, with and without a subject."""
    body = topic.build_notification("news\n€", SignatureVersion=version, **subject)

    assert "news\n€" == verify_notification(topic.build_callback(body), (TOPIC_ARN,)).message


def test_certificate_is_asked_for_by_its_address(topic):
    """The caller of the dialect fetches it; without it no receipt is accepted."""
    callback = topic.build_callback(topic.build_notification("{}"), has_certificate=False)

    assert CERTIFICATE_URL == AWS.find_certificate_url(callback)
    with pytest.raises(CallbackSignatureError):
        AWS.parse_callback(callback)


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
    callback = topic.build_callback(topic.build_notification("{}", TopicArn=arn))

    with pytest.raises(CallbackSignatureError):
        AWS.find_certificate_url(callback)
    with pytest.raises(CallbackSignatureError):
        AWS.parse_callback(callback)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_certificate_of_another_host_is_refused(topic, url):
    """Lookalikes, users, ports, queries, loopback: neither fetched nor used if it were there."""
    callback = topic.build_callback(topic.build_notification("{}", SigningCertURL=url))
    callback = type(callback)(
        callback.method, callback.url, {}, callback.body, NOW_MS, {url: topic.pem}
    )

    with pytest.raises(CallbackSignatureError):
        AWS.find_certificate_url(callback)
    with pytest.raises(CallbackSignatureError):
        AWS.parse_callback(callback)


@pytest.mark.parametrize("off", [-15 * 60_001, 15 * 60_001, -86_400_000])
def test_old_notification_is_refused(topic, off):
    """And one of the future: 15 minutes at most."""
    callback = topic.build_callback(
        topic.build_notification("{}", Timestamp=format_timestamp(NOW_MS + off))
    )

    with pytest.raises(CallbackSignatureError):
        AWS.find_certificate_url(callback)


@pytest.mark.parametrize("off", [-15 * 60_000, 14 * 60_000])
def test_late_notification_is_taken(topic, off):
    """SNS tries again for a while."""
    callback = topic.build_callback(
        topic.build_notification("{}", Timestamp=format_timestamp(NOW_MS + off))
    )

    assert "{}" == verify_notification(callback, (TOPIC_ARN,)).message


@pytest.mark.parametrize("name", ["Message", "MessageId", "Subject", "Timestamp"])
def test_every_signed_field_is_signed(topic, name):
    """Whatever is changed afterwards is noticed."""
    body = topic.build_notification("{}", Subject="as it was")
    changed = format_timestamp(NOW_MS - 2000) if name == "Timestamp" else "changed"

    with pytest.raises(CallbackSignatureError):
        verify_notification(topic.build_callback(body | {name: changed}), (TOPIC_ARN,))


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
    with pytest.raises(CallbackSignatureError):
        verify_notification(
            topic.build_callback(topic.build_notification("{}") | change), (TOPIC_ARN,)
        )


def test_another_key_is_refused(topic):
    """The certificate that was fetched decides."""
    with pytest.raises(CallbackSignatureError):
        verify_notification(topic.build_callback(SnsTopic().build_notification("{}")), (TOPIC_ARN,))


def test_certificate_that_has_expired_is_refused():
    """It was valid once."""
    topic = SnsTopic(days=-1)

    with pytest.raises(CallbackSignatureError):
        verify_notification(topic.build_callback(topic.build_notification("{}")), (TOPIC_ARN,))


@pytest.mark.parametrize("pem", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_refused(topic, pem):
    """Whatever was found at that address."""
    callback = topic.build_callback(topic.build_notification("{}"))
    callback = type(callback)(
        "POST", callback.url, {}, callback.body, NOW_MS, {CERTIFICATE_URL: pem}
    )

    with pytest.raises(CallbackSignatureError):
        verify_notification(callback, (TOPIC_ARN,))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"eventType": "TEXT_DELIVERED"}',  # raw delivery: unsigned
    ],
)
def test_what_is_no_envelope_cannot_be_read(topic, body):
    """It is not SNS's."""
    with pytest.raises(UnreadableCallback):
        AWS.find_certificate_url(topic.build_callback(body))


@pytest.mark.parametrize("field", [{"Timestamp": "yesterday"}, {"Message": 7}])
def test_an_envelope_with_an_invalid_field_cannot_be_read(topic, field):
    """Even one that SNS has signed."""
    with pytest.raises(UnreadableCallback):
        AWS.find_certificate_url(topic.build_callback(topic.build_notification("{}", **field)))


def test_timestamp_without_a_zone_is_refused(topic):
    """It might be any hour."""
    body = topic.build_notification("{}", Timestamp=format_timestamp(NOW_MS).removesuffix("Z"))

    with pytest.raises(CallbackSignatureError):
        AWS.find_certificate_url(topic.build_callback(body))


def test_an_unknown_type_is_refused(topic):
    """Which of its fields are signed is unknown."""
    body = topic.build_notification("{}") | {"Type": "OfNextYear"}

    with pytest.raises(CallbackSignatureError):
        AWS.parse_callback(topic.build_callback(body))


@pytest.mark.parametrize(
    ("signed", "other"),
    [
        (
            {"Message": "{}\nMessageId\nm", "MessageId": "1"},
            {"Message": "{}", "MessageId": "m\nMessageId\n1"},
        ),
        (
            {"Message": "{}", "MessageId": "1", "Subject": "s"},
            {"Message": "{}", "MessageId": "1\nSubject\ns"},
        ),
    ],
)
def test_a_signed_text_has_one_reading(topic, signed, other):
    """A line break in a value could begin another field."""
    body = topic.build_notification("{}", **signed)
    changed = {name: each for name, each in body.items() if name != "Subject"} | other

    with pytest.raises(CallbackSignatureError):
        verify_notification(topic.build_callback(changed), (TOPIC_ARN,))


def test_without_a_topic_nothing_is_taken(topic):
    """Not even what has none either."""
    none = Aws(region="eu-west-1", access_key_id=Secret("a"), secret_access_key=Secret("b"))

    with pytest.raises(CallbackSignatureError):
        none.find_certificate_url(topic.build_callback(topic.build_notification("{}", TopicArn="")))


@pytest.mark.parametrize(
    "arn", ["sms-events", f"{TOPIC_ARN}.fifo", f"{TOPIC_ARN}\n", TOPIC_ARN.replace("eu-", "")]
)
@pytest.mark.parametrize("setting", ["topic_arn", "inbound_topic_arn"])
def test_topic_of_the_settings_is_a_topic(arn, setting):
    """Its region becomes part of a host."""
    settings = Aws(
        region="eu-west-1",
        access_key_id=Secret("a"),
        secret_access_key=Secret("b"),
        **{setting: arn},
    )

    assert [setting] == [field for field, _ in settings.find_errors()]


def test_envelope_does_not_show_its_message(topic):
    """It holds a number."""
    envelope = verify_notification(
        topic.build_callback(topic.build_notification("+447400123456")), (TOPIC_ARN,)
    )

    assert "Notification(Notification)" == repr(envelope)
    assert [("type", "Notification")] == envelope.__rich_repr__()

"""Vonage's SMS API: what is written, what its receipts mean, and what its own SDK says to both."""

import asyncio
from base64 import b64encode
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from vonage import Auth
from vonage import Vonage as Sdk
from vonage_sms import SmsMessage

from otp_service.core.delivery import (
    Accepted,
    Fault,
    Receipt,
    RefusalScope,
    Refused,
    SubmissionReference,
)
from otp_service.core.keys import create_single_key_ring
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackSignatureError,
    CallbackUrls,
)
from otp_service.sms.providers import Provider
from otp_service.sms.providers.vonage import (
    FAULT_TABLE,
    MAX_FIELD_CHARS,
    RECEIPT_STATUSES,
    Vonage,
    verify_signature,
)
from tests.sms.providers.callback_builder import (
    CALLBACK_URL,
    INVALID_BODIES,
    NOW_MS,
    LoopbackAdapter,
    assert_no_receipt,
    build_callback,
    get_base_url,
)
from tests.sms.providers.sdk_comparison import list_codes


def vonage(**more):
    """An account that signs with HMAC-SHA256."""
    settings = {
        "api_key": "abcd1234",
        "api_secret": Secret("s3"),
        "sender": "Example",
        "signature_secret": Secret("signs"),
        "signature_method": "sha256",
    }
    return Vonage(**settings | more)


def receipt(*, at=NOW_MS // 1000, method="sha256", **more):
    """The fields of a receipt, signed by Vonage's own SDK."""
    fields = {
        "msisdn": "447400123456",
        "to": "Example",
        "messageId": "0A01",
        "status": "delivered",
        "err-code": "0",
        "client-ref": "a&b=c",
        "timestamp": str(at),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    auth = Auth(api_key="abcd1234", signature_secret="signs", signature_method=method)
    return fields | {"sig": auth.sign_params(dict(fields))}


def form(message, **more):
    """What is written for it."""
    return dict(parse_qsl(vonage(**more).build_request(message).body.decode()))


def test_request_byte_by_byte(message):
    """Digits only, milliseconds, our reference, and where to bring the receipt."""
    callback = "https://otp.example/v1/callbacks/v?ref=ref-3f9&t=a%2Bb"

    request = vonage().build_request(msgspec.structs.replace(message, callback_url=callback))

    assert ("POST", "https://rest.nexmo.com/sms/json") == (request.method, request.url)
    assert (
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", f"Basic {b64encode(b'abcd1234:s3').decode()}"),
    ) == request.headers
    assert (
        b"from=Example&to=447400123456&text=864209+is+your+Example+code.&type=text&ttl=290000"
        b"&client-ref=ref-3f9&callback=https%3A%2F%2Fotp.example%2Fv1%2Fcallbacks%2Fv%3Ft%3Da%252Bb"
    ) == request.body


def test_address_fits_without_the_reference(message):
    """With 101 characters Vonage would refuse the message; the receipt has our reference anyway."""
    reference = str(SubmissionReference("a-tenant", "c07-5d41402abc4b2a76b9719d911017c592", 1, 1))
    addresses = CallbackUrls(
        "https://login.some-company.example", create_single_key_ring("1", "A" * 43)
    )
    address = addresses.build_url("vonage", reference)

    written = form(msgspec.structs.replace(message, reference=reference, callback_url=address))

    assert len(address) > MAX_FIELD_CHARS >= len(written["callback"])
    callback = Callback("POST", written["callback"], {}, b"", NOW_MS)
    assert reference == addresses.verify_reference("vonage", callback, written["client-ref"])


def test_an_address_that_is_too_long_is_left_out(message):
    """Better no receipt than no message: the dashboard may name another address."""
    long = msgspec.structs.replace(message, callback_url=CALLBACK_URL + "x" * 100)

    assert "callback" not in form(long)


@pytest.mark.parametrize(("text", "kind"), [("€ 864209 é", "text"), ("864209 код", "unicode")])
def test_type_follows_the_letters(message, text, kind):
    """Vonage does not find out itself, and would send question marks."""
    assert kind == form(msgspec.structs.replace(message, text=text))["type"]


@pytest.mark.parametrize(("life", "ttl"), [(5, "20000"), (290, "290000"), (10**9, "604800000")])
def test_validity_is_within_vonages_bounds(message, life, ttl):
    """From 20 s to a week, in milliseconds."""
    assert ttl == form(msgspec.structs.replace(message, validity_seconds=life))["ttl"]


def test_number_is_written_without_plus(message):
    """In the sender too; and without a sender where names are not allowed."""
    there = msgspec.structs.replace(message, to=msgspec.structs.replace(message.to, country="US"))

    assert "15005550006" == form(message, sender="+15005550006")["from"]
    assert "from" not in form(there)


@pytest.mark.parametrize(
    ("statuses", "means"),
    [
        *(
            ((code,), Refused(Fault.RECIPIENT, code))
            for code in list_codes(FAULT_TABLE, "recipient")
        ),
        *(
            ((c,), Refused(Fault.PROVIDER, c, scope=RefusalScope.ACCOUNT))
            for c in list_codes(FAULT_TABLE, "account")
        ),
        *(
            ((c,), Refused(Fault.PROVIDER, c, scope=RefusalScope.THROTTLED))
            for c in list_codes(FAULT_TABLE, "throttled")
        ),
        (("3",), Refused(Fault.PROVIDER, "3")),
        (("6",), Refused(Fault.PROVIDER, "6")),
        ((0, "0"), Accepted("0A01")),
        (("7", "7"), Refused(Fault.RECIPIENT, "7")),
        (("0", "9"), Refused(Fault.UNKNOWN, "9")),
        (("9", "0"), Refused(Fault.UNKNOWN, "9")),
        ((), Refused(Fault.UNKNOWN, "http-200")),
    ],
)
def test_table(statuses, means):
    """All parts count: half a message is useless, and billed."""
    parts = [{"status": status, "message-id": "0A01"} for status in statuses]
    reply = HttpReply(200, {}, msgspec.json.encode({"messages": parts}))

    assert means == vonage().interpret_reply(reply)


@pytest.mark.parametrize(
    ("http", "about"), [(401, RefusalScope.ACCOUNT), (429, RefusalScope.THROTTLED)]
)
def test_status_counts_if_it_is_not_200(http, about):
    """The documentation has 200 only; a proxy in front of the API has more."""
    assert Refused(Fault.PROVIDER, f"http-{http}", scope=about) == vonage().interpret_reply(
        HttpReply(http, {}, b"")
    )


@pytest.mark.parametrize("name", RECEIPT_STATUSES)
def test_every_status_is_a_receipt(name):
    """A buffered or unknown status is pending; an expired message met a phone that was off."""
    means = RECEIPT_STATUSES[name]

    (news,) = vonage().parse_callback(build_callback(receipt(status=name, err_code="99")))

    failed = means.endswith("failure")
    assert Receipt(means, "a&b=c", "0A01", "99" if failed else None, is_signed=True) == news


@pytest.mark.parametrize(
    ("code", "means", "reason"),
    [
        ("2", "temporary-failure", "2"),
        ("3", "permanent-failure", "3"),
        ("9", "permanent-failure", "recipient_opted_out"),
        ("6", "technical-failure", "6"),
        ("7", "temporary-failure", "7"),
        ("447400123456", "technical-failure", "unreadable"),
    ],
)
def test_code_decides_whose_fault_it_was(code, means, reason):
    """Codes of receipts are not those of replies: 7 is a busy phone here."""
    (news,) = vonage().parse_callback(build_callback(receipt(status="failed", err_code=code)))

    assert (means, reason) == (news.status, news.reason)


@pytest.mark.parametrize("method", ["md5", "sha1", "sha256", "sha512"])
def test_sdk_signs_what_we_check(method):
    """Every HMAC of the dashboard, in JSON, in a form and in a query, also among our own."""
    fields = receipt(method=method)
    ours = vonage(signature_method=method)

    for callback in (
        build_callback(fields),
        build_callback(list(fields.items())),
        build_callback(url=f"https://otp.example/cb?{urlencode(fields)}", method="GET"),
        build_callback(url=f"{CALLBACK_URL}&{urlencode(fields)}", method="GET"),
    ):
        assert [Receipt("delivered", "a&b=c", "0A01", is_signed=True)] == ours.parse_callback(
            callback
        )


def test_sdk_checks_what_we_sign():
    """The other direction: what our check has let through is right to the SDK too."""
    fields = receipt()
    auth = Auth(api_key="abcd1234", signature_secret="signs", signature_method="sha256")

    assert verify_signature(fields, Secret("signs"), "sha256")
    assert auth.check_signature(dict(fields))


def test_known_hash():
    """The example of nexmo-python's tests: the default method, which the SDK of 2026 lacks."""
    fields = {
        "a": "1",
        "b": "2",
        "timestamp": "1461605396",
        "sig": "6AF838EF94998832DBFC29020B564830",
    }

    assert {"a", "b", "timestamp"} == verify_signature(fields, Secret("secret"), "md5hash").keys()


@pytest.mark.parametrize(
    "fields",
    [
        receipt() | {"sig": ""},
        receipt() | {"sig": "ä"},
        receipt() | {"status": "failed"},
        receipt(method="md5"),
        {name: value for name, value in receipt().items() if name != "sig"},
        receipt(at=NOW_MS // 1000 - 301),
        receipt(at=NOW_MS // 1000 + 302),
        receipt(at="2026-09-21 14:13:20"),
    ],
)
def test_wrong_signature_is_refused(fields):
    """None, of other fields, by another method, too old, or of another clock."""
    with pytest.raises(CallbackSignatureError):
        vonage().parse_callback(build_callback(fields))


def test_what_is_not_signed_is_not_read():
    """The parameters of our address may be unsigned, and no others."""
    fields = {name: value for name, value in receipt().items() if name not in {"client-ref", "sig"}}
    auth = Auth(api_key="abcd1234", signature_secret="signs", signature_method="sha256")
    query = urlencode(fields | {"sig": auth.sign_params(dict(fields))})

    (news,) = vonage().parse_callback(build_callback(url=f"{CALLBACK_URL}&{query}", method="GET"))

    assert "" == news.reference
    for more in ("client-ref=x", "reference=x"):
        url = f"{CALLBACK_URL}&{query}&{more}"
        with pytest.raises(CallbackSignatureError):
            vonage().parse_callback(build_callback(url=url, method="GET"))


def test_without_the_secret_receipts_are_not_signed():
    """Vonage delivers them in this form by default."""
    fields = {name: value for name, value in receipt().items() if name not in {"sig", "timestamp"}}

    (news,) = vonage(signature_secret=None).parse_callback(build_callback(fields))

    assert Receipt("delivered", "a&b=c", "0A01") == news


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("removed", "name", "value"),
    [
        (("err-code", "message-timestamp"), "err-code=9&message-timestamp", "2020"),
        (("client-ref",), "client-ref=x&err", ""),
        (("err-code",), "err-code=9", ""),
    ],
)
def test_a_signed_text_has_one_reading(method, removed, name, value):
    """Vonage replaces & and = in values, and its names have neither."""
    fields = receipt(message_timestamp="2020", err_code="9", status="failed")
    left = {field: each for field, each in fields.items() if field not in removed}
    left |= {name: value}
    whole = build_callback(list(left.items()))
    if method == "GET":
        url = f"https://otp.example/cb?{whole.body.decode()}"
        whole = build_callback(b"", url=url, method="GET")

    with pytest.raises(CallbackSignatureError):
        vonage().parse_callback(whole)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "body", [*INVALID_BODIES, b'{"messageId":"1","status":"gone"}', b'{"status":[]}']
)
def test_garbage_is_refused(body, method):
    """With nothing but the errors that the API expects."""
    assert_no_receipt(vonage(signature_secret=None), build_callback(body, method=method))


def test_acknowledgement():
    """200, as Vonage asks."""
    assert (200, b"") == vonage().acknowledgement


async def test_sdk_sends_the_same(gateway, transport, message):
    """The same message through Vonage's SDK and through us: path, credentials and form agree."""
    gateway.set_reply(
        200, {"message-count": "1", "messages": [{"status": "0", "message-id": "0A01"}]}
    )
    message = msgspec.structs.replace(message, callback_url="https://otp.example/cb?t=1")
    to_gateway, client = (
        LoopbackAdapter(gateway.url),
        Sdk(Auth(api_key="abcd1234", api_secret="s3")),
    )
    client.http_client._session.mount("https://", to_gateway)

    await asyncio.to_thread(
        client.sms.send,
        SmsMessage(
            to="447400123456",
            from_="Example",
            text=message.text,
            type="text",
            ttl=290_000,
            client_ref=message.reference,
            callback=message.callback_url,
        ),
    )
    client.http_client._session.close()
    await HttpProvider("acme", vonage(base_url=get_base_url(gateway)), transport).send(message)

    theirs, ours = gateway.requests
    assert [vonage().build_request(message).url] == to_gateway.urls
    assert (theirs.method, theirs.target) == (ours.method, ours.target)
    assert sorted(theirs.form) == sorted(ours.form)
    for name in ("authorization", "content-type"):
        assert theirs.headers[name] == ours.headers[name]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"base_url": "http://rest.nexmo.com"}, "base_url"),
        ({"api_key": "ab:cd"}, "api_key"),
        ({"sender": ""}, "sender"),
    ],
)
def test_settings_that_are_refused(more, field):
    """Each says which field, and what to do."""
    assert [field] == [name for name, _ in vonage(**more).find_errors()]


def test_settings_are_read_by_their_type():
    """`type = "vonage"` and the account; nothing secret is shown (R68)."""
    written = {"type": "vonage", "api_key": "ab12", "api_secret": "hunter2", "sender": "Shop"}

    read = msgspec.convert(written, Provider, dec_hook=lambda kind, value: kind(value))

    assert [] == read.find_errors()
    assert "hunter2" not in repr(read)

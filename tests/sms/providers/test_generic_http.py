"""The requests of the generic HTTP provider, its reading of replies, and the settings it refuses."""

import logging

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply
from otp_service.sms.provider_settings import BasicAuth
from otp_service.sms.providers import Provider
from otp_service.sms.providers.generic_http import Acceptance, GenericHttp
from otp_service.sms.router import ProviderDependencies


FIELDS = {"to": "{to}", "text": "{text}"}
EVIL = "864209\r\nX-Evil: 1\r\n\r\n&api_key=stolen#/../{to}\"'\\ä€\N{GRINNING FACE}\0"


def settings(**more):
    """The fewest settings that do something."""
    return GenericHttp(**{"url": "https://sms.example/send", "fields": FIELDS} | more)


def reply(status, body=b"", **headers):
    """A reply, as the runner gives it."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, content)


def test_json_nests_by_dotted_names(message):
    """Names with dots are objects, numbers in them are places in lists, types are kept."""
    http = settings(
        fields={
            "messages.0.to.0": "{to}",
            "messages.0.content.text": "{text}",
            "messages.0.from": "{from}",
            "messages.1.ref": "{reference}",
            "ttl": "{valid_seconds}",
            "minutes": "valid for {valid_minutes} min",
            "flash": False,
            "digits": "{to_digits}",
        },
        sender="Example",
        secret_fields={"auth.key": Secret("hunter2")},
    )

    request = http.build_request(message)

    assert [] == http.find_errors()
    assert {
        "messages": [
            {"to": ["+447400123456"], "content": {"text": message.text}, "from": "Example"},
            {"ref": "ref-3f9"},
        ],
        "ttl": 290,
        "minutes": "valid for 4 min",
        "flash": False,
        "digits": "447400123456",
        "auth": {"key": "hunter2"},
    } == msgspec.json.decode(request.body)
    assert ("content-type", "application/json") in request.headers


def test_form_is_encoded(message):
    """Pairs in their order, `true` and `false` for booleans, `+` for spaces."""
    http = settings(
        body="form",
        fields={"To": "{to}", "Body.text": "{text}", "N": "{valid_seconds}", "Flash": True},
        secret_fields={"password": Secret("a&b")},
    )

    request = http.build_request(message)

    assert (
        b"To=%2B447400123456&Body.text=864209+is+your+Example+code.&N=290&Flash=true&password=a%26b"
    ) == request.body
    assert ("content-type", "application/x-www-form-urlencoded") in request.headers


@pytest.mark.parametrize("body", ["json", "form"])
def test_field_without_a_sender_is_left_out(message, body):
    """The tenant's sender goes before the provider's; with neither, there is no field."""
    http = settings(body=body, fields={**FIELDS, "from": "{from}"})
    tenants = msgspec.structs.replace(message, sender="Shop")

    assert b"from" not in http.build_request(message).body
    assert b"Shop" in http.build_request(tenants).body
    assert b"Shop" in msgspec.structs.replace(http, sender="Other").build_request(tenants).body


@pytest.mark.parametrize("body", ["json", "form"])
async def test_values_stay_in_the_encoded_body(gateway, transport, message, body):
    """Whatever a message holds, address and headers are those of the settings (R43)."""
    http = settings(
        url=gateway.url,
        body=body,
        fields={"to": "{to}", "text": "{text}", "from": "{from}", "ref": "our {reference}"},
        basic=BasicAuth("user", Secret("hunter2")),
    )
    evil = msgspec.structs.replace(message, text=EVIL, sender=EVIL, reference=EVIL)

    await HttpProvider("acme", http, transport).send(message)
    await HttpProvider("acme", http, transport).send(evil)

    before, after = gateway.requests
    assert (before.method, before.target) == (after.method, after.target)
    assert before.headers.keys() == after.headers.keys()
    expected = {"to": "+447400123456", "text": EVIL, "from": EVIL, "ref": f"our {EVIL}"}
    assert expected == (after.json if body == "json" else dict(after.form))


def test_headers_are_written_once(message):
    """Those of the settings, and basic credentials encoded (RFC 7617)."""
    http = settings(
        headers={"X-Version": "2"},
        secret_headers={"X-Key": Secret("hunter2")},
        basic=BasicAuth("Aladdin", Secret("open sesame")),
    )

    assert {
        "content-type": "application/json",
        "x-version": "2",
        "x-key": "hunter2",
        "authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
    } == dict(http.build_request(message).headers)


def test_without_message_id_every_2xx_is_accepted():
    """Some gateways give no name for a message."""
    assert Accepted() == settings().interpret_reply(reply(202, b"0: Accepted for delivery"))


@pytest.mark.parametrize(
    ("place", "body"),
    [
        ("id", {"id": "m-1"}),
        ("messages.1.id", {"messages": [{}, {"id": "m-1"}]}),
        ("0.id", [{"id": "m-1"}]),
        ("header:X-Message-Id", b"ok"),
    ],
)
def test_message_id_is_found(place, body):
    """By a path into the JSON, or in a header."""
    answered = reply(200, body, x_message_id="m-1")

    assert Accepted("m-1") == settings(message_id=place).interpret_reply(answered)


@pytest.mark.parametrize(
    "body", [{"id": None}, {"id": {}}, {"id": ""}, {"id": ["m-1"]}, ["m-1"], b"m-1", {"": "m-1"}]
)
def test_message_id_that_is_none_is_unknown(body):
    """Only a plain value in its place counts."""
    found = settings(message_id="id").interpret_reply(reply(200, body))

    assert Refused(Fault.UNKNOWN, "no-message-id") == found


@pytest.mark.parametrize("value", [True, "true"])
def test_accepted_by_a_value(value):
    """Numbers, booleans and strings are compared as they are written in JSON."""
    http = settings(accepted=Acceptance(path="ok", values=frozenset({"true"})), code="code")

    assert Accepted() == http.interpret_reply(reply(200, {"ok": value}))
    assert Refused(Fault.PROVIDER, "12") == http.interpret_reply(
        reply(200, {"ok": False, "code": 12})
    )
    assert Refused(Fault.PROVIDER, "false") == http.interpret_reply(reply(200, {"ok": False}))
    assert Refused(Fault.UNKNOWN, "http-200") == http.interpret_reply(reply(200, {"ok": None}))
    assert Refused(Fault.UNKNOWN, "http-200") == http.interpret_reply(reply(200, {}))


def test_accepted_by_status():
    """With statuses of its own, another 2xx is not what it should be."""
    http = settings(accepted=Acceptance(statuses=frozenset({202})))

    assert Accepted() == http.interpret_reply(reply(202))
    assert Refused(Fault.UNKNOWN, "http-200") == http.interpret_reply(reply(200))


def test_table_of_statuses():
    """A status can be given a fault, which a code goes before."""
    http = settings(
        code="code", provider_codes=frozenset({5}), statuses={410: "recipient", 500: "provider"}
    )
    http = msgspec.convert(msgspec.to_builtins(http), GenericHttp)

    assert Refused(Fault.RECIPIENT, "http-410") == http.interpret_reply(reply(410))
    assert Refused(Fault.RECIPIENT, "77") == http.interpret_reply(reply(410, {"code": 77}))
    assert Refused(Fault.PROVIDER, "5") == http.interpret_reply(reply(410, {"code": "5"}))
    assert Refused(Fault.PROVIDER, "http-500") == http.interpret_reply(reply(500))


def test_later_with_a_time_was_not_sent():
    """A 503 with Retry-After is throttling; without, it may have been sent (R88)."""
    assert Refused(
        Fault.PROVIDER, "http-503", 9, RefusalScope.THROTTLED
    ) == settings().interpret_reply(reply(503, retry_after="9"))
    assert Refused(Fault.UNKNOWN, "http-503") == settings().interpret_reply(reply(503))


SECRET_HEADER = {"secret_headers": {"Authorization": Secret("Bearer hunter2")}}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": "http://sms.example/send"}, "url"),
        ({"url": "https://sms.example/send?to={to}"}, "url"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({"headers": {"Authorization": "hunter2"}}, "headers.Authorization"),
        ({"secret_headers": {"X-A": Secret("hunter2\n")}}, "secret_headers.X-A"),
        (
            SECRET_HEADER | {"basic": BasicAuth("user", Secret("hunter2"))},
            "secret_headers.Authorization",
        ),
        ({"headers": {"x-a": "1"}, "secret_headers": {"X-A": Secret("a")}}, "secret_headers.X-A"),
        ({"basic": BasicAuth("us:er", Secret("hunter2"))}, "basic.username"),
        ({"fields": {**FIELDS, "x": "{password}"}}, "fields.x"),
        ({"fields": {**FIELDS, "x": "{}"}}, "fields.x"),
        ({"fields": {**FIELDS, "x": "{text.__class__}"}}, "fields.x"),
        ({"fields": {**FIELDS, "x": "{{to}}"}}, "fields.x"),
        ({"fields": {**FIELDS, "x": "{to"}}, "fields.x"),
        ({"fields": {"text": "{text}"}}, "fields"),
        ({"fields": {"to": "{to}"}}, "fields"),
        ({"fields": {**FIELDS, "to.number": "1"}}, "fields"),
        ({"fields": {**FIELDS, "a..b": "1"}}, "fields"),
        ({"fields": {**FIELDS, "": "1"}}, "fields"),
        ({"fields": {**FIELDS, "a.1": "1"}}, "fields"),
        ({"fields": {**FIELDS, "a.0": "1", "a.b": "1"}}, "fields"),
        ({"fields": {**FIELDS, "a.0": "1", "a.00": "1"}}, "fields"),
        ({"secret_fields": {"to": Secret("hunter2")}}, "secret_fields"),
        ({"recipient_codes": frozenset({1})}, "code"),
        (
            {"code": "c", "recipient_codes": frozenset({1}), "provider_codes": frozenset({"1"})},
            "recipient_codes",
        ),
        ({"accepted": Acceptance(path="ok")}, "accepted"),
        ({"accepted": Acceptance(values=frozenset({"ok"}))}, "accepted"),
        ({"accepted": Acceptance(statuses=frozenset({302}))}, "accepted.statuses"),
        ({"statuses": {302: Fault.PROVIDER}}, "statuses"),
        (
            {
                "statuses": {202: Fault.PROVIDER},
                "accepted": Acceptance(statuses=frozenset({202})),
            },
            "statuses",
        ),
    ],
)
def test_settings_that_are_refused(more, field):
    """Each says which field, and what to do, without the value (R68)."""
    found = settings(**more).find_errors()

    assert field in [name for name, _ in found]
    assert "hunter2" not in str(found)


def test_good_settings_have_no_faults():
    """The examples of the README are valid."""
    assert [] == settings(**SECRET_HEADER).find_errors()


async def test_settings_are_read_by_their_type(gateway, transport, message):
    """The tag picks the provider, secrets come through the hook, unknown fields are refused."""
    written = {
        "type": "http",
        "url": gateway.url,
        "fields": FIELDS,
        "secret_headers": {"Authorization": "Bearer hunter2"},
        "recipient_codes": [1, "two"],
        "code": "code",
        "statuses": {"404": "recipient"},
    }

    def read(value):
        return msgspec.convert(
            value, Provider, str_keys=True, dec_hook=lambda kind, value: kind(value)
        )

    http = read(written)
    sender = http.build_provider("acme", ProviderDependencies(transport, now=lambda: 0))

    assert "acme" == sender.name
    assert Accepted() == await sender.send(message)
    assert "bearer hunter2" == gateway.requests[0].headers["authorization"]
    with pytest.raises(msgspec.ValidationError, match="recipient_code"):
        read(written | {"recipient_code": [1]})
    with pytest.raises(msgspec.ValidationError, match="read_timeout"):
        read(written | {"read_timeout": 0})


async def test_secrets_are_not_shown(gateway, transport, message, caplog):
    """They are in no `repr` and in no log at DEBUG, even after use (R68)."""
    caplog.set_level(logging.DEBUG)
    http = settings(
        url=gateway.url,
        secret_headers={"X-Key": Secret("hunter2")},
        secret_fields={"key": Secret("hunter3")},
        basic=BasicAuth("user", Secret("hunter4")),
    )
    provider = HttpProvider("acme", http, transport)

    await provider.send(message)
    gateway.set_reply(500, b"hunter2 hunter3 864209 +447400123456")
    await provider.send(message)

    shown = f"{http!r} {http} {list(http.__rich_repr__())} {provider!r} {caplog.text}"
    for canary in ("hunter", "864209", "7400123456", "Bearer", "Basic "):
        assert canary not in shown.replace("Basic(username", "")

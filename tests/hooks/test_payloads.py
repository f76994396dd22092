"""What is read of each product's request, and what is refused with an explanation."""

import json
from typing import Any

import msgspec
import pytest

from otp_service.core.errors import InvalidRequest
from otp_service.hooks import HookDelivery, HookSettings
from tests.hooks.products import (
    NUMBER,
    PRODUCTS,
    Product,
    build_request,
    create_generic,
    create_supabase,
    read_request,
)


each_product = pytest.mark.parametrize("product", PRODUCTS.values(), ids=list(PRODUCTS))


def parse(hook: HookSettings, body: bytes | dict[str, Any]) -> HookDelivery:
    """Return what a request asks to send."""
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return hook.parse_delivery(build_request(encoded, {}))


def find_errors(hook: HookSettings, body: bytes | dict[str, Any]) -> str:
    """Return the errors of a request as text."""
    with pytest.raises(InvalidRequest) as caught:
        parse(hook, body)
    return "; ".join(f"{path} {message}" for path, message in caught.value.errors)


@each_product
def test_a_real_request_is_read(product: Product) -> None:
    """The number, the code, and what else the limits and the language need."""
    delivery = parse(product.hook, read_request(product.request))

    read = {name: getattr(delivery, name) for name in HookDelivery.__struct_fields__}
    del read["identity"]
    assert {"locale": None, "client_ip": None, "account": None, **product.sent} == read


@pytest.mark.parametrize(
    ("request_name", "number"),
    [
        ("supabase_login", NUMBER),
        ("supabase_login_2024", NUMBER),
        ("supabase_number_change", "+447700900456"),
        ("supabase_second_factor", "+447700900789"),
    ],
)
def test_supabase_numbers_get_their_plus(request_name: str, number: str) -> None:
    """`sms.phone` is where the code goes: the new number, or that of the second factor."""
    assert number == parse(create_supabase(), read_request(request_name)).phone_number


@pytest.mark.parametrize(
    "request_name", ["supabase_number_change_2024", "supabase_second_factor_2024"]
)
def test_an_uncertain_number_is_refused(request_name: str) -> None:
    """Before Auth 2.180, `user.phone` was the old number: its owner would get the code."""
    errors = find_errors(create_supabase(), read_request(request_name))

    assert errors.startswith("sms.phone is missing")
    assert "2.180" in errors


def test_supabase_addresses_can_be_left_out() -> None:
    """Behind a proxy that hides the person's, all logins would share one limit."""
    hook = create_supabase(client_ip=False)

    assert parse(hook, read_request("supabase_login")).client_ip is None
    assert {"account"} == hook.provided_members


def test_zitadel_has_two_names_for_a_code() -> None:
    """`oTP` for a login, `code` otherwise. Two that differ are no code."""
    hook = PRODUCTS["zitadel"].hook
    body = json.loads(read_request("zitadel_number"))

    assert "W50XNG" == parse(hook, body).code
    assert "W50XNG" == parse(hook, body | {"args": {"code": "W50XNG", "oTP": "W50XNG"}}).code
    errors = find_errors(hook, body | {"args": {"code": "W50XNG", "oTP": "64883313"}})
    assert "args.code differs from args.oTP" == errors


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("supabase", "sms.otp"),
        ("zitadel", "args.oTP"),
        ("authgear", "template_variables.code"),
        ("logto", "payload.code"),
        ("fusionauth", "code"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_no_text_of_others_is_sent(name: str, path: str, value: str | None) -> None:
    """A request that has only a text is refused, and the reason says why: it would be an open relay."""
    product = PRODUCTS[name]
    body = json.loads(read_request(product.request))
    parent, _, last = path.rpartition(".")
    (body[parent] if parent else body)[last] = value

    errors = find_errors(product.hook, body)

    assert "is missing: this service writes the message itself" in errors


@each_product
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"text"',
        b"{",
        b"\xff{}",
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"a": {"b": 1, "b": 2}}',
    ],
    ids=["empty", "array", "text", "cut", "bytes", "NaN", "deep", "repeated name"],
)
def test_only_one_json_object_is_read(product: Product, body: bytes) -> None:
    """A repeated name is refused at any depth: another parser would read the other value."""
    assert "body" in find_errors(product.hook, body)


@pytest.mark.parametrize("value", [447700900123, True, ["+447700900123"], {"a": 1}, "\\ud800"])
def test_a_number_is_text(value: Any) -> None:
    """The error names the path in the product's own request, and no value."""
    body = msgspec.json.encode({"code": "904412", "phone_number": value})
    body = body.replace(b"\\\\ud800", b"\\ud800")

    errors = find_errors(create_generic(), body)

    assert errors.startswith("phone_number must be text")
    assert "447700900123" not in errors


def test_a_path_may_lead_through_a_list() -> None:
    """As in the settings of an HTTP gateway."""
    hook = create_generic(phone_number="messages.0.to", code="messages.0.codes.1")

    delivery = parse(hook, {"messages": [{"to": NUMBER, "codes": ["1", "904412"]}]})

    assert (NUMBER, "904412") == (delivery.phone_number, delivery.code)
    assert "messages.0.to is missing" in find_errors(hook, {"messages": []})


@pytest.mark.parametrize("channel", ["VOICE CALL", "sms", None])
def test_a_condition_refuses_what_is_no_sms(channel: str | None) -> None:
    """Okta asks the same hook for calls, and sends them itself if the hook refuses."""
    product = PRODUCTS["okta"]
    body = json.loads(read_request("okta"))
    body["data"]["messageProfile"]["deliveryChannel"] = channel

    assert "data.messageProfile.deliveryChannel is not" in find_errors(product.hook, body)


def test_a_repeat_is_known_by_what_it_asks_to_send() -> None:
    """Supabase has the same user, number and code; another of them is another message."""
    hook = create_supabase()
    body = json.loads(read_request("supabase_login"))
    first = parse(hook, body).identity

    repeat = body | {"metadata": {"uuid": "another", "time": "2026-11-22T12:00:04Z"}}
    assert first == parse(hook, repeat).identity
    for change in ({"user": {"id": "other"}}, {"sms": {"otp": "1234567", "phone": NUMBER[1:]}}):
        assert first != parse(hook, body | change).identity


@pytest.mark.parametrize("name", ["authgear", "kratos", "hmac", "standard-webhooks"])
def test_elsewhere_a_repeat_has_the_same_body(name: str) -> None:
    """A new id in the body, which Keycloak can add, makes it another message."""
    product = PRODUCTS[name]
    body = read_request(product.request)
    first = parse(product.hook, body).identity

    assert first == parse(product.hook, body).identity
    assert first != parse(product.hook, body.replace(b"{", b'{"id":"2",', 1)).identity

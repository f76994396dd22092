"""Which requests are from the product: every other one is refused before its body is parsed."""

import base64
import hmac
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.secret import Secret
from otp_service.core.standard_webhook import decode_webhook_secret, is_signed_webhook
from otp_service.hooks import HookSignatureError
from tests.hooks.products import (
    NOW_MS,
    OTHER_SECRET,
    PRODUCTS,
    SECRET,
    Product,
    build_request,
    create_generic,
    create_supabase,
    read_request,
    sign_authgear,
    sign_base64,
    sign_standard,
    sign_zitadel,
    to_whsec,
)


NOW_SECONDS = NOW_MS / 1000
TIMED = ("supabase", "zitadel", "standard-webhooks")
"""The products whose signature has a time."""

each_product = pytest.mark.parametrize("product", PRODUCTS.values(), ids=list(PRODUCTS))


def find_fault(product: Product, headers: Mapping[str, str], body: bytes | None = None) -> str:
    """Return why the hook refuses a request; empty if it does not."""
    given = read_request(product.request) if body is None else body
    try:
        product.hook.verify_signature(build_request(given, headers))
    except HookSignatureError as error:
        return error.reason
    return ""


@each_product
def test_the_products_own_signature_is_accepted(product: Product) -> None:
    """Those of Standard Webhooks are made by its reference library."""
    assert "" == find_fault(product, product.sign(read_request(product.request)))


@each_product
def test_a_request_without_a_signature_is_refused(product: Product) -> None:
    """R64: neither without the header nor with an empty one."""
    signed = product.sign(read_request(product.request))

    assert "missing" == find_fault(product, {})
    assert "missing" == find_fault(product, dict.fromkeys(signed, ""))


@each_product
def test_a_secret_of_another_hook_is_refused(product: Product) -> None:
    """Also if it is signed just like the right one."""
    headers = product.sign(read_request(product.request), OTHER_SECRET)

    assert find_fault(product, headers) in {"signature", "unknown"}


@pytest.mark.parametrize(
    "name",
    [each for each, product in PRODUCTS.items() if product.sign is not PRODUCTS["logto"].sign],
)
def test_a_signature_is_of_its_body_alone(name: str) -> None:
    """One changed digit of the number makes it wrong."""
    product = PRODUCTS[name]
    body = read_request(product.request)
    changed = body.replace(b"900123", b"900124")
    assert changed != body

    assert "signature" == find_fault(product, product.sign(body), changed)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(
    ("seconds", "fault"), [(-301, "expired"), (301, "expired"), (-299, ""), (299, "")]
)
def test_a_signature_is_accepted_for_five_minutes(name: str, seconds: int, fault: str) -> None:
    """Standard Webhooks and Zitadel's own library allow as much, in both directions."""
    product = PRODUCTS[name]
    headers = product.sign(read_request(product.request), at=NOW_SECONDS + seconds)

    assert fault == find_fault(product, headers)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("at", ["", "soon", "1e9", "-1", "١٧٩٥٣٤٨٨٠٠", "9" * 400])
def test_a_time_is_a_number_of_seconds(name: str, at: str) -> None:
    """There is no other reading of it, and no error of ours."""
    product = PRODUCTS[name]
    headers = product.sign(read_request(product.request))
    stamp = str(int(NOW_SECONDS))
    changed = {key: value.replace(stamp, at) for key, value in headers.items()}
    assert changed != headers

    assert find_fault(product, changed) in {"missing", "signature"}


@pytest.mark.parametrize("name", PRODUCTS)
def test_both_secrets_are_accepted_during_a_rotation(name: str) -> None:
    """The product is changed between the two changes here; a secret that is removed ends at once."""
    product = PRODUCTS[name]
    body = read_request(product.request)
    texts = {
        each: _write_secret(name, text)
        for each, text in {"old": SECRET, "new": OTHER_SECRET}.items()
    }
    both = product._replace(hook=replace(product.hook, secrets=texts))
    new = product._replace(hook=replace(product.hook, secrets={"new": texts["new"]}))

    assert ["", ""] == [
        find_fault(both, product.sign(body, secret)) for secret in (SECRET, OTHER_SECRET)
    ]
    assert "" != find_fault(new, product.sign(body, SECRET))
    assert "" == find_fault(new, product.sign(body, OTHER_SECRET))


def _write_secret(name: str, text: str) -> Secret:
    """Return the secret in the form that this product has it in."""
    if name == "supabase":
        return Secret(f"v1,{to_whsec(text)}")
    return Secret(to_whsec(text) if name == "standard-webhooks" else text)


@pytest.mark.parametrize("secrets", [(OTHER_SECRET, SECRET), (SECRET, OTHER_SECRET)])
def test_supabase_joins_signatures_with_commas(secrets: tuple[str, str]) -> None:
    """It signs with each of its own secrets, of which one is known here. The standard has a space alone."""
    product, body = PRODUCTS["supabase"], read_request("supabase_login")
    headers = sign_standard(body, *secrets)
    joined = headers["webhook-signature"]
    assert ", v1," in joined

    assert "" == find_fault(product, headers)
    assert "" == find_fault(product, headers | {"webhook-signature": joined.replace(", ", " ")})


def test_nothing_is_signed_with_an_empty_key() -> None:
    """Anyone can: a secret that is no base64 has such a key."""
    body = read_request("supabase_login")
    mac = hmac.digest(b"", f"msg_1.{int(NOW_SECONDS)}.".encode() + body, "sha256")
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW_SECONDS)),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }

    assert b"" == decode_webhook_secret("whsec_!")
    assert not is_signed_webhook(headers, body, [b""])


def test_supabase_secrets_may_be_joined_as_supabase_has_them() -> None:
    """`v1,whsec_…|v1,whsec_…` is the value of GOTRUE_HOOK_SEND_SMS_SECRETS."""
    joined = f"v1,{to_whsec(OTHER_SECRET)}|v1,{to_whsec(SECRET)}"
    hook = replace(create_supabase(), secrets={"all": Secret(joined)})
    body = read_request("supabase_login")

    hook.verify_signature(build_request(body, sign_standard(body)))
    hook.verify_signature(build_request(body, sign_standard(body, OTHER_SECRET)))


def test_an_id_with_a_full_stop_could_be_a_part_of_the_body() -> None:
    """`1.2` + `.` + `3` is `1` + `.` + `2.3`: the boundary of what is signed would move."""
    body = read_request("supabase_login")
    headers = sign_standard(body, webhook_id=f"msg_1.{int(NOW_SECONDS)}")

    assert "signature" == find_fault(PRODUCTS["supabase"], headers)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace("t=", "t=1,t="),
        lambda header: header.replace(",v1=", ",t=1,v1="),
        lambda header: header.replace("v1=", "v0="),
        lambda header: header.replace("v1=", "v1=x"),
        lambda header: header.partition(",")[0],
        lambda header: header.partition(",")[2],
        lambda header: "é" + header,
    ],
    ids=[
        "two times",
        "two times, the first signed",
        "version",
        "no digits",
        "no signature",
        "no time",
        "not ASCII",
    ],
)
def test_zitadels_header_is_read_in_one_way(change: Any) -> None:
    """With two times, the one that is signed would be unknown."""
    body = read_request("zitadel_login")
    headers = {"zitadel-signature": change(sign_zitadel(body)["ZITADEL-Signature"])}

    assert "signature" == find_fault(PRODUCTS["zitadel"], headers)


def test_zitadel_signs_with_the_old_and_the_new_key_in_a_rotation() -> None:
    """One header then has both signatures."""
    body = read_request("zitadel_login")

    assert "" == find_fault(PRODUCTS["zitadel"], sign_zitadel(body, OTHER_SECRET, SECRET))


def test_a_signature_may_name_its_function() -> None:
    """`sha256=…`, as GitHub writes it; the digits may be capitals."""
    hook = create_generic(authentication="hmac", header="x-hub-signature-256")
    body = read_request("kratos")
    (mac,) = sign_authgear(body).values()

    for text in (mac, f"sha256={mac}", f"sha256={mac.upper()}"):
        hook.verify_signature(build_request(body, {"X-Hub-Signature-256": text}))


@pytest.mark.parametrize(
    "header", ["Basic {}", "{}", "Bearer", "Bearer {}x", "Bearer {0} {0}", "Bearer {0}, Bearer {0}"]
)
def test_only_a_bearer_key_is_a_key(header: str) -> None:
    """It is compared as a whole."""
    headers = {"Authorization": header.format(SECRET)}

    assert "unknown" == find_fault(PRODUCTS["logto"], headers)


def test_nothing_is_shown_by_repr() -> None:
    """R68: a request has a code and a number, and headers have keys."""
    body = read_request("kratos")
    request = build_request(body, sign_base64(body))

    shown = f"{request!r}{request.__rich_repr__()}"
    delivery = create_generic().parse_delivery(request)

    assert "HookRequest(" in shown
    assert not any(text in shown for text in ("904412", "7700900123", "Signature"))
    assert ("HookDelivery()", []) == (repr(delivery), delivery.__rich_repr__())

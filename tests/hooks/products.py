"""Hooks of each product as it is set up, its real requests, and its own way to sign them."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import standardwebhooks

from otp_service.core.secret import Secret
from otp_service.hooks import Authgear, Generic, HookRequest, HookSettings, Supabase, Zitadel


DATA: Final = Path(__file__).parent / "data"

NOW_MS: Final = 1_795_348_800_250  # 2026-11-22T12:00:00.250Z

SECRET: Final = "worthless-secret-of-a-hook-for-tests-alone-0123456789"
OTHER_SECRET: Final = "worthless-secret-of-another-hook-0123456789abcdef"

Signer = Callable[..., dict[str, str]]


def read_request(name: str) -> bytes:
    """Return the body of a real request."""
    return (DATA / f"{name}.json").read_bytes().rstrip(b"\n")


def to_whsec(secret: str) -> str:
    """Return the secret as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secret.encode()).decode()}"


def sign_standard(
    body: bytes, *secrets: str, at: float = NOW_MS / 1000, webhook_id: str = "msg_1"
) -> dict[str, str]:
    """Sign as Supabase does: each secret with the reference library, joined with a comma."""
    signatures = [
        standardwebhooks.Webhook(to_whsec(secret)).sign(
            webhook_id, datetime.fromtimestamp(at, UTC), body.decode()
        )
        for secret in secrets or (SECRET,)
    ]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": ", ".join(signatures),
    }


def sign_zitadel(body: bytes, *secrets: str, at: float = NOW_MS / 1000) -> dict[str, str]:
    """Sign as `ComputeSignatureHeader` of zitadel/pkg/actions does."""
    signed = f"{int(at)}.".encode() + body
    macs = [
        hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        for secret in secrets or (SECRET,)
    ]
    return {"ZITADEL-Signature": ",".join([f"t={int(at)}", *(f"v1={mac}" for mac in macs)])}


def sign_authgear(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Sign as `PrepareRequest` of authgear-server/pkg/lib/hook does."""
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-authgear-body-signature": mac}


def sign_base64(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Sign with base64 in a header that is configured."""
    mac = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return {"X-Signature": base64.b64encode(mac).decode()}


def send_key(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Send a key with the body, which it does not sign."""
    assert body
    return {"Authorization": f"Bearer {secret}"}


class Product(NamedTuple):
    """A product: its hook, one of its requests, and what that asks to send."""

    hook: HookSettings
    request: str
    sign: Signer
    sent: Mapping[str, Any]


def create_generic(**changes: Any) -> Generic:
    """Return a generic hook with the names of POST /v1/deliveries as its paths."""
    fields: dict[str, Any] = {
        "tenant": "shop",
        "secrets": {"first": Secret(SECRET)},
        "phone_number": "phone_number",
        "code": "code",
    }
    return Generic(**(fields | changes))


def create_supabase(*secrets: str, **changes: Any) -> Supabase:
    """Return a Supabase hook with these secrets, each under a name of its own."""
    given = {f"s{i}": Secret(f"v1,{to_whsec(s)}") for i, s in enumerate(secrets or (SECRET,))}
    return Supabase(tenant="shop", secrets=given, **changes)


NUMBER: Final = "+447700900123"
ONE_SECRET: Final = {"first": Secret(SECRET)}
SUPABASE_USER: Final = "0b0ff8a1-6a24-4d63-8d0f-6f1a8c4b7e55"
OKTA_ANSWER: Final = (
    '{"commands": [{"type": "com.okta.telephony.action", "value":'
    ' [{"status": "SUCCESSFUL", "provider": "otp-service"}]}]}'
)

PRODUCTS: Final[Mapping[str, Product]] = {
    "supabase": Product(
        create_supabase(),
        "supabase_login",
        sign_standard,
        {
            "phone_number": NUMBER,
            "code": "561166",
            "account": SUPABASE_USER,
            "client_ip": "203.0.113.9",
        },
    ),
    "zitadel": Product(
        Zitadel(tenant="shop", secrets=ONE_SECRET),
        "zitadel_login",
        sign_zitadel,
        {"phone_number": NUMBER, "code": "64883313"},
    ),
    "authgear": Product(
        Authgear(tenant="shop", secrets=ONE_SECRET),
        "authgear",
        sign_authgear,
        {"phone_number": NUMBER, "code": "205177", "locale": "en"},
    ),
    "logto": Product(
        create_generic(
            phone_number="to", code="payload.code", locale="payload.locale", client_ip="ip"
        ),
        "logto",
        send_key,
        {"phone_number": NUMBER, "code": "358021", "locale": "en-GB", "client_ip": "203.0.113.9"},
    ),
    "kratos": Product(
        create_generic(), "kratos", send_key, {"phone_number": NUMBER, "code": "904412"}
    ),
    "keycloak": Product(
        create_generic(), "keycloak", send_key, {"phone_number": NUMBER, "code": "617203"}
    ),
    "fusionauth": Product(
        create_generic(phone_number="phoneNumber", account="userId"),
        "fusionauth",
        send_key,
        {
            "phone_number": NUMBER,
            "code": "012345",
            "account": "00000000-0000-0000-0000-000000000042",
        },
    ),
    "auth0": Product(
        create_generic(locale="locale", account="account", client_ip="client_ip"),
        "auth0",
        send_key,
        {
            "phone_number": NUMBER,
            "code": "450918",
            "locale": "en-US",
            "account": "auth0|63f5a1b2c3d4e5f607182930",
            "client_ip": "203.0.113.9",
        },
    ),
    "okta": Product(
        create_generic(
            phone_number="data.messageProfile.phoneNumber",
            code="data.messageProfile.otpCode",
            locale="data.messageProfile.locale",
            account="data.userProfile.userId",
            client_ip="data.context.request.ipAddress",
            conditions={"data.messageProfile.deliveryChannel": "SMS"},
            success_status=200,
            success_body=OKTA_ANSWER,
        ),
        "okta",
        send_key,
        {
            "phone_number": NUMBER,
            "code": "811200",
            "locale": "EN-US",
            "account": "00uyxxSknGtK8022w0g3",
            "client_ip": "203.0.113.9",
        },
    ),
    "hmac": Product(
        create_generic(authentication="hmac", header="X-Signature", encoding="base64"),
        "kratos",
        sign_base64,
        {"phone_number": NUMBER, "code": "904412"},
    ),
    "standard-webhooks": Product(
        create_generic(
            authentication="standard-webhooks", secrets={"first": Secret(to_whsec(SECRET))}
        ),
        "kratos",
        sign_standard,
        {"phone_number": NUMBER, "code": "904412"},
    ),
}


def build_request(body: bytes, headers: Mapping[str, str], at: int = NOW_MS) -> HookRequest:
    """Return a request as the API hands it to a hook."""
    return HookRequest({name.lower(): value for name, value in headers.items()}, body, at)

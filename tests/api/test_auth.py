"""API keys, their scopes, and the caller that the use cases receive."""

import re

import httpx
import pytest

from otp_service.api import openapi
from tests.api.fakes import (
    CHALLENGE_ID,
    DELIVERY_ID,
    KEY_SCOPES,
    ApiHarness,
    build_auth_header,
    to_plain_key,
)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ONE = f"/v1/challenges/{CHALLENGE_ID}"

ROUTES = {
    ("POST", "/v1/challenges"): {"shop"},
    ("GET", ONE): {"shop"},
    ("DELETE", ONE): {"shop"},
    ("POST", f"{ONE}/verify"): {"shop"},
    ("POST", f"{ONE}/resend"): {"shop"},
    ("POST", "/v1/deliveries"): {"deliverer"},
    ("GET", f"/v1/deliveries/{DELIVERY_ID}"): {"deliverer"},
    ("POST", "/v1/numbers/unlock"): {"operator"},
    ("POST", "/v1/accounts/unlock"): {"operator"},
    ("POST", "/v1/authenticators"): {"shop"},
    ("POST", "/v1/authenticators/confirm"): {"shop"},
    ("POST", "/v1/authenticators/verify"): {"shop"},
    ("POST", "/v1/recovery-codes"): {"shop"},
    ("POST", "/v1/recovery-codes/verify"): {"shop"},
    ("GET", "/v1/audit/events"): {"shop-audit", "security"},
    ("POST", "/v1/audit/search"): {"shop-audit", "security"},
}


@pytest.mark.parametrize("key", KEY_SCOPES)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_opens_what_it_has_a_scope_for(api: ApiHarness, method, path, key) -> None:
    """R55: every key is tried at every endpoint; an expired one is refused."""
    response = await api.call_public(method, path, key=key)

    expected = 401 if key == "expired" else 403
    if key in ROUTES[method, path]:
        assert response.status_code not in {401, 403}
    else:
        assert expected == response.status_code
        assert [] == api.service.calls


def test_the_table_holds_every_route() -> None:
    """R55: a new endpoint needs a row."""
    ids = {"challenge_id": CHALLENGE_ID, "delivery_id": DELIVERY_ID}
    documented = {
        (method.upper(), path.format_map(ids))
        for path, methods in openapi.build_document()["paths"].items()
        for method in methods
        # Routes of providers and identity products need no key.
        if path.startswith("/v1/") and not {"{provider}", "{hook}"} & {*path.split("/")}
    }

    assert documented == ROUTES.keys()


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "Bearer",
            "Bearer ",
            f"Basic {to_plain_key('shop')}",
            to_plain_key("shop"),
            f"Bearer {to_plain_key('x')}",
        ),
        *(
            f"Bearer {to_plain_key('shop')} x",
            f"Bearer {to_plain_key('shop')},",
            f"Token {to_plain_key('shop')}",
        ),
        *(
            f"Bearer {to_plain_key('shop')[:-1]}",
            f"Bearer {to_plain_key('shop').upper()}",
            "Bearer \u00e4",
        ),
    ],
)
async def test_whatever_is_no_key_is_401(api: ApiHarness, value) -> None:
    """R55: all refusals are the same."""
    headers = {"Authorization": value.encode("latin-1")}

    response = await api.call_public("GET", ONE, key="", headers=headers)

    assert 401 == response.status_code
    assert "/problems/unauthenticated" == response.json()["type"]


async def test_two_keys_are_none(api: ApiHarness) -> None:
    """R55: a proxy in front might have checked the other one."""
    headers = httpx.Headers(
        [*build_auth_header("shop").items(), *build_auth_header("operator").items()]
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.public)) as client:
        response = await client.get(f"http://localhost{ONE}", headers=headers)

    assert 401 == response.status_code


async def test_the_scheme_is_no_matter_of_case(api: ApiHarness) -> None:
    """RFC 9110, 11.1."""
    headers = {"Authorization": f"bEARER {to_plain_key('shop')}"}

    assert 200 == (await api.call_public("GET", ONE, key="", headers=headers)).status_code


async def test_refusals_are_counted_by_reason(api: ApiHarness) -> None:
    """R66: the audit log gets one event a minute for them, not one for each request."""
    await api.call_public("GET", ONE, key="")
    await api.call_public("GET", ONE, key="nobody")
    await api.call_public("GET", ONE, key="expired")
    await api.call_public("GET", ONE, key="operator")
    await api.call_public("GET", ONE)

    assert ["missing", "unknown", "expired", "scope"] == api.denied


async def test_the_service_is_told_who_calls(api: ApiHarness) -> None:
    """R66: tenant and key come from the key, the request id is new, the trace is the caller's."""
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}

    await api.call_public("GET", ONE, headers=headers)

    _, caller, _ = api.service.calls[0]
    assert ("shop", "shop", TRACE) == (caller.tenant.name, caller.key_id, caller.trace_id)
    assert re.fullmatch("[0-9a-f]{32}", caller.request_id)
    assert caller.request_id == api.request_summaries[0].request


async def test_every_request_has_a_name_of_its_own(api: ApiHarness) -> None:
    """R66: the request id connects a log line with its events."""
    for _ in range(20):
        await api.call_public("GET", ONE)

    assert 20 == len({caller.request_id for _, caller, _ in api.service.calls})


@pytest.mark.parametrize(
    ("sent", "trace"),
    [
        (f"00-{TRACE}-{PARENT}-00", TRACE),
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"cc-{TRACE}-{PARENT}-01-what-will-be", TRACE),
        (f"cc-{TRACE}-{PARENT}-01", TRACE),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"cc-{TRACE}-{PARENT}-01.more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[:-1]}-{PARENT}-01", None),
        (f"00-{TRACE[:-1]}g-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}-1", None),
        (f"00-{TRACE}-{PARENT}-01" * 6, None),
        ("", None),
    ],
)
async def test_a_traceparent_is_valid_or_as_good_as_none(api: ApiHarness, sent, trace) -> None:
    """R59: W3C Trace Context, 3.2.2; an invalid one is ignored as a whole, and not refused."""
    response = await api.call_public("GET", ONE, headers={"traceparent": sent})

    assert 200 == response.status_code
    assert trace == api.service.calls[0][1].trace_id


async def test_a_repeated_traceparent_is_none(api: ApiHarness) -> None:
    """R59: it is unknown which one counts."""
    name = f"00-{TRACE}-{PARENT}-01"
    headers = [*build_auth_header("shop").items(), ("traceparent", name), ("traceparent", name)]

    await api.call_public("GET", ONE, headers=headers)

    assert None is api.service.calls[0][1].trace_id


async def test_forwarded_addresses_are_not_looked_at(api: ApiHarness) -> None:
    """R56: the person's address is a field of the body, from the authenticated caller."""
    headers = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}

    await api.call_public(
        "POST", "/v1/challenges", json={"phone_number": "+447400123456"}, headers=headers
    )

    assert None is api.service.calls[0][2].client_ip

"""The calls about deliveries: what the service receives, and how its answer is presented."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import DeliveryFailed
from otp_service.core.tenant import CODE_RULE
from otp_service.schemas import DeliveryRequest
from tests.api.fakes import CHALLENGE, CHALLENGE_ID, DELIVERY_ID, NOW_MS, ApiHarness
from tests.api.test_challenges import VIEW as CHALLENGE_VIEW


ONE = f"/v1/deliveries/{DELIVERY_ID}"
LEAST = {"phone_number": "+447400123456", "code": "471093"}
VIEW = {
    "id": DELIVERY_ID,
    "phone_number": "+44********56",
    "purpose": "login",
    "account": "u-81",
    "created_at": "2026-11-22T12:00:00.250Z",
    "delivery": CHALLENGE_VIEW["delivery"],
}

# Each row has all errors of the rows below it, and one more.
ROWS = [
    (401, "unauthenticated", "", "/v1/deliveries/nothing", b"x" * 20_000, {}),
    (403, "forbidden", "shop", "/v1/deliveries/nothing", b"x" * 20_000, {}),
    (413, "content-too-large", "deliverer", "/v1/deliveries/nothing", b"x" * 20_000, {}),
    (415, "unsupported-media-type", "deliverer", "/v1/deliveries/nothing", b"x", {}),
    (
        *(400, "invalid-request", "deliverer", "/v1/deliveries/nothing", b"x"),
        {"Content-Type": "application/json"},
    ),
    (404, "not-found", "deliverer", "/v1/deliveries/nothing", b"", {}),
]


@pytest.fixture(autouse=True)
def _answer_with_a_delivery(api: ApiHarness) -> None:
    api.service.snapshot = ChallengeSnapshot(NOW_MS, replace(CHALLENGE, id=DELIVERY_ID), None)


async def send(api: ApiHarness, body: dict, **headers: str):
    return await api.call_public(
        "POST", "/v1/deliveries", key="deliverer", json=body, headers=headers
    )


async def test_a_delivery_is_201_and_says_where_it_is(api: ApiHarness) -> None:
    """The contract's table: Location and the view, which has no attempts and no code."""
    ask: dict[str, Any] = LEAST | {"purpose": "payment", "account": "u-81", "locale": "en-GB"}
    ask |= {"client_ip": "203.0.113.9", "valid_minutes": 60}

    response = await send(api, ask, **{"Idempotency-Key": "k"})

    assert 201 == response.status_code
    assert ONE == response.headers["location"]
    assert VIEW == response.json()
    (call,) = api.service.calls
    assert ("deliver", DeliveryRequest(**ask), "k") == (call[0], *call[2:])


async def test_number_and_code_are_required_and_nulls_are_absent(api: ApiHarness) -> None:
    """The defaults: `login`, and five minutes."""
    await send(api, LEAST | {"purpose": None, "valid_minutes": None, "account": None})

    assert (
        DeliveryRequest("+447400123456", "471093", "login", valid_minutes=5)
        == (api.service.calls[0][2])
    )


async def test_a_delivery_can_be_read(api: ApiHarness) -> None:
    """The same view as at first, with what receipts have changed."""
    response = await api.call_public("GET", ONE, key="deliverer")

    assert 200 == response.status_code
    assert VIEW == response.json()
    assert ("get_delivery", DELIVERY_ID) == (api.service.calls[0][0], *api.service.calls[0][2:])


@pytest.mark.parametrize(
    "code",
    [471093, None, ["471093"], "", "471", "47109348571", "47 109", "47-109", "4711\n", "٤٧١٠"],
)
async def test_a_code_is_checked_with_the_other_members(api: ApiHarness, code) -> None:
    """It is no attempt of a person, which is `malformed-code` after 404: the caller's program is wrong."""
    response = await send(api, {"code": code, "valid_minutes": 61, "text": "Hello"})

    assert 400 == response.status_code
    assert "/problems/invalid-request" == response.json()["type"]
    errors = [(error["path"], error["message"]) for error in response.json()["errors"]]
    assert [
        ("phone_number", "is missing"),
        ("code", CODE_RULE if isinstance(code, str) else errors[1][1]),
        ("valid_minutes", "must be a whole number from 1 to 60"),
        ("text", "is not a field of this request"),
    ] == errors
    assert [] == api.service.calls


@pytest.mark.parametrize("code", ["ABCDEF", "123456789"])
async def test_a_code_that_only_other_tenants_may_send_is_checked_with_them(
    api: ApiHarness, code: str
) -> None:
    """The tenant's `delivery_letters` decides; before, the caller met this error only after the others."""
    response = await send(api, LEAST | {"code": code, "valid_minutes": 61})

    errors = [(error["path"], error["message"]) for error in response.json()["errors"]]
    assert [("valid_minutes", "must be a whole number from 1 to 60"), ("code", CODE_RULE)] == errors


@pytest.mark.parametrize("minutes", [0, 61, -5, 2.5, "5", True])
async def test_the_minutes_are_one_to_sixty(api: ApiHarness, minutes) -> None:
    """A whole number: the message states it."""
    response = await send(api, LEAST | {"valid_minutes": minutes})

    assert 400 == response.status_code
    assert ["valid_minutes"] == [error["path"] for error in response.json()["errors"]]


@pytest.mark.parametrize(("status", "slug", "key", "path", "body", "headers"), ROWS)
async def test_of_several_faults_the_first_is_reported(  # noqa: PLR0913, PLR0917
    api: ApiHarness, status, slug, key, path, body, headers
) -> None:
    """The contract's order: the key, the scope, the body, the id."""
    response = await api.call_public("GET", path, key=key, content=body, headers=headers)

    assert (status, f"/problems/{slug}") == (response.status_code, response.json()["type"])
    assert [] == api.service.calls


async def test_a_key_of_deliveries_has_no_challenges_and_the_reverse(api: ApiHarness) -> None:
    """A product that only sends its codes can issue and verify none."""
    calls = (
        ("shop", "POST", "/v1/deliveries"),
        ("shop", "GET", ONE),
        ("deliverer", "POST", "/v1/challenges"),
        ("deliverer", "GET", f"/v1/challenges/{CHALLENGE_ID}"),
        ("deliverer", "POST", f"/v1/challenges/{CHALLENGE_ID}/verify"),
    )

    for key, method, path in calls:
        response = await api.call_public(method, path, key=key, json=LEAST)
        assert (403, "/problems/forbidden") == (response.status_code, response.json()["type"]), path
    assert [] == api.service.calls


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/resend", {}),
        ("POST", "/verify", {"code": "471093"}),
    ],
)
async def test_the_id_of_a_delivery_is_404_on_every_challenge_call(
    api: ApiHarness, method, path, body
) -> None:
    """Before the service is called: there is nothing to verify."""
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if content else {}
    path = f"/v1/challenges/{DELIVERY_ID}{path}"

    response = await api.call_public(method, path, content=content, headers=headers)

    assert 404 == response.status_code
    assert "/problems/challenge-not-found" == response.json()["type"]
    assert [] == api.service.calls


@pytest.mark.parametrize("id_", [CHALLENGE_ID, "d07", f"{DELIVERY_ID}0", f"d64{DELIVERY_ID[3:]}"])
async def test_every_other_id_is_404_on_a_delivery_call(api: ApiHarness, id_: str) -> None:
    """That of a challenge too."""
    response = await api.call_public("GET", f"/v1/deliveries/{id_}", key="deliverer")

    assert (404, "/problems/not-found") == (response.status_code, response.json()["type"])
    assert "no such delivery" in response.json()["detail"]
    assert [] == api.service.calls


async def test_a_failed_delivery_names_itself(api: ApiHarness) -> None:
    """502, so that GET shows which provider refused, and why."""
    api.service.error = DeliveryFailed(DELIVERY_ID)

    response = await send(api, LEAST)

    assert 502 == response.status_code
    assert DELIVERY_ID == response.json()["id"]


async def test_a_request_shows_neither_code_nor_number() -> None:
    """R68: its repr is in tracebacks."""
    request = DeliveryRequest("+447400123456", "471093")

    assert "4" not in repr(request)
    assert [] == request.__rich_repr__()

"""The calls about challenges: what the service receives, and how its answer is presented."""

import msgspec
import pytest
from msgspec.structs import replace

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot
from otp_service.schemas import IssueRequest, VerifyRequest
from tests.api.fakes import CHALLENGE, CHALLENGE_ID, NOW_MS, ApiHarness


ONE = f"/v1/challenges/{CHALLENGE_ID}"
VIEW = {
    "id": CHALLENGE_ID,
    "status": "pending",
    "phone_number": "+44********56",
    "purpose": "login",
    "account": "u-81",
    "created_at": "2026-11-22T12:00:00.250Z",
    "expires_at": "2026-11-22T12:05:00.250Z",
    "attempts_left": 5,
    "sends_left": 2,
    "resend_at": "2026-11-22T12:00:30.250Z",
    "delivery": {
        "status": "submitted",
        "provider": "north",
        "submissions": [
            {
                "provider": "east",
                "outcome": "refused",
                "fault": "provider",
                "reason": "overloaded",
                "at": "2026-11-22T12:00:00.350Z",
            },
            {
                "provider": "west",
                "outcome": "unknown",
                "fault": "unknown",
                "reason": "read-timeout",
                "at": "2026-11-22T12:00:00.450Z",
            },
            {
                "provider": "north",
                "outcome": "accepted",
                "fault": None,
                "reason": None,
                "at": "2026-11-22T12:00:01.350Z",
            },
        ],
    },
}


async def test_an_issue_is_201_and_says_where_the_challenge_is(api: ApiHarness) -> None:
    """The contract's table: Location and the view."""
    ask = {"phone_number": "+447400123456", "purpose": "payment", "account": "u-81"}
    ask |= {"locale": "en-GB", "client_ip": "203.0.113.9", "bot_check": "passed"}

    response = await api.call_public("POST", "/v1/challenges", json=ask)

    assert 201 == response.status_code
    assert ONE == response.headers["location"]
    assert "application/json" == response.headers["content-type"]
    assert VIEW == response.json()
    assert ("issue", msgspec.convert(ask, IssueRequest), None) == (
        api.service.calls[0][0],
        *api.service.calls[0][2:],
    )


async def test_only_the_number_is_required(api: ApiHarness) -> None:
    """The default purpose is `login`."""
    await api.call_public("POST", "/v1/challenges", json={"phone_number": "+447400123456"})

    assert IssueRequest("+447400123456", "login") == api.service.calls[0][2]


async def test_a_verify_hands_everything_over(api: ApiHarness) -> None:
    """R5: the members sent with the code have to match the challenge's."""
    ask = {"code": "12-34 56", "purpose": "login", "account": "u-81"}
    ask |= {"phone_number": "+447400123456", "client_ip": "2001:db8::1"}
    stored = replace(CHALLENGE, stored_status=ChallengeStatus.VERIFIED, verified_at=NOW_MS + 5)
    api.service.snapshot = ChallengeSnapshot(NOW_MS + 5, stored, None)

    response = await api.call_public(
        "POST", f"{ONE}/verify", json=ask, headers={"Idempotency-Key": "k"}
    )

    assert 200 == response.status_code
    assert {"status": "verified", "verified_at": "2026-11-22T12:00:00.255Z"}.items() <= (
        response.json().items()
    )
    assert (CHALLENGE_ID, VerifyRequest(**ask), "k") == api.service.calls[0][2:]


@pytest.mark.parametrize(
    "body", [{}, {"content": b""}, {"json": {}}, {"headers": {"Content-Type": "text/plain"}}]
)
async def test_a_resend_needs_no_body(api: ApiHarness, body) -> None:
    """The body may be missing, or an empty object."""
    response = await api.call_public("POST", f"{ONE}/resend", **body)

    assert 200 == response.status_code
    assert VIEW == response.json()
    assert ("resend", CHALLENGE_ID, None) == (api.service.calls[0][0], *api.service.calls[0][2:])


@pytest.mark.parametrize(
    ("method", "path"), [("POST", f"{ONE}/resend"), ("GET", ONE), ("DELETE", ONE)]
)
@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"code": "123456"}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b" " * 17_000, "application/json", 413),
    ],
)
async def test_a_body_that_nobody_asked_for_is_refused(  # noqa: PLR0913, PLR0917
    api: ApiHarness, method, path, content, kind, status
) -> None:
    """R58: this includes a GET with a body: its caller expects an effect that it does not have."""
    response = await api.call_public(method, path, content=content, headers={"Content-Type": kind})

    assert status == response.status_code
    assert [] == api.service.calls


async def test_a_challenge_is_shown_in_every_status(api: ApiHarness) -> None:
    """The contract: GET is 200 for an hour after the end."""
    seen = []
    for now, changes in (
        (NOW_MS, {}),
        (NOW_MS, {"attempts_left": 0}),
        (NOW_MS, {"stored_status": ChallengeStatus.CANCELED}),
        (NOW_MS, {"stored_status": ChallengeStatus.VERIFIED, "verified_at": NOW_MS}),
        (NOW_MS + 300_000, {}),
    ):
        api.service.snapshot = ChallengeSnapshot(now, replace(CHALLENGE, **changes), None)
        response = await api.call_public("GET", ONE)
        seen.append((response.status_code, response.json()["status"]))

    expected = ["pending", "locked", "canceled", "verified", "expired"]
    assert [(200, status) for status in expected] == seen


async def test_only_a_verified_challenge_says_when(api: ApiHarness) -> None:
    """The contract: `verified_at` once verified."""
    assert "verified_at" not in (await api.call_public("GET", ONE)).json()


async def test_the_provider_is_the_last_that_may_have_sent(api: ApiHarness) -> None:
    """A later provider that refused carried nothing."""
    east, west, _ = CHALLENGE.submissions
    api.service.snapshot = ChallengeSnapshot(
        NOW_MS, replace(CHALLENGE, submissions=(west, east)), None
    )

    delivery = (await api.call_public("GET", ONE)).json()["delivery"]

    assert ("west", "pending") == (delivery["provider"], delivery["status"])


async def test_before_anything_was_submitted_there_is_no_provider(api: ApiHarness) -> None:
    """This is the view of a challenge whose message is still being submitted."""
    api.service.snapshot = ChallengeSnapshot(
        NOW_MS, replace(CHALLENGE, submissions=(), account=None), None
    )

    view = (await api.call_public("GET", ONE)).json()

    assert {"status": "pending", "provider": None, "submissions": []} == view["delivery"]
    assert None is view["account"]


async def test_no_view_tells_what_providers_call_the_message(api: ApiHarness) -> None:
    """R32: nor any other internal value."""
    view = (await api.call_public("GET", ONE)).text

    for secret in ("message-7", "p1:00", "version", "tenant"):
        assert secret not in view


async def test_a_cancel_has_nothing_to_show(api: ApiHarness) -> None:
    """The answer is 204, without a body."""
    response = await api.call_public("DELETE", ONE)

    assert (204, b"") == (response.status_code, response.content)
    assert "content-type" not in response.headers
    assert ("cancel", CHALLENGE_ID) == (api.service.calls[0][0], api.service.calls[0][2])


async def test_an_unlock_has_nothing_to_show(api: ApiHarness) -> None:
    """The answer is always 204: it does not reveal whether the number was locked."""
    number = {"phone_number": "+447400123456"}

    response = await api.call_public("POST", "/v1/numbers/unlock", key="operator", json=number)

    assert (204, b"") == (response.status_code, response.content)
    assert ("unlock", "+447400123456") == (
        api.service.calls[0][0],
        api.service.calls[0][2],
    )

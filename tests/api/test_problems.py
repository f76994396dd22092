"""Every error becomes one problem document, exactly as in the contract's table."""

import json
import logging
import re

import pytest

from otp_service.core import errors
from otp_service.core.errors import OtpError
from tests.api.fakes import CHALLENGE_ID, KEY_SCOPES, ApiHarness


NUMBER = {"phone_number": "+447400123456"}
ISSUE = ("POST", "/v1/challenges")

LIMITED = errors.RateLimited("SendsPerNumber", retry_after=312, quota=8, period_seconds=600)
OVER_DEBT = errors.DebtLimited(
    "UnverifiedPerRange",
    retry_after=7,
    quota=16,
    period_seconds=3600,
    unverified=1_200_000,
    allowance=1_200_000,
)
TABLE = [
    (errors.InvalidRequest(("locale", "is odd")), 400, "invalid-request", {"errors"}),
    (errors.MalformedCode(("code", "must be 6 ASCII digits")), 400, "malformed-code", set()),
    (errors.Forbidden(), 403, "forbidden", set()),
    (errors.NumberLocked(), 403, "number-locked", set()),
    (errors.AccountLocked(), 403, "account-locked", set()),
    (errors.ChallengeNotFound(), 404, "challenge-not-found", set()),
    (errors.DeliveryNotFound(), 404, "not-found", set()),
    (errors.SendsExhausted(), 409, "sends-exhausted", set()),
    (errors.IdempotencyKeyInUse(), 409, "idempotency-key-in-use", set()),
    (errors.AuthenticatorNotConfirmed(), 409, "authenticator-not-confirmed", set()),
    (errors.AuthenticatorAlreadyConfirmed(), 409, "authenticator-already-confirmed", set()),
    (errors.ChallengeExpired(), 410, "challenge-expired", set()),
    (errors.ChallengeLocked(), 410, "challenge-locked", set()),
    (errors.ChallengeCanceled(), 410, "challenge-canceled", set()),
    (errors.ChallengeAlreadyVerified(), 410, "challenge-already-verified", set()),
    (errors.InvalidPhoneNumber(), 422, "invalid-phone-number", set()),
    (errors.NumberNotAllowed("country"), 422, "number-not-allowed", {"reason"}),
    (errors.IncorrectCode(0), 422, "incorrect-code", {"attempts_left"}),
    (errors.CodeAlreadyUsed(), 422, "code-already-used", set()),
    (errors.InvalidAuthenticator(), 422, "invalid-authenticator", set()),
    (errors.InvalidRecoverySet(), 422, "invalid-recovery-set", set()),
    (errors.Undeliverable("unreachable"), 422, "undeliverable", {"reason"}),
    (errors.IdempotencyKeyReused(), 422, "idempotency-key-reused", set()),
    (OVER_DEBT, 429, "rate-limited", {"retry_after", "limit"}),
    (LIMITED, 429, "rate-limited", {"retry_after", "limit"}),
    (errors.DeliveryFailed(CHALLENGE_ID), 502, "delivery-failed", {"id"}),
    (errors.Overloaded(), 503, "overloaded", set()),
    (errors.StoreUnavailable(), 503, "store-unavailable", set()),
    (errors.NotReplicated(None), 503, "store-unavailable", set()),
    (errors.EventLogFull(), 503, "store-unavailable", set()),
    (errors.ResultNotStored(), 503, "store-unavailable", set()),
    (errors.StoreTampered(), 503, "store-unavailable", set()),
    (errors.StoreKeyUnknown("state", "s2"), 503, "store-unavailable", set()),
]


def leaves(kind=OtpError):
    """Return the error classes that are raised: those without subclasses, and some others."""
    for narrower in kind.__subclasses__():
        yield from leaves(narrower)
    if kind.problem_type != "internal-error":
        yield kind


@pytest.mark.parametrize(("error", "status", "slug", "extra"), TABLE)
async def test_each_error_is_its_problem(api: ApiHarness, error, status, slug, extra) -> None:
    """R51: type, status and flat members are the contract's, and detail is the error's text."""
    api.service.error = error

    response = await api.call_public(*ISSUE, json=NUMBER)

    assert status == response.status_code
    assert "application/problem+json" == response.headers["content-type"]
    problem = response.json()
    assert {"type", "title", "status", "detail"} | extra == problem.keys()
    assert f"/problems/{slug}" == problem["type"]
    assert status == problem["status"]
    assert str(error) == problem["detail"]
    assert slug == api.request_summaries[-1].problem


def test_no_error_is_left_out_of_the_table() -> None:
    """R51: an error that is missing in the table would be a bare 500."""
    ours = {errors.Unauthenticated, errors.InboundUnauthenticated}  # of no call of a tenant
    assert {*leaves()} - ours == {type(row[0]) for row in TABLE}


async def test_extension_members_hold_what_the_error_knows(api: ApiHarness) -> None:
    """R51: this includes an `attempts_left` of 0, which must not be omitted."""
    told = {}
    for error, _, slug, extra in TABLE:
        api.service.error = error
        problem = (await api.call_public(*ISSUE, json=NUMBER)).json()
        told[slug] = {name: problem[name] for name in extra}

    assert {"errors": [{"path": "locale", "message": "is odd"}]} == told["invalid-request"]
    assert {"reason": "country"} == told["number-not-allowed"]
    assert {"attempts_left": 0} == told["incorrect-code"]
    assert {"reason": "unreachable"} == told["undeliverable"]
    assert {"retry_after": 312, "limit": "SendsPerNumber"} == told["rate-limited"]
    assert {"id": CHALLENGE_ID} == told["delivery-failed"]


async def test_a_wrong_code_of_an_authenticator_has_no_attempts_left(api: ApiHarness) -> None:
    """Only a challenge has a number of attempts."""
    api.service.error = errors.IncorrectCode()

    problem = (await api.call_public(*ISSUE, json=NUMBER)).json()

    assert "/problems/incorrect-code" == problem["type"]
    assert "attempts_left" not in problem


async def test_a_limit_tells_its_policy_and_how_long_to_wait(api: ApiHarness) -> None:
    """R52: the fields are structured (RFC 9651), and Retry-After is not before `t`."""
    api.service.error = LIMITED

    response = await api.call_public(*ISSUE, json=NUMBER)

    assert [("SendsPerNumber", {"r": 0, "t": 312})] == structured(response.headers["ratelimit"])
    policy = structured(response.headers["ratelimit-policy"])
    assert [("SendsPerNumber", {"q": 8, "w": 600})] == policy
    assert "312" == response.headers["retry-after"]


async def test_rate_limit_fields_stand_on_429_alone(api: ApiHarness) -> None:
    """R52: by decision no other answer has these fields."""
    responses = [await api.call_public(*ISSUE, json=NUMBER)]
    for error, status, *_ in TABLE:
        api.service.error = error
        if status != 429:
            responses.append(await api.call_public(*ISSUE, json=NUMBER))

    assert not any("ratelimit" in name for one in responses for name in one.headers)


@pytest.mark.parametrize("error", [errors.Overloaded(), errors.StoreUnavailable(retry_after=7)])
async def test_what_passes_says_when_to_come_again(api: ApiHarness, error) -> None:
    """R13, R77: a 503 carries Retry-After."""
    api.service.error = error

    response = await api.call_public(*ISSUE, json=NUMBER)

    assert str(error.retry_after) == response.headers["retry-after"]


@pytest.mark.parametrize(("key", "status"), [("", 401), ("operator", 403)])
async def test_who_may_not_is_told_how_to_authenticate(api: ApiHarness, key, status) -> None:
    """R55: RFC 9110 requires WWW-Authenticate with a 401, RFC 6750 with the 403 of a scope."""
    response = await api.call_public(*ISSUE, key=key, json=NUMBER)

    assert status == response.status_code
    assert "Bearer" == response.headers["www-authenticate"]


async def test_a_locked_number_is_no_matter_of_authentication(api: ApiHarness) -> None:
    """A client that receives WWW-Authenticate could discard its key."""
    api.service.error = errors.NumberLocked()

    assert "www-authenticate" not in (await api.call_public(*ISSUE, json=NUMBER)).headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", f"/v1/challenges/{CHALLENGE_ID}", {"GET", "HEAD", "DELETE"}),
        ("HEAD", "/v1/challenges", {"POST"}),
        ("GET", "/v1/challenges", {"POST"}),
        ("OPTIONS", "/v1/challenges", {"POST"}),
        ("TRACE", "/health/live", {"GET", "HEAD"}),
        ("PUT", "/v1/callbacks/acme", {"GET", "POST"}),
        ("PUT", "/v1/inbound/acme", {"GET", "POST"}),
        ("OPTIONS", "/v1/inbound/acme", {"GET", "POST"}),
        ("GET", f"/v1/challenges/{CHALLENGE_ID}/verify", {"POST"}),
    ],
)
async def test_a_method_that_is_not_in_the_contract_is_405(
    api: ApiHarness, method, path, allowed
) -> None:
    """R58: this includes methods that a framework would answer by itself."""
    response = await api.call_public(method, path)

    assert 405 == response.status_code
    assert allowed == set(response.headers["allow"].split(", "))
    assert "method-not-allowed" == api.request_summaries[-1].problem


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/v1",
            "/v2/challenges",
            "/debug",
            f"/v1/challenges/{CHALLENGE_ID}/cancel",
            "/v1/challenges/a/b",
        ),
        *(
            "/metrics",
            "/docs",
            "/openapi.yaml",
            "/openapi.json",
            "/schema",
            "/inbox",
            "/inbox.json",
            "/authenticator",
            "/authenticator.json",
        ),
    ],
)
async def test_only_the_documented_routes_answer(api: ApiHarness, path) -> None:
    """R60: no route of the admin listener is on the public one."""
    response = await api.call_public("GET", path)

    assert 404 == response.status_code
    assert "/problems/not-found" == response.json()["type"]


async def test_what_nobody_expected_is_a_bare_500(api: ApiHarness, caplog) -> None:
    """R92: the answer has no internals, and the log gets the exception."""
    api.service.error = KeyError("+447400123456")

    with caplog.at_level(logging.ERROR):
        response = await api.call_public(*ISSUE, json=NUMBER)

    assert 500 == response.status_code
    assert "/problems/internal-error" == response.json()["type"]
    assert not re.search("447400|KeyError|Traceback|otp_service", response.text)
    assert [KeyError] == [record.exc_info[0] for record in caplog.records]
    assert api.request_summaries[-1].request in caplog.text


async def test_the_process_lives_on_after_a_failure(api: ApiHarness) -> None:
    """R92: the next request is served."""
    api.service.error = RuntimeError("broken")
    await api.call_public(*ISSUE, json=NUMBER)
    api.service.error = None

    assert 201 == (await api.call_public(*ISSUE, json=NUMBER)).status_code


async def test_nothing_is_ever_stored_by_a_cache(api: ApiHarness) -> None:
    """R58: every answer of both listeners, of every kind, has Cache-Control once."""
    api.service.error = None
    answers = [
        await api.call_public(*ISSUE, json=NUMBER),
        await api.call_public("DELETE", f"/v1/challenges/{CHALLENGE_ID}"),
        await api.call_public("GET", "/nothing"),
        await api.call_public("PUT", "/health/live"),
        await api.call_public("GET", "/health/live"),
        await api.call_public(*ISSUE, key="", json=NUMBER),
        await api.call_public(*ISSUE, content=b"x" * 20_000),
        *[await api.get_admin(path) for path in ("/docs", "/openapi.yaml", "/metrics", "/nothing")],
    ]

    assert {"no-store"} == {answer.headers["cache-control"] for answer in answers}
    assert {201, 204, 404, 405, 200, 401, 413} == {answer.status_code for answer in answers}


async def test_no_problem_repeats_a_key(api: ApiHarness) -> None:
    """R68: neither the one that was sent nor any other."""
    for name in KEY_SCOPES:
        response = await api.call_public("POST", "/v1/numbers/unlock", key=name, json={"x": name})

        assert "0123456789abcdef" not in response.text


def structured(field: str) -> list[tuple[str, dict[str, int]]]:
    """Read a List of Strings with Integer parameters (RFC 9651, 3.1, 3.3.1 and 3.3.3)."""
    items = []
    for member in re.split(r"[ \t]*,[ \t]*", field):
        match = re.fullmatch(
            r'("(?:[ !#-\[\]-~]|\\["\\])*")((?:; *[a-z*][a-z0-9_.*-]*=-?\d{1,15})*)', member
        )
        assert match, f"{member!r} is no String with Integer parameters"
        pairs = (pair.strip().split("=") for pair in match[2].split(";") if pair)
        items.append((json.loads(match[1]), {name: int(number) for name, number in pairs}))
    return items

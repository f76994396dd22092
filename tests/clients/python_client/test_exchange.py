"""The protocol of a call, without a network and without a clock."""

import json

import pytest

from otp_service_client import (
    AccountLocked,
    ChallengeEnded,
    ChallengeNotFound,
    IdempotencyKeyInUse,
    OtpServiceError,
    Overloaded,
    ProblemError,
    RateLimited,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
    StoreUnavailable,
    UnexpectedReply,
    calls,
)
from otp_service_client.exchange import LostReply, Pause, Reply, Request, run_call


CHALLENGE: dict[str, object] = {
    "id": "c07-5d41402abc4b2a76b9719d911017c592",
    "status": "pending",
    "phone_number": "+44********56",
    "purpose": "login",
    "account": None,
    "created_at": "2026-11-22T12:00:00.250Z",
    "expires_at": "2026-11-22T12:05:00.250Z",
    "attempts_left": 5,
    "sends_left": 2,
    "resend_at": "2026-11-22T12:00:30.250Z",
    "delivery": {"status": "submitted", "provider": None, "submissions": []},
}
VERIFIED = CHALLENGE | {"status": "verified", "verified_at": "2026-11-22T12:00:21.904Z"}

ISSUE = calls.issue_challenge("+447400123456")
VERIFY = calls.verify_challenge("c07-0", "123456")
CREATE = calls.create_authenticator("u-81")
LOST = LostReply(cause="ReadTimeout", was_sent=True)
REFUSED = LostReply(cause="ConnectError", was_sent=False)


def build_reply(status, body, **headers):
    return Reply(status=status, headers=headers, content=json.dumps(body).encode())


def build_problem(status, slug, wait_header=None, media_type="application/problem+json", **members):
    body = {"type": f"/problems/{slug}", "title": "T", "status": status, "detail": "Do.", **members}
    headers = {"content-type": media_type}
    if wait_header is not None:
        headers["retry-after"] = wait_header
    return Reply(status=status, headers=headers, content=json.dumps(body).encode())


def run_with(call, *outcomes):
    """Return the result of a call with these outcomes, its requests and its pauses.

    An exception is raised; then `requests` and `pauses` of it are the same.
    """
    remaining, requests, pauses = list(outcomes), [], []
    steps = run_call(call, "fresh")
    step = next(steps)
    try:
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = steps.send(None)
            else:
                requests.append(step)
                step = steps.send(remaining.pop(0))
    except StopIteration as end:
        result = end.value
    except Exception as error:
        error.requests, error.pauses = requests, pauses
        raise
    assert [] == remaining, "the call asked less often"
    return result, requests, pauses


IN_USE = build_problem(409, "idempotency-key-in-use")


# ----------------------------------------------------------------------------------- repetitions


def test_a_reply_is_not_asked_for_again():
    result, (request,), pauses = run_with(ISSUE, build_reply(201, CHALLENGE))

    assert "pending" == result.status
    assert "fresh" == request.headers["Idempotency-Key"]
    assert [] == pauses


def test_a_lost_reply_is_asked_for_once_more_after_a_pause():
    result, (first, second), pauses = run_with(ISSUE, LOST, build_reply(201, CHALLENGE))

    assert first is second
    assert [0.2] == pauses
    assert CHALLENGE["id"] == result.id


def test_a_repetition_that_comes_too_early_is_made_again():
    """The service still runs the first call: it sends its message within seconds."""
    result, requests, pauses = run_with(ISSUE, LOST, IN_USE, build_reply(201, CHALLENGE))

    assert 3 == len(requests)
    assert [0.2, 2.0] == pauses
    assert CHALLENGE["id"] == result.id


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((LOST, LOST), ServiceUnreachable),
        ((LOST, IN_USE, LOST), ServiceUnreachable),
        ((LOST, IN_USE, IN_USE), IdempotencyKeyInUse),
        ((IN_USE,), IdempotencyKeyInUse),
        ((LOST, build_problem(503, "overloaded")), Overloaded),
        ((build_problem(503, "store-unavailable"),), StoreUnavailable),
    ],
)
def test_a_call_is_made_three_times_at_most_and_reports_its_key(outcomes, expected):
    """The caller of a 503 waits for Retry-After itself: a request of a browser cannot."""
    with pytest.raises(expected) as failed:
        run_with(ISSUE, *outcomes)

    assert len(outcomes) == len(failed.value.requests)
    assert ("fresh", "issue_challenge") == (failed.value.idempotency_key, failed.value.operation)


@pytest.mark.parametrize(
    ("call", "outcomes", "is_unknown"),
    [
        (ISSUE, (LOST, LOST), True),
        (ISSUE, (LOST, REFUSED), True),  # the first one may have run
        (ISSUE, (REFUSED, LOST), True),
        (ISSUE, (REFUSED, REFUSED), False),
        (CREATE, (LOST,), True),
        (CREATE, (REFUSED, LOST), True),
        (CREATE, (REFUSED, REFUSED), False),
    ],
)
def test_an_exception_says_whether_the_service_may_have_run_the_call(call, outcomes, is_unknown):
    with pytest.raises(ServiceUnreachable) as lost:
        run_with(call, *outcomes)

    assert is_unknown == lost.value.outcome_unknown
    assert len(outcomes) == len(lost.value.requests)
    assert is_unknown == ("outcome is unknown" in str(lost.value))
    assert call.takes_key == (lost.value.idempotency_key == "fresh")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_that_lost_its_connection_is_a_lost_reply(status):
    """nginx, HAProxy and load balancers send a page of their own."""
    page = Reply(status=status, headers={"content-type": "text/html"}, content=b"<html>")

    result, requests, _ = run_with(VERIFY, page, build_reply(200, VERIFIED))

    assert "verified" == result.status
    assert 2 == len(requests)
    with pytest.raises(ServiceUnreachable, match=f"status {status} of a proxy"):
        run_with(CREATE, page)


# ----------------------------------------------------------------------------------- replies


def test_members_and_values_of_a_newer_service_are_ignored():
    body = CHALLENGE | {
        "status": "paused",
        "new": {"a": 1},
        "delivery": {**CHALLENGE["delivery"], "x": 1},
    }

    result, _, _ = run_with(calls.get_challenge("c07-0"), build_reply(200, body))

    assert "paused" == result.status


@pytest.mark.parametrize(
    "reply",
    [
        build_reply(200, CHALLENGE),
        build_reply(200, VERIFIED | {"status": "pending"}),
        build_reply(200, VERIFIED | {"verified_at": None}),
        build_reply(200, VERIFIED | {"attempts_left": "five"}),
        build_reply(200, {"status": "verified"}),
        build_reply(200, [VERIFIED]),
        build_reply(201, VERIFIED),
        build_reply(202, VERIFIED),
        build_reply(204, VERIFIED),
        Reply(status=200, headers={}, content=b""),
        Reply(status=200, headers={}, content=b"<html>"),
        Reply(status=200, headers={}, content=b'{"status": "verified\xff'),
        Reply(status=200, headers={}, content=b"[" * 100_000),
    ],
)
def test_only_the_documented_reply_means_verified(reply):
    """2xx of a proxy or of a page must not log a person in."""
    with pytest.raises(UnexpectedReply) as refused:
        run_with(VERIFY, reply)

    assert reply.status == refused.value.status
    assert refused.value.__context__ is None


def test_a_problem_is_an_exception_with_its_members():
    reply = build_problem(429, "rate-limited", "9", retry_after=312, limit="SendsPerNumber")

    with pytest.raises(RateLimited) as refused:
        run_with(VERIFY, reply)

    error = refused.value
    assert (312, "SendsPerNumber", "Do.") == (error.retry_after, error.limit, error.detail)
    assert "429 rate-limited: Do." == str(error)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7), (None, None), ("soon", None), ("²", None), ("-1", None), ("9" * 5000, None)],
)
def test_retry_after_is_read_of_the_header(header, expected):
    """503 has no member for it."""
    with pytest.raises(StoreUnavailable) as failed:
        run_with(VERIFY, build_problem(503, "store-unavailable", header))

    assert expected == failed.value.retry_after


@pytest.mark.parametrize(
    ("status", "group"), [(402, RequestRefused), (499, RequestRefused), (507, ServiceFailed)]
)
def test_an_unknown_problem_type_is_of_the_group_of_its_status(status, group):
    """So that a service may get new problem types before its clients are updated."""
    with pytest.raises(ProblemError) as refused:
        run_with(VERIFY, build_problem(status, "brand-new", "3", reason="because"))

    assert group is type(refused.value)
    assert (status, "brand-new", 3) == (
        refused.value.status,
        refused.value.slug,
        refused.value.retry_after,
    )


@pytest.mark.parametrize(
    "reply",
    [
        build_problem(403, "account-locked", media_type="text/html"),
        Reply(status=403, headers={"content-type": "application/problem+json"}, content=b"no"),
        Reply(
            status=403,
            headers={"content-type": "application/problem+json"},
            content=b'{"type": "about:blank", "title": "Forbidden"}',
        ),
        Reply(status=404, headers={"content-type": "text/plain"}, content=b"404"),
        Reply(status=500, headers={}, content=b""),
    ],
)
def test_an_error_of_another_server_is_no_problem_of_the_service(reply):
    with pytest.raises(UnexpectedReply, match="is base_url right"):
        run_with(VERIFY, reply)


def test_a_media_type_may_have_parameters():
    reply = build_problem(
        403, "account-locked", media_type="Application/Problem+JSON; charset=utf-8"
    )

    with pytest.raises(AccountLocked):
        run_with(VERIFY, reply)


def test_members_that_a_class_does_not_have_are_ignored():
    """A problem is built of a reply, and by tests of a login: `IncorrectCode(attempts_left=2)`."""
    error = AccountLocked("Do.", attempts_left=3)

    assert not hasattr(error, "attempts_left")
    assert 12 == RateLimited(retry_after=12).retry_after


def test_every_exception_says_how_long_to_wait():
    """None where the service has not said, so that a login needs no look at the class."""
    assert OtpServiceError("lost").retry_after is None
    assert 3 == StoreUnavailable(retry_after=3).retry_after


def test_an_unknown_challenge_has_ended():
    """It ended more than an hour ago, or a reset deleted it: both need a new one."""
    assert issubclass(ChallengeNotFound, ChallengeEnded)


def test_a_request_shows_no_more_than_its_method():
    request = run_with(VERIFY, build_reply(200, VERIFIED))[1][0]

    assert isinstance(request, Request)
    assert b'{"code": "123456"}' == request.content
    assert "Request(method='POST', timeout_seconds=5.0)" == repr(request)

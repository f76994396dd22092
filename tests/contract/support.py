"""The running service and the assertions that the contract tests share."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import processes


KEY = "of-this-contract-alone-0123456789abcdef"

KIB = 1024

COOLDOWN = 30

CODE = re.compile(r"(?<!\d)\d{6}(?!\d)")

RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")

RATE_LIMIT = re.compile(r'"[A-Za-z0-9 ]+";r=\d+(;t=\d+)?(, "[A-Za-z0-9 ]+";r=\d+(;t=\d+)?)*')

POLICY = re.compile(r'"[A-Za-z0-9 ]+";q=\d+(;w=\d+)?(, "[A-Za-z0-9 ]+";q=\d+(;w=\d+)?)*')


PROBLEMS = {
    "invalid-request": 400,
    "malformed-code": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "number-locked": 403,
    "account-locked": 403,
    "challenge-not-found": 404,
    "not-found": 404,
    "method-not-allowed": 405,
    "content-too-large": 413,
    "unsupported-media-type": 415,
    "sends-exhausted": 409,
    "idempotency-key-in-use": 409,
    "authenticator-not-confirmed": 409,
    "authenticator-already-confirmed": 409,
    "challenge-expired": 410,
    "challenge-locked": 410,
    "challenge-canceled": 410,
    "challenge-already-verified": 410,
    "invalid-phone-number": 422,
    "number-not-allowed": 422,
    "incorrect-code": 422,
    "code-already-used": 422,
    "invalid-authenticator": 422,
    "invalid-recovery-set": 422,
    "undeliverable": 422,
    "idempotency-key-reused": 422,
    "rate-limited": 429,
    "internal-error": 500,
    "delivery-failed": 502,
    "overloaded": 503,
    "store-unavailable": 503,
}


# One number in the spellings that a lenient parser accepts for it (requirements, 5.1).
PLAIN = "+12025550123"


@dataclass
class Dev:
    """One `otp-service dev`, and clients of its two listeners that check every answer."""

    printed: Path
    key: str
    api: httpx.Client
    admin: httpx.Client

    def issue(self, number: str | None = None, *, headers: Any = None, **fields: Any) -> Any:
        """Issue a challenge for a number, by default an unused one."""
        fields["phone_number"] = number or fresh_number()
        return self.api.post("/v1/challenges", json=fields, headers=headers)

    def challenge(self, number: str | None = None, **fields: Any) -> "Challenge":
        """Issue a challenge and read its code from the inbox, as its user would."""
        number = number or fresh_number()
        issued = self.issue(number, **fields)
        assert issued.status_code == 201, issued.text
        challenge = Challenge(self, number, issued.json()["id"], issued.json())
        challenge.sent()  # The inbox may discard it soon.
        return challenge

    def inbox(self, number: str | None = None) -> list[dict[str, Any]]:
        """Return the messages, newest first: all, or those to one number."""
        messages: list[dict[str, Any]] = self.admin.get("/inbox.json").json()
        return [message for message in messages if number in (None, message["to"])]

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """Return every event that the filters let through, page by page."""
        events: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        for _ in range(200):
            page = self.api.get("/v1/audit/events", params=filters | cursor)
            assert page.status_code == 200, page.text
            events += page.json()["events"]
            if page.json()["next"] is None:
                return events
            cursor = {"cursor": page.json()["next"]}
        pytest.fail("the pages do not end")


@dataclass
class Challenge:
    """An issued challenge, as its caller sees it."""

    dev: Dev
    number: str
    id: str
    issued: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The newest code that its number was sent."""
        return self.sent()[0]

    @property
    def wrong(self) -> str:
        """A code that was never sent to its number."""
        return next(filter(lambda code: code not in self.sent(), map(str, range(100_000, 999_999))))

    def sent(self) -> list[str]:
        """Every code that its number was sent, newest first."""
        for message in reversed(self.dev.inbox(self.number)):
            if message not in self.messages:
                self.messages.append(message)
        return [code_in(message) for message in reversed(self.messages)]

    def verify(self, code: Any = None, *, headers: Any = None, **fields: Any) -> Any:
        """Verify a code, by default the right one."""
        fields["code"] = self.code if code is None else code
        return self.dev.api.post(f"/v1/challenges/{self.id}/verify", json=fields, headers=headers)

    def fail(self, times: int) -> None:
        """Send that many wrong codes."""
        for _ in range(times):
            assert_problem(self.verify(self.wrong), "incorrect-code")

    def resend(self, **headers: str) -> Any:
        """Ask for another message."""
        return self.dev.api.post(f"/v1/challenges/{self.id}/resend", headers=headers)

    def view(self) -> dict[str, Any]:
        """Look at it."""
        seen = self.dev.api.get(f"/v1/challenges/{self.id}")
        assert seen.status_code == 200, seen.text
        view: dict[str, Any] = seen.json()
        return view

    def cancel(self) -> Any:
        """End it."""
        return self.dev.api.delete(f"/v1/challenges/{self.id}")


def client(url: str, **headers: str) -> httpx.Client:
    """Return a client that checks each answer for what the contract requires of all answers."""
    hooks: Any = {"response": [assert_answer]}
    return httpx.Client(base_url=url, headers=headers, event_hooks=hooks, timeout=20)


def assert_answer(response: httpx.Response) -> None:
    """Assert that the answer is not cacheable, and that an error is a problem of the contract."""
    response.read()
    assert response.headers["cache-control"] == "no-store"
    if response.is_success:
        return
    assert response.headers["content-type"].split(";")[0] == "application/problem+json"
    problem = response.json()
    slug = problem["type"].removeprefix("/problems/")
    assert PROBLEMS[slug] == problem["status"] == response.status_code
    assert " " in problem["detail"]
    assert problem.get("title", "-")


def assert_problem(response: httpx.Response, *slugs: str) -> dict[str, Any]:
    """Return the problem, which is one of these."""
    assert response.status_code >= 400, response.text
    problem: dict[str, Any] = response.json()
    assert problem["type"].removeprefix("/problems/") in slugs, problem
    return problem


def assert_invalid(response: httpx.Response) -> None:
    """Assert that the response names each invalid field."""
    errors = assert_problem(response, "invalid-request")["errors"]
    assert errors
    for error in errors:
        assert isinstance(error["path"], str)
        assert isinstance(error["message"], str)
        assert error["message"]


def assert_rate_limited(response: httpx.Response) -> int:
    """Return the seconds to wait, after checking that headers and body agree."""
    problem = assert_problem(response, "rate-limited")
    wait = int(response.headers["retry-after"])
    assert 1 <= wait == problem["retry_after"]
    assert isinstance(problem["limit"], str)
    assert problem["limit"]
    assert RATE_LIMIT.fullmatch(response.headers["ratelimit"])
    assert POLICY.fullmatch(response.headers["ratelimit-policy"])
    untils = re.findall(r";t=(\d+)", response.headers["ratelimit"])
    assert all(int(until) <= wait for until in untils)
    return wait


_count = itertools.count()


def fresh_number() -> str:
    """Return a valid mobile number that was not used yet.

    They take turns in ten prefixes, each of which may be sent 60 messages.
    """
    count = next(_count)
    return f"+4474001{count % 10}{count // 10:04}"


def code_in(message: dict[str, Any]) -> str:
    """Return the code in a message."""
    codes = set(CODE.findall(message["text"]))
    assert len(codes) == 1, message
    return str(codes.pop())


def at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Make all the calls concurrently."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@contextlib.contextmanager
def running(data: Path, *options: str, **environment: str) -> Iterator[Dev]:
    """Start the service on free ports with its data there and these options, and stop it."""
    with processes.run_dev(data, *options, **environment) as service:
        key = service.keys["dev"]
        with (
            client(f"http://127.0.0.1:{service.port}", Authorization=f"Bearer {key}") as api,
            client(f"http://127.0.0.1:{service.admin_port}") as admin,
        ):
            yield Dev(service.log, key, api, admin)
    assert 0 == service.process.returncode

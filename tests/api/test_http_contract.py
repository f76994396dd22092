"""The HTTP contract of the design, held from outside against a running `otp-service dev`.

It was derived from the texts alone and reads only what anybody can: HTTP, the inbox and the
screen. No clock can be moved from there, so the tests marked `slow` wait for real: a cooldown of
30 s or two. What would take longer stays with the tests that own a clock: the lifetime of 300 s,
the hour in which an ended challenge is kept, the windows of ten minutes and more, and the row of
100 failures. The one tenant of `dev` has every scope, so scopes are not tried here either.
"""

import contextlib
import datetime as dt
import email.utils
import itertools
import json
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
import yaml
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

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
    "challenge-not-found": 404,
    "not-found": 404,
    "method-not-allowed": 405,
    "content-too-large": 413,
    "unsupported-media-type": 415,
    "sends-exhausted": 409,
    "idempotency-key-in-use": 409,
    "challenge-expired": 410,
    "challenge-locked": 410,
    "challenge-canceled": 410,
    "challenge-already-verified": 410,
    "invalid-phone-number": 422,
    "number-not-allowed": 422,
    "incorrect-code": 422,
    "undeliverable": 422,
    "idempotency-key-reused": 422,
    "rate-limited": 429,
    "internal-error": 500,
    "delivery-failed": 502,
    "overloaded": 503,
    "store-unavailable": 503,
}

# One number in the spellings that a lenient parser takes for it (requirements, 5.1).
PLAIN = "+12025550123"
SPELLINGS = [
    "+1 (202) 555-0123",
    "+1-202-555-0123",
    "+1 202 555 0123",
    "+1.202.555.0123",
    "+1 202 555 0123 ext. 5",
    "+12025550123;ext=99",
    "+12025550123,,77",
    "+12025550123,1",
    "+12025550123x12345",
    "+12025550123~7",
    "+12025550123 int 7",
    "+12025550123;5",
    "+12025550123#7",
    "tel:+1-202-555-0123",
    "tel:+12025550123",
    "tel:202-555-0123;phone-context=+1",
    "+12025550123;isub=12",
    "++12025550123",
    "+" + "".join(chr(0xFF10 + int(digit)) for digit in PLAIN[1:]),  # full-width
    "\uff0b12025550123",  # a full-width plus
    "+" + "".join(chr(0x0660 + int(digit)) for digit in PLAIN[1:]),  # Arabic-Indic
    "+" + "".join(chr(0x0966 + int(digit)) for digit in PLAIN[1:]),  # Devanagari
    "+1202555\uff10\uff11\uff12\uff13",
    "+1202\u200b5550123",
    "+1202\u00ad5550123",
    "\u202a+12025550123\u202c",
    "\u200e+12025550123",
    "\ufeff+12025550123",
    "+1 202 KKK 0123",
    "+12025550123\x00",
    "+12025550123\n",
    "+12025550123\r\n",
    "+1202\n5550123",
    " +12025550123",
    "+12025550123 ",
    "\t+12025550123",
    "+1 1 202 555 0123",
    "+112025550123",
    "12025550123",
    "2025550123",
    "(202) 555-0123",
    "0012025550123",
    "01112025550123",
    "+1" + "2025550123" * 30,
]
REPAIRABLE = [
    "+44 (0)7911123456",
    "+4407911123456",
    "+49015112345678",
    "+8800171234567",
    "+55015119876543",
    "+5215512345678",  # the old Mexican mobile prefix
    "+551187654321",  # a Brazilian mobile with eight digits
    "+39612345678",  # an Italian number without its zero
    "+33612345678901",
    "+999123456789",
    "+00447400100001",
    "+447400",
    "+44999",
    "+1234567890123456",
    "+",
    "",
    "unknown",
]
SERVICE_ROUTES = {
    ("/v1/challenges", "post"),
    ("/v1/challenges/{}", "get"),
    ("/v1/challenges/{}", "delete"),
    ("/v1/challenges/{}/verify", "post"),
    ("/v1/challenges/{}/resend", "post"),
    ("/v1/audit/events", "get"),
    ("/v1/audit/search", "post"),
    ("/v1/numbers/unlock", "post"),
    ("/health/live", "get"),
    ("/health/ready", "get"),
}

pytestmark = pytest.mark.timeout(110)  # two cooldowns, and a start


# The service under test.


@dataclass
class Dev:
    """One `otp-service dev`, and clients of its two listeners that check what holds everywhere."""

    printed: Path
    key: str
    api: httpx.Client
    admin: httpx.Client

    def issue(self, number: str | None = None, *, headers: Any = None, **fields: Any) -> Any:
        """Ask for a code for a number, a fresh one unless told."""
        fields["phone_number"] = number or fresh_number()
        return self.api.post("/v1/challenges", json=fields, headers=headers)

    def challenge(self, number: str | None = None, **fields: Any) -> "Challenge":
        """Issue a challenge and read its code from the inbox, as its user would."""
        number = number or fresh_number()
        asked_at = time.monotonic()
        issued = self.issue(number, **fields)
        assert issued.status_code == 201, issued.text
        challenge = Challenge(self, number, issued.json()["id"], issued.json(), asked_at)
        challenge.sent()  # the inbox need not keep it for long
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
    asked_at: float
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
        """Send a code back: the right one unless told."""
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
    """Return a client that holds each answer against what is said of all answers."""
    hooks: Any = {"response": [assert_answer]}
    return httpx.Client(base_url=url, headers=headers, event_hooks=hooks, timeout=20)


def assert_answer(response: httpx.Response) -> None:
    """No answer may be stored, and every error is a problem of the contract."""
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
    """A request that says something it must not is told what, and where."""
    errors = assert_problem(response, "invalid-request")["errors"]
    assert errors
    for error in errors:
        assert isinstance(error["path"], str)
        assert isinstance(error["message"], str)
        assert error["message"]


def assert_rate_limited(response: httpx.Response) -> int:
    """Return the seconds to wait, which headers and body agree on."""
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
    """Make all the calls at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@contextlib.contextmanager
def running(data: Path, **environment: str) -> Iterator[Dev]:
    """Start the service on free ports with its data there, and stop it."""
    with processes.run_dev(data, **environment) as service:
        key = service.keys["dev"]
        with (
            client(f"http://127.0.0.1:{service.port}", Authorization=f"Bearer {key}") as api,
            client(f"http://127.0.0.1:{service.admin_port}") as admin,
        ):
            yield Dev(service.log, key, api, admin)
    assert 0 == service.process.returncode


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The service, for all tests of this file; each uses numbers of its own."""
    with running(tmp_path_factory.mktemp("contract") / "data", DEV_API_KEY=KEY) as dev:
        yield dev


@pytest.fixture
def challenge(dev: Dev) -> Challenge:
    """A fresh challenge, pending."""
    return dev.challenge()


@pytest.fixture(scope="module")
def early(dev: Dev) -> Iterator[Challenge]:
    """Challenges from the beginning, so that the slow tests share their waits."""
    return iter([dev.challenge() for _ in range(10)])


@pytest.fixture(autouse=True)
def _begin_early(early: Iterator[Challenge]) -> None:
    """Let the cooldowns run while the quick tests do."""


# Issue, and the view of a challenge.


def test_an_issue_is_created_with_its_place(dev: Dev) -> None:
    """201, `Location`, JSON; and what stands there is the challenge."""
    issued = dev.issue()

    assert 201 == issued.status_code
    assert "application/json" == issued.headers["content-type"].split(";")[0]
    place = urlsplit(issued.headers["location"]).path
    assert f"/v1/challenges/{issued.json()['id']}" == place
    assert issued.json() == dev.api.get(place).json()


def test_a_view_says_everything_in_its_type(dev: Dev) -> None:
    """Every member of ChallengeView is there, and none besides."""
    number = fresh_number()

    view = dev.issue(number, purpose="payment.high_1", account="u-81").json()

    names = "id status phone_number purpose account created_at expires_at attempts_left sends_left"
    assert set(view) - {"verified_at"} == {*names.split(), "resend_at", "delivery"}
    assert view.get("verified_at") is None
    assert ("pending", "payment.high_1", "u-81") == (
        view["status"],
        view["purpose"],
        view["account"],
    )
    assert (5, 2) == (view["attempts_left"], view["sends_left"])
    assert re.fullmatch(rf"\+44[^0-9]+{number[-2:]}", view["phone_number"])


def test_only_the_number_is_required(dev: Dev) -> None:
    """The purpose is `login` unless told, and there is no account."""
    view = dev.issue().json()

    assert "login" == view["purpose"]
    assert view["account"] is None


def test_instants_are_rfc_3339_in_utc(challenge: Challenge) -> None:
    """A lifetime of 300 s, a cooldown of 30 s, and a clock that is about right."""
    view = challenge.issued

    instants = {}
    for name in ("created_at", "expires_at", "resend_at"):
        assert RFC_3339_UTC.fullmatch(view[name])
        instants[name] = dt.datetime.fromisoformat(view[name])
    lifetime = instants["expires_at"] - instants["created_at"]
    cooldown = instants["resend_at"] - instants["created_at"]
    assert lifetime.total_seconds() == pytest.approx(300, abs=1)
    assert cooldown.total_seconds() == pytest.approx(COOLDOWN, abs=2)
    now = dt.datetime.now(dt.UTC)
    assert abs((now - instants["created_at"]).total_seconds()) < 30


def test_a_view_tells_what_became_of_the_message(challenge: Challenge) -> None:
    """One submission, accepted by the inbox, and nobody's fault."""
    delivery = challenge.issued["delivery"]

    (submission,) = delivery["submissions"]
    assert {"status", "provider", "submissions"} == set(delivery)
    assert delivery["status"] in {"submitted", "delivered"}
    assert delivery["provider"] == submission["provider"]
    assert {"provider", "outcome", "fault", "reason", "at"} == set(submission)
    assert ("accepted", None) == (submission["outcome"], submission["fault"])
    assert RFC_3339_UTC.fullmatch(submission["at"])


def test_ids_cannot_be_guessed(dev: Dev) -> None:
    """At least 128 bits in characters that need no escape, unlike each other, no number in them."""
    challenges = [dev.challenge() for _ in range(3)]

    for challenge in challenges:
        assert re.fullmatch(r"[A-Za-z0-9._~-]{22,}", challenge.id)
        assert challenge.number[-7:] not in challenge.id
    assert 3 == len({challenge.id[:12] for challenge in challenges})


def test_the_message_goes_to_the_number(dev: Dev, challenge: Challenge) -> None:
    """One message with one code of six digits, the minutes, a warning, in one segment."""
    (message,) = dev.inbox(challenge.number)

    assert {"to", "text", "provider", "at"} == set(message)
    assert CODE.fullmatch(challenge.code)
    assert "5 min" in message["text"]
    assert re.search(r"share", message["text"], re.IGNORECASE)
    assert len(message["text"]) <= 160
    assert RFC_3339_UTC.fullmatch(message["at"])
    assert message["provider"] == challenge.issued["delivery"]["provider"]


def test_no_answer_holds_the_code_or_the_number(challenge: Challenge) -> None:
    """Neither the view, nor a refusal, nor an event tells them."""
    code = challenge.code
    told = [
        json.dumps(challenge.issued),
        challenge.verify(challenge.wrong).text,
        challenge.resend().text,
        challenge.verify(code).text,
        json.dumps(challenge.view()),
        json.dumps(challenge.dev.events(challenge=challenge.id)),
    ]

    for text in told:
        assert challenge.number not in text
        assert challenge.number[1:] not in text
        assert code not in CODE.findall(re.sub(r"\.\d+Z", "Z", text))


@pytest.mark.parametrize("purpose", ["login", "a", "0", "a-b_c.d", "a" * 64])
def test_purposes_of_the_pattern_are_taken(dev: Dev, purpose: str) -> None:
    """`^[a-z0-9][a-z0-9._-]{0,63}$`."""
    assert purpose == dev.issue(purpose=purpose).json()["purpose"]


@pytest.mark.parametrize(
    "purpose", ["", "Login", "a" * 65, "-a", ".a", "a b", "login\n", "l\u00f6gin", 1, ["login"], {}]
)
def test_other_purposes_are_not(dev: Dev, purpose: Any) -> None:
    """Anything else is told where it is wrong."""
    assert_invalid(dev.issue(purpose=purpose))


def test_an_account_has_up_to_128_characters(dev: Dev) -> None:
    """Characters, not bytes, and they come back as they went."""
    account = "\u00fc" * 128

    assert account == dev.issue(account=account).json()["account"]
    assert_invalid(dev.issue(account=account + "x"))
    assert_invalid(dev.issue(account=81))


@pytest.mark.parametrize(
    "address", ["203.0.113.9", "::1", "2001:DB8::9", "::ffff:203.0.113.10", "2001:db8::203.0.113.9"]
)
def test_addresses_are_taken(dev: Dev, address: str) -> None:
    """IPv4, IPv6, and IPv4 in IPv6."""
    assert 201 == dev.issue(client_ip=address).status_code


@pytest.mark.parametrize(
    "address",
    [
        "",
        "203.0.113.9:443",
        "[2001:db8::9]",
        "[2001:db8::9]:443",
        "fe80::1%eth0",
        "fe80::1%25eth0",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.09",
        "203.0.113.9/32",
        "0xcb007109",
        " 203.0.113.9",
        "203.0.113.9\n",
        "localhost",
        3405803785,
        ["203.0.113.9"],
    ],
)
def test_what_is_no_bare_address_is_not(dev: Dev, address: Any) -> None:
    """Zones, ports, brackets and networks are 400, on verify as well."""
    assert_invalid(dev.issue(client_ip=address))


def test_verify_checks_its_address_too(challenge: Challenge) -> None:
    """And charges nothing for a bad one."""
    assert_invalid(challenge.verify(client_ip="203.0.113.9:443"))

    assert 5 == challenge.view()["attempts_left"]
    assert 200 == challenge.verify(client_ip="203.0.113.77").status_code


@pytest.mark.parametrize("address", ["203.0.113.201", "::ffff:203.0.113.202"])
def test_an_address_gets_thirty_messages_an_hour(dev: Dev, address: str) -> None:
    """An IPv4 address is the same in IPv6 clothes; what it refuses sends nothing."""
    other = address.removeprefix("::ffff:") if "ffff" in address else f"::ffff:{address}"
    for spelling in [address, other] * 15:
        assert 201 == dev.issue(client_ip=spelling).status_code
    number = fresh_number()

    refused = dev.issue(number, client_ip=other)

    assert_rate_limited(refused)
    assert "SendsPerClientAddress" == refused.json()["limit"]
    assert [] == dev.inbox(number)
    assert 201 == dev.issue(client_ip="203.0.113.203").status_code


def test_an_ipv6_network_is_one_address(dev: Dev) -> None:
    """By /64, however it is spelled."""
    for host in range(30):
        assert 201 == dev.issue(client_ip=f"2001:db8:0:64::{host:x}").status_code

    assert_rate_limited(dev.issue(client_ip="2001:DB8:0:64:ffff:0:0:1"))
    assert 201 == dev.issue(client_ip="2001:db8:0:65::1").status_code


def test_a_prefix_gets_sixty_messages(dev: Dev) -> None:
    """Numbers that differ in their last four digits share them; the next prefix has its own."""
    began, replies = time.monotonic(), [dev.issue("+447400700000")]
    while replies[-1].status_code == 201:
        replies.append(dev.issue(f"+4474007{len(replies):05}"))

    # One more each ten seconds, which a machine that is busy may take for sixty.
    assert 0 <= len(replies[:-1]) - 60 <= (time.monotonic() - began) // 10
    assert_rate_limited(replies[-1])
    assert "SendsPerPrefix" == replies[-1].json()["limit"]
    assert 201 == dev.issue("+447400710000").status_code


def test_an_account_gets_ten_messages_an_hour(dev: Dev) -> None:
    """On whatever numbers."""
    for _ in range(10):
        assert 201 == dev.issue(account="ten-an-hour").status_code
    number = fresh_number()

    refused = dev.issue(number, account="ten-an-hour")

    assert_rate_limited(refused)
    assert "SendsPerAccount" == refused.json()["limit"]
    assert [] == dev.inbox(number)


def test_a_refusal_of_another_bucket_leaves_the_number_free(dev: Dev) -> None:
    """What was spent before it is given back: the same number gets its code at once."""
    for _ in range(10):
        dev.issue(account="gives-back")
    number = fresh_number()
    assert_rate_limited(dev.issue(number, account="gives-back"))

    assert 201 == dev.issue(number, account="gives-back-not").status_code


def test_headers_about_the_client_are_not_believed(dev: Dev) -> None:
    """Only `client_ip` names the end user; what proxies write is ignored."""
    names = ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"]
    for count in range(30):
        headers = dict.fromkeys(names, f"198.51.100.{count}")
        dev.issue(client_ip="203.0.113.210", headers=headers)

    assert_rate_limited(dev.issue(client_ip="203.0.113.210", headers={names[0]: "198.51.100.99"}))


@pytest.mark.parametrize("locale", ["en", "en-GB", "de-DE", "zh-Hant-TW", "es-419", "DE-de"])
def test_locales_are_taken(dev: Dev, locale: str) -> None:
    """In any case, with script and region."""
    assert 201 == dev.issue(locale=locale).status_code


@pytest.mark.parametrize(
    "locale",
    ["", "e", "-", "en-", "-GB", "en GB", "en--GB", "../de", "en\n", "d\u00e9", 5, "a" * 99],
)
def test_malformed_locales_are_not(dev: Dev, locale: Any) -> None:
    """A locale is a language tag."""
    assert_invalid(dev.issue(locale=locale))


def test_the_message_speaks_the_language(dev: Dev) -> None:
    """A region falls back to its language; an unknown language to the tenant's default."""

    def text(**fields: str) -> str:
        challenge = dev.challenge(**fields)
        return str(dev.inbox(challenge.number)[0]["text"]).replace(challenge.code, "CODE")

    default = text()
    german = text(locale="de")

    assert text(locale="en") == default
    assert text(locale="en-ZZ") == default
    assert text(locale="tlh") == default
    assert text(locale="zz-ZZ") == default
    assert text(locale="de-AT") == german
    assert text(locale="DE-at") == german
    others = [text(locale=tag) for tag in ("fr", "es", "it", "nl", "pl", "pt", "tr")]
    assert 9 == len({default, german, *others})


# Numbers.


def test_a_number_is_taken_as_it_is_or_not_at_all(dev: Dev) -> None:
    """Spellings that a lenient parser repairs are refused, charge nothing and send nothing."""
    for spelling in SPELLINGS:
        refused = dev.issue(spelling)
        assert_problem(refused, "invalid-phone-number", "invalid-request")

    assert [] == dev.inbox(PLAIN)
    assert 201 == dev.issue(PLAIN).status_code  # so none of them began a cooldown


def test_all_spellings_at_once_send_one_message(dev: Dev) -> None:
    """However a number is written, one message gets through."""
    number = "+12025550124"
    spellings = [spelling.replace("0123", "0124") for spelling in SPELLINGS[:16]]

    replies = at_once(*(lambda s=s: dev.issue(s) for s in [*spellings, number, number]))

    assert 1 == [reply.status_code for reply in replies].count(201)
    assert 1 == len(dev.inbox(number))


@pytest.mark.parametrize("number", REPAIRABLE)
def test_numbers_that_are_none_are_refused(dev: Dev, number: str) -> None:
    """Trunk zeros, old prefixes and impossible lengths are not repaired."""
    body = {"phone_number": number}

    refused = dev.api.post("/v1/challenges", json=body)

    assert_problem(refused, "invalid-phone-number")
    assert [] == dev.inbox(number)


@pytest.mark.parametrize("number", [447400100001, None, True, ["+447400100001"], {}, 1.5])
def test_a_number_is_a_string(dev: Dev, number: Any) -> None:
    """Another type is an invalid request."""
    assert_invalid(dev.api.post("/v1/challenges", json={"phone_number": number}))


@pytest.mark.parametrize(
    "number",
    [
        "+19002345678",  # premium rate
        "+449098790000",
        "+979123456789",
        "+447012345678",  # personal
        "+18002345678",  # toll free
        "+80012345678",
        "+442083661177",  # a line at home
        "+541123456789",  # and one that an Argentine mobile could be confused with
    ],
)
def test_numbers_that_take_no_sms_are_refused(dev: Dev, number: str) -> None:
    """Only mobiles, and lines that may be one."""
    problem = assert_problem(dev.issue(number), "number-not-allowed")

    assert isinstance(problem["reason"], str)
    assert problem["reason"]
    assert [] == dev.inbox(number)


@pytest.mark.parametrize(
    "number", ["+12025550100", "+447700900124", "+61491570156", "+46701740605", "+33639981234"]
)
def test_fictitious_numbers_are_taken_in_development(dev: Dev, number: str) -> None:
    """Also those that are not valid, for nobody can be hurt by them."""
    assert 201 == dev.issue(number).status_code
    assert 1 == len(dev.inbox(number))


@pytest.mark.parametrize(
    "number",
    ["+4915123456789", "+33612345678", "+819012345678", "+5511987654321", "+5491123456789"],
)
def test_every_country_is_allowed_in_development(dev: Dev, number: str) -> None:
    """And a masked number keeps its country code."""
    view = dev.issue(number).json()

    assert re.fullmatch(rf"\+(49|33|81|55|54)[^0-9]+{number[-2:]}", view["phone_number"])


# Verify.


def test_the_right_code_is_right_once(challenge: Challenge) -> None:
    """200 and `verified`, then 410, also for the right code."""
    code = challenge.code

    verified = challenge.verify(code)

    assert 200 == verified.status_code
    assert "verified" == verified.json()["status"]
    assert challenge.id == verified.json()["id"]
    assert RFC_3339_UTC.fullmatch(verified.json()["verified_at"])
    assert_problem(challenge.verify(code), "challenge-already-verified")
    assert_problem(challenge.verify("000000"), "challenge-already-verified")
    assert_problem(challenge.resend(), "challenge-already-verified")
    assert_problem(challenge.cancel(), "challenge-already-verified")
    assert verified.json() == challenge.view()


@pytest.mark.parametrize("spaces", ["{}{}{} {}{}{}", "{}{}{}-{}{}{}", " {}-{} {} -{}{}{} "])
def test_spaces_and_hyphens_are_ignored(challenge: Challenge, spaces: str) -> None:
    """People type codes as they read them."""
    assert 200 == challenge.verify(spaces.format(*challenge.code)).status_code


def test_a_wrong_code_costs_an_attempt(challenge: Challenge) -> None:
    """422 with the attempts that are left, and the right one still works."""
    for left in (4, 3, 2, 1):
        problem = assert_problem(challenge.verify(challenge.wrong), "incorrect-code")
        assert left == problem["attempts_left"] == challenge.view()["attempts_left"]

    assert 200 == challenge.verify().status_code


def test_five_wrong_codes_lock(challenge: Challenge) -> None:
    """The fifth is told that none is left; then the right code is late."""
    code = challenge.code
    challenge.fail(4)
    problem = assert_problem(challenge.verify(challenge.wrong), "incorrect-code")

    assert 0 == problem["attempts_left"]
    assert_problem(challenge.verify(code), "challenge-locked")
    assert_problem(challenge.resend(), "challenge-locked")
    assert_problem(challenge.cancel(), "challenge-locked")
    view = challenge.view()
    assert ("locked", 0) == (view["status"], view["attempts_left"])


def test_a_number_in_another_spelling_does_not_open(challenge: Challenge) -> None:
    """It is not the challenge's, whatever else is said of it."""
    number = challenge.number

    for spelling in ("", number[1:], f"{number[:3]} {number[3:]}", f"{number} ", number + "0"):
        refused = challenge.verify(phone_number=spelling)
        if refused.status_code != 422:
            assert_invalid(refused)
        else:
            assert_problem(refused, "incorrect-code", "invalid-phone-number")
    assert "verified" != challenge.view()["status"]


def test_codes_that_have_no_shape_cost_nothing(challenge: Challenge) -> None:
    """They are answered 400 and never compared."""
    digits = challenge.code
    full_width = "".join(chr(0xFF10 + int(digit)) for digit in digits)
    arabic = "".join(chr(0x0660 + int(digit)) for digit in digits)
    malformed = ["", "12345", "1234567", "abcdef", " ", "-", "12345a", "+12345", "1e5", "0x1234"]
    malformed += [
        f"{digits}\n",
        f"{digits}\x00",
        f"{digits}\t",
        f"{digits}\u00a0",
        f"\u200b{digits}",
    ]
    malformed += [full_width, arabic, "12345\u00b2", "1" * 8000]

    for code in malformed:
        assert_problem(challenge.verify(code), "malformed-code")

    assert 5 == challenge.view()["attempts_left"]
    assert 200 == challenge.verify(digits).status_code


@pytest.mark.parametrize("code", [123456, 123456.0, None, True, ["123456"], {"code": "123456"}])
def test_a_code_is_a_string(challenge: Challenge, code: Any) -> None:
    """Another type costs nothing either."""
    url = f"/v1/challenges/{challenge.id}/verify"

    refused = challenge.dev.api.post(url, json={"code": code})

    assert_problem(refused, "invalid-request", "malformed-code")
    assert 5 == challenge.view()["attempts_left"]


@pytest.mark.parametrize("body", [{}, {"cod": "1"}, {"code": "123456", "status": "verified"}])
def test_verify_takes_what_it_knows(challenge: Challenge, body: Any) -> None:
    """A code is required, and unknown fields are refused."""
    assert_invalid(challenge.dev.api.post(f"/v1/challenges/{challenge.id}/verify", json=body))
    assert 5 == challenge.view()["attempts_left"]


@pytest.mark.parametrize("code", ["000000", "123456", "111111", "999999", "654321"])
def test_no_code_is_magic(challenge: Challenge, code: str) -> None:
    """There is none that always works."""
    if code in challenge.sent():
        pytest.xfail("one in a million")

    assert_problem(challenge.verify(code), "incorrect-code")


@pytest.mark.parametrize(
    ("name", "other"), [("purpose", "payment"), ("account", "u-2"), ("phone_number", PLAIN)]
)
def test_what_belongs_to_another_challenge_is_a_wrong_code(dev: Dev, name: str, other: str) -> None:
    """Purpose, account and number bind, cost an attempt, and open when they are right."""
    challenge = dev.challenge(purpose="login", account="u-1")
    bound = {"purpose": "login", "account": "u-1", "phone_number": challenge.number}

    problem = assert_problem(challenge.verify(**bound | {name: other}), "incorrect-code")

    assert 4 == problem["attempts_left"]
    assert 200 == challenge.verify(**bound).status_code


def test_an_account_does_not_fit_where_there_is_none(challenge: Challenge) -> None:
    """A challenge without an account is nobody's."""
    assert_problem(challenge.verify(account="u-1"), "incorrect-code")


def test_the_code_of_another_challenge_is_wrong(dev: Dev) -> None:
    """A code belongs to one challenge."""
    one, other = dev.challenge(), dev.challenge()
    if one.code == other.code:
        pytest.xfail("one in a million")

    assert_problem(one.verify(other.code), "incorrect-code")


def test_a_right_answer_wins_once_among_many(challenge: Challenge) -> None:
    """Of twenty right answers at once, one is told 200."""
    code = challenge.code

    replies = at_once(*[lambda: challenge.verify(code)] * 20)

    assert 1 == [reply.status_code for reply in replies].count(200)
    assert "verified" == challenge.view()["status"]
    assert {200, 410} <= {reply.status_code for reply in replies} <= {200, 409, 410, 503}


def test_a_right_answer_wins_among_wrong_ones(challenge: Challenge) -> None:
    """Four wrong ones in flight do not spoil it."""
    code, wrong = challenge.code, challenge.wrong

    replies = at_once(*[lambda: challenge.verify(wrong)] * 4, lambda: challenge.verify(code))

    assert 200 == replies[-1].status_code
    assert {410, 422} >= {reply.status_code for reply in replies[:-1]}


def test_forty_guesses_at_once_are_five(challenge: Challenge) -> None:
    """However many come together, five are compared."""
    wrong = challenge.wrong

    replies = at_once(*[lambda: challenge.verify(wrong)] * 40)

    statuses = [reply.status_code for reply in replies]
    assert 5 == statuses.count(422)
    assert {422, 410, 503} >= set(statuses)
    lefts = [reply.json()["attempts_left"] for reply in replies if reply.status_code == 422]
    assert [0, 1, 2, 3, 4] == sorted(lefts)


def test_failures_count_for_the_account(dev: Dev) -> None:
    """After ten in an hour on two numbers the third is not compared, and not charged."""
    for _ in range(2):
        dev.challenge(account="guessed").fail(5)
    third = dev.challenge(account="guessed")

    refused = third.verify()

    assert_rate_limited(refused)
    assert "FailuresPerAccount" == refused.json()["limit"]
    assert ("pending", 5) == (third.view()["status"], third.view()["attempts_left"])


def test_failures_count_for_the_client_address(dev: Dev) -> None:
    """After fifty in an hour on whatever numbers; another address goes on."""
    address = "198.51.100.50"
    for _ in range(10):
        guessed = dev.challenge()
        for _ in range(5):
            refused = guessed.verify(guessed.wrong, client_ip=address)
            assert_problem(refused, "incorrect-code")
    challenge = dev.challenge()

    refused = challenge.verify(client_ip=address)

    assert_rate_limited(refused)
    assert "FailuresPerClientAddress" == refused.json()["limit"]
    assert 200 == challenge.verify(client_ip="198.51.100.51").status_code


# Cancel, and the order of states.


def test_a_cancel_can_be_repeated(challenge: Challenge) -> None:
    """204 and 204, with nothing in them; and then nothing verifies."""
    code = challenge.code

    for _ in range(2):
        canceled = challenge.cancel()
        assert (204, b"") == (canceled.status_code, canceled.content)

    assert "canceled" == challenge.view()["status"]
    assert_problem(challenge.verify(code), "challenge-canceled")
    assert_problem(challenge.resend(), "challenge-canceled")


def test_an_ended_challenge_comes_before_a_malformed_code(challenge: Challenge) -> None:
    """410 is looked for before 400 `malformed-code`."""
    challenge.cancel()

    assert_problem(challenge.verify("abc"), "challenge-canceled")


@pytest.mark.parametrize(
    "unknown",
    ["unknown", "0", "a" * 22, "a" * 1000, "..", "%2e%2e%2f", "{00}", "*", "%00", "%ff", "%0a"],
)
def test_unknown_challenges_are_not_found(dev: Dev, unknown: str) -> None:
    """Whatever stands in the place of an id."""
    for call in (
        dev.api.build_request("GET", f"/v1/challenges/{unknown}"),
        dev.api.build_request("DELETE", f"/v1/challenges/{unknown}"),
        dev.api.build_request("POST", f"/v1/challenges/{unknown}/resend"),
        dev.api.build_request("POST", f"/v1/challenges/{unknown}/verify", json={"code": "123456"}),
    ):
        assert_problem(dev.api.send(call), "challenge-not-found", "not-found")


def test_a_neighbour_of_an_id_is_not_found(challenge: Challenge) -> None:
    """An id is right to the last character, and its case."""
    other = challenge.id[:-1] + ("a" if challenge.id[-1] != "a" else "b")

    for unknown in (other, challenge.id.swapcase(), challenge.id + "a", challenge.id[:-1]):
        answer = challenge.dev.api.get(f"/v1/challenges/{unknown}")
        assert_problem(answer, "challenge-not-found")


def test_an_unknown_challenge_comes_before_a_malformed_code(dev: Dev) -> None:
    """404 is looked for before 400 `malformed-code`, and after 400 `invalid-request`."""
    url = f"/v1/challenges/{'a' * 30}/verify"

    assert_problem(dev.api.post(url, json={"code": "abc"}), "challenge-not-found")
    assert_invalid(dev.api.post(url, json={"kode": "abc"}))


def test_a_second_issue_waits_for_the_cooldown(challenge: Challenge) -> None:
    """It is refused, sends nothing, and leaves the first code alone."""
    code = challenge.code

    for purpose in ("login", "payment"):
        refused = challenge.dev.issue(challenge.number, purpose=purpose)
        assert assert_rate_limited(refused) <= COOLDOWN

    assert 1 == len(challenge.dev.inbox(challenge.number))
    assert 200 == challenge.verify(code).status_code


def test_an_early_resend_waits_for_the_cooldown(challenge: Challenge) -> None:
    """It is refused until `resend_at`, and changes nothing."""
    before = challenge.view()

    wait = assert_rate_limited(challenge.resend())

    promised = dt.datetime.fromisoformat(before["resend_at"])
    left = promised - dt.datetime.now(dt.UTC)
    assert wait == pytest.approx(left.total_seconds(), abs=2)
    assert before == challenge.view()
    assert 1 == len(challenge.dev.inbox(challenge.number))


def test_fifty_issues_at_once_are_one_message(dev: Dev) -> None:
    """For one number; all others are told to wait."""
    number = fresh_number()

    replies = at_once(*[lambda: dev.issue(number)] * 50)

    statuses = [reply.status_code for reply in replies]
    assert 1 == statuses.count(201)
    assert {201, 429, 503} >= set(statuses)
    assert 1 == len(dev.inbox(number))


def test_limit_fields_stand_on_429_only(dev: Dev) -> None:
    """A limit is spoken of when it refuses."""
    issued = dev.issue()

    assert not {"ratelimit", "ratelimit-policy", "retry-after"} & set(issued.headers)


# Idempotency.


def test_an_issue_is_repeated_with_its_key(dev: Dev) -> None:
    """The same challenge, one message; quotes make no difference."""
    number = fresh_number()
    name = secrets.token_hex()
    first = dev.issue(number, headers={"Idempotency-Key": f'"{name}"'})

    for key in (f'"{name}"', name):
        repeated = dev.issue(number, headers={"Idempotency-Key": key})
        assert (201, first.json()["id"]) == (repeated.status_code, repeated.json()["id"])
        assert first.headers["location"] == repeated.headers["location"]
    assert 1 == len(dev.inbox(number))


def test_a_repeat_shows_the_challenge_as_it_is(dev: Dev) -> None:
    """Also when it has ended meanwhile."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    challenge = dev.challenge(headers=headers)
    assert 200 == challenge.verify().status_code

    repeated = dev.issue(challenge.number, headers=headers)

    assert 201 == repeated.status_code
    assert challenge.view() == repeated.json()


@pytest.mark.parametrize(
    "fields",
    [{"number": PLAIN}, {"purpose": "payment"}, {"account": "u-2"}, {"locale": "de"}],
)
def test_a_key_is_for_one_request(dev: Dev, fields: dict[str, str]) -> None:
    """With another request it is refused, and sends nothing."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    challenge = dev.challenge(headers=headers, account="u-1k")
    same = {"number": challenge.number, "account": "u-1k"}
    before = len(dev.inbox(PLAIN))

    refused = dev.issue(**same | fields, headers=headers)

    assert_problem(refused, "idempotency-key-reused")
    assert 1 == len(dev.inbox(challenge.number))
    assert before == len(dev.inbox(PLAIN))


def test_the_order_of_fields_makes_no_other_request(dev: Dev) -> None:
    """Nor do spaces: a fingerprint is of what is said."""
    headers = {"Idempotency-Key": secrets.token_hex(), "Content-Type": "application/json"}
    number = fresh_number()
    one = f'{{"phone_number":"{number}","purpose":"login"}}'
    other = f'{{ "purpose": "login", "phone_number": "{number}" }}'

    replies = [
        dev.api.post("/v1/challenges", content=body, headers=headers) for body in (one, other)
    ]

    assert [201, 201] == [reply.status_code for reply in replies]
    assert replies[0].json()["id"] == replies[1].json()["id"]


def test_fifty_calls_with_one_key_are_one_message(dev: Dev) -> None:
    """They get the same challenge, or are told that it is in the making."""
    number = fresh_number()
    headers = {"Idempotency-Key": secrets.token_hex()}

    replies = at_once(*[lambda: dev.issue(number, headers=headers)] * 50)

    assert 1 == len({reply.json()["id"] for reply in replies if reply.status_code == 201})
    for reply in replies:
        if reply.status_code != 201:
            assert_problem(reply, "idempotency-key-in-use", "overloaded")
    assert 1 == len(dev.inbox(number))


def test_a_refusal_frees_the_key(dev: Dev) -> None:
    """It can be used again, also for another request."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    assert_problem(dev.issue("+19002345678", headers=headers), "number-not-allowed")
    number = dev.challenge().number
    assert_rate_limited(dev.issue(number, headers=headers))

    assert 201 == dev.issue(headers=headers).status_code


@pytest.mark.parametrize("key", ["", '""', '"open', "a b\tc", "\u00e9", "x" * 5000])
def test_malformed_keys_are_refused(dev: Dev, key: str) -> None:
    """A key is a short string of visible ASCII."""
    number = fresh_number()

    refused = dev.issue(number, headers={"Idempotency-Key": key.encode()})

    assert_problem(refused, "invalid-request")
    assert [] == dev.inbox(number)


def test_a_verify_is_repeated_with_its_key(challenge: Challenge) -> None:
    """The same key and code get the same 200; without the key, or another, 410."""
    code = challenge.code
    headers = {"Idempotency-Key": secrets.token_hex()}
    first = challenge.verify(code, headers=headers)

    repeated = challenge.verify(code, headers=headers)

    assert (200, 200) == (first.status_code, repeated.status_code)
    assert first.json() == repeated.json()
    assert_problem(challenge.verify(code), "challenge-already-verified")
    other = {"Idempotency-Key": secrets.token_hex()}
    assert_problem(challenge.verify(code, headers=other), "challenge-already-verified")


def test_a_key_does_not_open_for_another_code(challenge: Challenge) -> None:
    """A repeat is of the same call."""
    code, wrong = challenge.code, challenge.wrong
    headers = {"Idempotency-Key": secrets.token_hex()}
    assert 200 == challenge.verify(code, headers=headers).status_code

    refused = challenge.verify(wrong, headers=headers)

    assert_problem(refused, "challenge-already-verified", "idempotency-key-reused")


@pytest.mark.parametrize(
    "binding", [{"purpose": "payment"}, {"account": "u-2"}, {"phone_number": PLAIN}]
)
def test_a_repeat_is_bound_like_the_first_call(
    challenge: Challenge, binding: dict[str, str]
) -> None:
    """What was verified for one purpose, account and number is never 200 for another."""
    code = challenge.code
    headers = {"Idempotency-Key": secrets.token_hex()}
    assert 200 == challenge.verify(code, headers=headers).status_code

    refused = challenge.verify(code, headers=headers, **binding)

    assert_problem(refused, "challenge-already-verified", "idempotency-key-reused")


def test_an_issues_key_is_none_for_a_resend(dev: Dev) -> None:
    """It is another request; to verify, whose keys live in the challenge, it says nothing."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    challenge = dev.challenge(headers=headers)

    assert_problem(challenge.resend(**headers), "idempotency-key-reused", "rate-limited")
    assert 1 == len(challenge.sent())
    assert 200 == challenge.verify(headers=headers).status_code


def test_malformed_keys_are_refused_everywhere(challenge: Challenge) -> None:
    """And charge nothing."""
    headers = {"Idempotency-Key": '"open'}

    assert_invalid(challenge.verify(headers=headers))
    assert_invalid(challenge.resend(**headers))
    assert 5 == challenge.view()["attempts_left"]


def test_a_key_of_one_challenge_is_fresh_for_another(dev: Dev) -> None:
    """A key lives with its challenge."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    one, other = dev.challenge(), dev.challenge()

    assert 200 == one.verify(headers=headers).status_code
    assert 200 == other.verify(headers=headers).status_code


# Who calls, and how.


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x"],
)
def test_callers_need_a_key(dev: Dev, authorization: str | None) -> None:
    """Each endpoint with a scope answers 401 first, whatever the body."""
    headers = {} if authorization is None else {"Authorization": authorization}
    number = fresh_number()

    with client(str(dev.api.base_url), **headers) as stranger:
        refused = [
            stranger.post("/v1/challenges", json={"phone_number": number}),
            stranger.post("/v1/challenges", content=b"x" * 64 * KIB),
            stranger.post("/v1/challenges/unknown/verify", json={}),
            stranger.post("/v1/challenges/unknown/resend"),
            stranger.get("/v1/challenges/unknown"),
            stranger.delete("/v1/challenges/unknown"),
            stranger.get("/v1/audit/events"),
            stranger.post("/v1/audit/search", json={}),
            stranger.post("/v1/numbers/unlock", json={"phone_number": number}),
        ]

    for answer in refused:
        assert_problem(answer, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert [] == dev.inbox(number)


def test_a_scheme_has_no_case(dev: Dev) -> None:
    """`bearer` is `Bearer`."""
    assert 201 == dev.issue(headers={"Authorization": f"bearer {KEY}"}).status_code


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/challenges", "/v1/challenge", "/v1/challenges/a/b", "/favicon.ico"]
)
def test_other_paths_are_not_found(dev: Dev, path: str) -> None:
    """404 `not-found`."""
    assert_problem(dev.api.get(path), "not-found")
    assert_problem(dev.api.post(path, json={}), "not-found")


@pytest.mark.parametrize("path", ["/v1/callbacks/nobody", "/v1/callbacks/inbox"])
def test_nobody_calls_back_in_development(dev: Dev, path: str) -> None:
    """The inbox has no receipts, and there is no other provider."""
    assert_problem(dev.api.get(path), "not-found")
    assert_problem(dev.api.post(path, content=b"x"), "not-found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/challenges", "POST"),
        ("/v1/challenges/unknown", "GET DELETE"),
        ("/v1/challenges/unknown/verify", "POST"),
        ("/v1/challenges/unknown/resend", "POST"),
        ("/v1/audit/events", "GET"),
        ("/v1/audit/search", "POST"),
        ("/v1/numbers/unlock", "POST"),
        ("/health/live", "GET"),
        ("/health/ready", "GET"),
    ],
)
def test_other_methods_are_not_allowed(dev: Dev, path: str, allowed: str) -> None:
    """405 says which are."""
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - set(allowed.split()):
        refused = dev.api.request(method, path)
        assert_problem(refused, "method-not-allowed")
        assert set(allowed.split()) <= set(re.split(r",\s*", refused.headers["allow"]))


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", ""]
)
@pytest.mark.parametrize(
    "path", ["/v1/challenges", "/v1/challenges/unknown/verify", "/v1/numbers/unlock"]
)
def test_a_body_is_json(dev: Dev, path: str, media: str) -> None:
    """And says so; otherwise 415, before anybody looks into it."""
    headers = {"Content-Type": media}

    for body in (b'{"phone_number": "+447400100001"}', b"not json"):
        refused = dev.api.post(path, content=body, headers=headers)
        assert_problem(refused, "unsupported-media-type")


def test_a_body_without_a_type_is_refused(dev: Dev) -> None:
    """Nothing is guessed."""
    refused = dev.api.post("/v1/challenges", content=b'{"phone_number": "+447400100001"}')

    assert_problem(refused, "unsupported-media-type")


def test_a_resend_needs_no_body(challenge: Challenge) -> None:
    """An empty object will do, too; unknown fields will not."""
    url = f"/v1/challenges/{challenge.id}/resend"

    assert_rate_limited(challenge.dev.api.post(url))
    assert_rate_limited(challenge.dev.api.post(url, json={}))
    assert_invalid(challenge.dev.api.post(url, json={"code": "123456"}))
    assert_problem(challenge.dev.api.post(url, content=b"x"), "unsupported-media-type")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_name_its_charset(dev: Dev, media: str) -> None:
    """Media types have no case."""
    assert 201 == dev.issue(headers={"Content-Type": media}).status_code


def body_of(size: int, *, number: str) -> bytes:
    """Return an issue's body of that many bytes."""
    return json.dumps({"phone_number": number}).encode().ljust(size)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_up_to_16_kib(dev: Dev, *, chunked: bool) -> None:
    """One byte more is 413, with or without a length beforehand."""
    headers = {"Content-Type": "application/json"}

    def post(size: int) -> httpx.Response:
        body = body_of(size, number=fresh_number())
        content: Any = iter([body[: size // 2], body[size // 2 :]]) if chunked else body
        return dev.api.post("/v1/challenges", content=content, headers=headers)

    assert 201 == post(16 * KIB).status_code
    assert_problem(post(16 * KIB + 1), "content-too-large")
    assert_problem(post(100 * KIB), "content-too-large")


def test_a_large_body_comes_before_its_type_and_contents(dev: Dev) -> None:
    """413, then 415, then 400."""
    large = b"x" * (16 * KIB + 1)

    for path in ("/v1/challenges", "/v1/challenges/unknown/verify", "/v1/audit/search"):
        refused = dev.api.post(path, content=large, headers={"Content-Type": "text/plain"})
        assert_problem(refused, "content-too-large")


def test_two_megabytes_are_answered(dev: Dev) -> None:
    """Also where the caller goes on sending."""
    with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
        refused = dev.api.post("/v1/challenges", content=b"x" * 2 * KIB * KIB)
        assert_problem(refused, "content-too-large")
    assert 201 == dev.issue().status_code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"+447400100001"',
        b"{}",
        b'{"phone_number": "+447400100001",}',
        b"{'phone_number': '+447400100001'}",
        b'{"phone_number": "+447400100001"} {}',
        b'{"phone_number": "+447400100001", "phone_number": "+447400100001"}',
        b'{"phone_number": "+447400100001", "phone\\u005fnumber": "+447400100002"}',
        b'{"phone_number": "+447400100001", "phone": 1}',
        b'{"phone_number": "+447400100001", "code": "123456"}',
        b'{"phone_number": "+447400100001", "brand": "x\\r\\n@evil.example #000000"}',
        b'{"Phone_Number": "+447400100001"}',
        b'{"phone_number": "+447400100001", "account": NaN}',
        b'{"phone_number": "+447400100001", "account": "\xff\xfe"}',
        b'{"phone_number": "+447400100001", "account": "\\ud800"}',
        b'{"phone_number": "+447400100001", "account": "\xed\xa0\x80"}',
        b'\xff\xfe{\x00"\x00',
        b"[" * 10_000,
        b'{"phone_number":' * 500,
        b'{"account": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_issue_is_invalid(dev: Dev, body: bytes) -> None:
    """Broken JSON, other shapes, duplicate keys, unknown fields, bad UTF-8."""
    headers = {"Content-Type": "application/json"}

    assert_invalid(dev.api.post("/v1/challenges", content=body, headers=headers))


def test_duplicate_keys_are_refused_everywhere(challenge: Challenge) -> None:
    """The last one does not win, and nothing is charged."""
    headers = {"Content-Type": "application/json"}
    code = challenge.code
    body = f'{{"code": "{challenge.wrong}", "code": "{code}"}}'
    url = f"/v1/challenges/{challenge.id}/verify"

    assert_invalid(challenge.dev.api.post(url, content=body, headers=headers))

    assert 5 == challenge.view()["attempts_left"]


def test_query_parameters_are_no_body(dev: Dev) -> None:
    """A number in a URL is not read."""
    headers = {"Content-Type": "application/json"}
    url = "/v1/challenges?phone_number=%2B447400100001"

    assert_invalid(dev.api.post(url, content=b"{}", headers=headers))


@pytest.mark.parametrize(
    "traceparent",
    [
        "garbage",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "00-" + "G" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "B" * 16 + "-01",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "0" * 300,
        "\u00fc",
        "",
    ],
)
def test_garbage_in_traces_is_ignored(dev: Dev, traceparent: str) -> None:
    """A caller's trace never refuses a code."""
    headers = {"traceparent": traceparent.encode(), "tracestate": b"=,=" * 100}

    assert 201 == dev.issue(headers=headers).status_code


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""],
)
def test_both_listeners_answer_loopback_names_only(dev: Dev, host: str) -> None:
    """A page of another site cannot reach them by a name of its own."""
    for listener, path in ((dev.api, "/health/live"), (dev.admin, "/inbox.json")):
        refused = listener.get(path, headers={"Host": host})
        assert 400 <= refused.status_code < 500


def test_loopback_has_many_names(dev: Dev) -> None:
    """With or without a port."""
    for listener, path in ((dev.api, "/health/live"), (dev.admin, "/inbox.json")):
        for host in (
            "localhost",
            "127.0.0.1",
            "[::1]",
            "LOCALHOST",
            f"localhost:{dev.api.base_url.port}",
        ):
            assert 200 == listener.get(path, headers={"Host": host}).status_code


# Operators, auditors, health and the admin listener.


def test_unlock_is_always_204(dev: Dev) -> None:
    """Whether there was anything to unlock or not, and again."""
    for _ in range(2):
        unlocked = dev.api.post("/v1/numbers/unlock", json={"phone_number": fresh_number()})
        assert (204, b"") == (unlocked.status_code, unlocked.content)


def test_unlock_needs_a_number(dev: Dev) -> None:
    """And nothing else."""
    for body in ({}, {"phone_number": 1}, {"phone_number": PLAIN, "tenant": "dev"}):
        assert_invalid(dev.api.post("/v1/numbers/unlock", json=body))
    refused = dev.api.post("/v1/numbers/unlock", json={"phone_number": "+1 202 555 0123"})
    assert_problem(refused, "invalid-phone-number", "invalid-request")


def test_unlock_keeps_the_budget_of_sends(challenge: Challenge) -> None:
    """The cooldown goes on."""
    unlock = {"phone_number": challenge.number}
    assert 204 == challenge.dev.api.post("/v1/numbers/unlock", json=unlock).status_code

    assert_rate_limited(challenge.dev.issue(challenge.number))


def test_every_step_leaves_an_event(challenge: Challenge) -> None:
    """Issue, refusal, wrong code, success, and the second try."""
    challenge.resend()
    challenge.verify(challenge.wrong)
    challenge.verify()
    challenge.verify()

    events = challenge.dev.events(challenge=challenge.id)

    assert 5 <= len(events)
    assert all(event["challenge"] == challenge.id for event in events)
    assert 4 <= len({event["type"] for event in events})
    assert all(isinstance(event["type"], str) for event in events)


def test_a_page_of_events_goes_on_with_its_cursor(dev: Dev) -> None:
    """Each event is seen once, and the last page says so."""
    challenge = dev.challenge()
    challenge.fail(5)
    whole = dev.events(challenge=challenge.id)

    pages = dev.events(challenge=challenge.id, limit=1)

    assert 6 <= len(whole)
    assert whole == pages


@pytest.fixture(scope="module")
def _eventful(dev: Dev) -> None:
    """Have more events than a page."""
    for _ in range(20):
        dev.challenge().fail(2)


@pytest.mark.usefixtures("_eventful")
def test_pages_of_all_events_neither_lose_nor_repeat(dev: Dev) -> None:
    """Across all partitions."""
    until = dt.datetime.now(dt.UTC).isoformat()

    small = dev.events(until=until, limit=97)
    large = dev.events(until=until, limit=1000)

    def key(event: dict[str, Any]) -> str:
        return json.dumps(event, sort_keys=True)

    assert sorted(map(key, small)) == sorted(map(key, large))
    assert len(set(map(key, small))) == len(small) > 100


@pytest.mark.usefixtures("_eventful")
def test_a_page_has_a_hundred_events_unless_told(dev: Dev) -> None:
    """And exactly the members of the contract."""
    page = dev.api.get("/v1/audit/events").json()

    assert {"events", "next"} == set(page)
    assert 100 == len(page["events"])
    assert isinstance(page["next"], str)


def test_events_are_filtered_by_type(dev: Dev) -> None:
    """One type at a time."""
    dev.challenge().fail(1)
    types = {event["type"] for event in dev.events(limit=1000)}
    assert 3 <= len(types)

    for name in types:
        page = dev.api.get("/v1/audit/events", params={"type": name}).json()
        assert {name} == {event["type"] for event in page["events"]}


def test_events_are_filtered_by_time(dev: Dev) -> None:
    """`since` and `until`, in any zone."""
    challenge = dev.challenge()
    now = dt.datetime.now(dt.UTC)
    soon = (now + dt.timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
    kolkata = dt.timezone(dt.timedelta(hours=5, minutes=30))
    before = (now - dt.timedelta(minutes=10)).astimezone(kolkata).isoformat()

    assert [] == dev.events(since=soon)
    assert [] == dev.events(until=before)
    assert dev.events(challenge=challenge.id) == dev.events(
        challenge=challenge.id, since=before, until=soon
    )


@pytest.mark.parametrize(
    "filters",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": "1.0"},
        {"limit": ""},
        {"since": "yesterday"},
        {"since": "2026-01-01"},
        {"since": "2026-01-01T00:00:00"},
        {"until": "1767225600"},
        {"cursor": "garbage"},
        {"cursor": "\u00fc"},
        {"phone_number": PLAIN},
        {"unknown": "1"},
        {"limit": ["1", "2"]},
    ],
)
def test_filters_are_checked(dev: Dev, filters: dict[str, Any]) -> None:
    """Malformed, unknown and repeated ones, and a number in a URL, are 400."""
    assert_invalid(dev.api.get("/v1/audit/events", params=filters))


def test_events_of_a_number_are_searched_in_a_body(dev: Dev) -> None:
    """So that no number stands in a URL; and the other filters are the same."""
    one, other = dev.challenge(), dev.challenge()
    one.fail(1)

    found = dev.api.post("/v1/audit/search", json={"phone_number": one.number})

    assert 200 == found.status_code
    assert {"events", "next"} == set(found.json())
    ids = {event["challenge"] for event in found.json()["events"]}
    assert one.id in ids
    assert other.id not in ids
    narrowed = {"phone_number": one.number, "challenge": other.id, "limit": 10}
    assert [] == dev.api.post("/v1/audit/search", json=narrowed).json()["events"]
    assert one.number not in found.text


def test_a_search_without_a_number_is_like_the_other_way(dev: Dev) -> None:
    """The same filters, and the same answer."""
    challenge = dev.challenge()

    found = dev.api.post("/v1/audit/search", json={"challenge": challenge.id})

    assert dev.events(challenge=challenge.id) == found.json()["events"]


@pytest.mark.parametrize(
    "body",
    [{"limit": 0}, {"limit": 1001}, {"limit": "1"}, {"since": "now"}, {"cursor": "x"}, {"a": 1}],
)
def test_a_search_is_checked(dev: Dev, body: dict[str, Any]) -> None:
    """As its filters are in a URL."""
    assert_invalid(dev.api.post("/v1/audit/search", json=body))


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(dev: Dev, path: str) -> None:
    """200, for whoever asks."""
    with client(str(dev.api.base_url)) as stranger:
        assert 200 == stranger.get(path).status_code


@pytest.mark.parametrize(
    "path", ["/inbox", "/inbox.json", "/openapi.yaml", "/docs", "/metrics", "/schema", "/debug"]
)
def test_the_public_listener_has_no_admin_pages(dev: Dev, path: str) -> None:
    """Pages, documents and metrics are elsewhere."""
    assert_problem(dev.api.get(path), "not-found")


def test_the_admin_listener_issues_nothing(dev: Dev) -> None:
    """It is no second door."""
    headers = {"Authorization": f"Bearer {KEY}"}

    refused = dev.admin.post(
        "/v1/challenges", json={"phone_number": fresh_number()}, headers=headers
    )

    assert_problem(refused, "not-found")


def test_the_document_describes_every_route(dev: Dev) -> None:
    """It is valid OpenAPI, and names every route and every problem."""
    served = dev.admin.get("/openapi.yaml")

    assert 200 == served.status_code
    assert "yaml" in served.headers["content-type"]
    validate(yaml.safe_load(served.text))
    assert described(served.text) >= SERVICE_ROUTES
    assert [] == [slug for slug in PROBLEMS if slug not in served.text]


def described(document: str) -> set[tuple[str, str]]:
    """Return the paths and methods of an OpenAPI document."""
    return {
        (re.sub(r"\{[^}]*\}", "{}", path), method)
        for path, item in yaml.safe_load(document)["paths"].items()
        for method in item
    }


class Links(HTMLParser):
    """What a page fetches."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect scripts, styles, pictures and frames."""
        wanted = "href" if tag == "link" else "src"
        self.found += [value or "" for name, value in attrs if name == wanted]


@pytest.mark.parametrize("path", ["/docs", "/inbox"])
def test_pages_need_no_internet(dev: Dev, path: str) -> None:
    """All that they fetch comes from this listener."""
    page = dev.admin.get(path)

    assert 200 == page.status_code
    assert "text/html" == page.headers["content-type"].split(";")[0]
    for link in Links(page.text).found:
        if not link.startswith("data:"):
            whole = urljoin(str(page.url), link)
            assert whole.startswith(str(dev.admin.base_url))
            assert 200 == dev.admin.get(whole).status_code
    assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", page.text)


def test_metrics_are_prometheus(dev: Dev, challenge: Challenge) -> None:
    """They parse, and no label holds a number, a code or a key."""
    metrics = dev.admin.get("/metrics")

    assert 200 == metrics.status_code
    families = list(text_string_to_metric_families(metrics.text))
    labels = [v for family in families for sample in family.samples for v in sample.labels.values()]
    assert families
    assert not [v for v in labels if challenge.number[-9:] in v or challenge.code == v]
    assert KEY not in metrics.text


def test_the_inbox_is_newest_first(dev: Dev) -> None:
    """As a phone shows them."""
    one, other = dev.challenge(), dev.challenge()

    numbers = [message["to"] for message in dev.inbox()]

    assert numbers.index(other.number) < numbers.index(one.number)


def test_the_date_of_an_answer_is_now(dev: Dev) -> None:
    """Where there is one, callers may set their watch by it."""
    date = dev.api.get("/health/live").headers.get("date")

    if date is not None:
        assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5


# Starting.


def test_the_screen_shows_a_line_that_works(dev: Dev) -> None:
    """One curl line, which can be pasted into a shell as it is."""
    assert shutil.which("curl")
    lines = [line.strip() for line in dev.printed.read_text().splitlines()]
    (line,) = [line for line in lines if line.startswith("curl ")]

    pasted = subprocess.run(["sh", "-c", line], capture_output=True, timeout=20, check=True)

    challenge = json.loads(pasted.stdout)
    assert "pending" == challenge["status"]
    assert dev.inbox()[0]["to"].endswith(challenge["phone_number"][-2:])


def test_the_screen_shows_no_code_and_no_number(dev: Dev, challenge: Challenge) -> None:
    """Except the number in the line to paste."""
    challenge.verify(challenge.wrong)
    code = challenge.code
    challenge.verify(code)

    printed = dev.printed.read_text()

    assert challenge.number not in printed
    assert code not in re.findall(r"(?<![\d.])\d{6}(?!\d)", printed)


@pytest.mark.slow
def test_a_restart_keeps_live_challenges(tmp_path: Path) -> None:
    """Codes, attempts, cooldowns, idempotency and the key that it made; the inbox is empty."""
    headers = {"Idempotency-Key": "before"}
    with running(tmp_path / "data") as before:
        kept = before.challenge(headers=headers)
        code = kept.code
        kept.fail(2)

    with running(tmp_path / "data") as after:
        kept.dev = after

        assert before.key == after.key
        assert [] == after.inbox()
        assert 3 == kept.view()["attempts_left"]
        assert kept.id == after.issue(kept.number, headers=headers).json()["id"]
        assert_rate_limited(after.issue(kept.number))
        assert 200 == kept.verify(code).status_code


# What waits for a cooldown. The first of them waits for all.


def wait(challenge: Challenge, cooldowns: int = 1) -> None:
    """Wait until that many cooldowns have passed since a challenge was asked for."""
    over = challenge.asked_at + cooldowns * (COOLDOWN + 1)
    time.sleep(max(0.0, over - time.monotonic()))


@pytest.fixture(scope="module")
def resent(early: Iterator[Challenge]) -> Challenge:
    """A challenge that was sent twice, and tried once in between."""
    challenge = next(early)
    challenge.fail(1)
    wait(challenge)
    again = challenge.resend()
    assert 200 == again.status_code, again.text
    challenge.issued = again.json()
    return challenge


@pytest.fixture(scope="module")
def failed(early: Iterator[Challenge]) -> Challenge:
    """A challenge whose number has failed ten times, five of them on another."""
    first = next(early)
    first.fail(5)
    wait(first)
    second = first.dev.challenge(first.number)
    second.fail(5)
    return second


@pytest.mark.slow
def test_a_resend_is_another_message(resent: Challenge, failed: Challenge) -> None:
    """It takes a send, neither attempts nor lifetime come back, and its cooldown begins."""
    assert failed.number != resent.number  # both wait from here on
    before, after = resent.view(), resent.issued

    assert before == after
    assert ("pending", 1, 4) == (after["status"], after["sends_left"], after["attempts_left"])
    lifetime = dt.datetime.fromisoformat(after["expires_at"]) - dt.datetime.fromisoformat(
        after["created_at"]
    )
    assert lifetime.total_seconds() == pytest.approx(300, abs=1)
    assert 2 == len(resent.sent()) == len(after["delivery"]["submissions"])
    assert 2 == len(set(resent.sent()))
    assert assert_rate_limited(resent.resend()) <= COOLDOWN
    assert "4 min" in resent.dev.inbox(resent.number)[0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_two_codes_live(early: Iterator[Challenge], which: int) -> None:
    """The new one, and the one before it; either ends both."""
    challenge = next(early)
    wait(challenge)
    assert 200 == challenge.resend().status_code
    codes = challenge.sent()

    assert 200 == challenge.verify(codes[which]).status_code
    assert_problem(challenge.verify(codes[1 - which]), "challenge-already-verified")


@pytest.mark.slow
def test_a_resend_is_repeated_with_its_key(early: Iterator[Challenge]) -> None:
    """The same answer, and one message."""
    challenge = next(early)
    wait(challenge)
    headers = {"Idempotency-Key": secrets.token_hex()}

    replies = [challenge.resend(**headers) for _ in range(2)]

    assert [200, 200] == [reply.status_code for reply in replies]
    assert replies[0].json() == replies[1].json()
    assert 2 == len(challenge.sent())


@pytest.mark.slow
def test_a_second_challenge_leaves_the_first_alone(early: Iterator[Challenge]) -> None:
    """Whoever can ask for a code cannot end somebody else's."""
    first = next(early)
    code = first.code
    wait(first)

    second = first.dev.challenge(first.number)

    assert "pending" == first.view()["status"]
    assert 200 == first.verify(code).status_code
    assert 200 == second.verify().status_code


@pytest.mark.slow
def test_a_third_code_drives_out_the_first(resent: Challenge) -> None:
    """Three sends, two live codes; then no more. And `Retry-After` is exactly true."""
    time.sleep(assert_rate_limited(resent.resend()))
    third = resent.resend()

    assert (200, 0) == (third.status_code, third.json()["sends_left"])
    _, second, first = resent.sent()
    assert_problem(resent.resend(), "sends-exhausted")  # before the cooldown is looked at
    assert 3 == len(resent.sent())
    assert_problem(resent.verify(first), "incorrect-code")
    assert 200 == resent.verify(second).status_code


@pytest.mark.slow
def test_ten_failures_stop_a_number_until_it_is_unlocked(failed: Challenge) -> None:
    """A new challenge does not help, an operator does."""
    wait(failed)
    third = failed.dev.challenge(failed.number)
    refused = third.verify()
    assert_rate_limited(refused)
    assert "FailuresPerNumber" == refused.json()["limit"]
    assert 5 == third.view()["attempts_left"]

    unlock = failed.dev.api.post("/v1/numbers/unlock", json={"phone_number": failed.number})

    assert 204 == unlock.status_code
    assert 200 == third.verify().status_code


def test_what_is_no_request_is_a_problem_too(dev: Dev) -> None:
    """R51: also where the HTTP parser gives up before there is a route."""
    url = dev.api.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=5) as connection:
        connection.sendall(b"BREW /v1/challenges HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = connection.makefile("rb").read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert "/problems/invalid-request" == json.loads(body)["type"]

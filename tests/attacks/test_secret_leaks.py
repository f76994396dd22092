"""A18: at DEBUG and through every error, nobody is told a code, a number or a key."""

import asyncio
import json
import re
import secrets
import threading
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from otp_service.api.problems import PROBLEM_TYPES
from otp_service.audit.exports import EXPORT_FORMATS
from otp_service.store.embedded import EmbeddedServer
from tests.attacks.attacker import encode_digits, encode_number, has_standalone_code
from tests.attacks.audit_environment import AuditEnvironment
from tests.audit.sinks.syslog_server import parse_messages
from tests.installation import make_wrong_code
from tests.processes import (
    CODE_PATTERN,
    GatewayServer,
    HttpResponse,
    RawConnection,
    RunningService,
    build_request,
    delete_cooldowns,
    run_service,
)
from tests.store import redis_servers
from tests.trace_collector import TraceCollector


pytestmark = pytest.mark.slow

NUMBERS = [f"+4474007{i:02d}829" for i in range(60)]
TYPED = ["+44 (0)7400 718-299", "tel:+447400718299", "+4407400718299"]
ACCOUNT = "somebody@example.com"

LATER = {"challenge-expired"}
"""What takes a minute, and is told in the same way as the others of its family."""

FAULTY = """
import os
from otp_service.core.messages import MessageRenderer
from otp_service.sms.providers.generic_http import GenericHttp

render, reply = MessageRenderer.render, GenericHttp.interpret_reply

def faulty_render(self, code, minutes, locale=None):
    if locale == "zz":
        with open(DRAWN, "a") as file:
            file.write(code + " ")
        raise RuntimeError(f"no words for {code} in {locale}: {render(self, code, minutes)}")
    return render(self, code, minutes, locale)

def faulty_reply(self, answer):
    if b"explode" in answer.body:
        raise ValueError(answer.body.decode())
    return reply(self, answer)

MessageRenderer.render, GenericHttp.interpret_reply = faulty_render, faulty_reply
os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "100"
"""
"""Bugs of ours, in the middle of a send and in a dialect; their exceptions hold what they had.

A code that was never sent is known to nobody, so it is written to the file DRAWN for the test.
Spans are sent every 100 ms, or the test would have to wait for the last of them.
"""


class Told(NamedTuple):
    """Who was told what, and what nobody may be told."""

    sinks: dict[str, bytes]
    codes: set[str]
    numbers: set[str]
    secrets: set[str]
    problems: set[str]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Every sink of a service that has met every error."""
    folder = tmp_path_factory.mktemp("canary")
    drawn = folder / "drawn"
    with (
        redis_servers.start_server(folder / "redis", port=redis_servers.find_free_port()) as redis,
        GatewayServer() as gateway,
        TraceCollector() as collector,
        AuditEnvironment(folder) as auditors,
    ):
        with run_service(
            folder,
            redis,
            [gateway.url],
            workers=1,
            sitecustomize=f"DRAWN = {str(drawn)!r}\n{FAULTY}",
            SERVICE__LOG_LEVEL="debug",
            TELEMETRY__TRACES=collector.url,
            HASH__WORKERS="1",
            HASH__QUEUE="1",
            REDIS__TIMEOUT_MILLISECONDS="400",
            ROUTING__DEADLINE_SECONDS="1",
            PROVIDERS__GATEWAY__CODE="error.code",
            PROVIDERS__GATEWAY__RECIPIENT_CODES='["no-such-number"]',
            **auditors.settings,
        ) as service:
            story = Story(service, gateway, redis)
            story.run_steps()
            metrics, events = service.fetch_metrics(), repr(service.fetch_events())
            commands = auditors.run_searches(NUMBERS[0])
            service.send_request("GET", "/health/live", by="")
            redis_servers.wait_until(
                lambda: b"GET /health/live" in collector.bodies, description="the last span"
            )
        answers = "\n".join(f"{a.headers} {a.body.decode()}" for a in service.responses)
        yield Told(
            {
                "log": service.log.read_bytes(),
                "metrics": metrics.encode(),
                "events": events.encode(),
                "answers": answers.encode(),
                **commands,
                **dict(auditors.collect_outputs()),
                "Redis's log": redis.log_path.read_bytes(),
                "traces": collector.bodies,
            },
            {CODE_PATTERN.findall(m["text"])[0] for m in gateway.messages}
            | story.typed
            | set(drawn.read_text().split()),
            {m["to"] for m in gateway.messages} | {NUMBERS[0]},
            {
                *service.keys.values(),
                *auditors.secrets,
                *re.findall(r'secret = "([\w-]+)"', config_of(folder)),
            },
            {answer.problem_type for answer in service.responses},
        )


def config_of(folder: Any) -> str:
    """Return the configuration, which has the pepper and all other keys."""
    return str((folder / "otp.toml").read_text())


class Story:
    """Everything that can go wrong, one thing after another."""

    def __init__(
        self, service: RunningService, gateway: GatewayServer, redis: EmbeddedServer
    ) -> None:
        self.service, self.gateway, self.redis = service, gateway, redis
        self.typed: set[str] = set()
        self._numbers = iter(NUMBERS)

    def run_steps(self) -> None:
        """Tell all of it."""
        self.strangers()
        self.bad_requests()
        self.guesses()
        self.endings()
        self.repetitions()
        self.providers()
        self.bugs()
        self.page()
        self.crowds()
        self.redis_in_doubt()

    def page(self) -> None:
        """The security team looks somebody up; others try, and fields are mixed up."""
        path, number, keys = "/audit/challenges", NUMBERS[0], self.service.keys
        self._send("/audit/login", key=keys["security"][:-1])
        self._send("/audit/login", key=keys["shop"])
        headers = self._send("/audit/login", key=keys["security"]).headers
        cookie = headers["set-cookie"].split(";")[0]
        challenge = next(e["challenge"] for e in self.service.fetch_events() if "challenge" in e)
        for place in ("", "/search", "/archive", f"?tenant={number}", f"/challenges/{challenge}"):
            self._send(f"/audit{place}", cookie, method="GET")
        self._send(f"{path}/{number}", cookie, method="GET")
        self._send("/audit/search", cookie, number=number, reason="Ticket 4711")
        self._send("/audit/search", cookie, number=number, reason=f"because of {number}")
        self._send("/audit/search", cookie, challenge=number)
        self._send("/audit/search", cookie, number=number, cursor="581726", reason="Ticket")
        self._send("/audit/search", cookie, hours=number)

    def _send(
        self, path: str, cookie: str = "", method: str = "POST", **fields: str
    ) -> HttpResponse:
        """Do what a browser does with a form."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
            "Cookie": cookie,
        }
        body = urlencode(fields).encode()
        return self.service.send_request(
            method, path, by="", listener="admin_port", headers=headers, body=body
        )

    def strangers(self) -> None:
        """Keys that are wrong, misplaced, or not meant for this."""
        key, path, call = self.service.keys["shop"], "/v1/challenges", self.service.send_request
        body = {"phone_number": NUMBERS[0]}
        for headers in (
            {"Authorization": f"Basic {key}"},
            {"Authorization": f"Bearer {key[:-1]}"},
            {"Authorization": f"Bearer {key} {key}"},
            {"X-Api-Key": key, "Cookie": f"key={key}"},
        ):
            call("POST", path, by="", body=body, headers=headers)
        call("POST", f"{path}?api_key={key}&phone_number=%2B{NUMBERS[0][1:]}", by="", body=body)
        call("GET", "/v1/audit/events")
        call("POST", "/v1/audit/search", body={"phone_number": NUMBERS[0]})
        call("POST", "/v1/audit/search", by="security", body={"phone_number": NUMBERS[0]})

    def bad_requests(self) -> None:
        """Numbers and codes in every place where they do not belong."""
        call, number, path = self.service.send_request, NUMBERS[0], "/v1/challenges"
        self.typed |= {"493817", "581726"}
        call("GET", f"/v1/challenges/{number}")
        call("GET", f"/v1/{number}/493817")
        call("PUT", f"{path}?code=493817", body={"phone_number": number})
        call("POST", path, body={"phone_number": number, number: "493817"})
        call("POST", path, body={"phone_number": [number], "locale": "493817"})
        call("POST", path, body={"phone_number": number, "client_ip": number})
        call("POST", path, body={"phone_number": number, "locale": number})
        call("POST", path, body={"phone_number": number, "purpose": number})
        call("POST", path, body=f'{{"phone_number": "{number}", "phone_number": "493817"'.encode())
        call("POST", path, body={"phone_number": number, "account": "5" * 17_000})
        call("POST", path, body=number.encode(), headers={"Content-Type": "text/plain"})
        for text in TYPED:
            call("POST", path, body={"phone_number": text})
        call("POST", path, body={"phone_number": "+4930123456"})
        call("POST", path, body={"phone_number": "+442079461234"})
        call("POST", path, body={"phone_number": "+33612345678"})
        call("POST", path, body={"phone_number": number}, headers={"Idempotency-Key": "a, b"})
        search = {"phone_number": number, "cursor": "581726"}
        call("POST", "/v1/audit/search", by="security", body=search)
        call("GET", f"/v1/audit/events?phone_number=%2B{number[1:]}&code=581726", by="security")
        headers = {"User-Agent": number, "traceparent": f"00-{number}-493817-01", "Referer": number}
        call("GET", "/health/live", headers=headers)

    def guesses(self) -> None:
        """Wrong, malformed and too many codes; a number that is locked."""
        number = next(self._numbers)
        issued = self.issue(number, account=ACCOUNT, client_ip="203.0.113.9")
        code = self.gateway.find_code(number)
        self.verify(issued, f"{code}0", f"{code} {code}", f"x{code}", code[::-1] + "1")
        self.service.verify(issued, int(code))
        self.verify(issued, *(make_wrong_code(code, i + 1) for i in range(4)))
        for more in ({"purpose": "other"}, {"phone_number": NUMBERS[5]}, {"account": "u"}):
            self.service.verify(issued, code, **more)
        self.verify(issued, code)
        with redis_servers.open_client(self.redis) as client:
            (row,) = client.scan_iter("*:limit:ConsecutiveFailuresPerNumber:shop:*")
            client.hset(row, "count", 100)
        delete_cooldowns(self.redis)
        self.issue(number)
        body = {"phone_number": number}
        self.service.send_request("POST", "/v1/numbers/unlock", by="security", body=body)

    def endings(self) -> None:
        """Verified, canceled, sent too often, asked too often, and never there."""
        won, dead, resent = (next(self._numbers) for _ in range(3))
        issued = self.issue(won)
        for _ in range(2):
            self.service.verify(issued, self.gateway.find_code(won), key="same")
        self.verify(issued, self.gateway.find_code(won))
        issued = self.issue(dead)
        self.issue(dead)
        self.service.send_request("DELETE", f"/v1/challenges/{issued.json['id']}")
        self.verify(issued, self.gateway.find_code(dead))
        issued = self.issue(resent)
        for _ in range(3):
            delete_cooldowns(self.redis)
            self.service.resend(issued)
        self.service.view(issued)
        self.service.view(issued, by="bank")

    def repetitions(self) -> None:
        """An Idempotency-Key that is a number, reused, and in use."""
        first, second, slow = (next(self._numbers) for _ in range(3))
        for number in (first, first, second):
            self.issue(number, key=first)
        issued = self.issue(slow, key="slow")
        delete_cooldowns(self.redis)
        self.gateway.hold_replies()
        printed = len(self.gateway.messages)
        thread = threading.Thread(
            target=self.service.resend, args=(issued,), kwargs={"key": "again"}
        )
        thread.start()
        redis_servers.wait_until(
            lambda: len(self.gateway.messages) > printed, description="the message"
        )
        self.issue(slow, key="slow")
        self.service.resend(issued, key="again")
        thread.join(30)
        self.gateway.accept_messages()

    def providers(self) -> None:
        """Vendors that echo what they were given, in every part of an answer."""
        for status, body in (
            (400, {"error": {"code": "no-such-number", "message": "{to} {text}"}}),
            (400, {"error": {"code": "{to}", "message": "{text}"}}),
            (400, {"error": {"code": "{code}"}}),
            (403, {"error": {"code": "bad:{code}:{to}"}}),
            (500, "{text} for {to}"),
            (302, {"see": "{text}"}),
            (429, {"error": {"code": "slow-down-{code}"}}),
            (200, {"id": "{to}-{code}"}),
            (200, {"id": "{code}"}),
            (200, {"error": {"code": "E{code}"}}),
            (200, {"explode": "{to} {text}"}),
        ):
            number = next(self._numbers)
            self.gateway.set_reply(
                status, body, X_Echo="{to} {code}", Location="/?c={code}&to={to}"
            )
            issued = self.issue(number)
            if issued.status == 201:
                self.service.view(issued)
        self.gateway.accept_messages()

    def bugs(self) -> None:
        """An exception of ours, with a code in its text and in its frames."""
        self.issue(next(self._numbers), locale="zz")
        self.issue(next(self._numbers), locale="zz", key="again")

    def crowds(self) -> None:
        """More at once than there is room for."""
        for _ in range(10):
            asyncio.run(self._crowd())
            if "overloaded" in {answer.problem_type for answer in self.service.responses}:
                break

    async def _crowd(self) -> None:
        line_of = [await RawConnection.connect(self.service.port) for _ in range(4)]
        key = self.service.keys["shop"]
        bodies = [{"phone_number": number} for number in NUMBERS[-4:]]
        asked = [build_request("POST", "/v1/challenges", body=body, key=key) for body in bodies]
        pairs = zip(line_of, asked, strict=True)
        self.service.responses += await asyncio.gather(*(line.exchange(one) for line, one in pairs))
        for line in line_of:
            line.close()

    def redis_in_doubt(self) -> None:
        """Full, and then gone in the middle of things."""
        number, other = next(self._numbers), next(self._numbers)
        issued = self.issue(number)
        code = self.gateway.find_code(number)
        with redis_servers.open_client(self.redis) as client:
            client.config_set("maxmemory", 1)
            self.issue(other, key="doubt")
            self.verify(issued, code, make_wrong_code(code))
            client.config_set("maxmemory", "256mb")
        redis_servers.kill_server(self.redis)
        self.issue(other)
        self.verify(issued, code)
        self.service.send_request("GET", "/health/ready", by="")
        self.redis.stop()
        self.redis.start()
        redis_servers.wait_until(self.service.is_ready, description="the recovery")

    def issue(self, number: str, **more: Any) -> HttpResponse:
        """Ask for a code."""
        return self.service.issue(number, **more)

    def verify(self, issued: HttpResponse, *codes: str) -> None:
        """Try codes."""
        self.typed |= {code for code in codes if len(code) == 6}
        for code in codes:
            self.service.verify(issued, code)


def test_every_error_was_met(told: Told) -> None:
    """R68: or this would prove little."""
    assert PROBLEM_TYPES.keys() - LATER == told.problems - {""}


def found_in(told: Told, readable: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return where something can be read, and in which form."""
    return [
        (sink, name)
        for sink, text in told.sinks.items()
        for name, form in readable.items()
        if form in text
    ]


def test_nobody_is_told_a_code(told: Told) -> None:
    """R68, R32: neither what was sent nor what was typed, in any form."""
    assert 25 < len(told.codes)
    for code in told.codes:
        assert [] == [sink for sink, text in told.sinks.items() if has_standalone_code(code, text)]
        assert [] == found_in(told, encode_digits(code))


def test_nobody_is_told_a_number(told: Told) -> None:
    """R68, R69: masks and pseudonyms only."""
    assert 15 < len(told.numbers)
    for number in told.numbers:
        assert [] == found_in(told, encode_number(number))
    assert [] == found_in(told, {typed: typed.encode() for typed in TYPED})


def key_forms(secret: str) -> dict[str, bytes]:
    """Return how a key can be written: its text, or the bytes that this text stands for."""
    whole = urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    shown = repr(whole)[2:-1].encode()
    return {
        "as it is": secret.encode(),
        "half": secret[:16].encode(),
        "bytes": whole,
        "bytes in hex": whole.hex().encode(),
        "bytes in base64": b64encode(whole)[:16],
        "bytes as Python shows them": shown,
        "the same in JSON": json.dumps(shown.decode())[1:-1].encode(),
    }


def test_nobody_is_told_a_key(told: Told) -> None:
    """R11, R68: API keys, the pepper and the other four, what seals, and the collector's token."""
    assert 3 + 5 + 2 == len(told.secrets)
    for secret in told.secrets:
        assert [] == found_in(told, encode_digits(secret) | key_forms(secret))


def test_a_tenants_name_for_its_user_is_told_to_nobody_else(told: Told) -> None:
    """R69: an account may be an e-mail address; events hold its pseudonym."""
    found = {sink for sink, text in told.sinks.items() if ACCOUNT.encode() in text}

    assert {"answers"} == found


def test_the_log_says_what_happened(told: Told) -> None:
    """It is no silence that keeps the secrets: exceptions are told, by class and place."""
    log = told.sinks["log"].decode()

    assert "builtins.RuntimeError" in log
    assert "provider gateway raised ValueError" in log
    assert '"level":"debug"' in log
    assert '"status":500' in log


def test_the_archive_and_all_that_is_made_of_it_have_all_events(told: Told) -> None:
    """R70, R71, R75: whatever was called; or their silence would be no proof."""
    lines = [line for line in told.sinks["archive"].splitlines() if line.startswith(b"{")]
    entries = [line for line in lines if line.startswith(b'{"id"')]
    assert 90 < len(entries)
    assert set(lines) == set(told.sinks["collector"].splitlines())
    assert set(lines) == {text for _, text in parse_messages(told.sinks["syslog server"])}
    for form in EXPORT_FORMATS:
        assert len(lines) - told.sinks["archive"].count(b'{"seal"') == len(
            told.sinks[form].splitlines()
        )
        assert b"log.unreadable" not in told.sinks[form]
    for kind in (b"otp.verified", b"otp.locked", b"otp.provider_failed", b"otp.issue_denied"):
        for sink in ("archive", *EXPORT_FORMATS, "audit search"):
            assert b'"%b"' % kind in told.sinks[sink], (kind, sink)


def test_those_who_audit_were_told_what_happened(told: Told) -> None:
    """R71, R75: stories, counts, and that all of it is sound, held against the anchors."""
    for sink, words in {
        "audit show": (b"issued", b"verified", b"provider failed"),
        "audit stats": (b"GB", b"gateway", b"shop", b'"since"'),
        "audit search": (b"the reason may hold a number",),
        "audit verify": (b"result    sound",),
        "audit prove": (b"otp.verified",),
        "anchors": (b"otp-audit-anchor 1 ",),
    }.items():
        for word in words:
            assert word in told.sinks[sink], (sink, word)


def test_traces_say_what_happened(told: Told) -> None:
    """Whole requests with what they were made of, the ones that failed among them."""
    for part in (
        b"POST /v1/challenges",
        b"store commit",
        b"argon2",
        b"submit",
        b"StoreUnavailable",
    ):
        assert part in told.sinks["traces"]


@pytest.mark.parametrize("form", [*encode_digits("1"), "as it is"])
@pytest.mark.parametrize("kind", ["codes", "numbers", "secrets"])
def test_a_leak_in_any_form_would_be_found(kind: str, form: str) -> None:
    """In any sink; here in the middle of a line of the log."""
    values = {"codes": "493817", "numbers": NUMBERS[0], "secrets": "sesame-open-sesame"}
    value = values[kind]
    spelled = value[1:] if kind == "numbers" else value
    leak = (encode_digits(spelled) | {"as it is": value.encode()})[form]
    filler = {f"{i}" * 20 for i in range(1, 8)}
    leaky = Told(
        {"log": b'{"event":"' + leak + b'"}'},
        {f"{i:06d}" for i in range(30)} | ({value} if kind == "codes" else set()),
        set(NUMBERS[1:30]) | ({value} if kind == "numbers" else set()),
        filler | {value if kind == "secrets" else "9" * 20},
        set(),
    )
    search = {
        "codes": test_nobody_is_told_a_code,
        "numbers": test_nobody_is_told_a_number,
        "secrets": test_nobody_is_told_a_key,
    }[kind]

    with pytest.raises(AssertionError, match="log"):
        search(leaky)


@pytest.mark.parametrize("form", key_forms("sesame-open-sesame"))
def test_a_key_in_any_form_would_be_found(form: str) -> None:
    """As the text of the settings, and as the bytes that HMAC is given."""
    told = {secrets.token_urlsafe(32) for _ in range(8)}
    leaky = Told({"log": b"key " + key_forms(max(told))[form]}, set(), set(), told, set())

    with pytest.raises(AssertionError, match="log"):
        test_nobody_is_told_a_key(leaky)

"""A18: at DEBUG and through every error, no output contains a code, a number or a key."""

import asyncio
import json
import re
import secrets
import threading
import time
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from otp_service.api.problems import PROBLEM_TYPES
from otp_service.audit.exports import EXPORT_FORMATS
from otp_service.store.embedded import EmbeddedServer
from tests.attacks.attacker import encode_digits, encode_number, has_standalone_code
from tests.attacks.audit_environment import AuditEnvironment
from tests.attacks.factor_scenario import FACTOR_PROBLEM_TYPES
from tests.audit.sinks.syslog_server import parse_messages
from tests.hooks.products import send_key, sign_standard, sign_zitadel, to_whsec
from tests.installation import make_wrong_code
from tests.processes import (
    CODE_PATTERN,
    METRICS_DELAY_SECONDS,
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

UNTESTED_PROBLEM_TYPES = {"challenge-expired", "request-timeout", "account-locked"}
"""Problem types that take a minute or a hundred failures to cause, and are rendered like the others
of their family."""

INJECTED_BUGS = """
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
"""Injected bugs, in a send and in a dialect, whose exceptions contain their input.

A code that was never sent is unknown to the gateway, so it is written to the file DRAWN for the
test. Spans are exported every 100 ms, so that the test need not wait for the last of them.
"""


HOOK_SECRETS = {name: secrets.token_urlsafe(32) for name in ("supabase", "zitadel", "generic")}

HOOK_SIGNERS: Mapping[str, Callable[[bytes, str], dict[str, str]]] = {
    "supabase": lambda body, secret: sign_standard(body, secret, at=time.time()),
    "zitadel": lambda body, secret: sign_zitadel(body, secret, at=time.time()),
    "generic": send_key,
}

HOOK_SETTINGS = f"""{{
    supabase = {{ type = "supabase", tenant = "bank", answer_seconds = 0.5,
                  secrets = {{ first = "v1,{to_whsec(HOOK_SECRETS["supabase"])}" }} }},
    zitadel = {{ type = "zitadel", tenant = "bank", secrets = {{ first = "{HOOK_SECRETS["zitadel"]}" }} }},
    generic = {{ type = "generic", tenant = "bank", secrets = {{ first = "{HOOK_SECRETS["generic"]}" }},
                 phone_number = "to.0", code = "code", locale = "locale", conditions = {{ by = "SMS" }} }}
}}""".replace("\n", " ")


class SecretLeakOutputs(NamedTuple):
    """The outputs of a service that met every error, and the secrets that no output may contain."""

    sinks: dict[str, bytes]
    codes: set[str]
    numbers: set[str]
    secrets: set[str]
    problems: set[str]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretLeakOutputs]:
    """Return every output of a service after every error."""
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
            sitecustomize=f"DRAWN = {str(drawn)!r}\n{INJECTED_BUGS}",
            SERVICE__LOG_LEVEL="debug",
            TELEMETRY__TRACES=collector.url,
            HASH__WORKERS="1",
            HASH__MAX_WAIT_MILLISECONDS="1",
            HASH__MAX_PREPARED_CODES="0",
            REDIS__TIMEOUT_MILLISECONDS="400",
            ROUTING__DEADLINE_SECONDS="1",
            PROVIDERS__GATEWAY__CODE="error.code",
            PROVIDERS__GATEWAY__RECIPIENT_CODES='["no-such-number"]',
            HOOKS=HOOK_SETTINGS,
            **auditors.settings,
        ) as service:
            scenario = ErrorScenario(service, gateway, redis)
            scenario.run_steps()
            time.sleep(METRICS_DELAY_SECONDS)  # the worker's own clock
            metrics, events = service.fetch_metrics(), repr(service.fetch_events())
            commands = auditors.run_searches(NUMBERS[0])
            service.send_request("GET", "/health/live", by="")
            redis_servers.wait_until(
                lambda: b"GET /health/live" in collector.bodies, description="the last span"
            )
        answers = "\n".join(f"{a.headers} {a.body.decode()}" for a in service.responses)
        yield SecretLeakOutputs(
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
            | scenario.typed
            | set(drawn.read_text().split()),
            {m["to"] for m in gateway.messages} | {NUMBERS[0]},
            {
                *service.keys.values(),
                *auditors.secrets,
                *re.findall(r'secret = "([\w-]+)"', read_config(folder)),
                *HOOK_SECRETS.values(),
            },
            {answer.problem_type for answer in service.responses},
        )


def read_config(folder: Any) -> str:
    """Return the configuration, which contains the pepper and all other keys."""
    return str((folder / "otp.toml").read_text())


def remove_typed(page: bytes, fields: Mapping[str, str]) -> bytes:
    """Return a page without what was typed, in the input of its own field: a form keeps it (F5)."""
    for name, text in fields.items():
        page = page.replace(f'name="{name}" value="{text}"'.encode(), b"")
    return page


class ErrorScenario:
    """Causes every error, one after another."""

    def __init__(
        self, service: RunningService, gateway: GatewayServer, redis: EmbeddedServer
    ) -> None:
        self.service, self.gateway, self.redis = service, gateway, redis
        self.typed: set[str] = set()
        self._numbers = iter(NUMBERS)

    def run_steps(self) -> None:
        """Run all steps."""
        self.authenticate_wrongly()
        self.send_bad_requests()
        self.guess_codes()
        self.end_challenges()
        self.repeat_requests()
        self.deliver_codes()
        self.call_hooks()
        self.receive_provider_errors()
        self.trigger_bugs()
        self.use_audit_page()
        self.overload_service()
        self.break_redis()

    def use_audit_page(self) -> None:
        """Use the audit page with valid and invalid keys, and with numbers in wrong fields."""
        path, number, keys = "/audit/challenges", NUMBERS[0], self.service.keys
        self._submit_form("/audit/login", key=keys["security"][:-1])
        self._submit_form("/audit/login", key=keys["shop"])
        headers = self._submit_form("/audit/login", key=keys["security"]).headers
        cookie = headers["set-cookie"].split(";")[0]
        challenge = next(e["challenge"] for e in self.service.fetch_events() if "challenge" in e)
        for place in ("", "/search", "/archive", f"?tenant={number}", f"/challenges/{challenge}"):
            self._submit_form(f"/audit{place}", cookie, method="GET")
        self._submit_form(f"{path}/{number}", cookie, method="GET")
        self._submit_form("/audit/search", cookie, number=number, reason="Ticket 4711")
        self._submit_form("/audit/search", cookie, number=number, reason=f"because of {number}")
        self._submit_form("/audit/search", cookie, challenge=number)
        self._submit_form("/audit/search", cookie, number=number, cursor="581726", reason="Ticket")
        self._submit_form("/audit/search", cookie, hours=number)

    def _submit_form(
        self, path: str, cookie: str = "", method: str = "POST", **fields: str
    ) -> HttpResponse:
        """Send a form as a browser does."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
            "Cookie": cookie,
        }
        body = urlencode(fields).encode()
        answer = self.service.send_request(
            method, path, by="", listener="admin_port", headers=headers, body=body
        )
        self.service.responses[-1] = answer._replace(body=remove_typed(answer.body, fields))
        return answer

    def authenticate_wrongly(self) -> None:
        """Send API keys that are wrong, in the wrong place, or not allowed for the endpoint."""
        key, path, send = self.service.keys["shop"], "/v1/challenges", self.service.send_request
        body = {"phone_number": NUMBERS[0]}
        for headers in (
            {"Authorization": f"Basic {key}"},
            {"Authorization": f"Bearer {key[:-1]}"},
            {"Authorization": f"Bearer {key} {key}"},
            {"X-Api-Key": key, "Cookie": f"key={key}"},
        ):
            send("POST", path, by="", body=body, headers=headers)
        send("POST", f"{path}?api_key={key}&phone_number=%2B{NUMBERS[0][1:]}", by="", body=body)
        send("GET", "/v1/audit/events")
        send("POST", "/v1/audit/search", body={"phone_number": NUMBERS[0]})
        send("POST", "/v1/audit/search", by="security", body={"phone_number": NUMBERS[0]})

    def send_bad_requests(self) -> None:
        """Send numbers and codes in every invalid place."""
        send, number, path = self.service.send_request, NUMBERS[0], "/v1/challenges"
        self.typed |= {"493817", "581726"}
        send("GET", f"/v1/challenges/{number}")
        send("GET", f"/v1/{number}/493817")
        send("PUT", f"{path}?code=493817", body={"phone_number": number})
        send("POST", path, body={"phone_number": number, number: "493817"})
        send("POST", path, body={"phone_number": [number], "locale": "493817"})
        send("POST", path, body={"phone_number": number, "client_ip": number})
        send("POST", path, body={"phone_number": number, "locale": number})
        send("POST", path, body={"phone_number": number, "purpose": number})
        send("POST", path, body=f'{{"phone_number": "{number}", "phone_number": "493817"'.encode())
        send("POST", path, body={"phone_number": number, "account": "5" * 17_000})
        send("POST", path, body=number.encode(), headers={"Content-Type": "text/plain"})
        send("POST", path, body=b"493817", headers={"Transfer-Encoding": f"{number}, chunked"})
        send("GET", f"/v1/audit/events?since=%2B{number[1:] * 900}", by="security")
        for text in TYPED:
            send("POST", path, body={"phone_number": text})
        send("POST", path, body={"phone_number": "+4930123456"})
        send("POST", path, body={"phone_number": "+442079461234"})
        send("POST", path, body={"phone_number": "+33612345678"})
        send("POST", path, body={"phone_number": number}, headers={"Idempotency-Key": "a, b"})
        search = {"phone_number": number, "cursor": "581726"}
        send("POST", "/v1/audit/search", by="security", body=search)
        send("GET", f"/v1/audit/events?phone_number=%2B{number[1:]}&code=581726", by="security")
        headers = {"User-Agent": number, "traceparent": f"00-{number}-493817-01", "Referer": number}
        send("GET", "/health/live", headers=headers)

    def guess_codes(self) -> None:
        """Try wrong, malformed and too many codes, and lock a number."""
        number = next(self._numbers)
        issued = self.issue(number, account=ACCOUNT, client_ip="203.0.113.9")
        code = self.gateway.find_code(number)
        self.verify(issued, f"{code}0", f"{code} {code}", f"x{code}", code[::-1] + "1")
        self.service.verify(issued, int(code))
        self.verify(issued, *(make_wrong_code(code, i + 1) for i in range(4)))
        for other_fields in ({"purpose": "other"}, {"phone_number": NUMBERS[5]}, {"account": "u"}):
            self.service.verify(issued, code, **other_fields)
        self.verify(issued, code)
        with redis_servers.open_client(self.redis) as client:
            (failure_bucket,) = client.scan_iter("*:limit:ConsecutiveFailuresPerNumber:shop:*")
            client.hset(failure_bucket, "count", 100)
        delete_cooldowns(self.redis)
        self.issue(number)
        body = {"phone_number": number}
        self.service.send_request("POST", "/v1/numbers/unlock", by="security", body=body)

    def end_challenges(self) -> None:
        """Verify, cancel, and exceed the sends; read a challenge as another tenant."""
        verified, canceled, resent = (next(self._numbers) for _ in range(3))
        issued = self.issue(verified)
        for _ in range(2):
            self.service.verify(issued, self.gateway.find_code(verified), key="same")
        self.verify(issued, self.gateway.find_code(verified))
        issued = self.issue(canceled)
        self.issue(canceled)
        self.service.send_request("DELETE", f"/v1/challenges/{issued.json['id']}")
        self.verify(issued, self.gateway.find_code(canceled))
        issued = self.issue(resent)
        for _ in range(3):
            delete_cooldowns(self.redis)
            self.service.resend(issued)
        self.service.view(issued)
        self.service.view(issued, by="bank")

    def repeat_requests(self) -> None:
        """Use a number as an Idempotency-Key, reuse a key, and use a key in progress."""
        first, second, slow = (next(self._numbers) for _ in range(3))
        for number in (first, first, second):
            self.issue(number, key=first)
        issued = self.issue(slow, key="slow")
        delete_cooldowns(self.redis)
        self.gateway.hold_replies()
        message_count = len(self.gateway.messages)
        thread = threading.Thread(
            target=self.service.resend, args=(issued,), kwargs={"key": "again"}
        )
        thread.start()
        redis_servers.wait_until(
            lambda: len(self.gateway.messages) > message_count, description="the message"
        )
        self.issue(slow, key="slow")
        self.service.resend(issued, key="again")
        thread.join(30)
        self.gateway.accept_messages()

    def deliver_codes(self) -> None:
        """Send codes of another product, that are refused in every way, too."""
        first, second, third = (next(self._numbers) for _ in range(3))
        self.typed |= {"604831", "715942", "826053"}
        for code in ("604831", "604831", "715942"):
            self.service.deliver(first, code, key="delivery")
        self.service.deliver(first, "826053")
        for bad in (
            604831,
            "604831 ",
            f"604831 for {first}",
            [first],
            f"https://a.example/{first}",
        ):
            self.service.deliver(second, bad)
        self.service.deliver("+33612345678", "604831")
        self.service.deliver(second, "604831", by="shop")
        self.service.deliver(second, "604831", purpose=first, locale=first, client_ip="604831")
        self.service.send_request("GET", f"/v1/deliveries/{first}", by="bank")
        self.service.send_request("GET", f"/v1/deliveries?code=604831&to={first}", by="bank")
        for status, body in (
            (400, {"error": {"code": "no-such-number", "message": "{to} {text}"}}),
            (500, "{text} for {to}"),
            (200, {"explode": "{to} {text}"}),
        ):
            delete_cooldowns(self.redis)
            self.gateway.set_reply(status, body, X_Echo="{to} {code}")
            self.service.deliver(second, "604831")
        self.gateway.accept_messages()
        self.service.deliver(third, "715942", locale="zz")

    def call_hooks(self) -> None:
        """Send requests of products, that are refused in every way, too."""
        first, second, third, fourth = (next(self._numbers) for _ in range(4))
        for code, phone in (
            *(("193746", first), ("193746", first), ("204857", first)),
            *((315968, second), ("315968 ", second), (f"315968 for {second}", second)),
            *(("315968", [second]), ("315968", TYPED[0]), ("315968", "33612345678")),
        ):
            user = {"id": ACCOUNT, "phone": phone}
            self._call_hook("supabase", {"user": user, "sms": {"otp": code, "phone": phone}})
            addressed = {"recipientPhoneNumber": phone}
            self._call_hook("zitadel", {"contextInfo": addressed, "args": {"oTP": code, "code": 1}})
            self._call_hook("generic", {"to": [phone], "code": code, "by": "SMS"})
        self._call_hook("generic", {"to": [second], "code": "315968", "by": "315968"})
        delete_cooldowns(self.redis)
        self.gateway.hold_replies()
        self._call_hook("supabase", {"user": {}, "sms": {"otp": "426079", "phone": third}})
        self.gateway.accept_messages()
        for status, body in (
            (400, {"error": {"code": "{to}", "message": "{text}"}}),
            (500, "{text}"),
        ):
            self.gateway.set_reply(status, body, X_Echo="{to} {code}")
            self._call_hook("generic", {"to": [fourth], "code": "537180", "by": "SMS"})
            delete_cooldowns(self.redis)
        self.gateway.accept_messages()
        self._call_hook("generic", {"to": [fourth], "code": "648291", "by": "SMS", "locale": "zz"})

    def _call_hook(self, name: str, payload: Any) -> None:
        """Send a request of a product, and the same with a signature of another secret."""
        body, secret = json.dumps(payload).encode(), HOOK_SECRETS[name]
        self.typed |= set(CODE_PATTERN.findall(body.decode()))
        for key in (secret, secret[::-1]):
            headers = HOOK_SIGNERS[name](body, key)
            path = f"/v1/hooks/{name}"
            self.service.send_request("POST", path, by="", body=body, headers=headers)

    def receive_provider_errors(self) -> None:
        """Send provider errors that echo the request in every part."""
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

    def trigger_bugs(self) -> None:
        """Raise an injected exception with a code in its text and in its frames."""
        self.issue(next(self._numbers), locale="zz")
        self.issue(next(self._numbers), locale="zz", key="again")

    def overload_service(self) -> None:
        """Send more concurrent requests than the service admits."""
        for _ in range(10):
            asyncio.run(self._send_crowd())
            if "overloaded" in {answer.problem_type for answer in self.service.responses}:
                break

    async def _send_crowd(self) -> None:
        connections = [await RawConnection.connect(self.service.port) for _ in range(4)]
        key = self.service.keys["shop"]
        bodies = [{"phone_number": number} for number in NUMBERS[-4:]]
        requests = [build_request("POST", "/v1/challenges", body=body, key=key) for body in bodies]
        pairs = zip(connections, requests, strict=True)
        self.service.responses += await asyncio.gather(
            *(connection.exchange(request) for connection, request in pairs)
        )
        for connection in connections:
            connection.close()

    def break_redis(self) -> None:
        """Fill Redis, and then kill it during requests."""
        number, other_number = next(self._numbers), next(self._numbers)
        issued = self.issue(number)
        code = self.gateway.find_code(number)
        with redis_servers.open_client(self.redis) as client:
            client.config_set("maxmemory", 1)
            self.issue(other_number, key="doubt")
            self.verify(issued, code, make_wrong_code(code))
            client.config_set("maxmemory", "256mb")
        redis_servers.kill_server(self.redis)
        self.issue(other_number)
        self.verify(issued, code)
        self._call_hook("generic", {"to": [number], "code": "759302", "by": "SMS"})
        self.service.send_request("GET", "/health/ready", by="")
        self.redis.stop()
        self.redis.start()
        redis_servers.wait_until(self.service.is_ready, description="the recovery")

    def issue(self, number: str, **more: Any) -> HttpResponse:
        return self.service.issue(number, **more)

    def verify(self, issued: HttpResponse, *codes: str) -> None:
        self.typed |= {code for code in codes if len(code) == 6}
        for code in codes:
            self.service.verify(issued, code)


def test_every_problem_type_was_returned(outputs: SecretLeakOutputs) -> None:
    """R68: otherwise the searches would prove little."""
    untested = UNTESTED_PROBLEM_TYPES | FACTOR_PROBLEM_TYPES
    assert PROBLEM_TYPES.keys() - untested == outputs.problems - {""}


def test_hooks_had_every_result(outputs: SecretLeakOutputs) -> None:
    """R68: likewise for the products, whose refusals are no problem documents."""
    samples = re.findall(
        rb'^otp_hook_requests_total{.*result="(\w+)".*} [1-9]',
        outputs.sinks["metrics"],
        re.MULTILINE,
    )

    assert set(samples) == {
        *(b"accepted", b"late", b"refused", b"unavailable"),
        *(b"unauthenticated", b"unreadable", b"internal"),
    }


def find_leaks(outputs: SecretLeakOutputs, forms: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return the outputs in which a text was found, and its form."""
    return [
        (sink, name)
        for sink, text in outputs.sinks.items()
        for name, form in forms.items()
        if form in text
    ]


def test_no_output_contains_a_code(outputs: SecretLeakOutputs) -> None:
    """R68, R32: neither sent codes nor typed codes, in any encoding."""
    assert 25 < len(outputs.codes)
    for code in outputs.codes:
        assert [] == [
            sink for sink, text in outputs.sinks.items() if has_standalone_code(code, text)
        ]
        assert [] == find_leaks(outputs, encode_digits(code))


def test_no_output_contains_a_number(outputs: SecretLeakOutputs) -> None:
    """R68, R69: outputs contain only masks and pseudonyms."""
    assert 15 < len(outputs.numbers)
    for number in outputs.numbers:
        assert [] == find_leaks(outputs, encode_number(number))
    assert [] == find_leaks(outputs, {typed: typed.encode() for typed in TYPED})


def encode_key(secret: str) -> dict[str, bytes]:
    """Return the encodings of a key: its text, and the bytes that the text encodes."""
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


def test_no_output_contains_a_key(outputs: SecretLeakOutputs) -> None:
    """R11, R68: API keys, the pepper, five other keys, the signing key, and the collector's token."""
    assert 3 + 6 + 2 + len(HOOK_SECRETS) == len(outputs.secrets)
    for secret in outputs.secrets:
        assert [] == find_leaks(outputs, encode_digits(secret) | encode_key(secret))


def test_only_responses_contain_a_tenants_account_name(outputs: SecretLeakOutputs) -> None:
    """R69: an account may be an e-mail address; events contain its pseudonym."""
    sinks = {sink for sink, text in outputs.sinks.items() if ACCOUNT.encode() in text}

    assert {"answers"} == sinks


def test_the_log_reports_exceptions(outputs: SecretLeakOutputs) -> None:
    """The secrets are not hidden by an empty log: it reports exceptions by class and place."""
    log = outputs.sinks["log"].decode()

    assert "builtins.RuntimeError" in log
    assert "provider gateway raised ValueError" in log
    assert '"level":"debug"' in log
    assert '"status":500' in log


def test_the_archive_and_its_exports_contain_every_event(outputs: SecretLeakOutputs) -> None:
    """R70, R71, R75: for every call; otherwise their lack of secrets would prove little."""
    lines = [line for line in outputs.sinks["archive"].splitlines() if line.startswith(b"{")]
    entries = [line for line in lines if line.startswith(b'{"id"')]
    assert 90 < len(entries)
    assert set(lines) == set(outputs.sinks["collector"].splitlines())
    assert set(lines) == {text for _, text in parse_messages(outputs.sinks["syslog server"])}
    for form in EXPORT_FORMATS:
        assert len(lines) - outputs.sinks["archive"].count(b'{"seal"') == len(
            outputs.sinks[form].splitlines()
        )
        assert b"log.unreadable" not in outputs.sinks[form]
    for kind in (b"otp.verified", b"otp.locked", b"otp.provider_failed", b"otp.issue_denied"):
        for sink in ("archive", *EXPORT_FORMATS, "audit search"):
            assert b'"%b"' % kind in outputs.sinks[sink], (kind, sink)


def test_audit_commands_report_every_outcome(outputs: SecretLeakOutputs) -> None:
    """R71, R75: timelines, counts, and a sound archive, checked against the anchors."""
    for sink, words in {
        "audit show": (b"issued", b"verified", b"provider failed"),
        "audit stats": (b"GB", b"gateway", b"shop", b'"since"'),
        "audit search": (b"the reason may contain a number",),
        "audit verify": (b"result    sound",),
        "audit prove": (b"otp.verified",),
        "anchors": (b"otp-audit-anchor 1 ",),
    }.items():
        for word in words:
            assert word in outputs.sinks[sink], (sink, word)


def test_traces_contain_the_spans_of_every_part(outputs: SecretLeakOutputs) -> None:
    """Whole requests with their spans, including the failed ones."""
    for part in (
        b"POST /v1/challenges",
        b"store commit",
        b"argon2",
        b"submit",
        b"StoreUnavailable",
    ):
        assert part in outputs.sinks["traces"]


@pytest.mark.parametrize("form", [*encode_digits("1"), "as it is"])
@pytest.mark.parametrize("kind", ["codes", "numbers", "secrets"])
def test_a_leak_in_any_form_would_be_found(kind: str, form: str) -> None:
    """In any output; this test puts it into the middle of a log line."""
    values = {"codes": "493817", "numbers": NUMBERS[0], "secrets": "sesame-open-sesame"}
    value = values[kind]
    spelled = value[1:] if kind == "numbers" else value
    leak = (encode_digits(spelled) | {"as it is": value.encode()})[form]
    filler = {f"{i}" * 20 for i in range(1, 8)}
    leaky = SecretLeakOutputs(
        {"log": b'{"event":"' + leak + b'"}'},
        {f"{i:06d}" for i in range(30)} | ({value} if kind == "codes" else set()),
        set(NUMBERS[1:30]) | ({value} if kind == "numbers" else set()),
        filler | {value if kind == "secrets" else "9" * 20},
        set(),
    )
    search = {
        "codes": test_no_output_contains_a_code,
        "numbers": test_no_output_contains_a_number,
        "secrets": test_no_output_contains_a_key,
    }[kind]

    with pytest.raises(AssertionError, match="log"):
        search(leaky)


@pytest.mark.parametrize("form", encode_key("sesame-open-sesame"))
def test_a_key_in_any_form_would_be_found(form: str) -> None:
    """As the text of the settings, and as the bytes that HMAC uses."""
    keys = {secrets.token_urlsafe(32) for _ in range(8)}
    leaky = SecretLeakOutputs(
        {"log": b"key " + encode_key(max(keys))[form]}, set(), set(), keys, set()
    )

    with pytest.raises(AssertionError, match="log"):
        test_no_output_contains_a_key(leaky)

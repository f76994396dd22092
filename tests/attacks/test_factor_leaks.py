"""No output contains the secret, URI, token or code of an authenticator or a recovery set.

Every output of a service at DEBUG that met every error: logs, traces, metrics, events and their
exports, error responses, and all that a copy of Redis and a listener on it can read.
"""

import base64
import json
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.attacks import attacker
from tests.attacks.attacker import MonitorRecorder, copy_redis, start_verbose_redis
from tests.attacks.audit_environment import AuditEnvironment
from tests.attacks.factor_scenario import (
    ACCOUNT,
    BUG_ACCOUNT,
    FACTOR_PROBLEM_TYPES,
    INJECTED_BUGS,
    OTHER_ACCOUNT,
    FactorScenario,
    FactorSecrets,
)
from tests.processes import CHEAPEST_HASH_SETTINGS, GatewayServer, run_service
from tests.store import redis_servers
from tests.trace_collector import TraceCollector


pytestmark = pytest.mark.slow

NUMBER = "+447400718290"

FACTOR_EVENTS = {
    *(f"authenticator.{name}" for name in ("enrolled", "confirmed", "attempted", "verified")),
    *(f"authenticator.{name}" for name in ("rejected", "replayed", "denied", "locked")),
    *("authenticator.imported", "authenticator.exported"),
    *(f"recovery.{name}" for name in ("created", "attempted", "used", "rejected", "denied", "low")),
}


class FactorOutputs(NamedTuple):
    """The outputs of a service, what none of them may contain, its events and its problems."""

    sinks: dict[str, bytes]
    found: FactorSecrets
    event_types: set[str]
    problem_types: set[str]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FactorOutputs]:
    """Return every output of a service after every use and error of both factors."""
    folder = tmp_path_factory.mktemp("factors")
    with (
        start_verbose_redis(folder / "redis") as redis,
        GatewayServer() as gateway,
        TraceCollector() as collector,
        AuditEnvironment(folder) as auditors,
    ):
        with (
            run_service(
                folder,
                redis,
                [gateway.url],
                workers=1,
                sitecustomize=INJECTED_BUGS,
                SERVICE__LOG_LEVEL="debug",
                TELEMETRY__TRACES=collector.url,
                **CHEAPEST_HASH_SETTINGS,
                **auditors.settings,
            ) as service,
            MonitorRecorder(redis) as monitor,
        ):
            issued = service.issue(NUMBER, account=ACCOUNT)
            assert 200 == service.verify(issued, gateway.find_code(NUMBER)).status
            scenario = FactorScenario(service, redis, folder / "otp.toml")
            scenario.run_steps()
            searched = auditors.run_query("search", "--account", "-", "--json", stdin=ACCOUNT)
            assert 0 == searched.exit_code, searched
            events = service.fetch_events()
            sinks = auditors.run_searches(NUMBER) | {
                "audit search --account": searched.output,
                "metrics": service.fetch_metrics().encode(),
                "events": json.dumps(events).encode(),
                "errors": b"\n".join(a.body for a in service.responses if a.status >= 400),
                "commands": scenario.command_errors.encode(),
            }
            service.send_request("GET", "/health/live", by="")
            redis_servers.wait_until(
                lambda: b"GET /health/live" in collector.bodies, description="the last span"
            )
            sinks |= {f"Redis {name}": t for name, t in copy_redis(redis, monitor).texts.items()}
        sinks |= {
            "log": service.log.read_bytes(),
            "Redis's log": redis.log_path.read_bytes(),
            "traces": collector.bodies,
            **dict(auditors.collect_outputs()),
        }
        event_types = {event["type"] for event in events}
        problem_types = {answer.problem_type for answer in service.responses}
        yield FactorOutputs(sinks, scenario.found, event_types, problem_types)


def encode_text(text: str) -> dict[str, bytes]:
    """Return the encodings of a text that an attacker could decode, by name."""
    return attacker.encode_digits(text) | {"as it is": text.encode()}


def encode_bytes(secret: bytes) -> dict[str, bytes]:
    """Return the spellings of bytes: in binary, hexadecimal and base64, and as Python prints them."""
    forms = {"bytes": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    forms["base64"] = base64.b64encode(secret)[:-4]
    forms["base64url"] = base64.urlsafe_b64encode(secret)[:-4]
    forms["repr"] = repr(secret)[2:-1].encode()
    forms["repr in JSON"] = json.dumps(repr(secret)[2:-1])[1:-1].encode()
    return forms


def encode_secret(secret: str) -> dict[str, bytes]:
    """Return the spellings of an authenticator's secret, which is given in base32."""
    halves = {"first half": secret[:16].encode(), "second half": secret[16:].encode()}
    lower = {"lower case": secret.lower().encode()}
    return encode_text(secret) | encode_bytes(base64.b32decode(secret)) | halves | lower


def encode_token(token: str) -> dict[str, bytes]:
    """Return the spellings of a token: parts of its text, and the bytes that only it has."""
    parts = {f"part at {at}": token[at : at + 24].encode() for at in range(12, len(token) - 24, 24)}
    body = token[3:]
    decoded = base64.urlsafe_b64decode(f"{body}{'=' * (-len(body) % 4)}")
    return parts | encode_bytes(decoded[-30:])


def encode_recovery_code(code: str) -> dict[str, bytes]:
    """Return the spellings of a recovery code, with and without its hyphens."""
    plain = code.replace("-", "")
    texts = {"with hyphens": code, "plain": plain}
    texts |= {f"{name}, lower case": text.lower() for name, text in texts.items()}
    forms = {name: text.encode() for name, text in texts.items()}
    return forms | {f"plain, {name}": form for name, form in attacker.encode_digits(plain).items()}


def list_leaks(sinks: dict[str, bytes], forms: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return the outputs in which a spelling was found, and its name."""
    return [
        (sink, name) for sink, text in sinks.items() for name, form in forms.items() if form in text
    ]


def test_every_event_and_problem_of_both_factors_was_caused(outputs: FactorOutputs) -> None:
    """R68: otherwise the searches would prove little. (`recovery.locked` is as the other lock.)"""
    assert FACTOR_EVENTS - outputs.event_types == set()
    assert FACTOR_PROBLEM_TYPES - outputs.problem_types == set()
    for kind in (b"authenticator.replayed", b"recovery.used", b"authenticator.exported"):
        for sink in ("archive", "ocsf", "ecs", "syslog server", "collector", "audit search"):
            assert kind in outputs.sinks[sink], (kind, sink)


def test_every_output_has_content(outputs: FactorOutputs) -> None:
    """Exceptions are logged by class and place, and Redis has recorded the commands."""
    assert b"builtins.RuntimeError" in outputs.sinks["log"]
    assert b"POST /v1/authenticators/verify" in outputs.sinks["traces"]
    assert b"invalid-authenticator" in outputs.sinks["errors"]
    assert b"Secrets" in outputs.sinks["commands"] or b"line 2" in outputs.sinks["commands"]
    names = [name for name in outputs.sinks if name.startswith("Redis ")]
    assert {"Redis MONITOR", "Redis SLOWLOG", "Redis RDB", "Redis VALUES"} < set(names)
    assert any("AOF" in name for name in names)
    for name in ("Redis MONITOR", "Redis SLOWLOG", "Redis VALUES"):
        assert b"authenticator.verified" in outputs.sinks[name], name


def test_no_output_contains_the_secret_of_an_authenticator(outputs: FactorOutputs) -> None:
    """In base32, hexadecimal, raw or in any other spelling."""
    assert 5 <= len(outputs.found.secrets)
    for secret in outputs.found.secrets:
        assert [] == list_leaks(outputs.sinks, encode_secret(secret))


def test_no_output_contains_a_uri(outputs: FactorOutputs) -> None:
    """Not even its beginning: a scanner of logs looks for that too."""
    assert 4 <= len(outputs.found.uris)
    for uri in outputs.found.uris:
        assert [] == list_leaks(outputs.sinks, encode_text(uri))
    beginnings = {"URI": b"otpauth:/", "percent-encoded": quote("otpauth:/", safe="").encode()}
    assert [] == list_leaks(outputs.sinks, beginnings)


def test_no_output_contains_a_token(outputs: FactorOutputs) -> None:
    """Valid, altered, expired or replaced: neither a part of its text nor its bytes."""
    assert 15 <= len(outputs.found.tokens)
    for token in outputs.found.tokens:
        assert [] == list_leaks(outputs.sinks, encode_token(token))


def test_no_output_contains_a_code_of_an_app(outputs: FactorOutputs) -> None:
    """Accepted, wrong or used, and those that the app shows next."""
    assert 15 <= len(outputs.found.codes)
    for code in outputs.found.codes:
        has_code = attacker.has_standalone_code
        assert [] == [sink for sink, text in outputs.sinks.items() if has_code(code, text)]
        assert [] == list_leaks(outputs.sinks, attacker.encode_digits(code))


def test_no_output_contains_a_recovery_code(outputs: FactorOutputs) -> None:
    """As it is shown, and as people type it; used or not."""
    assert 20 <= len(outputs.found.recovery_codes)
    for code in outputs.found.recovery_codes:
        assert [] == list_leaks(outputs.sinks, encode_recovery_code(code))


@pytest.mark.parametrize("account", [ACCOUNT, OTHER_ACCOUNT, BUG_ACCOUNT])
def test_no_output_contains_an_account_name(outputs: FactorOutputs, account: str) -> None:
    """R69: it may be an e-mail address; events and key names have its pseudonym."""
    assert [] == list_leaks(outputs.sinks, encode_text(account))

"""R38, A25: a service in test mode, which shows its codes, and what keeps it apart from production."""

import re
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from otp_service.cli import main
from otp_service.cli.command import CommandError
from otp_service.cli.common import read_safe_configuration
from otp_service.store.embedded import EmbeddedServer
from tests.processes import CODE_PATTERN, RunningService, run_command, run_service, send_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

INBOX: dict[str, Any] = {
    "MODE": "test",
    "PROVIDERS__GATEWAY": '{type = "inbox"}',
    "POLICY__COOLDOWN": "1",
}
FIXED_CODES = '{"+447700900555" = "123456"}'
UNUSED_URL = "http://127.0.0.1:9/"


class RunHere(Protocol):
    """Runs a command in this process, as `run_command` does in another one."""

    def __call__(self, *command: str, **environment: str) -> tuple[int, str]: ...


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Return what runs a command, if it ends before it serves or writes a log."""

    def run(*command: str, **environment: str) -> tuple[int, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return main([*command]), "".join(capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def tests_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Redis for tests alone."""
    with redis_servers.start_server(tmp_path_factory.mktemp("tests-redis")) as redis:
        yield redis


@pytest.fixture(scope="module")
def tests_service(
    tmp_path_factory: pytest.TempPathFactory, tests_redis: EmbeddedServer
) -> Iterator[RunningService]:
    """A service in test mode, with two workers."""
    folder = tmp_path_factory.mktemp("test-mode")
    with run_service(folder, tests_redis, [UNUSED_URL], TEST__RELAXED_LIMITS="true", **INBOX) as it:
        yield it


def reset(service: RunningService) -> int:
    """Reset the service, and return the status."""
    return service.send_request("POST", "/reset", by="", listener="admin_port", body={}).status


def test_the_codes_of_every_worker_are_read_at_one_place(tests_service: RunningService) -> None:
    """A CI job logs in, whichever worker sends and whichever verifies."""
    numbers = [f"+4477009003{i:02}" for i in range(12)]
    issued = {number: tests_service.issue(number) for number in numbers}

    for number in numbers:
        path = f"/inbox.json?to=%2B{number[1:]}&wait=5"
        (message,) = send_request(tests_service.admin_port, "GET", path).json
        code = CODE_PATTERN.findall(message["text"])[0]
        assert 200 == tests_service.verify(issued[number], code).status


def test_a_reset_makes_the_same_number_usable_at_once(tests_service: RunningService) -> None:
    """Without it the cooldown, and the challenge, are those of the test before."""
    number = "+447700900401"
    first = tests_service.issue(number)
    assert 429 == tests_service.issue(number).status

    assert 204 == reset(tests_service)

    assert 404 == tests_service.view(first).status
    assert 201 == tests_service.issue(number).status
    assert 1 == len(send_request(tests_service.admin_port, "GET", "/inbox.json").json)


def test_every_response_and_the_log_name_the_mode(tests_service: RunningService) -> None:
    """A back end that is configured with it by mistake can find out."""
    ready = send_request(tests_service.port, "GET", "/health/ready")
    refused = tests_service.issue("+447400123456")
    status = send_request(tests_service.admin_port, "GET", "/status")

    assert "test" == ready.json["mode"] == status.json["mode"]
    assert {"test"} == {one.headers["otp-mode"] for one in (ready, refused, status)}
    assert (422, "fictitious") == (refused.status, refused.json["reason"])
    assert "only fictitious numbers work" in refused.json["detail"]
    assert '"mode": "test"' in tests_service.log.read_text().replace('"mode":"', '"mode": "')


def test_another_mode_does_not_start_with_the_redis_of_tests(
    tests_service: RunningService, run_here: RunHere
) -> None:
    """Codes of tests can be read, so none of their challenges may be verified in production."""
    assert tests_service.is_ready()
    config = tests_service.log.parent / "otp.toml"

    for run, command in ((run_command, "serve"), (run_here, "check")):
        code, output = run(command, "--config", str(config))
        assert 1 == code
        assert "is the Redis of a service in mode 'test', and this one is 'live'" in output


def test_check_refuses_the_development_key_as_serve_does(
    service: RunningService, run_here: RunHere
) -> None:
    """R38: it would pass what does not start."""
    config = service.log.parent / "otp.toml"

    code, output = run_here("check", "--config", str(config), OTP_DEV_API_KEY="sesame")

    assert 1 == code
    assert "OTP_DEV_API_KEY is only for 'dev'" in output
    assert "sesame" not in output


def test_the_redis_of_production_refuses_tests(service: RunningService) -> None:
    """A reset there would delete the limits that protect people."""
    config = service.log.parent / "otp.toml"

    code, output = run_command(
        "serve", "--config", str(config), **{f"OTP_{name}": text for name, text in INBOX.items()}
    )

    assert 1 == code
    assert "is the Redis of a service in mode 'live', and this one is 'test'" in output


@pytest.mark.parametrize("listener", ["port", "admin_port"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/inbox"), ("GET", "/inbox.json"), ("POST", "/inbox/replies")),
        *(("POST", "/reset"), ("GET", "/authenticator.json")),
    ],
)
def test_production_has_no_page_of_tests(
    service: RunningService, listener: str, method: str, path: str
) -> None:
    """Also not with every key, and its responses do not name a mode."""
    for by in ("", *service.keys):
        answer = service.send_request(
            method, path, by=by, listener=listener, body={} if method == "POST" else None
        )
        assert 404 == answer.status
        assert "otp-mode" not in answer.headers


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MODE": "test"}, "cannot be 'test' together with providers.gateway"),
        ({"MODE": "development"}, "only 'otp-service dev' runs"),
        ({"PROVIDERS__GATEWAY": '{type = "inbox"}'}, "it is only for tests"),
        ({"TEST__RELAXED_LIMITS": "true"}, 'only for mode = "test"'),
        ({"TEST__FIXED_CODES": FIXED_CODES}, 'test.fixed_codes: is only for mode = "test"'),
        (
            {"TEST__FIXED_CODES": FIXED_CODES, "MODE": "test"},
            "cannot be 'test' together with providers.gateway",
        ),
        (
            {"TEST__FIXED_CODES": FIXED_CODES, **INBOX},
            "tenants.shop.keys.first: must have an id that begins with 'test-'",
        ),
        (
            {"PROVIDERS__BOX": '{type = "inbox"}', "ROUTING__PROVIDERS": '["gateway", "box"]'},
            "it is only for tests",
        ),
    ],
)
def test_no_mixture_of_tests_and_production_is_safe(
    service: RunningService,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: str,
) -> None:
    """R38: what `serve` and `check` read their settings with refuses it, and names the setting."""
    for name, text in variables.items():
        monkeypatch.setenv(f"OTP_{name}", text)

    with pytest.raises(CommandError, match=re.escape(words)):
        read_safe_configuration(service.log.parent / "otp.toml")


def test_a_mixture_of_tests_and_production_does_not_start(
    service: RunningService, run_here: RunHere
) -> None:
    """R38: the first of the above, by the command."""
    config = service.log.parent / "otp.toml"

    code, output = run_here("serve", "--config", str(config), OTP_MODE="test")

    assert 1 == code
    assert "cannot be 'test' together with providers.gateway" in output

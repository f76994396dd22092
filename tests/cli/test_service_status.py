"""`otp-service status`: what is asked, what is printed, and the exit codes."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest

from otp_service.cli.common import read_safe_settings
from otp_service.cli.service_status import format_status
from otp_service.cli.status_report import build_status
from otp_service.schemas import ProcessStatus, ServiceStatus
from tests.store.redis_servers import find_free_port


AT = 1_764_374_400_000  # 2025-11-29T00:00:00Z
WORKER = ProcessStatus(
    role="worker-1",
    pid=412,
    configuration="0123456789ab",
    started_at="2025-11-28T21:57:00.000Z",
    state="serving",
    ready=True,
)
STATUS = ServiceStatus(
    version="1.2.3",
    mode="live",
    configuration="0123456789ab",
    configuration_file="/etc/otp/otp.toml",
    started_at="2025-11-25T20:00:00.000Z",
    reload_refused=False,
    processes=[WORKER],
    problems=[],
)


def test_each_process_is_a_line_with_its_configuration_and_age():
    """Two units are exact enough."""
    lines = format_status(STATUS, AT).splitlines()

    assert "otp-service 1.2.3, mode live, up 3 d 4 h" == lines[0]
    assert "configuration 0123456789ab of /etc/otp/otp.toml" == lines[1]
    assert "worker-1         412  0123456789ab   serving   2 h 3 min" == lines[4]
    assert "Every process serves this configuration." == lines[-1]


def test_problems_are_listed_last():
    """Where a person looks first in a terminal."""
    status = ServiceStatus(
        **{name: getattr(STATUS, name) for name in STATUS.__struct_fields__ if name != "problems"},
        problems=["worker-2 does not serve"],
    )

    assert format_status(status, AT).endswith("What is wrong:\n  worker-2 does not serve")


class StatusHandler(BaseHTTPRequestHandler):
    """Answers with what the server holds."""

    def do_GET(self):
        status, body = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said):
        """Log nothing."""


@pytest.fixture
def admin(monkeypatch):
    """An admin listener whose answer the test sets."""
    with HTTPServer(("127.0.0.1", 0), StatusHandler) as server:
        server.answer = (404, b"{}")
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("OTP_SERVICE__ADMIN_PORT", str(server.server_port))
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104  # only asked
def test_json_is_what_the_service_answered(run_otp, config, admin, monkeypatch, host):
    """A listener at every address is asked on loopback."""
    monkeypatch.setenv("OTP_SERVICE__ADMIN_HOST", host)
    shown = {
        name: getattr(STATUS, name) for name in STATUS.__struct_fields__ if name != "processes"
    }
    shown |= {"processes": [], "problems": ["one"], "configuration_file": str(config)}
    admin.answer = (200, json.dumps(shown).encode())

    result = run_otp("status", "--config", config, "--json")

    assert 1 == result.exit_code
    assert ["one"] == json.loads(result.out)["problems"]


@pytest.mark.usefixtures("admin")
def test_another_answer_is_no_status(run_otp, config):
    """Another program, or another version, listens there."""
    result = run_otp("status", "--config", config)

    assert 2 == result.exit_code
    assert "answers 404 to /status" in result.err


@pytest.mark.parametrize("broken", ['mode = "life"', "not TOML", "[service]\nadmin_port = -1"])
def test_a_file_that_cannot_be_used_is_no_obstacle(run_otp, tmp_path, admin, broken):
    """It is what a refused reload leaves, and status has the reason."""
    shown = {
        name: getattr(STATUS, name) for name in STATUS.__struct_fields__ if name != "processes"
    }
    path = tmp_path / "otp.toml"
    path.write_text(broken)
    shown |= {"processes": [], "problems": ["refused"], "configuration_file": str(path)}
    admin.answer = (200, json.dumps(shown).encode())

    result = run_otp("status", "--config", path)

    assert (1, True) == (result.exit_code, "refused" in result.out)
    assert "cannot be used" in result.err


@pytest.mark.parametrize(
    ("broken", "is_unknown"), [("not TOML", True), ('mode = "life"', False), ("[service", True)]
)
def test_a_file_that_has_no_address_is_named_before_another_is_asked(
    run_otp, tmp_path, monkeypatch, broken, is_unknown
):
    """A typing error makes the file unreadable; "is the service running?" alone leads elsewhere."""
    monkeypatch.setenv("OTP_SERVICE__ADMIN_PORT", str(find_free_port()))
    path = tmp_path / "otp.toml"
    path.write_text(broken)

    result = run_otp("status", "--config", path)

    assert (2, True) == (result.exit_code, "does not answer" in result.err)
    assert is_unknown == ("So the address of the admin listener is unknown" in result.err)


def test_the_status_of_another_service_is_not_shown_as_that_of_this_file(run_otp, config, admin):
    """A changed or unreadable file may lead to another service; --address asks a chosen one."""
    shown = {
        name: getattr(STATUS, name) for name in STATUS.__struct_fields__ if name != "processes"
    }
    admin.answer = (200, json.dumps({**shown, "processes": []}).encode())
    address = f"127.0.0.1:{admin.server_port}"

    refused = run_otp("status", "--config", config)
    chosen = run_otp("status", "--config", config.with_name("none"), "--address", address)
    mistyped = run_otp("status", "--address", "localhost")

    assert (2, "") == (refused.exit_code, refused.out)
    assert f"runs /etc/otp/otp.toml, not {config}. Name the right one with --address" in refused.err
    assert (0, True) == (chosen.exit_code, "/etc/otp/otp.toml" in chosen.out)
    assert (2, True) == (mistyped.exit_code, "write host and port" in mistyped.err)


def test_settings_that_cannot_be_read_are_an_error(run_otp, tmp_path):
    """The address of the admin listener is in them."""
    result = run_otp("status", "--config", tmp_path / "none.toml")

    assert 2 == result.exit_code
    assert "cannot read" in result.err


def list_problems(config, **changes):
    """Return the problems that the status of a service without workers lists."""
    settings = read_safe_settings(config)
    supervisor = {
        "in_force": SimpleNamespace(settings=settings, path=config),
        "first_settings": settings,
        "refusal": "",
        "is_reloading": False,
        "workers": [],
        "started_at": 0,
        "list_roles": list,
    }
    helpers = SimpleNamespace(list_processes=list)
    return build_status(SimpleNamespace(**supervisor | changes), helpers).problems


def test_a_tenant_without_an_unexpired_key_is_a_problem(config):
    """R55: the service runs for the other tenants, and every call of this one is 401."""
    text = config.read_text()
    expired = 'scopes = ["challenges"], expires = 2026-01-01T00:00:00Z'
    config.write_text(text.replace('scopes = ["challenges"]', expired))

    (problem,) = list_problems(config)

    assert (
        "tenants.shop.keys: needs an unexpired key: 'otp-service key new' generates one" == problem
    )


def test_the_reasons_of_a_refused_reload_are_told_apart(config):
    """An operator reads where one setting ends and the next begins."""
    refusal = "otp.toml is not safe to run with:\n  policy.digits: at least 6\n  mode: is wrong"

    (problem,) = list_problems(config, refusal=refusal)
    (short,) = list_problems(config, refusal="worker-1 ended\n")

    assert problem.endswith("not safe to run with: policy.digits: at least 6; mode: is wrong")
    assert short.endswith(" is kept: worker-1 ended")


def test_a_reload_that_is_under_way_is_a_problem(config):
    """An operator who revokes a key waits for exit code 0: until then the key may be accepted."""
    (problem,) = list_problems(config, is_reloading=True)

    assert problem.startswith("a reload is under way")

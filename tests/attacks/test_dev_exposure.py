"""R38, R60: development endpoints answer only on loopback, and production has none of them."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp_service.cli import main
from tests.processes import (
    CODE_PATTERN,
    HttpResponse,
    RunningService,
    run_dev,
    send_request,
)


pytestmark = pytest.mark.slow

NUMBER = "+447700900123"

COOLDOWN = ("--cooldown", "240")
"""A busy machine may take longer than 30 s, the default, to start `dev` again."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data folder."""
    return tmp_path_factory.mktemp("dev") / "data"


@pytest.fixture(scope="module")
def dev_run(data: Path) -> Iterator[tuple[RunningService, HttpResponse, str]]:
    """Yield `dev` after a restart, with the challenge and the code from before the restart."""
    with run_dev(data, *COOLDOWN) as service:
        issued = service.issue(NUMBER, by="dev")
        (message,) = service.fetch_inbox()
        code = CODE_PATTERN.findall(message["text"])[0]
    with run_dev(data, *COOLDOWN) as service:
        yield service, issued, code


def test_a_restart_keeps_live_challenges(
    dev_run: tuple[RunningService, HttpResponse, str],
) -> None:
    """The key is the same, the code still verifies, and the cooldown still holds."""
    service, issued, code = dev_run

    again = service.issue(NUMBER, by="dev")
    verified = service.verify(issued, code, by="dev")

    assert (429, 200) == (again.status, verified.status)
    assert [] == service.fetch_inbox()


def test_audit_commands_read_the_data_folder_of_dev(
    data: Path,
    dev_run: tuple[RunningService, HttpResponse, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The data folder replaces a configuration file."""
    _, issued, _ = dev_run

    assert 0 == main(["audit", "show", issued.json["id"], "--config", str(data)])

    assert "sent              inbox accepted it" in capsys.readouterr().out


@pytest.mark.parametrize("listener", ["port", "admin_port"])
@pytest.mark.parametrize(
    "host",
    [
        *("otp.example.com", "127.0.0.1.example.com", "localhost.example.com", "example.com:80"),
        *("169.254.169.254", "0.0.0.0", "[::]", "192.168.0.1:8000"),  # noqa: S104  # a name only
        *(
            "localhost:8000@example.com",
            "localhost, example.com",
            "",
            "127.1",
            "2130706433",
            "127.0.0.2",
        ),
    ],
)
def test_a_host_that_is_not_loopback_is_refused_on_both_listeners(
    dev_run: tuple[RunningService, HttpResponse, str], listener: str, host: str
) -> None:
    """DNS rebinding: a page whose name resolves to loopback cannot read the inbox or call the API."""
    service, *_ = dev_run
    port = getattr(service, listener)

    for path in (
        "/inbox.json",
        "/inbox",
        "/authenticator.json",
        "/health/live",
        "/v1/challenges",
        "/metrics",
        "/nothing",
    ):
        answer = send_request(port, "GET", path, key=service.keys["dev"], headers={"Host": host})

        assert (400, "invalid-request") == (answer.status, answer.problem_type)


def test_two_host_headers_are_refused(
    dev_run: tuple[RunningService, HttpResponse, str],
) -> None:
    """R58: another parser of the same request might use the other host."""
    service, *_ = dev_run
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=10)
    connection.putrequest("GET", "/inbox.json", skip_host=True)
    for host in ("localhost", "otp.example.com"):
        connection.putheader("Host", host)
    connection.endheaders()

    status = connection.getresponse().status
    connection.close()

    assert 400 == status


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_loopback_hosts_are_accepted(
    dev_run: tuple[RunningService, HttpResponse, str], name: str
) -> None:
    """With and without the port."""
    service, *_ = dev_run

    for host in (name, f"{name}:{service.port}"):
        assert (
            200 == send_request(service.port, "GET", "/health/live", headers={"Host": host}).status
        )
        assert (
            200 == send_request(service.admin_port, "GET", "/inbox", headers={"Host": host}).status
        )


def test_other_origins_cannot_read_the_inbox(
    dev_run: tuple[RunningService, HttpResponse, str],
) -> None:
    """No response has a CORS header."""
    service, *_ = dev_run

    answer = send_request(
        service.admin_port, "GET", "/inbox.json", headers={"Origin": "https://example.com"}
    )

    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "same-origin" == answer.headers["cross-origin-resource-policy"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])  # noqa: S104  # refused
def test_dev_refuses_to_listen_on_other_addresses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """Development has no TLS and no real secret, and its inbox shows codes."""
    code = main(["dev", "--host", host, "--port", "0", "--data", str(tmp_path / "data")])

    assert 1 == code
    assert "a loopback address only" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_production_refuses_the_development_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R38, A25: a public key must not authenticate in production."""
    monkeypatch.setenv("OTP_DEV_API_KEY", "sesame")

    code = main(["serve", "--config", "none.toml"])

    output = "".join(capsys.readouterr())
    assert 1 == code
    assert "OTP_DEV_API_KEY" in output
    assert "sesame" not in output

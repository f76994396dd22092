"""R38, R60: what is for development is reachable by nobody else, and is in no production."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp_service.cli import main
from tests.processes import (
    CODE_PATTERN,
    HttpResponse,
    RunningService,
    run_command,
    run_dev,
    send_request,
)


pytestmark = pytest.mark.slow

NUMBER = "+447700900123"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder."""
    return tmp_path_factory.mktemp("dev") / "data"


@pytest.fixture(scope="module")
def developing(data: Path) -> Iterator[tuple[RunningService, HttpResponse, str]]:
    """`dev` after a restart, and the challenge and the code from before it."""
    with run_dev(data) as service:
        issued = service.issue(NUMBER, by="dev")
        (message,) = service.fetch_inbox()
        code = CODE_PATTERN.findall(message["text"])[0]
    with run_dev(data) as service:
        yield service, issued, code


def test_a_restart_keeps_live_challenges(
    developing: tuple[RunningService, HttpResponse, str],
) -> None:
    """The key is the same, the code still works, and the cooldown still holds."""
    service, issued, code = developing

    again = service.issue(NUMBER, by="dev")
    verified = service.verify(issued, code, by="dev")

    assert (429, 200) == (again.status, verified.status)
    assert [] == service.fetch_inbox()


def test_commands_look_at_what_dev_does(
    data: Path,
    developing: tuple[RunningService, HttpResponse, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its data folder says where, instead of a file with settings."""
    _, issued, _ = developing

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
def test_a_name_that_is_not_loopback_is_refused_on_both_listeners(
    developing: tuple[RunningService, HttpResponse, str], listener: str, host: str
) -> None:
    """DNS rebinding: a page whose name now leads here reads no inbox and calls nothing."""
    service, *_ = developing
    port = getattr(service, listener)

    for path in ("/inbox.json", "/inbox", "/health/live", "/v1/challenges", "/metrics", "/nothing"):
        answer = send_request(port, "GET", path, key=service.keys["dev"], headers={"Host": host})

        assert (400, "invalid-request") == (answer.status, answer.problem_type)


def test_two_names_are_as_bad_as_a_wrong_one(
    developing: tuple[RunningService, HttpResponse, str],
) -> None:
    """R58: another reader of the same request might take the other one."""
    service, *_ = developing
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=10)
    connection.putrequest("GET", "/inbox.json", skip_host=True)
    for host in ("localhost", "otp.example.com"):
        connection.putheader("Host", host)
    connection.endheaders()

    status = connection.getresponse().status
    connection.close()

    assert 400 == status


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_loopback_names_are_answered(
    developing: tuple[RunningService, HttpResponse, str], name: str
) -> None:
    """With the port and without."""
    service, *_ = developing

    for host in (name, f"{name}:{service.port}"):
        assert (
            200 == send_request(service.port, "GET", "/health/live", headers={"Host": host}).status
        )
        assert (
            200 == send_request(service.admin_port, "GET", "/inbox", headers={"Host": host}).status
        )


def test_pages_of_others_may_not_read_the_inbox(
    developing: tuple[RunningService, HttpResponse, str],
) -> None:
    """No CORS header is ever given, whoever asks."""
    service, *_ = developing

    answer = send_request(
        service.admin_port, "GET", "/inbox.json", headers={"Origin": "https://example.com"}
    )

    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "same-origin" == answer.headers["cross-origin-resource-policy"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])  # noqa: S104  # is refused
def test_dev_listens_for_nobody_else(tmp_path: Path, host: str) -> None:
    """There is no TLS, no secret worth the name, and an inbox that shows codes."""
    code, said = run_command("dev", "--host", host, "--port", "0", "--data", str(tmp_path / "data"))

    assert 1 == code
    assert "a loopback address only" in said
    assert not (tmp_path / "data").exists()


def test_production_refuses_the_key_of_development() -> None:
    """R38, A25: a key that everybody knows opens nothing."""
    code, said = run_command("serve", "--config", "none.toml", OTP_DEV_API_KEY="sesame")

    assert 1 == code
    assert "OTP_DEV_API_KEY" in said
    assert "sesame" not in said

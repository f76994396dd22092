"""The first login of `make run` and the README's login flow work as printed.

The shell needs curl and sed, and nothing else.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otp_service_client import OtpClient
from tests.processes import CODE_PATTERN, RunningService, run_dev, send_request


pytestmark = pytest.mark.slow


@pytest.fixture
def service(tmp_path) -> Iterator[RunningService]:
    """Return `otp-service dev`, as `make run` starts it."""
    with run_dev(tmp_path / "data") as service:
        yield service


def list_pasted_lines(service: RunningService) -> list[str]:
    """Return the lines of the greeting that a developer pastes into a shell."""
    log = service.log.read_text()
    return re.findall(r"^ {2}((?:issued=|id=|curl ).*)$", log, re.MULTILINE)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_pasted_lines_issue_read_and_verify(service: RunningService, shell: str) -> None:
    """ "Done when": the lines work as printed, one after another, in one shell."""
    lines = list_pasted_lines(service)

    pasted = subprocess.run(
        [shell], input="\n".join(lines), capture_output=True, text=True, timeout=60, check=True
    )
    issued, between, verified = pasted.stdout.splitlines()
    challenge, (message,) = json.loads(issued), service.fetch_inbox()
    (code,) = CODE_PATTERN.findall(message["text"])

    assert 3 == len(lines)
    assert "pending" == challenge["status"]
    assert [challenge["id"], code] == between.split()
    assert "verified" == json.loads(verified)["status"]
    assert "" == pasted.stderr


def test_a_pasted_line_shows_why_it_was_refused(service: RunningService) -> None:
    """The cooldown: a developer who pastes the first line twice reads the problem."""
    issue, *_ = list_pasted_lines(service)

    pasted = subprocess.run(
        ["sh"], input=f"{issue}\n{issue}", capture_output=True, text=True, timeout=60, check=True
    )

    _, refused = pasted.stdout.splitlines()
    assert "/problems/rate-limited" == json.loads(refused)["type"]


def test_every_address_of_the_greeting_exists(service: RunningService) -> None:
    """The addresses of the pasted lines that issue and verify accept only POST."""
    addresses = re.findall(r"http://127\.0\.0\.1:(\d+)(/\S*)?\s", service.log.read_text())

    statuses = {
        path: send_request(int(port), "GET", path).status
        for port, path in addresses
        if path and not {"$", '"'} & {*path}  # those in code are the beginning of an address
    }

    assert {
        "/inbox": 200,
        "/inbox.json": 200,
        "/authenticator": 200,
        "/audit": 303,
        "/docs": 200,
        "/v1/challenges": 405,
    } == statuses


def test_login_flow_of_the_readme_accepts_only_the_right_code(service: RunningService) -> None:
    """Its Python runs as printed: a wrong code is refused, the right one is accepted once."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    flow: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), flow)  # noqa: S102  # our own example
    session: dict[str, str] = {}
    _, _, line = list_pasted_lines(service)
    (key,) = re.findall(r"Authorization: Bearer (\S+?)'", line)

    with OtpClient(f"http://127.0.0.1:{service.port}", key) as otp:
        flow["send_code"](otp, session, "u-81", "+447700900123", "203.0.113.9")
        (message,) = service.fetch_inbox()
        code = CODE_PATTERN.findall(message["text"])[0]
        wrong = f"{(int(code) + 1) % 10**6:06}"
        results = [
            flow["check_code"](otp, session, "u-81", attempt, "203.0.113.9")
            for attempt in (wrong, code, code)
        ]

    assert [False, True, False] == results

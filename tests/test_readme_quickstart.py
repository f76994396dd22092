"""The README's first call and login flow work as printed, against `otp-service dev`."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import CODE_PATTERN, RunningService, run_dev, send_request


pytestmark = pytest.mark.slow


@pytest.fixture
def service(tmp_path) -> Iterator[RunningService]:
    """Return `otp-service dev`, as `make run` starts it."""
    with run_dev(tmp_path / "data") as service:
        yield service


def run_pasted_line(line: str, port: int) -> dict[str, str]:
    """Run the line in a shell; without curl, send the same request."""
    if shutil.which("curl"):
        process = subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True
        )
        reply = process.stdout
    else:
        words = shlex.split(line)
        headers = dict(h.split(": ", 1) for w, h in itertools.pairwise(words) if w == "-H")
        body = words[words.index("-d") + 1].encode()
        reply = send_request(
            port, "POST", "/v1/challenges", body=body, headers=headers
        ).body.decode()
    challenge: dict[str, str] = json.loads(reply)
    return challenge


def test_the_pasted_line_leads_to_a_code_that_verifies_once(service: RunningService) -> None:
    """ "Done when": the line works as printed, verify is 200, and a second verify is 410."""
    (line,) = re.findall(r"^ *(curl .*)$", service.log.read_text(), re.MULTILINE)

    challenge = run_pasted_line(line, service.port)
    (message,) = service.fetch_inbox()
    code = CODE_PATTERN.findall(message["text"])[0]
    answers = [
        service.send_request(
            "POST", f"/v1/challenges/{challenge['id']}/verify", by="dev", body=body
        )
        for body in [{"code": code}] * 2
    ]

    assert "pending" == challenge["status"]
    assert f'"phone_number": "{message["to"]}"' in line
    assert code not in json.dumps(challenge)
    assert [200, 410] == [answer.status for answer in answers]
    assert "verified" == answers[0].json["status"]
    assert "challenge-already-verified" == answers[1].problem_type


def test_every_address_of_the_greeting_exists(service: RunningService) -> None:
    """The address of the pasted line accepts only POST."""
    addresses = re.findall(r"http://127\.0\.0\.1:(\d+)(/\S*)?\s", service.log.read_text())

    statuses = {
        path: send_request(int(port), "GET", path).status for port, path in addresses if path
    }

    assert {
        "/inbox": 200,
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
    (line,) = re.findall(r"^ *(curl .*)$", service.log.read_text(), re.MULTILINE)
    (key,) = re.findall(r"Authorization: (Bearer \S+?)'", line)

    with httpx.Client(
        base_url=f"http://127.0.0.1:{service.port}", headers={"Authorization": key}
    ) as otp:
        flow["send_code"](otp, session, "u-81", "+447700900123", "203.0.113.9")
        (message,) = service.fetch_inbox()
        code = CODE_PATTERN.findall(message["text"])[0]
        wrong = f"{(int(code) + 1) % 10**6:06}"
        results = [
            flow["check_code"](otp, session, "u-81", attempt, "203.0.113.9")
            for attempt in (wrong, code, code)
        ]

    assert [False, True, False] == results

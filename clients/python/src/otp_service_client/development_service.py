"""A service for tests: `otp-service dev` as a child process, and the inbox that is its phone.

    with start_development_service(Path("data")) as service:
        with OtpClient(service.url, service.api_key) as otp:
            challenge = otp.issue_challenge("+447700900123")
            code = service.inbox.wait_for_code("+447700900123")

Nothing is sent. Numbers must be fictitious, like this one.
"""

import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
import msgspec

from otp_service_client.redaction import RedactedStruct


START_TIMEOUT_SECONDS: Final = 60.0
STOP_TIMEOUT_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05
CALL_TIMEOUT_SECONDS: Final = 10.0

INSTALL_INSTRUCTIONS: Final = (
    "otp-service is not installed: install it in this environment (pip install otp-service), or put the"
    " program otp-service on the PATH."
)

_CODE_PATTERN = re.compile(r"(?<![0-9A-Za-z])[0-9]{4,10}(?![0-9A-Za-z])")


class InboxMessage(RedactedStruct, frozen=True):
    """A message that a phone would have received."""

    shown: ClassVar = ("provider", "at")

    to: str
    text: str
    provider: str
    at: datetime

    @property
    def code(self) -> str:
        """The code in the text. Raises ValueError if not exactly one number can be it."""
        codes = {*_CODE_PATTERN.findall(self.text)}  # a line for WebOTP repeats it
        if len(codes) != 1:
            raise ValueError(f"{len(codes)} numbers of the message can be its code: read its text")
        return str(codes.pop())


class Inbox:
    """The messages of the service."""

    def __init__(self, admin: httpx.Client) -> None:
        self._admin = admin

    def list_messages(self, number: str | None = None) -> list[InboxMessage]:
        """Return the messages to this number, or all of them, newest first."""
        return self._fetch({"to": number} if number else {}, wait_seconds=0)

    def wait_for_message(
        self, number: str, *, after: InboxMessage | None = None, timeout_seconds: int = 5
    ) -> InboxMessage:
        """Return the newest message to this number, once there is one that is newer than `after`.

        Raises TimeoutError after `timeout_seconds`, from 1 to 30.
        """
        query: dict[str, str] = {"to": number}
        if after:
            query["since"] = (after.at + timedelta(milliseconds=1)).isoformat()
        messages = self._fetch(query, wait_seconds=timeout_seconds)
        if not messages:
            raise TimeoutError(
                f"no message to this number within {timeout_seconds} s: was a code issued for it?"
            )
        return messages[0]

    def wait_for_code(
        self, number: str, *, after: InboxMessage | None = None, timeout_seconds: int = 5
    ) -> str:
        """Return the code of the message that `wait_for_message` returns."""
        return self.wait_for_message(number, after=after, timeout_seconds=timeout_seconds).code

    def _fetch(self, query: dict[str, str], *, wait_seconds: int) -> list[InboxMessage]:
        response = self._admin.get(
            "/inbox.json",
            params={**query, "wait": str(wait_seconds)},
            timeout=CALL_TIMEOUT_SECONDS + wait_seconds,
        )
        if response.is_error:
            raise ValueError(f"the inbox refused the call: {response.text}")
        return msgspec.json.decode(response.content, type=list[InboxMessage])


class DevelopmentService:
    """A running service for tests."""

    def __init__(self, url: str, admin_url: str, api_key: str) -> None:
        self.url = url
        """The address of the API, for OtpClient and for the application under test."""
        self.admin_url = admin_url
        """The address of the inbox, the audit log and the documentation, for a browser."""
        self.api_key = api_key
        self._admin = httpx.Client(
            base_url=admin_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=CALL_TIMEOUT_SECONDS,
            trust_env=False,
        )
        self.inbox = Inbox(self._admin)

    def __repr__(self) -> str:
        return f"DevelopmentService({self.url!r})"

    def reset(self) -> None:
        """Delete challenges, limits, cooldowns, Idempotency-Keys and messages. Events stay."""
        self._admin.post("/reset", json={}).raise_for_status()

    def close(self) -> None:
        """Close its connections; the process is stopped by `start_development_service`."""
        self._admin.close()


def find_service_command() -> list[str]:
    """Return the words that run otp-service: of this Python, or else of the PATH.

    Raises FileNotFoundError with what to install.
    """
    program = Path(sys.executable).with_name("otp-service")
    if program.is_file():
        return [str(program)]
    if importlib.util.find_spec("otp_service"):
        return [sys.executable, "-m", "otp_service"]
    if found := shutil.which("otp-service"):
        return [found]
    raise FileNotFoundError(INSTALL_INSTRUCTIONS)


@contextlib.contextmanager
def start_development_service(
    data: Path, options: Sequence[str] = ()
) -> Iterator[DevelopmentService]:
    """Run `otp-service dev` on free ports of loopback, with its data and its log in a folder.

    It ends with the block, or with this process, however that ends. `options` are those of `otp-service
    dev`, like `--cooldown 1`. Raises RuntimeError with the end of its log if it does not start.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, log = secrets.token_urlsafe(32), data / "service.log"
    command = [*find_service_command(), "dev", "--port", "0", "--admin-port", "0"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTP_")}
    with _start_watchdog() as watchdog:
        with log.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603  # the program of find_service_command
                [*command, "--data", str(data), *options],
                env=inherited | {"OTP_DEV_API_KEY": key},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                process_group=watchdog.pid,
            )
        try:
            with contextlib.closing(_wait_for_service(process, log, key)) as service:
                yield service
        finally:
            _stop_process(process)


def _start_watchdog() -> "subprocess.Popen[bytes]":
    """Return the leader of a process group, which ends the group when this process ends, even by SIGKILL.

    The shell waits until the kernel closes this end of its pipe. The group is not that of the terminal:
    Ctrl-C ends the tests, and they end the service.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", "read -r _; kill 0"], stdin=subprocess.PIPE, process_group=0
    )


def _wait_for_service(
    process: "subprocess.Popen[bytes]", log: Path, key: str
) -> DevelopmentService:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if start := _find_start(log):
            service = DevelopmentService(
                f"http://{start['address']}", f"http://{start['admin_address']}", key
            )
            if _is_ready(service):
                return service
            service.close()
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"otp-service dev did not start:\n{log.read_text()[-2000:]}")


def _find_start(log: Path) -> dict[str, Any] | None:
    """Return the line of the log that has the addresses."""
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == "starting":
                return entry
    return None


def _is_ready(service: DevelopmentService) -> bool:
    """Return whether the API and the inbox reply."""
    with contextlib.suppress(httpx.HTTPError):
        ready = httpx.get(f"{service.url}/health/ready", trust_env=False)
        service.inbox.list_messages()
        return ready.is_success
    return False


def _stop_process(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""An independent message centre: the npm package `smpp`, unmodified and on loopback.

with Centre(installed(folder), folder, port) as centre:
    …a message to the port…
    centre.wait_for_event("submit", text="864209 is your Example code.")

It is stopped by its own pid.
"""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


SYSTEM_ID, PASSWORD = "tester", "s3cret"

_HERE = Path(__file__).parent


class PackageNotInstalled(Exception):
    """Why there is no such centre here."""


def install_package(folder: Path) -> Path:
    """Return the folder with the package, in the version and with the hashes of the lock file."""
    if names := ", ".join(name for name in ("node", "npm") if not shutil.which(name)):
        raise PackageNotInstalled(f"no {names}: apt install nodejs npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_HERE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageNotInstalled("npm could not install the package smpp")
    return folder


class NodeSmsc:
    """The centre; it may be killed and started again on its port."""

    def __init__(self, package: Path, folder: Path) -> None:
        self._package = package
        self._log = folder / "centre.log"
        self.port = _find_free_port()

    def __enter__(self) -> Self:
        self.start_process()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill_process()

    def start_process(self) -> None:
        """Start it, and wait until it listens; what it printed before is forgotten."""
        command = ["node", str(_HERE / "centre.js"), str(self._package), str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, SYSTEM_ID, PASSWORD], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        self.wait_for_event("listening")

    def kill_process(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()

    def deliver_message(self, text: str, *, command: str = "deliver_sm", **fields: object) -> int:
        """Bring a message from a phone, with these fields of its PDU; return the status of the answer.

        `udh` is a header before the text, in hexadecimal, and `place` the field of the text.
        """
        count = len(self.list_events("answer"))
        line = json.dumps({"command": command, "text": text} | fields)
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        end = time.monotonic() + WAIT_TIMEOUT_SECONDS
        while len(answers := self.list_events("answer")) == count:
            assert time.monotonic() < end, self._log.read_text(errors="replace")
            time.sleep(0.02)
        status: int = answers[-1]["status"]
        return status

    def wait_for_event(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait until it has printed an event with these fields, and return the first of them."""
        end = time.monotonic() + WAIT_TIMEOUT_SECONDS
        while time.monotonic() < end:
            for printed in self.list_events(event):
                if fields.items() <= printed.items():
                    return printed
            assert self._process.poll() is None, self._log.read_text(errors="replace")
            time.sleep(0.02)
        raise AssertionError(f"it has not seen {event}: {self._log.read_text(errors='replace')}")

    def list_events(self, event: str) -> list[dict[str, Any]]:
        """Return the events of this kind so far."""
        lines = self._log.read_text().splitlines(keepends=True)
        read = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return [each for each in read if each["event"] == event]


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

"""Debian's Kannel, for real and on loopback: bearerbox, smsbox, and a phone network that prints.

with KannelGateway(folder) as kannel:
    kannel.connect_network()
    …a message to kannel.url…
    kannel.wait_for_output("864209 is your Example code.")
    kannel.send_from_phone("+447400123456", "STOP")

Everything is stopped by its own pid.
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


FAKE_SMSC_BINARY = Path("/usr/lib/kannel/test/fakesmsc")

USERNAME, PASSWORD = "tester", "a&b<c"
OWN_NUMBER = "13013"
DENIED_PREFIX = "+447999"
"""What a number in the black-list begins with."""

_CONFIG = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = {password}
smsbox-port = {smsbox}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-level = 2

group = smsc
smsc = fake
smsc-id = FAKE
host = 127.0.0.1
port = {network}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
global-sender = {own_number}
log-level = 2

group = sendsms-user
username = {username}
password = "{password}"
max-messages = 3
concatenation = true
black-list-regex = "^[+]447999"

group = sms-service
keyword = default
catch-all = true
{service}
"""

NO_SERVICE = "max-messages = 0\ntext = none"
"""Messages from phones are dropped."""


def list_missing_programs() -> str:
    """Name the programs that are not there."""
    found = {
        name: shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("bearerbox", "smsbox")
    }
    found["fakesmsc"] = str(FAKE_SMSC_BINARY) if FAKE_SMSC_BINARY.exists() else None
    return ", ".join(name for name, where in found.items() if not where)


class KannelGateway:
    """The gateway; its network is closed at first, so that it can take messages only to keep.

    `service` is the rest of its group `sms-service`: what happens to messages from phones.
    """

    def __init__(self, folder: Path, service: str = NO_SERVICE) -> None:
        self._folder, self._service = folder, service
        self._stack = ExitStack()
        names = ("admin", "smsbox", "network", "sendsms")
        self._ports = dict(zip(names, _find_free_ports(len(names)), strict=True))
        self.url = f"http://127.0.0.1:{self._ports['sendsms']}/cgi-bin/sendsms"

    def __enter__(self) -> Self:
        config = self._folder / "kannel.conf"
        values = {"username": USERNAME, "password": PASSWORD, "own_number": OWN_NUMBER}
        config.write_text(_CONFIG.format(**self._ports, **values, service=self._service))
        try:
            self.bearerbox = self._start_process(
                "/usr/sbin/bearerbox", str(config), port_name="smsbox"
            )
            self.smsbox = self._start_process("/usr/sbin/smsbox", str(config), port_name="sendsms")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def connect_network(self) -> None:
        """Connect a SMSC that says yes to all, and wait until Kannel has a message of it."""
        port = str(self._ports["network"])
        arguments = ("-H", "127.0.0.1", "-r", port, "-i", "0.05")
        self._network = self._start_process(str(FAKE_SMSC_BINARY), *arguments)
        self.send_from_phone("100", "nop")
        self.wait_for_output("sent message 1")
        time.sleep(0.2)  # nothing that it prints says that bearerbox has got it

    def send_from_phone(self, number: str, text: str, kind: str = "text") -> None:
        """Send a message to OWN_NUMBER: `text`, or `ucs2` with octets that are escaped as in a URL."""
        assert self._network.stdin
        self._network.stdin.write(f"{number} {OWN_NUMBER} {kind} {text}\n".encode())
        self._network.stdin.flush()

    def wait_for_output(self, text: str) -> None:
        """Wait until the SMSC has printed this."""
        _wait_for(lambda: text in (self._folder / "fakesmsc.log").read_text(errors="replace"))

    def find_printed_line(self, number: str) -> str:
        """Return the line of the first message that the SMSC has got for this number."""
        self.wait_for_output(f" {number} ")
        return self.list_printed_lines(number)[0]

    def list_printed_lines(self, number: str) -> list[str]:
        """Return the lines of the messages that the SMSC has got for this number, oldest first.

        Kannel answers a phone that has no plus in its number without one.
        """
        lines = (self._folder / "fakesmsc.log").read_text(errors="replace").splitlines()
        pattern = re.compile(rf"Got message .* \+?{number.lstrip('+')} ")
        return [line for line in lines if pattern.search(line)]

    def kill_box(self, box: str) -> None:
        """Kill `smsbox` or `bearerbox`, as a machine does that fails."""
        process: subprocess.Popen[bytes] = getattr(self, box)
        process.kill()
        process.wait()

    def _start_process(self, *command: str, port_name: str = "") -> subprocess.Popen[bytes]:
        log = (self._folder / f"{Path(command[0]).name}.log").open("wb")
        with log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self._folder
            )
        self._stack.enter_context(_stop_on_exit(process))
        if port_name:
            _wait_for(lambda: process.poll() is not None or _is_listening(self._ports[port_name]))
        assert process.poll() is None, Path(log.name).read_text(errors="replace")
        return process


@contextmanager
def _stop_on_exit(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        if process.stdin:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(condition) -> None:
    end = time.monotonic() + WAIT_TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.05)


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]

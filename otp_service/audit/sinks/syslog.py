"""Syslog over TLS: RFC 5424 messages with octet counting (RFC 5425, RFC 6587 3.4.1).

    187 <110>1 2026-11-24T22:45:27.123Z otp-1 otp-service - entry - {"id":"07-1795…-12",…}

Syslog has no acknowledgement, and data on a connection that breaks may be lost. So each delivery
has its own connection: the sink ends its side and waits until the server ends the other, which it
does after reading everything. A reset or a timeout is a failure.
"""

import re
import socket
import ssl
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from otp_service.audit.sinks import base
from otp_service.audit.sinks.line_ids import identify_line
from otp_service.core.ip_address import is_loopback
from otp_service.core.url_check import FieldErrors


INFORMATIONAL_SEVERITY: Final = 6


class SyslogSinkSettings(base.SinkSettings, frozen=True, tag="syslog"):
    """Each line is a message; its MSGID is `entry`, `gap`, `seal` or `anchor`."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6514
    tls: bool = True
    """May be false on loopback alone, for an agent that forwards the messages."""
    tls_ca: str | None = None
    """A PEM file with the authority of the server's certificate; default: the usual authorities."""
    facility: Annotated[int, msgspec.Meta(ge=0, le=23)] = 13
    """13 is "log audit"."""
    timeout: base.SinkTimeoutSeconds = 5.0

    def find_errors(self) -> FieldErrors:
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", self.host):
            yield "host", "write the host name or address alone, like logs.example.com"
        if not self.tls and not is_loopback(self.host):
            yield "tls", "must be true: the events would cross the network in the open"

    def create_writer(self) -> base.LineWriter:
        return SyslogLineWriter(self, socket.gethostname()).write_lines


class SyslogLineWriter:
    """Sends to one server; `host` is the HOSTNAME of the messages."""

    def __init__(self, settings: SyslogSinkSettings, host: str) -> None:
        self._settings = settings
        self._host = re.sub(r"[^!-~]", "", host)[:255] or "-"
        self._tls: ssl.SSLContext | None = None

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Send the lines, and wait until they are read. Raises OSError, also for errors of TLS."""
        to = self._settings
        messages = (format_message(line, to.facility, self._host) for line in lines)
        data = b"".join(map(frame_message, messages))
        with socket.create_connection((to.host, to.port), to.timeout) as connection:
            if to.tls:
                self._tls = self._tls or base.create_tls_context(to.tls_ca)
                with self._tls.wrap_socket(connection, server_hostname=to.host) as encrypted:
                    encrypted.sendall(data)
                    end_tls(encrypted)
            else:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass


def format_message(line: bytes, facility: int, host: str) -> bytes:
    """Return the message of a line, without structured data."""
    kind, _, at = identify_line(line)
    priority = facility * 8 + INFORMATIONAL_SEVERITY
    return f"<{priority}>1 {at or '-'} {host} otp-service - {kind} - ".encode() + line


def frame_message(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def end_tls(connection: ssl.SSLSocket) -> None:
    """End the sending side, and wait until the server ends its side. Raises OSError."""
    try:
        connection.unwrap()
    except ssl.SSLEOFError:
        pass  # many servers close without close_notify; after ours that is an end as well
    except OSError as error:
        if error.errno != 0:  # older Pythons raise this for the same case
            raise

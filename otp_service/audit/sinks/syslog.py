"""Syslog over TLS: RFC 5424 messages, counted in octets (RFC 5425, RFC 6587 3.4.1).

    187 <110>1 2026-11-24T22:45:27.123Z otp-1 otp-service - entry - {"id":"07-1795…-12",…}

Syslog has no acknowledgement, and what was written to a connection that then breaks may be lost. So
each batch has a connection of its own, which we close for writing, and then wait for the server to
close it too: it does that when it has read to the end. A reset or a silence is a failure.
"""

import re
import socket
import ssl
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from otp_service.audit.sinks.base import (
    LineWriter,
    SinkSettings,
    SinkTimeoutSeconds,
    create_tls_context,
)
from otp_service.audit.sinks.line_ids import identify_line
from otp_service.core.ip_address import is_loopback
from otp_service.core.url_check import FieldErrors


INFORMATIONAL_SEVERITY: Final = 6


class SyslogSinkSettings(SinkSettings, frozen=True, tag="syslog"):
    """Each line is a message, whose MSGID says whether it is an entry, a gap, a seal or an anchor."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6514
    tls: bool = True
    """May be false only on loopback, where an agent takes it on."""
    tls_ca: str | None = None
    """A PEM file with the authority that signed its certificate; the usual ones without it."""
    facility: Annotated[int, msgspec.Meta(ge=0, le=23)] = 13
    """13 is 'log audit'."""
    timeout: SinkTimeoutSeconds = 5.0

    def find_errors(self) -> FieldErrors:
        """Tell what is wrong or unsafe."""
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", self.host):
            yield "host", "write the name or the address alone, like logs.example.com"
        if not self.tls and not is_loopback(self.host):
            yield "tls", "must be true: the events would cross the network in the open"

    def create_writer(self) -> LineWriter:
        """Return what sends them."""
        return SyslogLineWriter(self, socket.gethostname()).write_lines


class SyslogLineWriter:
    """Sends to one server, as `host`."""

    def __init__(self, settings: SyslogSinkSettings, host: str) -> None:
        self._settings = settings
        self._host = re.sub(r"[^!-~]", "", host)[:255] or "-"
        self._tls: ssl.SSLContext | None = None

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Send the lines, and see them read. Raises OSError, of which all errors of TLS are."""
        at = self._settings
        sent = b"".join(
            frame_message(format_message(line, at.facility, self._host)) for line in lines
        )
        with socket.create_connection((at.host, at.port), at.timeout) as connection:
            if at.tls:
                self._tls = self._tls or create_tls_context(at.tls_ca)
                with self._tls.wrap_socket(connection, server_hostname=at.host) as encrypted:
                    encrypted.sendall(sent)
                    end_tls(encrypted)
            else:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass


def format_message(line: bytes, facility: int, host: str) -> bytes:
    """Return the message of a line."""
    kind, _, at = identify_line(line)
    header = (
        f"<{facility * 8 + INFORMATIONAL_SEVERITY}>1 {at or '-'} {host} otp-service - {kind} - "
    )
    return header.encode() + line


def frame_message(message: bytes) -> bytes:
    """Return a message with its length in front."""
    return b"%d %s" % (len(message), message)


def end_tls(connection: ssl.SSLSocket) -> None:
    """Say that this was all, and wait until the server has ended too."""
    try:
        connection.unwrap()
    except ssl.SSLEOFError:
        pass  # many end without a word, which after our own is no less of an end
    except OSError as error:
        if error.errno != 0:  # how older Pythons say the same
            raise

"""A syslog server for the tests, which accepts, hangs, or resets connections."""

import re
import socket
import ssl
import struct
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self


class SyslogServer:
    """A syslog server on loopback, each connection in a thread.

    `end_mode` is its answer to the client's end: close_notify of TLS, the end of TCP alone, a reset
    before anything is read, or nothing.
    """

    def __init__(self, certificate: str | None = None) -> None:
        self.end_mode: Literal["tls", "tcp", "reset", "never"] = "tls"
        self.octets_by_connection: list[bytes] = []
        """The bytes of each connection that was read to its end."""
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)
        self._stopped = Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)

    def parse_lines(self) -> list[bytes]:
        """Return the lines of all messages. Asserts that framing and headers follow the RFCs."""
        return [text for octets in self.octets_by_connection for _, text in parse_messages(octets)]

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(5)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._read(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def _read(self, connection: socket.socket) -> None:
        if self.end_mode == "reset":
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        read = b""
        while part := connection.recv(65536):
            read += part
        if self.end_mode == "never":
            self._stopped.wait()
            return
        self.octets_by_connection.append(read)
        if self.end_mode == "tls" and isinstance(connection, ssl.SSLSocket):
            connection.unwrap()


HEADER_PATTERN = re.compile(
    rb"<(\d{1,3})>1 "
    rb"(-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z) "
    rb"([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) - "
)
"""RFC 5424, section 6, for times in UTC and without structured data."""


def parse_messages(octets: bytes) -> list[tuple[re.Match[bytes], bytes]]:
    """Return headers and texts of messages with octet counting (RFC 5425, section 4.3)."""
    messages = []
    while octets:
        length, space, octets = octets.partition(b" ")
        assert space
        assert re.fullmatch(rb"[1-9]\d*", length)
        message, octets = octets[: int(length)], octets[int(length) :]
        assert int(length) == len(message)
        header = HEADER_PATTERN.match(message)
        assert header, message
        messages.append((header, message[header.end() :]))
    return messages

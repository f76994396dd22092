"""A collector that takes a POST: Splunk, Elastic, the ingest of Loki and of Vector, or another."""

import re
from collections.abc import Sequence

import httpx
import msgspec

from otp_service.audit.sinks import base
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors


RESERVED_HEADERS = {"content-length", "content-type", "host", "transfer-encoding"}


class HttpSinkSettings(base.SinkSettings, frozen=True, tag="http"):
    """Lines are posted as newline-delimited JSON; any 2xx confirms them."""

    url: str
    secret_headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    tls_ca: str | None = None
    """A PEM file with the authority of the server's certificate; default: the usual authorities."""
    timeout: base.SinkTimeoutSeconds = 5.0

    def find_errors(self) -> FieldErrors:
        yield from base.find_sink_url_errors("url", self.url)
        for name, value in self.secret_headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower() in RESERVED_HEADERS:
                yield "secret_headers", "name headers like Authorization; length and type are set"
            elif not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value.reveal()):
                yield f"secret_headers.{name}", "use printable ASCII, without spaces around it"

    def create_writer(self) -> base.LineWriter:
        return HttpLineWriter(self).write_lines


class HttpLineWriter:
    """Posts through a bare transport: `httpx.Client` uses proxies and cookies, and logs the URL."""

    def __init__(self, settings: HttpSinkSettings) -> None:
        self._settings = settings
        self._transport: httpx.HTTPTransport | None = None
        self._headers = {name: value.reveal() for name, value in settings.secret_headers.items()}

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Post the lines. Raises base.SinkError and httpx.TransportError."""
        is_json = lines[0].startswith(b"{")
        content_type = "application/x-ndjson" if is_json else "text/plain; charset=utf-8"
        request = httpx.Request(
            "POST",
            self._settings.url,
            headers=self._headers | {"Content-Type": content_type, "User-Agent": "otp-service"},
            content=b"".join(line + b"\n" for line in lines),
            extensions={"timeout": httpx.Timeout(self._settings.timeout).as_dict()},
        )
        if self._transport is None:
            tls = base.create_tls_context(self._settings.tls_ca)
            self._transport = httpx.HTTPTransport(verify=tls, trust_env=False)
        reply = self._transport.handle_request(request)
        reply.close()
        if not reply.is_success:  # a redirect, too: it is never followed
            raise base.SinkError(f"it answers {reply.status_code}")

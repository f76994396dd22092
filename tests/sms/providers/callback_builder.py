"""A callback, as a vendor brings it, and an SDK of a vendor that speaks to a gateway on loopback."""

from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from requests.adapters import HTTPAdapter

from otp_service.sms.provider_callbacks import Callback, SkippedEvent, UnreadableCallback


NOW_MS = 1_790_000_000_000
CALLBACK_URL = "https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=a%2Bb"
INVALID_BODIES = [
    b"",
    b"\xff\xfe",
    b"[" * 60_000,
    b"null",
    b'"delivered"',
    b"[]",
    b"{}",
    b"a=b",
    b"<ok/>",
]
INVALID_BODIES.append(b'{"a":' + b"[" * 60_000)
INVALID_BODIES.append(b'{"error":' * 500 + b"{}" + b"}" * 500)


def build_callback(body=b"", *, url=CALLBACK_URL, method="POST", now_ms=NOW_MS, **headers):
    """Bytes come as they are, pairs as a form, anything else as JSON."""
    if isinstance(body, list):
        body = urlencode(body).encode()
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Callback(method, url, names, content, now_ms)


def assert_no_receipt(dialect, callback):
    """Nothing of the callback is a receipt, and nothing but the errors of the contract is raised."""
    try:
        parts = dialect.parse_callback(callback)
    except UnreadableCallback:
        return
    assert parts
    assert not [part for part in parts if not isinstance(part, SkippedEvent)]


class LoopbackAdapter(HTTPAdapter):
    """Sends what an SDK asks of its vendor to a gateway, and remembers where it was to go."""

    def __init__(self, gateway_url):
        super().__init__()
        self.gateway_host = urlsplit(gateway_url).netloc
        self.urls = []

    def send(self, request, **more):
        """Send it to the gateway, path and all else untouched."""
        self.urls.append(request.url)
        request.url = urlunsplit(
            urlsplit(request.url)._replace(scheme="http", netloc=self.gateway_host)
        )
        return super().send(request, **more)


def get_base_url(gateway):
    """The address of a gateway without its path."""
    return gateway.url.removesuffix("/v1/messages")

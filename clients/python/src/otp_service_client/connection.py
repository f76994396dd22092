"""What both clients give to httpx: the address, the headers and the timeouts."""

import inspect
import ipaddress
import re
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar

import httpx

from otp_service_client.exchange import LostReply, Reply, Request


P = ParamSpec("P")
R = TypeVar("R")

CONNECT_TIMEOUT_SECONDS: Final = 2.0
MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
"""Of the body of a reply. The largest one, a page of 1,000 events, has some hundred KiB."""
USER_AGENT: Final = "otp-service-client/0.1.0"

_API_KEY = re.compile(r"[!-~]+")


def build_client_options(base_url: str, api_key: str, *, allow_http: bool) -> dict[str, Any]:
    """Return the arguments of an httpx client that follows no redirect and uses no other proxy.

    The environment is ignored: a proxy of it would read codes. Raises ValueError for an address that is
    not safe, and for a key that cannot be one.
    """
    if not _API_KEY.fullmatch(api_key):
        raise ValueError("api_key must be visible ASCII characters, without spaces and line breaks")
    return {
        "base_url": parse_base_url(base_url, allow_http=allow_http),
        "headers": {"Authorization": f"Bearer {api_key}", "User-Agent": USER_AGENT},
        "follow_redirects": False,
        "trust_env": False,
    }


def parse_base_url(text: str, *, allow_http: bool) -> httpx.URL:
    """Return the URL of the service. Raises ValueError with the remedy, and without the URL."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("base_url must be a URL like https://otp.example.com")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("base_url must have no user, query or fragment; the key is api_key")
    if url.scheme == "http" and not (allow_http or is_loopback(url.host)):
        raise ValueError(
            f"base_url must begin with https: over http the network between here and {url.host} reads"
            " the API key and every code. Pass allow_http=True where that network is your own."
        )
    return url


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def build_http_request(
    client: httpx.Client | httpx.AsyncClient, request: Request, seconds: float
) -> httpx.Request:
    """Return the request for httpx, with a timeout for each of its reads."""
    return client.build_request(
        request.method,
        request.target,
        headers=request.headers,
        content=request.content,
        timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_SECONDS)),
    )


class ReplyTooLargeError(httpx.ReadError):
    """A reply has more than MAX_REPLY_BYTES, so it is not the service's."""


class ReplyBody:
    """The body of a reply, which arrives in chunks.

    The timeout of httpx is for each read: a reply that arrives a byte at a time would never end.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._deadline = monotonic() + timeout_seconds
        self._content = bytearray()

    def append(self, chunk: bytes) -> None:
        """Append a chunk. Raises an error of httpx if it is too late, or the body too large."""
        self._content += chunk
        if len(self._content) > MAX_REPLY_BYTES:
            raise ReplyTooLargeError("")
        if monotonic() > self._deadline:
            raise httpx.ReadTimeout("")

    def to_reply(self, response: httpx.Response) -> Reply:
        """Return the reply of a response whose chunks were appended."""
        return Reply(
            status=response.status_code, headers=response.headers, content=bytes(self._content)
        )


def to_lost_reply(error: httpx.RequestError) -> LostReply:
    """Return what a failure of the connection means."""
    cause = type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        # Its text has the reason, like that of a refused certificate.
        return LostReply(cause=f"{cause}: {error}".removesuffix(": "), was_sent=False)
    return LostReply(cause=cause, was_sent=True)


def copy_documentation(build_call: Callable[..., Any], method: Callable[P, R]) -> Callable[P, R]:
    """Give a method the name, the documentation and the parameters of the function of its call."""
    documented = wraps(build_call)(method)
    parameters = inspect.signature(build_call).parameters.values()
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = inspect.Signature([client, *parameters])  # type: ignore[attr-defined]  # of functions alone
    return documented

"""Find what refuses a request by its head, before it is routed and before its body is read.

The server parses the head and frames the body. It accepts some heads that a proxy in front of it
could read differently, and some that name one resource in several ways. Those are refused here.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar.exceptions import HTTPException, NotFoundException

from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import is_ip_address


MAX_TARGET_BYTES: Final = 8192
"""Path and query. RFC 9112 §3 recommends to support 8000 octets of request line."""

KNOWN_METHODS: Final = frozenset(
    {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
"""The methods of RFC 9110 §9.3 and RFC 5789. CONNECT is not here: RFC 9110 §9.3.6 gives its body no
meaning, so programs disagree on where it ends. The same holds for an undefined method."""

PATHS_WITHOUT_HEAD: Final = ("/v1/callbacks/", "/v1/inbound/")
"""Vendors call these with GET, and each call changes something, which a HEAD must not (RFC 9110 §9.2.1):
a browser, a scanner or a chat program may check a link that an operator has pasted."""

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# RFC 3986 §3.2.2 and RFC 9110 §7.2: an IP literal or a name, and maybe a port. Never user information.
_HOST_PATTERN: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._~!$&'()*+,;=%-]+))(?::\d{1,5})?"
)
_USUAL_PATH: Final = re.compile(rb"(?:/[A-Za-z0-9_-]+)+")
# Not an absolute path, an empty or a dot segment, a slash at the end, or an escape that decodes to a
# slash or that RFC 3986 §6.2.2 normalizes away. A proxy may compare such a path, and a router decode it.
_AMBIGUOUS_PATH: Final = re.compile(
    rb"(?i)\A(?!/)|//|./\Z|/\.{1,2}(?:/|\Z)|%(?:2f|5c|2d|2e|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f|7e)"
)


class HostAllowlist(msgspec.Struct, frozen=True):
    """The values of Host that a listener serves.

    A page of another origin can make a browser call this listener under a name that resolves to its
    address (DNS rebinding). The name is then in Host. An IP address in Host is never such a name.
    """

    hosts: frozenset[str]
    """Names in lower case, and addresses without brackets."""
    allows_addresses: bool = False
    """Whether every IP address is served too."""
    remedy: str = (
        "is not served here: add it to service.admin_hosts, or use an address of the service"
    )

    @classmethod
    def from_hosts(cls, hosts: Iterable[str], *, allows_addresses: bool) -> "HostAllowlist":
        """Return a list that serves these hosts and the names of loopback."""
        return cls(LOOPBACK_HOSTS | {host.lower() for host in hosts}, allows_addresses)

    def allows_host(self, host: str) -> bool:
        return host.lower() in self.hosts or (self.allows_addresses and is_ip_address(host))


LOOPBACK_ONLY: Final = HostAllowlist(LOOPBACK_HOSTS, remedy="must be localhost, 127.0.0.1 or [::1]")


def has_head(path: str) -> bool:
    """Whether a HEAD is served as the GET of this path, if it has one."""
    return not path.startswith(PATHS_WITHOUT_HEAD)


def find_head_error(scope: Any, allowlist: HostAllowlist | None) -> Exception | None:
    """Return why the request is refused, or None. Without an allowlist every host is served."""
    if scope["method"] not in KNOWN_METHODS:
        return InvalidRequest(("", "must have a method of HTTP, like GET or POST"))
    codings = [value for name, value in scope["headers"] if name == b"transfer-encoding"]
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        return HTTPException(status_code=501)  # RFC 9112 §6.1
    if error := _find_host_error(scope, allowlist):
        return error
    raw_path = scope.get("raw_path")  # optional in ASGI
    path: bytes = scope["path"].encode() if raw_path is None else raw_path
    if len(path) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return HTTPException(status_code=414)
    # The first pattern saves the time of the second one.
    is_ambiguous = not _USUAL_PATH.fullmatch(path) and _AMBIGUOUS_PATH.search(path)
    return NotFoundException() if is_ambiguous else None


def _find_host_error(scope: Any, allowlist: HostAllowlist | None) -> InvalidRequest | None:
    """HTTP/1.1 has exactly one valid Host (RFC 9112 §3.2); without an allowlist 1.0 may have none."""
    values = [value for name, value in scope["headers"] if name == b"host"]
    # The server adds an empty field where it is missing.
    if values in ([], [b""]) and allowlist is None and scope["http_version"] in {"1", "1.0"}:
        return None
    match = _HOST_PATTERN.fullmatch(values[0]) if len(values) == 1 else None
    if allowlist is None:
        remedy = "must be sent once, as a name or an address"
        return None if match else InvalidRequest(("Host", remedy))
    is_allowed = match and allowlist.allows_host((match[1] or match[2]).decode("ascii"))
    return None if is_allowed else InvalidRequest(("Host", allowlist.remedy))

"""The values that labels may have. Others are `other`, and nothing is the empty string."""

import re
from collections.abc import Iterator
from typing import Final

import phonenumbers

from otp_service.core.errors import OtpError, StoreTampered


OTHER: Final = "other"

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
COUNTRIES: Final = frozenset({*phonenumbers.SUPPORTED_REGIONS, "001"})
ACCESS_REASONS: Final = frozenset({"missing", "unknown", "expired", "scope"})

# Letters only, but for the version: an id or a number in a path is never taken for a template.
_TEMPLATE: Final = re.compile(
    r"/|(?:/(?:v\d|[a-z][a-z_-]{0,31}(?:\.[a-z]{1,5})?|\{[a-z_:]{1,40}\}))+"
)
_MOST_ROUTES: Final = 64


def among(allowed: frozenset[str], value: str | None) -> str:
    """Return the value if it is one of those that may be told."""
    if not value:
        return ""
    return value if value in allowed else OTHER


class Routes:
    """The templates of routes, as they come by."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def label(self, route: str) -> str:
        """Return the route if it is a template, and one of a number that an API can have."""
        known = self._seen.get(route)
        if known is None:
            if len(self._seen) >= _MOST_ROUTES or not _TEMPLATE.fullmatch(route):
                return OTHER
            known = self._seen[route] = route
        return known


def _refusals(kind: type[OtpError] = OtpError) -> Iterator[str]:
    yield kind.told or kind.slug
    for narrower in kind.__subclasses__():
        yield from _refusals(narrower)


REASONS: Final = frozenset(
    {
        *_refusals(),
        *ACCESS_REASONS,
        *("country", "type", "fictitious", "blocked", "unblocked"),
        *("by_tenant", "by_operator", "delivery_failed", "started", "stopped"),
        # Of a provider's reasons only those that are ours: its own codes are without end.
        *("deadline", "internal", "unreadable", "reply-too-big", "redirect", "no-message-id"),
        *("dns-error", "tls-error", "connect-error", "connect-timeout", "invalid-url"),
        *("read-timeout", "incomplete-reply", "bad-reply", "disconnected"),
    }
)
"""Why, in the words of events."""

_FAILURES: Final = {
    "TimeoutError": "timeout",
    "ConnectionError": "disconnected",
    "OutOfMemoryError": "full",
    "ReadOnlyError": "read-only",
    "BusyLoadingError": "loading",
    "ClusterDownError": "cluster-down",
    "MasterNotFoundError": "no-master",
    "AuthenticationError": "not-authenticated",
    "NoPermissionError": "not-permitted",
}


def failure_of(error: Exception) -> str:
    """Return how the store failed, by the name of the class behind it: it is a stranger here."""
    if isinstance(error, StoreTampered):
        return "tampered"
    if not isinstance(error, OtpError):
        return "internal"
    return _FAILURES.get(type(error.__cause__).__name__, OTHER)

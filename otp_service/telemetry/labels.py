"""The closed sets of label values. Any other value is `other`; a missing one is the empty string."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import phonenumbers

from otp_service.core.delivery import OPTED_OUT_REASON
from otp_service.core.errors import OtpError
from otp_service.core.inbound import FORGERY_RESULTS, InboundResult
from otp_service.core.risk import RISK_REASON, RiskFault


OTHER_LABEL: Final = "other"

HTTP_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
COUNTRY_CODES: Final = frozenset({*phonenumbers.SUPPORTED_REGIONS, "001"})
ACCESS_REASONS: Final = frozenset({"missing", "unknown", "expired", "scope", "signature"})
"""`signature` is that of a hook."""
HOOK_RESULTS: Final = frozenset(
    {
        *("accepted", "late", "refused", "unavailable"),
        *("unauthenticated", "unreadable", "internal"),
    }
)
"""`late` was answered as accepted, while the message was still being sent."""
CALLBACK_REASONS: Final = frozenset(
    {
        *("signature", "token", "unsigned", "unreadable", "internal", "incomplete"),
        OTHER_LABEL,
    }
)
"""`other` is accepted: neither a receipt nor a message (sms.provider_callbacks.SkippedEvent). `token` is that
of /v1/inbound, and `unsigned` a message at /v1/callbacks, which has no effect."""
ACCEPTED_CALLBACK_REASONS: Final = frozenset({"incomplete", OTHER_LABEL})
"""Those that any phone can cause, so no event counts them."""

INBOUND_RESULTS: Final = frozenset(InboundResult)
RISK_FAULTS: Final = frozenset(fault.value for fault in RiskFault)

# Digits occur only in the version, so that no path with an id or a number is taken for a template.
_ROUTE_TEMPLATE: Final = re.compile(r"/|(?:/(?:v\d|[A-Za-z._-]{1,32}|\{[a-z_:]{1,40}\}))+")


def label_or_other(allowed: frozenset[str], value: str | None) -> str:
    """Return the value if it is allowed, `other` if not, or the empty string for a missing one."""
    if not value:
        return ""
    return value if value in allowed else OTHER_LABEL


@lru_cache
def route_or_other(route: str) -> str:
    """Return the route if it is a template of Litestar's router, or `other` if it may be a path."""
    return route if _ROUTE_TEMPLATE.fullmatch(route) else OTHER_LABEL


def _iterate_error_reasons(error_class: type[OtpError] = OtpError) -> Iterator[str]:
    yield error_class.audit_reason or error_class.problem_type
    for narrower in error_class.__subclasses__():
        yield from _iterate_error_reasons(narrower)


EVENT_REASONS: Final = frozenset(
    {
        *_iterate_error_reasons(),
        *ACCESS_REASONS,
        *(CALLBACK_REASONS - ACCEPTED_CALLBACK_REASONS),
        *FORGERY_RESULTS,
        *("country", "type", "fictitious", "blocked", "unblocked", "opted_out"),
        RISK_REASON,
        "bot_check",
        *(
            "by_tenant",
            "by_operator",
            "delivery_failed",
            "started",
            "stopped",
            "finished",
            "reload_refused",
        ),
        # The reasons that this service gives for a provider; a provider's own codes are unbounded.
        *("deadline", "internal", "unreadable", "reply-too-big", "redirect", "no-message-id"),
        *("dns-error", "tls-error", "connect-error", "connect-timeout", "invalid-url"),
        *("read-timeout", "incomplete-reply", "bad-reply", "disconnected", OPTED_OUT_REASON),
    }
)
"""The values of an event's `reason`."""

"""Every event type with its struct, and which of them are granted and which are folded.

To add one, or a field, follow the checklists in `audit/EVENTS.md`.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Final

from otp_service.core.events import (
    authenticator_events,
    challenge_events,
    number_events,
    operator_events,
    recovery_events,
    send_events,
    service_events,
)
from otp_service.core.events.event import Event


EVENT_MODULES: Final = (
    send_events,
    challenge_events,
    authenticator_events,
    recovery_events,
    number_events,
    operator_events,
    service_events,
)
"""In the order in which `audit/EVENTS.md` lists their events."""


def _iterate_event_types(module: ModuleType) -> Iterator[type[Event]]:
    """Yield the structs of a module that no other one is derived from."""
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, Event) and not kind.__subclasses__():
            yield kind


EVENT_TYPES: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind
    for module in EVENT_MODULES
    for kind in _iterate_event_types(module)
}

GRANT_EVENTS = (
    send_events.Issued,
    send_events.Resent,
    send_events.DeliveryCreated,
    challenge_events.Attempted,
    challenge_events.Verified,
    challenge_events.Unlocked,
    authenticator_events.AuthenticatorEnrolled,
    authenticator_events.AuthenticatorConfirmed,
    authenticator_events.AuthenticatorAttempted,
    authenticator_events.AuthenticatorVerified,
    recovery_events.RecoverySetCreated,
    recovery_events.RecoveryAttempted,
    recovery_events.RecoveryCodeUsed,
)
"""Events of changes that are refused if the event cannot be recorded (R73)."""

FOLDABLE_EVENTS = (
    send_events.IssueDenied,
    send_events.DeliveryDenied,
    challenge_events.VerifyDenied,
    challenge_events.Verified,
    challenge_events.Unlocked,
    number_events.NumberOptedOut,
    number_events.NumberOptedIn,
    number_events.HelpRequested,
    operator_events.AuditLookup,
    service_events.AccessDenied,
    service_events.CallbackRejected,
    service_events.Tampered,
    authenticator_events.AuthenticatorEnrolled,
    authenticator_events.AuthenticatorConfirmed,
    authenticator_events.AuthenticatorVerified,
    authenticator_events.AuthenticatorDenied,
    recovery_events.RecoveryCodeUsed,
    recovery_events.RecoveryDenied,
)
"""Events that a caller can cause again and again at no cost (those of a success where they repeat an answer).

They are passed as `Commit.foldable_event` or `event_if_refused`, never in `Commit.events`: they are
folded, and have a stream of their own, so that they displace no event of a change (store/README.md).
"""

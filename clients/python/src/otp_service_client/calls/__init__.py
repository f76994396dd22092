"""Each operation of openapi.yaml as a pure function that returns the call to send.

The clients make a method of each of these functions: its parameters, its type and its documentation are
those of the method. None means that a member is not sent. No function refuses a value: only the service
decides what is valid, and a value that is refused here would be in the locals of a traceback.
"""

from otp_service_client.calls.authenticators import (
    confirm_authenticator,
    create_authenticator,
    verify_authenticator,
)
from otp_service_client.calls.call import Call
from otp_service_client.calls.challenges import (
    cancel_challenge,
    get_challenge,
    issue_challenge,
    resend_code,
    verify_challenge,
)
from otp_service_client.calls.deliveries import create_delivery, get_delivery
from otp_service_client.calls.operations import (
    check_liveness,
    check_readiness,
    list_events,
    search_events,
    unlock_account,
    unlock_number,
)
from otp_service_client.calls.recovery_codes import create_recovery_codes, verify_recovery_code


__all__ = [
    "Call",
    "cancel_challenge",
    "check_liveness",
    "check_readiness",
    "confirm_authenticator",
    "create_authenticator",
    "create_delivery",
    "create_recovery_codes",
    "get_challenge",
    "get_delivery",
    "issue_challenge",
    "list_events",
    "resend_code",
    "search_events",
    "unlock_account",
    "unlock_number",
    "verify_authenticator",
    "verify_challenge",
    "verify_recovery_code",
]

"""Twilio Verify's API at /twilio/v2: its paths, forms, bodies and errors, for applications that use its SDKs.

    basic_auth → form_fields → service.verifications → verification_views
         └──────────── any error ────────────→ error_bodies

2xx does not mean verified here: a wrong code is 200 with `valid: false`, as Twilio's clients expect. So
these paths have a scope of their own.
"""

from otp_service.api.twilio.error_bodies import (
    TWILIO_PREFIX,
    build_twilio_error_response,
)
from otp_service.api.twilio.verifications import VERIFICATION_HANDLERS
from otp_service.api.twilio.verify_services import VERIFY_SERVICE_HANDLERS


TWILIO_HANDLERS = (*VERIFY_SERVICE_HANDLERS, *VERIFICATION_HANDLERS)

__all__ = ["TWILIO_HANDLERS", "TWILIO_PREFIX", "build_twilio_error_response"]

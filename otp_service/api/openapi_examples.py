"""One whole example of each request and response body, by operation id, for the OpenAPI document.

The examples are one story: a user of the account u-81 logs in. tests/api/test_openapi_examples.py
holds each of them to its schema and to its struct.
"""

from typing import Any, Final

from otp_service.schemas import EXAMPLE_BASE32_KEY, EXAMPLE_OTPAUTH_URI


Body = dict[str, Any]

_ISSUED_AT: Final = "2026-11-22T12:00:00.250Z"
_VERIFIED_AT: Final = "2026-11-22T12:00:21.904Z"
_UNCONFIRMED_AUTHENTICATOR: Final = "a1.AmExdW5jb25maXJtZWQ"
_ACTIVE_AUTHENTICATOR: Final = "a1.AmExc2VhbGVkLWJ5LXVz"
_RECOVERY_SET: Final = "r1.AmExc2VhbGVkLWJ5LXVz"
_USED_RECOVERY_SET: Final = "r1.AmExb25lLWlzLXVzZWQ"
_PHONE_NUMBER: Final = "+447400123456"

_PENDING_CHALLENGE: Final[Body] = {
    "id": "c07-5d41402abc4b2a76b9719d911017c592",
    "status": "pending",
    "phone_number": "+44********56",
    "purpose": "login",
    "account": "u-81",
    "created_at": _ISSUED_AT,
    "expires_at": "2026-11-22T12:05:00.250Z",
    "attempts_left": 5,
    "sends_left": 2,
    "resend_at": "2026-11-22T12:00:30.250Z",
    "delivery": {
        "status": "submitted",
        "provider": "east",
        "submissions": [
            {
                "provider": "east",
                "outcome": "accepted",
                "fault": None,
                "reason": None,
                "at": "2026-11-22T12:00:00.350Z",
            }
        ],
    },
}
_SENT_DELIVERY: Final[Body] = {
    "id": "d07-7d793037a0760186574b0282f2f435e7",
    "phone_number": "+44********56",
    "purpose": "login",
    "account": "u-81",
    "created_at": _ISSUED_AT,
    "delivery": _PENDING_CHALLENGE["delivery"],
}
_RESENT_CHALLENGE: Final[Body] = {
    **_PENDING_CHALLENGE,
    "sends_left": 1,
    "resend_at": "2026-11-22T12:01:10.250Z",
    "delivery": {
        "status": "submitted",
        "provider": "east",
        "submissions": [
            *_PENDING_CHALLENGE["delivery"]["submissions"],
            {
                "provider": "east",
                "outcome": "accepted",
                "fault": None,
                "reason": None,
                "at": "2026-11-22T12:00:40.350Z",
            },
        ],
    },
}
_EVENT_PAGE: Final[Body] = {
    "events": [
        {
            "type": "otp.verified",
            "id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "tenant": "shop",
            "key_id": "shop-2026",
            "request": "0af7651916cd43dd8448eb211c80319c",
            "client_ip": "203.0.113.9",
            "purpose": "login",
            "challenge": "c07-5d41402abc4b2a76b9719d911017c592",
            "number": "p1:7d793037a0760186574b0282f2f435e7",
            "country": "GB",
            "number_suffix": "56",
            "account": "p1:9e107d9d372bb6826bd81d3542a419d6",
            "versions": {
                "config": "af1ecbda5999",
                "pepper": "1",
                "seal": "1",
                "state": "1",
                "pseudonym": "p1",
                "limit": "1",
                "authenticator": "1",
            },
            "outcome": "success",
            "at": _VERIFIED_AT,
            "event_id": "07-1795348800000-42",
            "partition": 7,
            "epoch": 1_795_348_800_000,
            "sequence": 42,
            "integrity": "ok",
        }
    ],
    "next": None,
}

REQUEST_EXAMPLES: Final[dict[str, Body]] = {
    "issueChallenge": {
        "phone_number": _PHONE_NUMBER,
        "purpose": "login",
        "locale": "en-GB",
        "client_ip": "203.0.113.9",
        "account": "u-81",
    },
    "verifyChallenge": {
        "code": "123456",
        "purpose": "login",
        "account": "u-81",
        "client_ip": "203.0.113.9",
    },
    "resendCode": {},
    "createDelivery": {
        "phone_number": _PHONE_NUMBER,
        "code": "471093",
        "purpose": "login",
        "locale": "en-GB",
        "client_ip": "203.0.113.9",
        "account": "u-81",
        "valid_minutes": 10,
    },
    "unlockNumber": {"phone_number": _PHONE_NUMBER},
    "unlockAccount": {"account": "u-81", "tenant": "shop"},
    # Without `secret`: a caller who copies the example must not import a secret that is published.
    "createAuthenticator": {"account": "u-81", "name": "alice@example.com"},
    "confirmAuthenticator": {
        "authenticator": _UNCONFIRMED_AUTHENTICATOR,
        "account": "u-81",
        "code": "123456",
    },
    "verifyAuthenticator": {
        "authenticator": _ACTIVE_AUTHENTICATOR,
        "account": "u-81",
        "code": "654321",
        "purpose": "login",
        "client_ip": "203.0.113.9",
    },
    "createRecoveryCodes": {"account": "u-81"},
    "verifyRecoveryCode": {
        "recovery_set": _RECOVERY_SET,
        "account": "u-81",
        "code": "7KQM-2D4X-9TRA-HVN5",
        "client_ip": "203.0.113.9",
    },
    "searchEvents": {"account": "u-81", "type": "otp.verified", "limit": 100},
}

RESPONSE_EXAMPLES: Final[dict[str, Body]] = {
    "issueChallenge": _PENDING_CHALLENGE,
    "getChallenge": _PENDING_CHALLENGE,
    "verifyChallenge": {
        **_PENDING_CHALLENGE,
        "status": "verified",
        "verified_at": _VERIFIED_AT,
    },
    "resendCode": _RESENT_CHALLENGE,
    "createDelivery": _SENT_DELIVERY,
    "getDelivery": _SENT_DELIVERY,
    "createAuthenticator": {
        "authenticator": _UNCONFIRMED_AUTHENTICATOR,
        "status": "unconfirmed",
        "secret": EXAMPLE_BASE32_KEY,
        "uri": EXAMPLE_OTPAUTH_URI,
        "qr_svg": '<svg width="228" height="228" viewBox="0 0 57 57">…</svg>',
        "expires_at": "2026-11-22T12:30:00.250Z",
    },
    "confirmAuthenticator": {
        "authenticator": _ACTIVE_AUTHENTICATOR,
        "status": "active",
        "confirmed_at": "2026-11-22T12:00:55.010Z",
    },
    "verifyAuthenticator": {
        "status": "verified",
        "verified_at": _VERIFIED_AT,
        "authenticator": _ACTIVE_AUTHENTICATOR,
    },
    "createRecoveryCodes": {
        "recovery_set": _RECOVERY_SET,
        "codes": [
            "7KQM-2D4X-9TRA-HVN5",
            "B3ZC-K81W-5JPE-0GMT",
            "Q6YH-9VD2-RX4N-S7FA",
            "1WTE-M5GK-3CZB-8PJQ",
            "XN42-HA7R-D9VS-6YKF",
            "G0PB-4QJM-T1EW-C5Z8",
            "V8FS-Y2KN-7HRD-XA93",
            "5MCJ-ZE6T-Q0GP-1BW4",
            "R9DX-3N8V-FKSA-2H7Y",
            "EJ1T-P7WB-6MZQ-G4C0",
        ],
    },
    "verifyRecoveryCode": {
        "status": "verified",
        "verified_at": _VERIFIED_AT,
        "recovery_set": _USED_RECOVERY_SET,
        "codes_left": 9,
    },
    "listEvents": _EVENT_PAGE,
    "searchEvents": _EVENT_PAGE,
    "checkLiveness": {"status": "ok"},
    "checkReadiness": {"mode": "live", "status": "ok"},
}

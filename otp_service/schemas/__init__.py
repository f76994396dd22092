"""Request and response bodies, as in the HTTP contract.

Docstrings and descriptions are part of the OpenAPI document.
"""

from otp_service.schemas.audit_bodies import AuditPage, AuditQuery, AuditSearch, Timestamp
from otp_service.schemas.members import (
    EXAMPLE_BASE32_KEY,
    EXAMPLE_OTPAUTH_URI,
    Account,
    RecoveryCode,
)
from otp_service.schemas.operation_bodies import (
    Health,
    Mode,
    ProcessStatus,
    Readiness,
    ServiceStatus,
)
from otp_service.schemas.request_bodies import (
    ConfirmAuthenticatorRequest,
    CreateAuthenticatorRequest,
    CreateRecoveryCodesRequest,
    DeliveryRequest,
    EmptyBody,
    IssueRequest,
    UnlockAccountRequest,
    UnlockRequest,
    VerifyAuthenticatorRequest,
    VerifyRecoveryCodeRequest,
    VerifyRequest,
)
from otp_service.schemas.response_bodies import (
    ActiveAuthenticatorView,
    ChallengeView,
    CodeDeliveryView,
    DeliveryView,
    FieldError,
    NewAuthenticatorView,
    NewRecoverySetView,
    Problem,
    SubmissionView,
    VerifiedAuthenticatorView,
    VerifiedRecoverySetView,
)


__all__ = [
    "EXAMPLE_BASE32_KEY",
    "EXAMPLE_OTPAUTH_URI",
    "Account",
    "ActiveAuthenticatorView",
    "AuditPage",
    "AuditQuery",
    "AuditSearch",
    "ChallengeView",
    "CodeDeliveryView",
    "ConfirmAuthenticatorRequest",
    "CreateAuthenticatorRequest",
    "CreateRecoveryCodesRequest",
    "DeliveryRequest",
    "DeliveryView",
    "EmptyBody",
    "FieldError",
    "Health",
    "IssueRequest",
    "Mode",
    "NewAuthenticatorView",
    "NewRecoverySetView",
    "Problem",
    "ProcessStatus",
    "Readiness",
    "RecoveryCode",
    "ServiceStatus",
    "SubmissionView",
    "Timestamp",
    "UnlockAccountRequest",
    "UnlockRequest",
    "VerifiedAuthenticatorView",
    "VerifiedRecoverySetView",
    "VerifyAuthenticatorRequest",
    "VerifyRecoveryCodeRequest",
    "VerifyRequest",
]

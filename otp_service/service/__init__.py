"""The use cases: issue, resend, verify, cancel, receipts, and the operator's unlock."""

from otp_service.core.random_source import RandomSource
from otp_service.service.brake import Brake
from otp_service.service.context import Caller, Dependencies, Subject
from otp_service.service.otp_service import OtpService
from otp_service.service.receipt_handler import ReceiptResult


__all__ = [
    "Brake",
    "Caller",
    "Dependencies",
    "OtpService",
    "RandomSource",
    "ReceiptResult",
    "Subject",
]

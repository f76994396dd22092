"""The use cases: issue, resend, verify, cancel, receipts, and the operator's unlock."""

from otp_service.service.context import Caller, Parts, Person, Random
from otp_service.service.otp_service import OtpService
from otp_service.service.receipt_handler import Received


__all__ = ["Caller", "OtpService", "Parts", "Person", "Random", "Received"]

"""What requests cost: every limit is charged by some request."""

from otp_service.core import charges
from otp_service.core.limits import DEFAULT_LIMITS, Limit
from otp_service.core.phone_number import parse_number
from otp_service.core.tenant import Tenant


def test_every_limit_is_charged_by_some_request():
    """A limit that no request is charged to would be configured, documented, and never refuse."""
    tenant = Tenant("shop", "Shop", frozenset({"GB"}), limits=DEFAULT_LIMITS)
    phone = parse_number("+447400123456")

    charged = [
        *charges.build_number_send_charges(tenant, phone),
        *charges.build_shared_send_charges(tenant, phone, "u-81", "203.0.113.9"),
        charges.build_auto_resend_charge(tenant, phone),
        *charges.build_number_failure_charges(tenant, phone),
        *charges.build_shared_failure_charges(tenant, "u-81", "203.0.113.9"),
        charges.build_refund_charge(tenant, phone),
    ]

    assert {*Limit} == {charge.bucket.limit for charge in charged}

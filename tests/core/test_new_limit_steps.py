"""The steps at `Limit`: each test names a missing step of a new limit."""

import re
from pathlib import Path

import otp_service
from otp_service.core import charges
from otp_service.core.factor import Factor
from otp_service.core.limits import DEFAULT_LIMITS, NUMBER_LIMITS, Algorithm, Charge, Limit
from otp_service.core.phone_number import parse_number
from otp_service.core.tenant import Tenant
from otp_service.core.tenant_share import apply_share
from otp_service.settings.limit_rules import TENANT_LIMITS


PACKAGE = Path(otp_service.__file__).parent
TENANT = Tenant(
    "shop", "Example", frozenset({"GB"}), limits=apply_share(DEFAULT_LIMITS, (), percent=50)
)
PHONE = parse_number("+447400123456")


def list_charges() -> list[Charge]:
    """Return a charge of every kind that a request can have."""
    return [
        *charges.build_caller_send_charges(TENANT, PHONE, "u-81", "203.0.113.9"),
        *charges.build_number_send_charges(TENANT, PHONE),
        *charges.build_shared_send_charges(TENANT, PHONE),
        *charges.build_caller_failure_charges(TENANT, "u-81", "203.0.113.9"),
        *charges.build_number_failure_charges(TENANT, PHONE),
        *charges.build_factor_failure_charges(TENANT, Factor.AUTHENTICATOR, "u-81"),
        *charges.build_factor_failure_charges(TENANT, Factor.RECOVERY_CODE, "u-81"),
        *charges.build_factor_caller_charges(TENANT, Factor.RECOVERY_CODE, "203.0.113.9"),
        charges.build_recovery_set_charge(TENANT, "u-81"),
        charges.build_auto_resend_charge(TENANT, PHONE),
        charges.build_refund_charge(TENANT, PHONE),
    ]


def test_every_limit_has_a_default():
    """Step 1: a limit without one is a KeyError in the first request that it charges."""
    assert set(Limit) == set(DEFAULT_LIMITS)


def test_the_limits_of_a_number_are_those_that_count_one_number():
    """Step 1: the store expects their buckets in the partition of the number."""
    counted = {c.bucket.limit for c in list_charges() if c.bucket.subject == PHONE.canonical}

    assert counted == NUMBER_LIMITS
    assert all(limit.algorithm is not Algorithm.GCRA for limit in NUMBER_LIMITS)


def test_every_limit_is_charged_by_some_request():
    """Step 2: a limit that is never charged never refuses."""
    assert set(Limit) == {charge.bucket.limit for charge in list_charges()}


def test_a_tenant_may_tighten_the_limits_whose_buckets_are_its_own():
    """Step 3: in a bucket of all tenants, one tenant would use up the budget of another."""
    assert {c.bucket.limit for c in list_charges() if c.bucket.tenant} == TENANT_LIMITS


def test_every_limit_has_a_row_with_its_default():
    """Step 4."""
    text = (PACKAGE.parent / "docs" / "limits.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", text, re.MULTILINE)

    assert dict(rows) == {
        str(limit): ", ".join(map(str, windows)) for limit, windows in DEFAULT_LIMITS.items()
    }


def test_every_limit_has_a_golden_name():
    """Step 5: the file of key names lists the bucket of each limit."""
    text = (PACKAGE.parent / "tests" / "golden" / "key_names.txt").read_text()

    assert set(Limit) == set(re.findall(r"^bucket (\w+) of", text, re.MULTILINE))

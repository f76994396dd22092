"""The share of one tenant in what all tenants share."""

import pytest

from otp_service.core import charges
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.phone_number import parse_number
from otp_service.core.tenant import Tenant
from otp_service.core.tenant_share import SHARE_LIMITS, apply_share, scale_windows


PHONE = parse_number("+447400123456")
HOUR, DAY = 3600, 86400


def list_charged_limits(percent: int) -> set[Limit]:
    """Return the limits that a send of a tenant with this share charges."""
    limits = apply_share(DEFAULT_LIMITS, (), percent)
    tenant = Tenant("shop", "Example", frozenset({"GB"}), limits=limits)
    charged = (
        *charges.build_caller_send_charges(tenant, PHONE, None, None),
        *charges.build_number_send_charges(tenant, PHONE),
        *charges.build_shared_send_charges(tenant, PHONE),
    )
    return {charge.bucket.limit for charge in charged}


def test_half_of_a_country_is_half_of_each_window():
    limits = apply_share(DEFAULT_LIMITS, (), 50)

    assert (Window(1_000, HOUR), Window(10_000, DAY)) == limits[Limit.SENDS_COUNTRY_TENANT]
    assert (Window(30, 600), Window(300, DAY)) == limits[Limit.SENDS_PREFIX_TENANT]


def test_the_share_of_everything_is_a_part_of_the_sends_of_a_tenant():
    """For each period the smaller window applies, and a period that only one has is kept."""
    limits = {
        **DEFAULT_LIMITS,
        Limit.SENDS_TENANT: (Window(70, HOUR), Window(5, 60)),
        Limit.SENDS_OVERALL: (Window(100, HOUR), Window(1_000, DAY)),
    }

    shared = apply_share(limits, (), 50)

    assert (Window(50, HOUR), Window(5, 60), Window(500, DAY)) == shared[Limit.SENDS_TENANT]
    assert limits[Limit.SENDS_TENANT] == apply_share(limits, (), 100)[Limit.SENDS_TENANT]


def test_a_configured_share_replaces_the_computed_one():
    limits = {**DEFAULT_LIMITS, Limit.SENDS_PREFIX_TENANT: (Window(7, 600),)}

    shared = apply_share(limits, {Limit.SENDS_PREFIX_TENANT}, 50)

    assert (Window(7, 600),) == shared[Limit.SENDS_PREFIX_TENANT]


@pytest.mark.parametrize("percent", [1, 33, 50, 99, 100])
def test_a_share_admits_at_least_one_and_at_most_everything(percent: int):
    for window in scale_windows((Window(1, 60), Window(2, 60), Window(2_000, 60)), percent):
        assert 1 <= window.count <= 2_000
        assert 60 == window.period_seconds


def test_a_share_of_everything_is_no_bucket_of_its_own():
    """With one tenant the shared bucket refuses first: a second one costs memory and nothing else."""
    assert not SHARE_LIMITS.keys() & list_charged_limits(100)
    assert SHARE_LIMITS.keys() <= list_charged_limits(99)

"""[risk] in a configuration: what `check` refuses, and what it warns of."""

import pytest

from otp_service.settings import SettingsError, find_errors
from otp_service.settings.rules import find_warnings
from tests.settings.test_hook_rules import SHOP


RISK = """
[risk]
url = "https://risk.example/check"
secret = "whsec_d29ydGhsZXNzLXNlY3JldC1vZi1hLXJpc2stc2VydmljZQ=="
on_failure = "refuse"
"""


def test_a_risk_service_has_the_longest_deadline_and_gets_the_number_by_default(load_config):
    settings = load_config(extra=SHOP + RISK)

    assert [] == [issue.setting for issue in find_errors(settings)]
    assert (300, "e164") == (settings.risk.deadline_milliseconds, settings.risk.number)
    assert settings.build_tenants()["shop"].has_risk_check


@pytest.mark.parametrize(
    ("old", "new", "setting"),
    [
        ("https:", "http:", "risk.url"),
        ("whsec_", "", "risk.secret"),
        ('on_failure = "refuse"', "", "risk.on_failure"),
        ('"refuse"', '"retry"', "risk.on_failure"),
        ("on_failure", "deadline_milliseconds = 301\non_failure", "risk.deadline_milliseconds"),
        ("on_failure", "deadline_milliseconds = 9\non_failure", "risk.deadline_milliseconds"),
        ("on_failure", 'number = "hash"\non_failure', "risk.number"),
    ],
)
def test_what_is_unsafe_or_unknown_is_refused(load_config, old, new, setting):
    """R31: there is no default of `on_failure`, and no deadline over 300 ms."""
    assert old in RISK
    try:
        found = find_errors(load_config(extra=SHOP + RISK.replace(old, new)))
    except SettingsError as error:
        found = error.issues

    assert [setting] == [issue.setting for issue in found]


def test_a_tenant_that_leaves_out_a_check_that_does_not_exist_is_a_warning(load_config, now_ms):
    off = SHOP.replace('brand = "Shop"', 'brand = "Shop"\nrisk_check = false')

    without = [each.setting for each in find_warnings(load_config(extra=off), now_ms)]
    with_risk = [each.setting for each in find_warnings(load_config(extra=off + RISK), now_ms)]

    assert "tenants.shop.risk_check" in without
    assert "tenants.shop.risk_check" not in with_risk

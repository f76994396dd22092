"""The hash that names a configuration in events, metrics and `otp-service status`."""

from pathlib import Path

import pytest

from otp_service.app import hash_settings


WORKING = sorted(path.stem for path in Path(__file__).parent.glob("working_*.toml"))


@pytest.mark.parametrize("name", WORKING)
def test_every_configuration_has_a_hash(name, load_config):
    """Also one with tables whose names are numbers, like providers.NAME.statuses."""
    first, second = (hash_settings(load_config(name)) for _ in range(2))

    assert first == second
    assert len(first) == 12


@pytest.mark.parametrize(
    "variable",
    [
        ("OTP_PROVIDERS__GATEWAY__STATUSES", "{ 423 = 'recipient' }"),
        ("OTP_TENANTS__MY_SHOP__SENDER", "Shop"),
        ("OTP_PROVIDERS__SECOND__BASIC__PASSWORD", "another"),
        ("OTP_SERVICE__PORT", "9002"),
    ],
    ids=lambda variable: variable[0],
)
def test_every_setting_changes_the_hash(variable, load_config):
    """Secrets included, which the report of `check` hides."""
    changed = load_config("working_everything", environ=dict([variable]))

    assert hash_settings(changed) != hash_settings(load_config("working_everything"))

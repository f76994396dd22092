"""What belongs to tests is refused in live mode, and what is real outside of it (R38, A25)."""

import msgspec
import pytest

from otp_service.core.limits import DEFAULT_LIMITS, Limit
from otp_service.core.phone_number import parse_number
from otp_service.core.relaxed_limits import relax_limits
from otp_service.settings import find_errors, find_warnings


FICTITIOUS = parse_number("+447700900123", allow_fictitious=True)
REAL = parse_number("+447400123456")
RELAXED = "[test]\nrelaxed_limits = true\n"


def test_live_mode_refuses_what_only_tests_read(find_config_errors):
    """A live service with relaxed limits would be a service without limits."""
    (found,) = find_config_errors(extra=RELAXED)

    assert "test.relaxed_limits" == found.setting
    assert 'only for mode = "test"' in found.remedy


@pytest.mark.parametrize("mode", ["live", "test", "development"])
def test_no_configuration_mixes_an_inbox_with_a_real_provider(load_config, mode):
    """In whichever order they are tried, and whatever the mode is."""
    settings = load_config()
    inbox = load_config("working_test_mode").providers["gateway"]
    both = {**settings.providers, "inbox": inbox}
    mixed = msgspec.structs.replace(settings, mode=mode, providers=both)

    assert {"mode", "providers.inbox.type"} & {issue.setting for issue in find_errors(mixed)}


def test_a_configuration_cannot_choose_the_mode_of_dev(find_config_errors):
    """It accepts real numbers and shows their codes, which `serve` must never do."""
    found = find_config_errors(environ={"OTP_MODE": "development"})

    assert "only 'otp-service dev' runs" in " ".join(issue.remedy for issue in found)


def test_limits_are_relaxed_in_test_mode_for_fictitious_numbers_alone(load_config):
    """Every other call has the limits of production."""
    (tenant,) = (
        load_config("working_test_mode", environ={"OTP_TEST__RELAXED_LIMITS": "true"})
        .build_tenants()
        .values()
    )

    assert relax_limits(tenant.limits) == tenant.select_limits(FICTITIOUS).limits
    assert tenant is tenant.select_limits(REAL)
    assert tenant is tenant.select_limits(None)


def test_live_mode_never_reads_relaxed_limits(load_config):
    """Also where the rules did not refuse the configuration."""
    settings = msgspec.structs.replace(
        load_config("working_test_mode", environ={"OTP_TEST__RELAXED_LIMITS": "true"}), mode="live"
    )
    (tenant,) = settings.build_tenants().values()

    assert not settings.accepts_fictitious
    assert tenant is tenant.select_limits(FICTITIOUS)


def test_test_mode_has_the_limits_of_production_unless_it_asks(load_config):
    """A staging environment rehearses production."""
    (tenant,) = load_config("working_test_mode").build_tenants().values()

    assert tenant is tenant.select_limits(FICTITIOUS)


def test_relaxed_limits_are_warned_of(load_config, now_ms):
    """The warning keeps a test service from being mistaken for a rehearsal."""
    settings = load_config("working_test_mode", environ={"OTP_TEST__RELAXED_LIMITS": "true"})

    assert [] == find_errors(settings)
    assert {"mode", "test.relaxed_limits"} <= {
        one.setting for one in find_warnings(settings, now_ms)
    }


def test_every_limit_but_the_cooldown_is_relaxed():
    """A new limit is relaxed too: otherwise it stops a CI job."""
    relaxed = relax_limits(DEFAULT_LIMITS)

    unchanged = {limit for limit in DEFAULT_LIMITS if relaxed[limit] == DEFAULT_LIMITS[limit]}

    assert {Limit.COOLDOWN, Limit.REFUNDS} == unchanged
    assert DEFAULT_LIMITS.keys() == relaxed.keys()

"""Options of `dev` that would show codes to others, or that no policy allows."""

import pytest
from msgspec.structs import replace

from otp_service.cli.command import CommandError
from otp_service.cli.dev import MIN_EXPOSED_KEY_CHARS, find_option_error
from otp_service.cli.serve import require_same_mode
from otp_service.core.keys import KEY_RING_NAMES
from otp_service.settings.development import create_dev_settings
from otp_service.settings.model import ServiceSettings


LONG_KEY = "0" * MIN_EXPOSED_KEY_CHARS


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::7"])  # noqa: S104
@pytest.mark.parametrize("key", [None, "sesame", LONG_KEY[1:]])
def test_others_reach_dev_only_with_a_key_that_the_user_gave(host: str, key: str | None) -> None:
    """A25: a short or a generated key of a development service would be all that hides its codes."""
    error = find_option_error(host, 30, key)

    assert error
    assert "a loopback address only" in error
    assert "OTP_DEV_API_KEY" in error
    assert not key or key not in error


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104
def test_with_a_long_key_dev_listens_elsewhere(host: str) -> None:
    """For a container, whose network is another one than loopback."""
    assert find_option_error(host, 30, LONG_KEY) is None


@pytest.mark.parametrize("key", [None, "sesame"])
def test_on_loopback_any_key_will_do(key: str | None) -> None:
    """Only users of this machine reach it."""
    for host in ("127.0.0.1", "::1", "localhost"):
        assert find_option_error(host, 30, key) is None


def test_a_name_is_no_address_to_listen_on() -> None:
    """It may mean several addresses, and another one tomorrow."""
    assert "an address like 0.0.0.0" in str(find_option_error("example.com", 30, LONG_KEY))


@pytest.mark.parametrize("cooldown", [0, -1, 601])
def test_a_cooldown_has_the_bounds_of_the_policy(cooldown: int) -> None:
    """A second is the shortest one."""
    assert "--cooldown must be from 1 to 600 seconds." == find_option_error("::1", cooldown, None)


def test_a_key_with_a_space_is_refused() -> None:
    """No header could carry it."""
    assert "visible ASCII" in str(find_option_error("127.0.0.1", 30, "two words"))


@pytest.mark.parametrize(("before", "after"), [("live", "test"), ("test", "live")])
def test_a_reload_does_not_change_the_mode(before: str, after: str) -> None:
    """A25: SIGHUP would show the codes of a live service, or accept those of tests in one."""
    secrets = dict.fromkeys((*KEY_RING_NAMES, "api_key"), "0" * 43)
    settings = create_dev_settings(ServiceSettings(), "redis://127.0.0.1", secrets)
    first, second = (replace(settings, mode=mode) for mode in (before, after))

    require_same_mode(first, first)
    with pytest.raises(CommandError, match="a reload cannot change it"):
        require_same_mode(first, second)

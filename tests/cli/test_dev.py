"""Options of `dev` that would show codes to others, or that no policy allows."""

import argparse
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from otp_service.cli.command import CommandError
from otp_service.cli.dev import (
    MIN_EXPOSED_KEY_CHARS,
    _prepare_folder,
    find_exposure_error,
    parse_run_options,
    register_commands,
)
from otp_service.cli.serve import require_same_mode
from otp_service.core.keys import KEY_RING_NAMES
from otp_service.settings.development import (
    DEV_TENANT,
    create_dev_settings,
    ensure_dev_secrets,
    load_dev_settings,
)
from otp_service.settings.service_tables import ServiceSettings


LONG_KEY = "0" * MIN_EXPOSED_KEY_CHARS


def parse_command(*options: str) -> argparse.Namespace:
    """Return the parsed options of `otp-service dev`."""
    parser = argparse.ArgumentParser()
    register_commands(parser.add_subparsers())
    return parser.parse_args(["dev", *options])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::7"])  # noqa: S104
@pytest.mark.parametrize("key", [None, "sesame", LONG_KEY[1:]])
def test_others_reach_dev_only_with_a_key_that_the_user_gave(host: str, key: str | None) -> None:
    """A25: a short or a generated key of a development service would be all that hides its codes."""
    error = find_exposure_error(host, key)

    assert error
    assert "a loopback address only" in error
    assert "OTP_DEV_API_KEY" in error
    assert not key or key not in error


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104
def test_with_a_long_key_dev_listens_elsewhere(host: str) -> None:
    """For a container, whose network is another one than loopback."""
    assert find_exposure_error(host, LONG_KEY) is None


@pytest.mark.parametrize("key", [None, "sesame"])
def test_on_loopback_any_key_will_do(key: str | None) -> None:
    """Only users of this machine reach it."""
    for host in ("127.0.0.1", "::1", "localhost"):
        assert find_exposure_error(host, key) is None


def test_a_name_is_no_address_to_listen_on() -> None:
    """It may mean several addresses, and another one tomorrow."""
    assert "an address like 0.0.0.0" in str(find_exposure_error("example.com", LONG_KEY))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(
            (["--cooldown", text], "--cooldown must be from 1 to 600 seconds.")
            for text in ("0", "601")
        ),
        (
            ["--lifetime", "59"],
            "--lifetime must be from 60 to 600 seconds: NIST allows ten minutes.",
        ),
        (["--fixed-code", "+447700900555"], "--fixed-code: write a number and its code, like"),
        (["--fixed-code", "+447700900555=12345"], "entry 1 needs a code of 6 ASCII digits"),
        (["--fixed-code", "+447700900555=12 34 56"], "entry 1 needs a code of 6 ASCII digits"),
        (["--fixed-code", "+447700900555=\u0661\u0662\u0663456"], "entry 1 needs a code"),
        (["--fixed-code", "+447400123456=123456"], "entry 1 needs a fictitious number"),
        (["--fixed-code", "447700900555=123456"], "entry 1 needs a fictitious number"),
        (["--fixed-code", "+447700900555=123456"] * 2, "names a number twice"),
    ],
)
def test_an_invalid_option_is_refused_with_its_remedy(options: list[str], words: str) -> None:
    """Before anything is started. The error repeats no number and no code."""
    with pytest.raises(CommandError) as refusal:
        parse_run_options(parse_command(*options))

    assert words in str(refusal.value)
    assert not re.search(r"4123456|0900555(?!=123456\.)|12 34", str(refusal.value))


def test_options_become_settings() -> None:
    """Two numbers with a fixed code, and an expiry that a test can wait for."""
    fixed = ["+447700900555=123456", "+19895550101=000000"]
    arguments = [part for text in fixed for part in ("--fixed-code", text)]

    options = parse_run_options(parse_command("--lifetime", "60", *arguments))

    assert (30, 60) == (options.policy.cooldown, options.policy.lifetime)
    assert {"+447700900555": "123456", "+19895550101": "000000"} == options.fixed_codes.codes


@pytest.mark.parametrize("mode", ["off", "record", "refuse"])
def test_commands_for_a_dev_have_the_mode_of_its_brake(tmp_path: Path, mode: str) -> None:
    """`pumping status --config .otp` would else say that it would refuse what it refuses."""
    options = parse_run_options(parse_command("--pumping", mode))
    ensure_dev_secrets(tmp_path, None, lambda: "A" * 43)
    _prepare_folder(tmp_path, "redis://127.0.0.1", options.brake_mode)

    assert mode == load_dev_settings(tmp_path).build_brake_settings(DEV_TENANT).mode


def test_a_key_with_a_space_is_refused() -> None:
    """No header could carry it."""
    assert "visible ASCII" in str(find_exposure_error("127.0.0.1", "two words"))


@pytest.mark.parametrize(("before", "after"), [("live", "test"), ("test", "live")])
def test_a_reload_does_not_change_the_mode(before: str, after: str) -> None:
    """A25: SIGHUP would show the codes of a live service, or accept those of tests in one."""
    secrets = dict.fromkeys((*KEY_RING_NAMES, "api_key"), "0" * 43)
    settings = create_dev_settings(ServiceSettings(), "redis://127.0.0.1", secrets)
    first, second = (replace(settings, mode=mode) for mode in (before, after))

    require_same_mode(first, first)
    with pytest.raises(CommandError, match="a reload cannot change it"):
        require_same_mode(first, second)

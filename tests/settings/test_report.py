"""What `check` prints of the settings in force."""

import re

import msgspec
import pytest

from otp_service.core.limits import Limit
from otp_service.settings import HashRate, format_hours, format_settings, load_source


def test_every_setting_is_shown_with_its_value(load_config):
    """Aligned, one a line, those of providers and tenants too."""
    lines = format_settings(load_config("working_everything")).splitlines()

    assert 1 == len({re.match(r"\S+ +", line).end() for line in lines[:60]})
    shown = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in lines if line}
    assert "9000" == shown["service.port"]
    assert "true" == shown["redis.tls"]
    assert "DE" == shown["tenants.my-shop.countries"]
    assert "50 in 1 h" == shown["tenants.my-shop.limits.SendsPerTenant"]
    assert "https://sms.example/messages" == shown["providers.gateway.url"]
    assert "second, gateway" == shown["routing.providers"]
    assert "6, in 114 MiB" == shown["argon2 at once"]


def test_secrets_are_starred(load_config):
    """Keys by their ids, API keys by what they may do, the others by stars alone."""
    text = format_settings(load_config("working_everything"))

    assert "orthless" not in text.replace("worthless_", "")
    assert "WORTHLESS" not in text
    assert re.search(r"keys\.pepper +p1 \*{10}\n", text)
    assert re.search(r"redis\.password +\*{10}\n", text)
    assert re.search(r"secret_headers\.Authorization +\*{10}\n", text)
    assert re.search(r"basic\.password +\*{10}\n", text)
    assert re.search(r"gateway\.inbound_token +\*{10}\n", text)
    assert re.search(r"gateway\.previous_inbound_token +\*{10}\n", text)
    assert re.search(
        r"keys\.first +\*{10} for challenges, until 2027-06-30 00:00:00\+00:00\n", text
    )
    assert re.search(r"keys\.team +\*{10} for audit, audit-all, operator\n", text)


def test_secrets_in_an_address_are_starred(load_config):
    """They are refused there, but the report is printed all the same."""
    gateway = (
        '[providers.gateway]\ntype = "http"\nurl = "https://me:worthless@sms.example/?key=worthless"\n'
        'fields = {to = "{to}", text = "{text}"}\n'
    )

    text = format_settings(load_config(extra=gateway))

    assert "worthless" not in text
    assert "https://**********@sms.example/?**********" in text


def test_every_limit_is_shown_with_what_holds(load_config):
    """Limits that are not configured are listed with their defaults."""
    text = format_settings(load_config(), origins={"limits.SendsPerCountry": ""})

    for limit in Limit:
        assert re.search(rf"^limits\.{limit} +\d", text, re.MULTILINE)
    assert re.search(r"limits\.SendsPerNumber +8 in 10 min, 20 in 1 d  \(default\)\n", text)
    assert re.search(r"limits\.SendsPerCountry +2000 in 1 h\n", text)


def test_a_cap_that_is_missing_has_no_default(load_config):
    """It must be written, so what would apply without it is no value."""
    settings = msgspec.structs.replace(load_config(), limits={})

    assert re.search(r"limits\.SendsOverall +-\n", format_settings(settings, origins={}))


def test_what_was_written_is_told_from_defaults_and_from_the_environment(complete_config):
    """Also where a written value equals the default, and for a secret in a file of its own."""
    text = complete_config(extra='[service]\nport = 8000\n[redis]\npassword_file = "p"\n')
    environ = {"OTP_SERVICE__HOST": "::1", "OTP_EVENTS": "{maximum = 9000}", "OTP_MODE": "live"}
    source, settings = load_source(text, environ, lambda _: "worthless", cores=2)

    shown = format_settings(settings, origins=source.list_origins())

    for line in (
        r"service\.port +8000",
        r"service\.host +::1  \(from OTP_SERVICE__HOST\)",
        r"service\.admin_port +8001  \(default\)",
        r"service\.workers +2  \(default\)",
        r"service\.public_url +-",
        r"redis\.password +\*{10}",
        r"events\.maximum +9000  \(from OTP_EVENTS\)",
        r"events\.retention_days +7  \(default\)",
        r"mode +live  \(from OTP_MODE\)",
        r"keys\.pepper +p1 \*{10}",
        r"policy\.digits +6  \(default\)",
    ):
        assert re.search(rf"(?m)^{line}$", shown), line


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.0297, "1.78 min"),
        (0.00243, "8.75 s"),
        (2.31, "2.31 hours"),
        (50, "2.08 days"),
        (1e5, "11.4 years"),
    ],
)
def test_the_time_of_an_attack_is_in_a_unit_that_can_be_read(hours, text):
    """0.0297 hours say nothing to an operator."""
    assert text == format_hours(hours)


def test_the_time_of_an_offline_attack_is_said_where_argon2_was_measured(load_config):
    """The inputs of the calculation are shown."""
    settings = load_config("working_weak_hash")

    assert "offline attack" not in format_settings(settings)
    text = format_settings(settings, HashRate("libsodium", 500))
    assert re.search(r"8\.7\d s for all 10\^6 codes", text)
    assert "500 hashes a second on a core by libsodium" in text

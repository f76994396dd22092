"""What `check` prints of the settings in force."""

import re

from otp_service.core.limits import Limit
from otp_service.settings import HashRate, format_settings


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
    text = format_settings(load_config())

    for limit in Limit:
        assert re.search(rf"^limits\.{limit} +\d", text, re.MULTILINE)
    assert re.search(r"limits\.SendsPerNumber +8 in 10 min, 20 in 1 d  \(default\)\n", text)
    assert re.search(r"limits\.SendsPerCountry +2000 in 1 h\n", text)


def test_the_attacker_hours_are_said_where_argon2_was_measured(load_config):
    """The inputs of the calculation are shown."""
    settings = load_config("working_weak_hash")

    assert "attacker hours" not in format_settings(settings)
    text = format_settings(settings, HashRate("libsodium", 500))
    assert "0.00243 for all 10^6 codes" in text
    assert "500 hashes a second on a core by libsodium" in text

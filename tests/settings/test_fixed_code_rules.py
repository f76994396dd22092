"""Fixed codes are for tests alone: in which mode, with which keys, and what the report shows (R38, A25)."""

import re

import msgspec
import pytest

from otp_service.app import hash_settings
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import KEY_RING_NAMES
from otp_service.settings import find_errors, find_warnings, format_settings
from otp_service.settings.load import list_origins


NUMBER, CODE = "+447700900555", "123456"
VARIABLE = {"OTP_TEST__FIXED_CODES": f'{{"{NUMBER}" = "{CODE}"}}'}
IDS = ["keys.pepper.p1", "keys.authenticator.a1", "tenants.shop.keys.first"]


def list_errors(issues):
    return {issue.setting: issue.remedy for issue in issues}


def test_a_test_service_with_keys_of_its_own_may_have_fixed_codes(load_config, now_ms):
    """It is warned of, so that it is not mistaken for a service whose codes are secret."""
    settings = load_config("working_fixed_codes")

    assert [] == find_errors(settings)
    assert 2 == len(settings.effective_fixed_codes)
    warning = list_errors(find_warnings(settings, now_ms))["test.fixed_codes"]
    assert "of 2 numbers" in warning


def test_live_mode_refuses_them(find_config_errors):
    """Whatever else the configuration has."""
    found = list_errors(find_config_errors(environ=VARIABLE))

    assert 'is only for mode = "test": remove it' == found["test.fixed_codes"]


def test_live_mode_never_reads_them(load_config):
    """Also where the rules did not refuse the configuration."""
    for mode, count in (("live", 0), ("test", 2), ("development", 2)):
        settings = msgspec.structs.replace(load_config("working_fixed_codes"), mode=mode)
        assert count == len(settings.effective_fixed_codes)


def test_every_key_of_a_live_service_is_refused_by_its_id(find_config_errors):
    """A copy of a live configuration, changed to tests, would accept codes that are no secret."""
    found = list_errors(find_config_errors("working_test_mode", environ=VARIABLE))

    assert len(KEY_RING_NAMES) + 1 == len(found)
    assert {*IDS} < found.keys()
    assert all("that no live service has" in remedy for remedy in found.values())


@pytest.mark.parametrize("ring", KEY_RING_NAMES)
def test_one_live_key_is_enough(load_config, ring):
    """An old key of a rotation too."""
    settings = load_config("working_fixed_codes")
    live = load_config()
    mixed = getattr(settings.keys, ring).keys + getattr(live.keys, ring).keys
    keys = msgspec.structs.replace(
        settings.keys, **{ring: msgspec.structs.replace(getattr(settings.keys, ring), keys=mixed)}
    )

    (found,) = find_errors(msgspec.structs.replace(settings, keys=keys))

    assert re.fullmatch(rf"keys\.{ring}\.\w1", found.setting)


def test_live_mode_refuses_keys_for_tests(find_config_errors):
    """So no key can be in both, and neither service can read the records of the other."""
    keys = '[tenants.shop]\nbrand = "Shop"\ncountries = ["GB"]\nkeys = [{ id = "test-1", sha256 = "%s", scopes = ["challenges"] }]\n'
    found = list_errors(
        find_config_errors(
            extra=keys % "991e6e56d7052e8459dd1eb4c90c07297ed693dc885f10e0cdb08e5c55da169d"
        )
    )

    assert ["tenants.shop.keys.test-1"] == [*found]
    assert "it is a key for tests" in found["tenants.shop.keys.test-1"]


def test_a_test_service_without_fixed_codes_may_have_any_keys(load_config):
    """As before: nothing in it is known to anyone."""
    assert [] == find_errors(load_config("working_test_mode"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('{"+447400123456" = "123456"}', "entry 1 needs a fictitious number"),
        ('{"+447700900555" = "12345"}', "entry 1 needs a code of 6 ASCII digits"),
        ('{"+447700900555" = 123456}', "must be a table of texts, like"),
        ('["+447700900555"]', "must be a table of texts, like"),
        ("123456", "must be a table of texts, like"),
    ],
)
def test_an_invalid_table_is_refused_without_its_values(find_config_errors, table, words):
    """By `check` and at the start."""
    found = find_config_errors("working_fixed_codes", environ={"OTP_TEST__FIXED_CODES": table})

    (issue,) = found
    assert "test.fixed_codes" == issue.setting
    assert words in issue.remedy
    assert not re.search(r"400123456|\D12345\b|\[", issue.remedy)


def test_the_report_shows_how_many_there_are_and_from_where(load_config, complete_config):
    """Neither a number nor a code: the report is pasted into tickets."""
    text = complete_config("working_test_mode")
    settings = load_config("working_test_mode", environ=VARIABLE)

    for environ, origin in ((VARIABLE, r"  \(from OTP_TEST__FIXED_CODES\)"), ({}, "")):
        origins = list_origins(text if environ else complete_config("working_fixed_codes"), environ)
        report = format_settings(settings, None, origins)
        assert re.search(rf"^test\.fixed_codes +of 1 number{origin}$", report, re.MULTILINE)
        assert CODE not in report
        assert NUMBER not in report
    assert re.search(r"^test\.fixed_codes +-$", format_settings(load_config()), re.MULTILINE)


def test_a_changed_code_is_another_configuration(load_config):
    """`otp-service status` shows that a reload has arrived."""
    settings = load_config("working_fixed_codes")
    other = FixedCodes({**settings.test.fixed_codes.codes, NUMBER: "654321"})
    changed = msgspec.structs.replace(
        settings, test=msgspec.structs.replace(settings.test, fixed_codes=other)
    )

    assert hash_settings(settings) != hash_settings(changed)

"""What is refused, with the setting and the remedy; and what is only warned of."""

import re
from pathlib import Path

import pytest

from otp_service.core.limits import Limit, Window
from otp_service.settings import faults, warnings
from otp_service.settings.check import is_loopback
from otp_service.settings.limits import as_tight


HERE = Path(__file__).parent
WORKING = sorted(path.stem for path in HERE.glob("working_*.toml"))
BUSTED = sorted(path.stem for path in HERE.glob("busted_*.toml"))


def expected_of(name: str) -> list[tuple[str, str]]:
    """Return the (setting, words of the remedy) that a busted file opens with."""
    opening = (HERE / f"{name}.toml").read_text().split("\n\n")[0]
    return re.findall(r"^# ([^:\n]+): (.+)$", opening, re.MULTILINE)


@pytest.mark.parametrize("name", WORKING)
def test_a_working_configuration_is_accepted(name, settings_of, now):
    """Nothing in it is refused."""
    settings = settings_of(name)

    assert [] == faults(settings, now)


@pytest.mark.parametrize("name", BUSTED)
def test_a_busted_configuration_is_refused_by_setting_and_remedy(name, refused):
    """Exactly the settings that its first lines name are refused, with the words they expect."""
    expected = expected_of(name)

    found = refused(name)

    assert expected
    assert [setting for setting, _ in expected] == [fault.setting for fault in found]
    for (_, words), fault in zip(expected, found, strict=True):
        assert words in fault.remedy


def test_all_faults_are_told_at_once(refused):
    """Whoever corrects a configuration is not sent back for each line."""
    extra = "[policy]\ndigits = 5\nlifetime = 601\n[tenants.shop]\nbrand = 'Shop'\n"

    found = {fault.setting for fault in refused(extra=extra)}

    assert {
        "policy.digits",
        "policy.lifetime",
        "tenants.shop.countries",
        "tenants.shop.keys",
    } == found


def test_an_absurd_configuration_is_still_answered(refused):
    """A code of a billion digits is refused, not rendered."""
    found = refused(extra="[policy]\ndigits = 1000000000\n")

    assert ["policy.digits"] == [fault.setting for fault in found]


@pytest.mark.parametrize(
    ("extra", "setting", "words"),
    [
        ('[service]\nadmin_host = "0.0.0.0"\n', "service.admin_host", "not loopback"),
        ('[service]\nlog_level = "debug"\n', "service.log_level", "is debug"),
        ("[service]\ndrain_seconds = 7\n", "service.drain_seconds", "cuts off messages"),
        (
            '[redis]\nurl = "redis://otp.internal"\naccept_plain_text = true\n',
            "redis.accept_plain_text",
            "in the open",
        ),
        ('[redis]\nurl = "rediss://otp.internal"\n', "redis.password", "is not set"),
        (
            '[redis]\nsentinel = ["127.0.0.1:26379"]\nmaster = "otp"\n',
            "redis.replicas",
            "may forget the last attempts",
        ),
        (
            "[hash]\nmemory_kib = 4096\naccept_below_owasp = true\n",
            "hash.accept_below_owasp",
            "only the pepper",
        ),
    ],
)
def test_what_is_unwise_is_warned_of(extra, setting, words, settings_of, now):
    """It is allowed, and `check` says it."""
    settings = settings_of(extra=extra)

    found = {fault.setting: fault.remedy for fault in warnings(settings, now)}

    assert [] == faults(settings, now)
    assert words in found[setting]


def test_a_rotation_is_remembered(settings_of, now):
    """The older key is named, so that it is taken out in the end."""
    found = [str(fault) for fault in warnings(settings_of("working_rotation"), now)]

    assert (
        "keys.pepper: has two keys: otp_service/ROTATION.md says when the old one may go" in found
    )


def test_the_test_mode_is_said_aloud(settings_of, now):
    """Nobody takes it for the real thing."""
    found = {fault.setting for fault in warnings(settings_of("working_test_mode"), now)}

    assert "mode" in found


def test_a_chain_of_two_in_use_is_not_warned_of(settings_of, now):
    """A warning that is always there is not read."""
    found = {fault.setting for fault in warnings(settings_of("working_everything"), now)}

    assert not [setting for setting in found if setting.startswith(("routing", "providers"))]


def tenant(countries: str, *expiries: str) -> str:
    """Return a tenant with one key for each expiry."""
    keys = ", ".join(
        f'{{ id = "k{i}", sha256 = "{i:064x}", scopes = ["challenges"], expires = {expiry} }}'
        for i, expiry in enumerate(expiries)
    )
    return f'[tenants.shop]\nbrand = "Shop"\ncountries = {countries}\nkeys = [{keys}]\n'


def test_a_tenant_that_sends_everywhere_is_warned_of(settings_of, now):
    """Pumping goes where messages are dear."""
    settings = settings_of(extra=tenant('["*"]', "2030-01-01T00:00:00Z"))

    found = {fault.setting: fault.remedy for fault in warnings(settings, now)}

    assert "SMS pumping" in found["tenants.shop.countries"]


def test_an_expired_key_beside_a_live_one_does_not_stop_the_service(settings_of, now):
    """A restart in the night must not fail for a key that nobody uses any more."""
    dates = ("2026-11-21T00:00:00Z", "2026-12-01T00:00:00Z", "2030-01-01T00:00:00Z")
    settings = settings_of(extra=tenant('["GB"]', *dates))

    found = {fault.setting: fault.remedy for fault in warnings(settings, now)}

    assert [] == faults(settings, now)
    assert "has expired" in found["tenants.shop.keys.k0"]
    assert "within 30 days" in found["tenants.shop.keys.k1"]
    assert "tenants.shop.keys.k2" not in found


def test_a_number_of_its_own_limits_looser_than_the_default_is_warned_of(settings_of, now):
    """Guessing gets easier with each of them."""
    extra = (
        '[limits]\nSendsPerCountry = ["1 in 1 h"]\nSendsPerTenant = ["1 in 1 h"]\n'
        'SendsOverall = ["1 in 1 h"]\nFailuresPerNumber = ["11 in 1 h"]\n'
        'SendsPerNumber = ["1 in 1 min", "8 in 1 h", "20 in 1 d"]\n'
    )

    found = [f.setting for f in warnings(settings_of(extra=extra), now) if "looser" in f.remedy]

    assert ["limits.FailuresPerNumber"] == found


def test_one_provider_alone_and_one_that_is_never_used_are_warned_of(settings_of, now):
    """A chain of one is none; a provider outside the chain is perhaps forgotten."""
    gateway = 'type = "http"\nurl = "https://a.example"\nfields = {to = "{to}", text = "{text}"}\n'
    extra = f'[providers.a]\n{gateway}[providers.b]\n{gateway}[routing]\nproviders = ["a"]\n'

    found = {fault.setting for fault in warnings(settings_of(extra=extra), now)}

    assert {"routing.providers", "providers.b"} <= found


@pytest.mark.parametrize(
    ("limit", "inner", "outer", "expected"),
    [
        (Limit.SENDS_NUMBER, "4 in 10 min", "4 in 10 min", True),
        (Limit.SENDS_NUMBER, "4 in 20 min", "4 in 10 min", True),
        (Limit.SENDS_NUMBER, "2 in 5 min", "4 in 10 min", True),
        (Limit.SENDS_NUMBER, "2 in 4 min", "4 in 10 min", False),
        (Limit.SENDS_NUMBER, "5 in 1 d", "4 in 10 min", False),
        (Limit.SENDS_TENANT, "30 in 5 min", "60 in 10 min", True),
        (Limit.SENDS_TENANT, "30 in 4 min", "60 in 10 min", False),
        (Limit.SENDS_TENANT, "61 in 1 d", "60 in 10 min", False),
    ],
)
def test_tightness_is_that_no_run_of_calls_gets_further(limit, inner, outer, expected):
    """Exact windows add up; for GCRA the burst and the refill are each compared."""
    found = as_tight(limit, [Window.read(inner)], [Window.read(outer)])

    assert expected is found


def test_every_window_of_the_outer_limit_has_to_be_held():
    """A share with one window cannot stand for a limit with two."""
    outer = [Window.read("5 in 10 min"), Window.read("10 in 1 d")]

    assert not as_tight(Limit.SENDS_NUMBER, [Window.read("5 in 10 min")], outer)
    assert as_tight(Limit.SENDS_NUMBER, [Window.read("5 in 1 d")], outer)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - this is the point
        ("localhost.example", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_what_nobody_else_reaches(host, expected):
    """A name that only looks like it is none."""
    assert expected is is_loopback(host)

"""[pumping], prices of providers and modes of tenants: what follows from them, and what `check` warns of."""

import re

import pytest
from msgspec.structs import replace

from otp_service.core.pumping.scopes import DEFAULT_FLOORS, BrakeMode, Floors
from otp_service.settings import find_errors, find_warnings, format_settings
from otp_service.settings.development import create_dev_settings
from otp_service.settings.pumping_table import PumpingSettings
from otp_service.settings.service_tables import ServiceSettings
from tests.settings.test_check import FIRST


def write_tenant(pumping: str, scopes: str = '"challenges"', countries: str = '"DE", "FR"') -> str:
    key = f'{{ id = "k", sha256 = "{FIRST}", scopes = [{scopes}] }}'
    return f'[tenants.shop]\nbrand = "Shop"\ncountries = [{countries}]\nkeys = [{key}]\n{pumping}\n'


def test_a_tenant_records_in_dollars_with_the_default_floors(load_config):
    settings = load_config()

    brake = settings.build_brake_settings("shop")

    assert BrakeMode.RECORD == brake.mode
    assert DEFAULT_FLOORS == brake.floors
    assert 1_500_000_000 == brake.day_budget
    assert 40_000 == settings.build_price_table().find_price("GB", "gateway")
    assert not settings.build_tenants()["shop"].trusts_known


def test_what_is_configured_holds_in_its_currency(load_config):
    """The floors of a strained country are not above its others, which are lower here."""
    settings = load_config("working_everything")

    brake, prices = settings.build_brake_settings("my-shop"), settings.build_price_table()

    assert BrakeMode.REFUSE == brake.mode
    assert 400_500_000 == brake.day_budget
    assert (
        Floors(
            range_sends=(2, 4),
            block_sends=(20, 60),
            strained_range_sends=(2, 4),
            strained_block_sends=(3, 6),
            country_money=(3_000_000, 12_000_000),
            new_countries_money=(8_000_000, 30_250_000),
        )
        == brake.floors
    )
    assert "EUR" == prices.currency
    assert [65_000, 70_000, 50_000, 36_800] == [
        prices.find_price("DE", "gateway"),
        prices.find_price("DE", "second"),
        prices.find_price("AT", "gateway"),
        prices.find_price("GB", "gateway"),
    ]


def test_default_floors_are_converted_to_the_currency(load_config):
    extra = '[pumping]\ncurrency = "JPY"\nusd_rate = 150.5\nday_budget = 300000\n'

    floors = load_config(extra=extra).build_brake_settings("shop").floors

    assert (301_000_000, 1_505_000_000) == floors.country_money
    assert (1_505_000_000, 7_525_000_000) == floors.new_countries_money


def test_development_records_and_has_a_budget():
    """It is required only where messages are paid for."""
    secrets = dict.fromkeys(
        ("pepper", "seal", "state", "pseudonym", "limit", "authenticator", "api_key"), "A" * 43
    )

    brake = create_dev_settings(ServiceSettings(), "unix:///r.sock", secrets).build_brake_settings(
        "dev"
    )

    assert (BrakeMode.RECORD, 1_500_000_000) == (brake.mode, brake.day_budget)


def test_a_country_in_the_name_of_a_variable_is_in_capital_letters(load_config):
    environ = {"OTP_PUMPING__PRICES__DE": "0.07", "OTP_PROVIDERS__GATEWAY__PRICES__FR": "0.06"}

    prices = load_config(environ=environ).build_price_table()

    assert (70_000, 60_000) == (
        prices.find_price("DE", "gateway"),
        prices.find_price("FR", "gateway"),
    )


@pytest.mark.parametrize(
    ("tenant", "pumping", "warning"),
    [
        (
            "",
            "day_budget = 49.99",
            "pumping.day_budget: is 49.99 USD, below the 50.00 USD that the floors",
        ),
        (
            "",
            "day_budget = 25\nnew_countries_floor = [5, 26]",
            "pumping.day_budget: is 25.00 USD, below the 26.00 USD",
        ),
        ("", "range_floor = [33, 40]", "pumping.range_floor: is 33, 40, above the 32, 80 of"),
        ("", "block_floor = [20, 31]", "pumping.range_floor: is 16, 32, above the 20, 31 of"),
        ("", "prices = { DE = 7.5 }", "pumping.prices.DE: is 7.50 USD for one message"),
        (
            "",
            'currency = "JPY"\nusd_rate = 150\nprices = { DE = 301 }',
            "pumping.prices.DE: is 301.00 JPY",
        ),
        (write_tenant('pumping = "off"'), "", 'tenants.shop.pumping: is "off": no budget'),
        (
            write_tenant('pumping = "refuse"', '"deliver"'),
            "",
            'tenants.shop.pumping: is "refuse", and its keys only deliver',
        ),
    ],
)
def test_what_deserves_a_second_look_is_a_warning(load_config, now_ms, tenant, pumping, warning):
    budget = "" if "day_budget" in pumping else "day_budget = 90000\n"
    settings = load_config(extra=f"[pumping]\n{budget}{pumping}\n{tenant}")

    assert [] == find_errors(settings)
    found = [str(issue) for issue in find_warnings(settings, now_ms)]
    assert 1 == len([each for each in found if each.startswith(warning)]), found


@pytest.mark.parametrize(
    ("tenant", "pumping"),
    [
        ("", "day_budget = 50"),
        ("", "day_budget = 25\nnew_countries_floor = [25, 25]"),
        ("", "day_budget = 50\nrange_floor = [32, 80]"),
        ("", "day_budget = 50\nprices = { DE = 2 }"),
        (write_tenant('pumping = "refuse"'), "day_budget = 50"),
        (write_tenant('pumping = "refuse"', '"deliver", "challenges"'), "day_budget = 50"),
        (write_tenant('pumping = "record"', '"deliver"'), "day_budget = 50"),
    ],
)
def test_what_is_usual_is_no_warning(load_config, now_ms, tenant, pumping):
    settings = load_config(extra=f"[pumping]\n{pumping}\n{tenant}")

    assert [] == find_errors(settings)
    found = {issue.setting for issue in find_warnings(settings, now_ms)}

    assert not [setting for setting in found if re.search("pumping|prices", setting)]


def test_the_floors_of_all_tenants_use_up_one_budget(load_config, now_ms):
    second = write_tenant("").replace("tenants.shop", "tenants.second").replace(FIRST, "a" * 64)
    extra = "[pumping]\nday_budget = 99\n" + write_tenant("") + second

    found = [str(issue) for issue in find_warnings(load_config(extra=extra), now_ms)]

    assert any(
        each.startswith("pumping.day_budget: is 99.00 USD, below the 100.00 USD") for each in found
    )


def test_a_test_service_needs_no_budget(load_config):
    settings = load_config("working_test_mode")
    without = replace(settings, pumping=PumpingSettings())

    assert [] == find_errors(without)
    assert ["pumping.day_budget"] == [
        issue.setting for issue in find_errors(replace(load_config(), pumping=PumpingSettings()))
    ]


def test_a_service_without_the_brake_needs_no_budget(load_config):
    assert [] == find_errors(load_config(extra="[pumping]\n" + write_tenant('pumping = "off"')))


def test_check_shows_each_price_with_its_source_and_the_mode_of_each_tenant(load_config):
    extra = (
        '[pumping]\ncurrency = "EUR"\nusd_rate = 0.92\nday_budget = 400\nprices = { DE = 0.07, AT = 0.055 }\n'
        + write_tenant('pumping = "refuse"', countries='"AT", "DE", "FR", "IE"')
        + '[providers.gateway]\ntype = "http"\nurl = "https://sms.example/messages"\n'
        'fields = { to = "{to}", text = "{text}" }\nprices = { DE = 0.065 }\n'
    )

    text = format_settings(load_config(extra=extra), origins={})

    for line in (
        r"price AT +0\.055 EUR  \(pumping\.prices\)",
        r"price DE +0\.065 EUR  \(providers\.gateway\.prices\)",
        r"price FR +0\.0598 EUR  \(list price, 2026-03\)",
        r"price IE +0\.23 EUR  \(no table has it\)",
        r"pumping\.currency +EUR  .*",
        r"pumping\.day_budget +400  .*",
        r"pumping\.country_floor +1\.84, 9\.2  \(default\)",
        r"pumping\.range_floor +16, 32  \(default\)",
        r"tenants\.shop\.pumping +refuse  .*",
    ):
        assert re.search(rf"(?m)^{line}$", text), line


def test_a_tenant_that_sends_everywhere_has_the_prices_of_the_tables(load_config):
    text = format_settings(load_config(extra=write_tenant("", countries='"*"')))

    assert re.search(r"(?m)^price MG +0\.49 USD  \(list price, 2026-03\)$", text)
    assert re.search(r"(?m)^price of others +0\.25 USD  \(no table has it\)$", text)


def test_the_price_shown_is_that_of_the_largest_share_of_a_route(load_config):
    """A send is charged with it, too."""
    gateway = (
        'type = "http"\nurl = "https://sms.example/"\nfields = { to = "{to}", text = "{text}" }\n'
    )
    extra = write_tenant("") + (
        f"[providers.gateway]\n{gateway}[providers.second]\n{gateway}prices = {{ DE = 0.05 }}\n"
        '[routing]\nproviders = ["gateway", "second"]\n'
        "[routing.routes]\nDE = { gateway = 30, second = 70 }\n"
    )
    settings = load_config(extra=extra)

    text = format_settings(settings)

    assert [] == find_errors(settings)
    assert re.search(r"(?m)^price DE +0\.05 USD  \(providers\.second\.prices\)$", text)
    assert re.search(r"(?m)^price FR +0\.065 USD  \(list price, 2026-03\)$", text)

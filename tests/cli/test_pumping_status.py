"""`otp-service pumping status`, on a real Redis."""

import asyncio
import json
import re
import secrets
import time

import msgspec
import pytest

from otp_service.cli.common import read_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.core.commit import Commit
from otp_service.core.limits import Bucket, Limit
from otp_service.core.pumping.allowance import Figures, Terms
from otp_service.core.pumping.commits import DebtCommit, TrafficName
from otp_service.core.pumping.decision import ALWAYS_OPEN, DebtCharge
from otp_service.core.pumping.learned_traffic import LearnedTraffic, ScopeFigures
from otp_service.core.pumping.scope_text import parse_scope
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, ScopeBucket
from otp_service.core.pumping.send_debts import Outage
from otp_service.core.timestamps import MINUTE_MS, parse_rfc3339
from tests.money_text import list_bare_amounts


INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
FIGURES = Figures(0.5, 0.2, (3_000_000, 40_000_000))


@pytest.fixture
def run_status(run_otp, config):
    """Run the command with the configuration."""
    return lambda *words, stdin="": run_otp(
        "pumping", "status", "--config", config, *words, stdin=stdin
    )


@pytest.fixture
def set_mode(config):
    """Set the mode of the tenant `shop`."""

    def change(mode):
        text = config.read_text()
        assert "[tenants.shop]\n" in text
        config.write_text(text.replace("[tenants.shop]\n", f'[tenants.shop]\npumping = "{mode}"\n'))

    return change


@pytest.fixture
def add_debt(config):
    """Charge an amount to a scope, whatever is left in it."""

    async def charge_bucket(scope, amount, country):
        async with create_cli_app(read_settings(config)) as app:
            if scope.limit is DebtLimit.UNVERIFIED_RANGE:
                partition = app.store.get_number_partition(f"{scope.subject}0000")
            else:
                partition = app.store.get_bucket_partition(Bucket(Limit.SENDS_OVERALL))
            has_totals = scope.limit in {DebtLimit.UNVERIFIED_COUNTRY, DebtLimit.VOLUME_COUNTRY}
            traffic = TrafficName(scope.tenant, scope.subject) if has_totals else None
            charge = DebtCharge(
                scope, Terms((0, 0)), amount, open_until=ALWAYS_OPEN, country=country
            )
            debts = DebtCommit(charges=(charge,), traffic=traffic)
            operation_id = secrets.token_hex(8)
            await app.store.commit(
                Commit(partition=partition, operation_id=operation_id, debts=debts)
            )

    def charge_scope(scope, amount, country=None):
        bucket = scope if isinstance(scope, ScopeBucket) else parse_scope(scope, ["shop"])
        asyncio.run(charge_bucket(bucket, amount, country))

    return charge_scope


@pytest.fixture
def store_learned(config):
    """Store what a worker has learned."""

    async def store(learned):
        async with create_cli_app(read_settings(config)) as app:
            body = msgspec.msgpack.encode(learned)
            assert await app.store.swap_shared_record("brake", 0, body, (), "learn")

    def store_record(age_ms=0, outages=(), **scopes):
        now = time.time_ns() // 1_000_000
        by_name = {f"shop {country}": figures for country, figures in scopes.items()}
        asyncio.run(store(LearnedTraffic(now - age_ms, 0, by_name, tuple(outages))))

    return store_record


def find_row(out, name):
    """Return the cells of the row that begins with a name."""
    (line,) = (line for line in out.splitlines() if line.strip().startswith(name))
    return re.split(" {2,}", line.strip())


def test_an_empty_brake_shows_its_modes_and_the_budget_of_the_day(run_status):
    """Without traffic no country has a row, and nothing is learned."""
    ended = run_status()

    assert (0, "") == (ended.exit_code, ended.err)
    assert re.match(rf"At {INSTANT}\. Nothing is learned yet: the floors hold\.", ended.out)
    assert "\nshop: record\n" in ended.out
    assert [
        "all new",
        "0.00 of 10.00 USD",
        "0.00 of 50.00 USD",
        "admits",
    ] == find_row(ended.out, "all new")
    assert "Countries without a message in the last day: 1." in ended.out
    assert "0.00 of 1,500.00 USD  0.00 of 1,500.00 USD  admits" in ended.out
    assert "No scope is open or closed by an operator." in ended.out
    assert "stored under keyed names" in ended.out


def test_a_country_has_its_figures_and_the_end_of_its_refusal(
    run_status, set_mode, add_debt, store_learned
):
    """Record mode would refuse, refuse mode does, and both until the same instant."""
    store_learned(age_ms=40_000, GB=ScopeFigures(FIGURES, is_strained=True))
    add_debt("country:GB@shop", 12_340_000)

    recorded = run_status()
    set_mode("refuse")
    refused = run_status()

    country, price, hour, day, share, usual_hour, usual_day, state = find_row(recorded.out, "GB")
    assert ("GB", "0.04 USD", "12.34 of 4.78 USD") == (country, price, hour)
    assert day.startswith("12.34 of ")
    assert ("0.50", "3.00 USD", "40.00 USD") == (share, usual_hour, usual_day)
    assert re.fullmatch(rf"would refuse until {INSTANT} \((59 min|1 h)[^)]*\), strained", state)
    begin, end = (parse_rfc3339(re.search(INSTANT, text)[0]) for text in (recorded.out, state))
    assert 59 * MINUTE_MS < end - begin < 71 * MINUTE_MS
    assert re.match(rf"refuses until {INSTANT}", find_row(refused.out, "GB")[-1])
    assert re.search(r"Learned (40|41|42) s ago\.", recorded.out)
    assert [share] == list_bare_amounts(recorded.out, "USD")


def test_a_country_without_history_and_one_in_an_outage_are_named_so(
    run_status, add_debt, store_learned
):
    """In an outage the volume decides, so it has a row of its own."""
    now = time.time_ns() // 1_000_000
    store_learned(
        outages=[Outage(now - 1000, None, "FR", "shop")], FR=ScopeFigures(FIGURES, FIGURES)
    )
    add_debt("country:GB@shop", 1_000_000)
    add_debt(ScopeBucket(DebtLimit.VOLUME_COUNTRY, "shop", "FR"), 2_000_000)

    ended = run_status()

    assert [
        "GB",
        "0.04 USD",
        "1.00 of 2.00 USD",
        "1.00 of 10.00 USD",
        "-",
        "-",
        "-",
        "admits, new",
    ] == find_row(ended.out, "GB")
    assert "admits, outage, counts as volume" == find_row(ended.out, "FR")[-1]
    assert "2.00 of 5.05 USD" == find_row(ended.out, "volume")[1]


def test_what_operators_have_decided_is_the_state_of_its_scope(run_status, run_otp, config):
    """And it is listed with who, until when and why."""
    words = ("--config", config, "--for", "6h", "--reason", "INC-4711")
    assert 0 == run_otp("pumping", "block", "country:GB@shop", *words).exit_code

    ended = run_status()
    (of_shop,) = json.loads(run_status("country:GB@shop", "--json").out)["tenants"]

    assert re.fullmatch(rf"closed until {INSTANT}, new", find_row(ended.out, "GB")[-1])
    _, state, until, _, reason = find_row(ended.out, "country:GB@shop")
    assert ("closed", "INC-4711") == (state, reason)
    assert re.fullmatch(INSTANT, until)
    assert (True, True, "closed") == tuple(
        of_shop[name] for name in ("is_full", "refuses", "override")
    )


def test_a_range_is_shown_if_it_is_named(run_status, add_debt, store_learned):
    """As each tenant meets it: in a strained country its floor is three messages an hour."""
    store_learned(GB=ScopeFigures(FIGURES, is_strained=True))
    add_debt("range:+44740012", 3 * MESSAGE_UNITS)

    ended = run_status("range:+44740012")

    heading, _, row = ended.out.splitlines()
    assert re.fullmatch(rf"range:\+44740012 \(GB, 0\.04 USD a message\), at {INSTANT}\.", heading)
    tenant, mode, hour, day, state = re.split(" {2,}", row)
    assert ("shop", "record", "3 of 3 messages") == (tenant, mode, hour)
    assert "3 of 4 messages" == day
    assert re.match(rf"would refuse until {INSTANT}", state)


@pytest.mark.parametrize("scope", ["country:GB@shop", "new-countries@shop", "overall"])
def test_one_scope_of_money_has_its_currency(run_status, add_debt, scope):
    """Two of them have no price in their heading, which would state it."""
    add_debt(scope, 1_075_000)

    shown = run_status(scope).out

    assert "1.075 of " in shown
    assert [] == list_bare_amounts(shown, "USD")


@pytest.mark.parametrize("scope", ["country:GB@shop", "new-countries@shop"])
def test_a_scope_of_countries_has_its_volume_if_there_is_any(run_status, add_debt, scope):
    """A delivery may be refused by it where an issue is admitted."""
    limits = {
        "country:GB@shop": ScopeBucket(DebtLimit.VOLUME_COUNTRY, "shop", "GB"),
        "new-countries@shop": ScopeBucket(DebtLimit.VOLUME_NEW_COUNTRIES, "shop"),
    }
    without = run_status(scope).out.splitlines()
    add_debt(limits[scope], 50_000_000)

    *_, unverified, volume = run_status(scope).out.splitlines()
    shown = json.loads(run_status(scope, "--json").out)["tenants"]

    assert 3 == len(without)
    assert ["shop", "admits"] == [re.split(" {2,}", unverified)[i] for i in (0, -1)]
    assert volume.startswith("shop, volume  record  ")
    assert re.search(r"  would refuse until \d{4}-", volume)
    assert [False, True] == [one["limit"].startswith("Volume") for one in shown]


def test_an_address_has_its_messages_and_its_countries(run_status, run_otp, config, add_debt):
    """A message to one more country would be the fourth; one command opens both.

    They have many prices, so none is shown. A bot check has halved one of the messages.
    """
    add_debt("address:192.0.2.1@shop", 5 * MESSAGE_UNITS // 2)
    countries = ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, "shop", "192.0.2.1")
    for country in ("GB", "FR"):
        add_debt(countries, 1, country)

    two = run_status("-", stdin="address:192.0.2.1@shop").out.splitlines()
    add_debt(countries, 2, "DE")
    three = run_status("-", stdin="address:192.0.2.1@shop").out.splitlines()
    shown = json.loads(run_status("-", "--json", stdin="address:192.0.2.1@shop").out)
    words = ("--config", config, "--for", "1h", "--reason", "INC-4711")
    run_otp("pumping", "allow", "-", *words, stdin="address:192.0.2.1@shop")
    opened = run_status("-", stdin="address:192.0.2.1@shop").out.splitlines()

    heading, _, messages, counted = (re.split(" {2,}", line) for line in two)
    assert "USD" not in heading[0]
    assert ["2.5 of 16 messages", "2.5 of 32 messages"] == messages[2:4]
    assert ["shop", "record", "-", "2 of 3 countries", "admits"] == counted
    *_, day, state = re.split(" {2,}", three[-1])
    assert "3 of 3 countries" == day
    assert re.match(rf"would refuse other countries until {INSTANT}", state)
    assert ["UnverifiedPerClientAddress", "UnverifiedCountriesPerClientAddress"] == [
        one["limit"] for one in shown["tenants"]
    ]
    assert ["messages", "countries"] == [one["unit"] for one in shown["tenants"]]
    assert {"used": 2_500_000, "allowance": 16_000_000} == shown["tenants"][0]["hour"]
    assert shown["price"] is None
    assert {"used": 3, "allowance": 3} == shown["tenants"][1]["day"]
    assert "hour" not in shown["tenants"][1]
    assert all(re.search(rf"  open until {INSTANT}$", line) for line in opened[-2:])


@pytest.mark.parametrize("scope", ["overall", "new-countries@shop"])
def test_a_scope_of_many_countries_is_counted_in_money_alone(run_status, add_debt, scope):
    """Its messages have many prices, so no number of them would be true."""
    add_debt(scope, 120_000)

    heading, _, row = run_status(scope).out.splitlines()

    assert re.fullmatch(rf"{scope}, at {INSTANT}\.", heading)
    assert re.search(r"  0\.12 of [0-9,]+\.00 USD +0\.12 of [0-9,]+\.00 USD  admits$", row)
    assert json.loads(run_status(scope, "--json").out)["price"] is None


def test_only_tenants_that_can_send_are_shown(run_status, add_audit_tenant):
    """One that only reads events has no messages; it is shown if it is named."""
    add_audit_tenant()

    shown = [run_status(), run_status("range:+44740012")]
    assert [(0, False)] * 2 == [(one.exit_code, "security" in one.out) for one in shown]
    assert "\nsecurity: record\n" in run_status("--tenant", "security").out


def test_json_has_exact_amounts(run_status, add_debt, store_learned):
    """In millionths, so that nothing is rounded."""
    store_learned(GB=ScopeFigures(FIGURES))
    add_debt("country:GB@shop", 1_234_567)
    add_debt("block:+4474001", MESSAGE_UNITS)

    everything = json.loads(run_status("--json", "--tenant", "shop").out)
    block = json.loads(run_status("--json", "block:+4474001").out)

    (shop,) = everything["tenants"]
    (country,) = shop["countries"]
    assert ("GB", 40_000, 0.5) == (
        country["country"],
        country["price"],
        country["unverified_share"],
    )
    assert (
        1_234_567 == country["unverified"]["hour"]["used"] == country["unverified"]["day"]["used"]
    )
    assert (False, False, 0) == tuple(
        country["unverified"][name] for name in ("is_full", "refuses", "wait_ms")
    )
    assert ("block:+4474001", "GB") == (block["scope"], block["country"])
    (of_shop,) = block["tenants"]
    assert "messages" == of_shop["unit"]
    assert {"used": MESSAGE_UNITS, "allowance": 32 * MESSAGE_UNITS} == of_shop["hour"]


def test_a_brake_that_is_off_and_figures_that_are_old_are_said(run_status, set_mode, store_learned):
    """Old figures are a sign that no process serves, or that its job fails."""
    store_learned(age_ms=400_000)
    set_mode("off")

    ended = run_status()

    assert "\nshop: off\n" in ended.out
    assert "s ago, and should be once a minute: does a process serve?" in ended.out
    assert "DAY BUDGET" not in ended.out


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("--tenant", "bank"), "The tenants are shop."),
        (("GB",), "Write one like these: range:+44740012"),
        (("address:192.0.2.1@shop",), "write the scope to standard input"),
    ],
)
def test_wrong_arguments_of_status_are_refused_with_the_remedy(run_status, words, remedy):
    ended = run_status(*words)

    assert (1, "") == (ended.exit_code, ended.out)
    assert remedy in ended.err

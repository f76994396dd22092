"""The simulator of the brake: its people and attackers are what it says, and the brake brakes."""

import random
import re
import shlex
import statistics
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.pumping.__main__ import build_parser, format_tables
from bench.pumping.acceptance import (
    MAX_MESSAGES,
    Formula,
    build_parameters,
    format_honest_cells,
    list_misses,
)
from bench.pumping.attacks import ATTACKS
from bench.pumping.people import People, Period, compute_rate, draw_logins
from bench.pumping.scenarios import QUIET_DAYS, SCOPE, build_attack, list_odd_days
from bench.pumping.simulation import Result, Scenario, Simulation, sum_days
from otp_service.core.pumping.scopes import DebtLimit, Floors
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


MANY_SENDS, MUCH_MONEY = (10**6, 10**6), (10**13, 10**13)
UNLIMITED = Formula(
    Floors(
        range_sends=MANY_SENDS,
        block_sends=MANY_SENDS,
        strained_range_sends=MANY_SENDS,
        strained_block_sends=MANY_SENDS,
        address_sends=MANY_SENDS,
        country_money=MUCH_MONEY,
        new_countries_money=MUCH_MONEY,
        address_countries=10**6,
    )
)
"""Floors that nothing reaches: only the budget of the day is left."""


def run(scenario, formula=None, seed=1):
    formula = formula or Formula()
    return Simulation(scenario, build_parameters(scenario, formula), seed).run()


def draw_day(people, day=0):
    rng = random.Random(1)  # noqa: S311  # a simulation
    return [
        login
        for minute in range(day * DAY_MS, (day + 1) * DAY_MS, MINUTE_MS)
        for login in draw_logins(rng, people, people.conversion, minute)
    ]


def test_people_log_in_and_finish_as_often_as_the_model_says():
    """Within five standard deviations."""
    logins = draw_day(People(10_000, 0.72))
    finished = statistics.mean(login.verifies_at >= 0 for login in logins)

    assert 9_500 < len(logins) < 10_500
    assert 0.70 < finished < 0.74
    assert {1, 2, 3} == {len(login.sends) for login in logins}


def test_nights_and_weekends_are_quieter():
    people = People(1000, 0.72)

    assert compute_rate(people, 3 * HOUR_MS) < compute_rate(people, 19 * HOUR_MS) / 5
    assert compute_rate(people, 5 * DAY_MS) < compute_rate(people, 4 * DAY_MS)


def test_no_code_is_entered_in_an_outage():
    logins = draw_day(People(1000, 0.95, outage=Period(0, DAY_MS)))

    assert len(logins) > 500
    assert all(login.verifies_at == -1 for login in logins)


def test_the_same_seed_gives_the_same_run():
    """So that two formulas are compared on the same people and attempts."""
    scenario = Scenario(1, {SCOPE: People(500, 0.72)})

    first, second = run(scenario), run(scenario)

    assert first == second
    assert first != run(scenario, seed=2)


def test_an_attack_passes_without_the_brake_and_not_with_it():
    """R29, A14: otherwise the tables would be about the simulator and not about the brake."""
    scenario = build_attack("A20", 1000, 0.0)

    free, braked = run(scenario, UNLIMITED), run(scenario)

    assert sum_days(free.passed) > 1500
    assert free.attempts > 200_000
    assert sum_days(braked.passed) < MAX_MESSAGES
    assert braked.first_refusal < scenario.attack.period.start + MINUTE_MS


def test_known_people_are_hardly_refused_while_their_country_is_used_up():
    """Only those whose exemption of three messages a day is used up."""
    result = run(build_attack("E", 1000, 0.8))

    assert result.refusals["unknown inside"] > 20
    assert result.sends["known inside"] > 1000
    assert result.compute_share("unknown inside") > 0.2
    assert result.compute_share("known inside") < 0.005


def test_an_attack_on_one_tenant_leaves_the_others_alone():
    scenario = build_attack("E", 200, 0.0)
    people = scenario.people[SCOPE]
    result = run(replace(scenario, people={SCOPE: people, ("shop-1", "DE"): people}))

    assert result.compute_share("unknown inside") > 0.1
    assert result.compute_share("unknown elsewhere") < 0.02


def test_countries_in_turn_share_one_budget():
    """Each has its floor, 40 of them together do not."""
    result = run(build_attack("F", 1000, 0.0))

    assert result.micro_units <= 2 * 50_000_000  # two days
    assert 0 == result.compute_share("unknown")


def test_an_address_that_takes_countries_in_turn_is_stopped_at_three():
    """Five of them: what they spend stays the same, in at most fifteen countries instead of forty."""
    scenario = build_attack("F5", 100, 0.0)
    without = Formula(Floors(address_countries=10**6))

    free, braked = (
        len({country for country, _ in run(scenario, formula).passed})
        for formula in (without, Formula())
    )

    assert free > 30
    assert braked <= 5 * 3


@pytest.mark.parametrize("name", ["outage of a provider, 1 h", "messages late by 20 min, for 1 h"])
def test_an_outage_refuses_few_because_it_is_known(name):
    scenario = dict(list_odd_days(5000))[name]

    result = run(scenario)

    assert result.sends.total() > 10_000
    assert result.refusals["unknown"] <= result.sends["unknown"] * 0.002


def test_a_second_request_for_one_number_is_bounded_before_the_brake():
    """SendsPerNumberAndTenant: ten a day."""
    result = run(build_attack("J", 1000, 0.0), UNLIMITED)

    assert 10 == max(result.passed.values())


def test_the_acceptance_names_what_is_missed():
    scenario = build_attack("A1", 1000, 0.0)
    result = Result()
    result.passed["DE", 1] = MAX_MESSAGES + 200
    result.sends.update({"known": 100, "unknown": 100, "unknown inside": 100})
    assert ["passed"] == list(list_misses(scenario, [result]))

    result.refusals.update({"known": 1, "unknown": 2, "unknown inside": 11})
    assert ["passed", "known", "outside", "inside"] == list(list_misses(scenario, [result]))


def test_refusals_are_counted_by_limit():
    result = Result()
    result.sends["unknown"], result.refusals["unknown"] = 1000, 2
    result.limits[DebtLimit.UNVERIFIED_RANGE] = 2

    assert "| 1,000 | 2 (0.200 %) | 1 | UnverifiedPerRange 2 |" == format_honest_cells([result])


def test_the_command_prints_a_row_for_each_attack():
    args = type("Args", (), {"tables": ("attacks",), "known": [0.0], "seeds": 1, "volume": 100})
    args.attacks, args.formula = ("D", "J"), "chosen"

    lines = list(format_tables(args))

    assert lines[-2].startswith(f"| D: {ATTACKS['D'].text} |")
    assert lines[-1].startswith("| J: ")


README = (Path(__file__).parents[2] / "bench/README.md").read_text().partition("## SMS pumping")[2]


def test_the_rows_of_the_readme_are_what_its_commands_print():
    """Each attack and volume of a table is one of a command, under the text that the command prints."""
    commands = re.findall(r"^python -m bench\.pumping (.*)$", README, re.MULTILINE)
    options = [build_parser().parse_args(shlex.split(command)) for command in commands]
    attacks = {name for one in options if "attacks" in one.tables for name in one.attacks}
    volumes = {volume for one in options if "quiet" in one.tables for volume in one.quiet}

    rows = set(re.findall(r"^\| ([A-J]\d*): (.+?) \|", README, re.MULTILINE))
    quiet = re.findall(r"^\| ([\d,]+) logins a day \| (\d+) \| 20 \|", README, re.MULTILINE)

    assert {(name, ATTACKS[name].text) for name in attacks} == rows
    days = {int(volume.replace(",", "")): int(days) for volume, days in quiet}
    assert {volume: QUIET_DAYS[volume] for volume in volumes} == days

"""What a worker has learned, as each process reads it."""

import msgspec
import pytest

from otp_service.core.pumping.allowance import NO_FIGURES, Figures
from otp_service.core.pumping.debt import EMPTY_DEBT, charge_debt
from otp_service.core.pumping.learned_traffic import (
    LearnedTraffic,
    ScopeFigures,
    learn_traffic,
    measure_scope,
    name_scope,
    parse_country,
    parse_tenant,
)
from otp_service.core.pumping.send_debts import BrakeSettings, Outage
from otp_service.core.pumping.usual_traffic import HourTotals, learn_figures, learn_volume_figures
from otp_service.core.timestamps import DAY_MS, HOUR_MS


NOW = 1_763_814_000_123
PRICES = {"DE": 75_000, "US": 8_000}
SETTINGS = BrakeSettings(day_budget=10**9)
NEW = ScopeFigures()


def test_a_process_that_has_read_nothing_has_the_floors_alone() -> None:
    assert ScopeFigures() == LearnedTraffic().get("shop", "DE")
    assert 0 == LearnedTraffic().get("shop", "DE").unverified.unverified_share


def test_what_is_learned_about_one_country_or_tenant_is_about_no_other() -> None:
    learned = ScopeFigures(Figures(0.4, 0.3, (1, 2)))
    traffic = LearnedTraffic(scopes={"shop DE": learned})

    assert learned == traffic.get("shop", "DE")
    assert ScopeFigures() == traffic.get("shop", "FR")
    assert ScopeFigures() == traffic.get("bank", "DE")


def test_each_country_is_learned_with_its_own_price() -> None:
    """Fifty verifications are needed: with the price of another country that would be five or 470."""
    hours = [HourTotals(10_000, 4_000)] * 336  # 420 messages to the US, or 45 to Germany

    learned = learn_traffic({"shop DE": hours, "shop US": hours}, PRICES.__getitem__)

    assert NO_FIGURES == learned["shop DE"].unverified
    assert learn_figures(hours, 8_000) == learned["shop US"].unverified
    assert learn_volume_figures(hours) == learned["shop DE"].volume


def test_a_scope_has_the_name_that_the_index_has() -> None:
    assert "my-shop DE" == name_scope("my-shop", "DE")
    assert ("my-shop", "DE") == (parse_tenant("my-shop DE"), parse_country("my-shop DE"))


@pytest.mark.parametrize(("sends", "strained"), [(20, False), (21, True)])
def test_a_country_without_history_is_strained_by_three_quarters_of_its_floor(
    sends: int, *, strained: bool
) -> None:
    debt = charge_debt(EMPTY_DEBT, sends * PRICES["DE"], NOW)

    assert strained == measure_scope(NEW, debt, PRICES["DE"], SETTINGS, NOW).is_strained
    assert not measure_scope(NEW, debt, PRICES["DE"], SETTINGS, NOW + 2 * DAY_MS).is_strained


def test_what_is_usual_strains_no_country() -> None:
    figures = Figures(0.4, 0.3, (10_000 * PRICES["DE"], 100_000 * PRICES["DE"]))
    debt = charge_debt(EMPTY_DEBT, 4_000 * PRICES["DE"], NOW)

    measured = measure_scope(ScopeFigures(figures), debt, PRICES["DE"], SETTINGS, NOW)

    assert not measured.is_strained
    assert figures == measured.unverified


def test_a_country_has_its_debt_and_allowance_of_the_hour_and_the_day() -> None:
    debt = charge_debt(charge_debt(EMPTY_DEBT, 1, NOW), 5, NOW + 3 * HOUR_MS)

    measured = measure_scope(NEW, debt, PRICES["DE"], SETTINGS, NOW + 3 * HOUR_MS)

    assert ((5, 6), SETTINGS.floors.country_money) == (measured.debt, measured.allowance)


def test_the_record_is_read_as_it_was_written() -> None:
    learned = ScopeFigures(Figures(0.4, 0.3, (1, 2)), Figures(1.0, 2.0, (3, 4)), is_strained=True)
    traffic = LearnedTraffic(NOW, 5, {"shop DE": learned}, (Outage(1, 2, "DE", "shop"), Outage(3)))

    assert traffic == msgspec.msgpack.decode(msgspec.msgpack.encode(traffic), type=LearnedTraffic)

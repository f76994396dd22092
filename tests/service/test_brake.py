"""What the brake of one process plans for each send, and for a verification."""

from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.phone_number import parse_number
from otp_service.core.pumping.allowance import Figures
from otp_service.core.pumping.commits import KnownNumberName, RepaidSend, SendDebt, TrafficName
from otp_service.core.pumping.decision import ALWAYS_OPEN
from otp_service.core.pumping.learned_traffic import LearnedTraffic, ScopeFigures, name_scope
from otp_service.core.pumping.overrides import Overrides, ScopeOverride
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import (
    MESSAGE_UNITS,
    BrakeMode,
    DebtLimit,
    DebtUnit,
    ScopeBucket,
)
from otp_service.core.pumping.send_debts import BrakeSettings, Measure, Outage
from otp_service.service.brake import Brake, DebtPlan, PlannedSend
from otp_service.sms.routes import Routes


NOW = 1_763_814_000_123
PRICE = 40_000
KEY_ID = "limit-1"
MESSAGE = MESSAGE_UNITS
PHONE = parse_number("+447400123456")
SEND = PlannedSend(tenant="shop", phone=PHONE, client_address="203.0.113.9")
SETTINGS = {
    "shop": BrakeSettings(day_budget=10**9),
    "off": BrakeSettings(day_budget=10**9, mode=BrakeMode.OFF),
    "new": BrakeSettings(day_budget=10**9, mode=BrakeMode.RECORD),
}
LEARNED = ScopeFigures(Figures(0.4, 0.2, (10**6, 10**7)), Figures(1.0, 2.0, (10**5, 10**6)))


def build_brake(**more: Any) -> Brake:
    """Return a brake whose prices are those of the default table."""
    return Brake(SETTINGS, PriceTable(), now=lambda: NOW, **more)


def learn(figures: ScopeFigures, *outages: Outage) -> LearnedTraffic:
    """Return a record of the country of the sends here."""
    return LearnedTraffic(scopes={name_scope("shop", "GB"): figures}, outages=outages)


def plan(brake: Brake, send: PlannedSend = SEND, **changes: Any) -> DebtPlan:
    """Return the plan of a send that has one."""
    planned = brake.plan_send(replace(send, **changes))
    assert planned
    return planned


def list_limits(planned: DebtPlan) -> list[DebtLimit]:
    """Return the limits in the order in which they are charged."""
    number = planned.number.charges if planned.number else ()
    return [charge.bucket.limit for charge in (*number, *planned.shared.charges)]


def test_the_range_is_charged_with_the_number_and_the_rest_with_what_all_share() -> None:
    planned = plan(build_brake())

    assert planned.number
    assert [ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject=PHONE.prefix)] == [
        charge.bucket for charge in planned.number.charges
    ]
    assert KnownNumberName("shop", PHONE.canonical) == planned.number.known_number
    assert [
        ScopeBucket(DebtLimit.UNVERIFIED_BLOCK, subject=PHONE.canonical[:-5]),
        ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB"),
        ScopeBucket(DebtLimit.UNVERIFIED_NEW_COUNTRIES, "shop"),
        ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, "shop", "203.0.113.9"),
        ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, "shop", "203.0.113.9"),
        ScopeBucket(DebtLimit.SPEND_OVERALL),
    ] == [charge.bucket for charge in planned.shared.charges]
    assert TrafficName("shop", "GB") == planned.shared.traffic
    plans = planned, planned.end_exemption()  # both are counted in metrics
    assert {planned.shared.traffic} == {each.number.name for each in plans if each.number}
    assert SendDebt(NOW, PRICE, KEY_ID, is_new_country=True) == planned.build_debt(NOW, KEY_ID)


@pytest.mark.parametrize(
    "send",
    [
        replace(SEND, tenant="off"),
        replace(SEND, tenant="without-settings"),
        replace(SEND, phone=parse_number("+447700900123", allow_fictitious=True)),
    ],
    ids=["off", "without settings", "fictitious number"],
)
def test_nothing_is_charged_repaid_or_known_without_a_brake(send: PlannedSend) -> None:
    """A phone that does not exist costs nothing, and is not known."""
    brake = build_brake()

    assert brake.plan_send(send) is None
    settled = brake.plan_settlement(send.tenant, send.phone, send.client_address, ())
    assert (None, None) == (settled.number, settled.shared)


def test_a_delivery_is_volume_and_takes_no_exemption() -> None:
    """It cannot verify, so it would use up what the person's logins are exempt by."""
    planned = plan(build_brake(), is_delivery=True)

    assert planned.number is None
    assert [
        DebtLimit.VOLUME_COUNTRY,
        DebtLimit.VOLUME_NEW_COUNTRIES,
        DebtLimit.SPEND_OVERALL,
    ] == list_limits(planned)
    assert planned.build_debt(NOW, KEY_ID) is None


def test_a_send_in_an_outage_is_volume_and_still_exempt_to_a_known_number() -> None:
    brake = build_brake()
    brake.learned = learn(LEARNED, Outage(NOW - 1, tenant="shop", country="GB"))

    planned = plan(brake)

    assert Measure.VOLUME is planned.measure
    assert [DebtLimit.VOLUME_COUNTRY, DebtLimit.SPEND_OVERALL] == list_limits(planned)
    assert planned.shared.charges[0].terms.figures == LEARNED.volume
    assert planned.number
    assert planned.number.known_number
    assert Measure.UNVERIFIED is plan(brake, tenant="new").measure  # whose numbers show no outage


def test_a_learned_country_has_its_figures_and_no_budget_of_new_ones() -> None:
    brake = build_brake()
    brake.learned = learn(LEARNED)

    planned = plan(brake)

    assert DebtLimit.UNVERIFIED_NEW_COUNTRIES not in list_limits(planned)
    assert not planned.is_new_country
    country = planned.shared.charges[1]
    assert (DebtLimit.UNVERIFIED_COUNTRY, LEARNED.unverified) == (
        country.bucket.limit,
        country.terms.figures,
    )


def test_a_strained_country_has_the_smaller_floors() -> None:
    brake = build_brake()
    brake.learned = learn(replace(LEARNED, is_strained=True))

    planned = plan(brake)

    assert planned.number
    assert (3 * MESSAGE, 4 * MESSAGE) == planned.number.charges[0].terms.floors
    assert (3 * MESSAGE, 6 * MESSAGE) == planned.shared.charges[0].terms.floors


def test_a_passed_bot_check_halves_the_debt_and_not_the_cost() -> None:
    """With the floors of whole messages a range admits twice as many."""
    planned, whole = plan(build_brake(), has_passed_bot_check=True), plan(build_brake())

    assert planned.number
    assert whole.number
    assert {
        DebtLimit.UNVERIFIED_RANGE: MESSAGE // 2,
        DebtLimit.UNVERIFIED_BLOCK: MESSAGE // 2,
        DebtLimit.UNVERIFIED_ADDRESS: MESSAGE // 2,
        DebtLimit.UNVERIFIED_COUNTRY: PRICE // 2,
        DebtLimit.UNVERIFIED_NEW_COUNTRIES: PRICE // 2,
        DebtLimit.UNVERIFIED_COUNTRIES: 1,  # there is no half country
        DebtLimit.SPEND_OVERALL: PRICE,
    } == {
        charge.bucket.limit: charge.price
        for charge in (*planned.number.charges, *planned.shared.charges)
    }
    assert PRICE == planned.price
    debt = planned.build_debt(NOW, KEY_ID)
    assert SendDebt(NOW, PRICE // 2, KEY_ID, is_new_country=True, is_halved=True) == debt
    assert whole.number.charges[0].terms == planned.number.charges[0].terms


def test_extra_messages_cost_of_the_day_alone_and_are_never_refused() -> None:
    (charge,) = plan(build_brake()).build_extra_commit(2).charges

    assert (DebtLimit.SPEND_OVERALL, 2 * PRICE, ALWAYS_OPEN) == (
        charge.bucket.limit,
        charge.price,
        charge.open_until,
    )


def test_a_send_whose_exemption_ends_is_charged_the_same_and_looks_at_no_record() -> None:
    planned = plan(build_brake()).end_exemption()

    assert planned.number
    assert planned.number.known_number is None
    assert list_limits(plan(build_brake())) == list_limits(planned)


@pytest.mark.parametrize(
    ("route", "provider"),
    [(("dear", "cheap"), "dear"), ({"cheap": 30, "dear": 70}, "dear"), ((), None)],
)
def test_the_price_is_that_of_the_provider_that_is_tried_first(
    route: Any, provider: str | None
) -> None:
    routes = Routes(default=("cheap",), table={"GB": route})
    prices = PriceTable(by_provider={"dear": {"GB": 90_000}, "cheap": {"GB": 1_000}})
    brake = Brake(SETTINGS, prices, now=lambda: NOW, find_provider=routes.find_first_provider)

    assert provider == routes.find_first_provider(PHONE)
    assert (90_000 if provider else PRICE) == plan(brake).price


def test_scopes_that_an_operator_opened_and_closed_are_so_in_the_charges() -> None:
    def override(limit: DebtLimit, tenant: str, subject: str, action: Any) -> ScopeOverride:
        return ScopeOverride(limit, tenant, subject, action, NOW + 1, "test", "operator", NOW)

    brake = build_brake()
    brake.overrides = Overrides(
        (
            override(DebtLimit.UNVERIFIED_RANGE, "", PHONE.prefix, "closed"),
            override(DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB", "open"),
        )
    )

    planned = plan(brake)

    assert planned.number
    assert NOW + 1 == planned.number.charges[0].closed_until
    assert [DebtLimit.UNVERIFIED_COUNTRY] == [
        charge.bucket.limit for charge in planned.shared.charges if charge.open_until == NOW + 1
    ]


@pytest.mark.parametrize("client_address", [None, "203.0.113.9"])
@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("has_passed", [False, True])
def test_a_verification_repays_every_scope_that_its_sends_were_charged_in(
    client_address: str | None, *, is_new: bool, has_passed: bool
) -> None:
    """With what each was charged there; only the budget of the day is spent for good."""
    brake = build_brake()
    brake.learned = LearnedTraffic() if is_new else learn(LEARNED)
    planned = plan(brake, client_address=client_address, has_passed_bot_check=has_passed)
    debt = planned.build_debt(NOW, KEY_ID)
    assert debt
    old = SendDebt(NOW - 1, PRICE, KEY_ID)  # charged when the country had been learned

    settled = brake.plan_settlement("shop", PHONE, client_address, (old, debt))

    assert settled.number
    assert settled.shared
    assert planned.number
    repaid = (*settled.number.repayments, *settled.shared.repayments)
    charged = (*planned.number.charges, *planned.shared.charges)
    assert {
        one.bucket: (RepaidSend(NOW, one.price), one.country)
        for one in charged
        if one.bucket.limit.is_repaid
    } == {one.bucket: (one.sends[-1], one.country) for one in repaid}
    amounts = {DebtUnit.MONEY: PRICE, DebtUnit.MESSAGES: MESSAGE, DebtUnit.COUNTRIES: 1}
    for one in repaid:
        is_old_repaid = one.bucket.limit is not DebtLimit.UNVERIFIED_NEW_COUNTRIES
        old_send = RepaidSend(NOW - 1, amounts[one.bucket.limit.unit])
        assert (old_send,) * is_old_repaid == one.sends[:-1]
    assert planned.number.known_number == settled.number.known_number
    assert planned.shared.traffic == settled.shared.traffic


def test_debts_of_a_tenant_are_repaid_after_its_brake_was_switched_off() -> None:
    """Its number does not become known: nobody would forget it."""
    settled = build_brake().plan_settlement("off", PHONE, None, (SendDebt(NOW, PRICE, KEY_ID),))

    assert settled.number
    assert settled.shared
    assert settled.number.known_number is None
    assert 1 == len(settled.number.repayments)
    assert 2 == len(settled.shared.repayments)


def test_a_verification_without_debts_makes_its_number_known() -> None:
    """In every mode but off."""
    for tenant in ("shop", "new"):
        settled = build_brake().plan_settlement(tenant, PHONE, None, ())

        assert settled.number
        assert KnownNumberName(tenant, PHONE.canonical) == settled.number.known_number
        assert () == settled.number.repayments

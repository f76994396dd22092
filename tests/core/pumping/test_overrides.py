"""Scopes that operators have opened and closed."""

import pytest
from msgspec.structs import replace

from otp_service.core.pumping.debt import EMPTY_DEBT, charge_debt
from otp_service.core.pumping.decision import decide_send
from otp_service.core.pumping.overrides import (
    MAX_OVERRIDES,
    Overrides,
    ScopeOverride,
    TooManyOverrides,
)
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit, ScopeBucket
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
)


NOW = 1_763_814_000_123
PRICE = 75_000
SUBJECT = SendSubject("shop", "DE", "+4915100123", "+491510012", "192.0.2.1")
SCOPES = {
    "range": (DebtLimit.UNVERIFIED_RANGE, "", "+4915100123"),
    "country": (DebtLimit.UNVERIFIED_COUNTRY, "shop", "DE"),
    "new": (DebtLimit.UNVERIFIED_NEW_COUNTRIES, "shop", ""),
    "overall": (DebtLimit.SPEND_OVERALL, "", ""),
}


def build_override(scope, action, until=NOW + 1):
    return ScopeOverride(*SCOPES[scope], action, until, "a campaign", "ops", NOW - 1)


def decide(*overrides, mode=BrakeMode.REFUSE, measure=Measure.UNVERIFIED, spent=0, in_range=0):
    """Return the decision about a send: 10 prices are the budget of the day, and `spent` is used.

    `in_range` is unverified in its range, and the other scopes are empty.
    """
    settings = BrakeSettings(day_budget=10 * PRICE, mode=mode)
    charges = build_debt_charges(SUBJECT, PRICE, measure, SendFigures(), settings)
    debts = {
        ScopeBucket(DebtLimit.SPEND_OVERALL): charge_debt(EMPTY_DEBT, spent, NOW),
        ScopeBucket(*SCOPES["range"]): charge_debt(EMPTY_DEBT, in_range, NOW),
    }
    return decide_send(debts, Overrides(overrides).apply(charges, NOW), NOW)


@pytest.mark.parametrize("mode", [BrakeMode.RECORD, BrakeMode.REFUSE])
@pytest.mark.parametrize("scope", ["range", "country", "new"])
def test_a_closed_scope_refuses_in_record_mode_too(scope, mode):
    """A command is no estimate that has to prove itself first."""
    decision = decide(build_override(scope, "closed"), mode=mode)

    assert not decision.is_sent
    assert ScopeBucket(*SCOPES[scope]) == decision.refusal.bucket


def test_a_closed_country_refuses_an_attack_whose_range_is_over_in_record_mode():
    """Else the range alone would be recorded, and each message of the attack sent."""
    closed = build_override("country", "closed")

    decision = decide(closed, mode=BrakeMode.RECORD, in_range=100 * PRICE)

    assert not decision.is_sent
    assert closed.bucket == decision.refusal.bucket


@pytest.mark.parametrize("scope", ["country", "new"])
@pytest.mark.parametrize("measure", [Measure.UNVERIFIED, Measure.VOLUME])
def test_a_closed_country_refuses_messages_that_cannot_verify_too(scope, measure):
    """An operator who closes a country means deliveries, and sends in an outage, as well."""
    assert not decide(build_override(scope, "closed"), measure=measure).is_sent


def test_an_open_scope_admits_what_it_has_no_room_for_and_is_charged():
    """The budget of the day is used up."""
    refused = decide(spent=10 * PRICE)
    admitted = decide(build_override("overall", "open"), spent=10 * PRICE)

    assert (False, True) == (refused.is_sent, admitted.is_sent)
    spent = admitted.debts[ScopeBucket(DebtLimit.SPEND_OVERALL)]
    assert 11 * PRICE == sum(spent.windows[0].unverified)


@pytest.mark.parametrize(("until", "has_effect"), [(NOW + 1, True), (NOW, False), (NOW - 1, False)])
def test_an_override_ends_at_its_instant(until, has_effect):
    """Also in a process that has not read the record since."""
    assert has_effect != decide(build_override("country", "closed", until)).is_sent
    opened = build_override("overall", "open", until)
    assert has_effect == decide(opened, spent=10 * PRICE).is_sent


def test_an_override_of_another_subject_or_tenant_has_no_effect():
    """The bucket must match exactly."""
    country = build_override("country", "closed")
    others = (replace(country, tenant="bank"), replace(country, subject="FR"))

    assert decide(*others).is_sent


def test_a_scope_has_one_override_and_ended_ones_are_dropped():
    """The later command replaces the earlier one."""
    ended = build_override("range", "closed", NOW)
    opened = build_override("country", "open")
    closed = build_override("country", "closed")

    overrides = Overrides((ended, opened)).add_override(closed, NOW)

    assert (closed,) == overrides.items
    assert Overrides() == overrides.remove_override(closed.bucket, NOW)


def test_the_overrides_are_bounded_and_one_of_them_can_be_replaced():
    """So the record and each decision are too. Ended ones do not count."""
    ended = build_override("country", "open", NOW)
    ranges = [replace(build_override("range", "open"), subject=f"+{i}") for i in range(1000, 1200)]
    full = Overrides((ended, *ranges))

    assert MAX_OVERRIDES == len(full.add_override(ranges[0], NOW).items)
    with pytest.raises(TooManyOverrides):
        full.add_override(build_override("country", "open"), NOW)

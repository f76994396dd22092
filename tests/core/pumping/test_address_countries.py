"""An address of which messages went to many countries: the fourth that has not verified is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.pumping.admissions import compute_wait
from otp_service.core.pumping.decision import (
    decide_send,
    repay_charge,
    repay_send,
)
from otp_service.core.pumping.memory_brake import BrakeFormula, MemoryBrake
from otp_service.core.pumping.overrides import Overrides, ScopeOverride
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
)
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


NOW = 20_000 * DAY_MS
PRICE = 75_000
SLOT_MS = 4 * HOUR_MS
SETTINGS = BrakeSettings(10**12)
LIMIT = DebtLimit.UNVERIFIED_COUNTRIES


class Address:
    """One client address of a tenant, and what its messages were charged."""

    def __init__(self, settings=SETTINGS):
        self.settings = settings
        self.debts = {}
        self.overrides = Overrides()

    def build_charges(self, country, now):
        subject = SendSubject("shop", country, country, country, "192.0.2.1")
        charges = build_debt_charges(
            subject, PRICE, Measure.UNVERIFIED, SendFigures(), self.settings
        )
        applied = self.overrides.apply(charges, now)
        return [one for one in applied if one.bucket.limit is LIMIT]

    def send(self, country, now=NOW):
        decision = decide_send(self.debts, self.build_charges(country, now), now)
        self.debts.update(decision.debts)
        return decision

    def send_all(self, *countries, now=NOW):
        """Return which of these countries a message could be sent to."""
        return [country for country in countries if self.send(country, now).is_sent]

    def verify(self, country, at, now, *, is_counted=True):
        charges = self.build_charges(country, now)
        self.debts.update(repay_send(self.debts, charges, at, now, is_counted=is_counted))

    def refund(self, country, at, now):
        (charge,) = self.build_charges(country, now)
        self.debts[charge.bucket] = repay_charge(self.debts, charge, at, now)

    def wait(self, country, now):
        return compute_wait(self.debts, self.build_charges(country, now), now)


def test_the_fourth_country_without_a_verification_is_refused():
    """With its figures, in countries. Further messages to the first three are sent."""
    address = Address()

    assert ["GB", "FR", "DE", "GB", "FR", "DE"] == address.send_all(
        "GB", "FR", "DE", "IT", "GB", "ES", "FR", "DE"
    )
    refusal = address.send("IT").refusal
    assert (LIMIT, 3, 3, DAY_MS) == (
        refusal.bucket.limit,
        refusal.unverified,
        refusal.allowance,
        refusal.period_ms,
    )


@pytest.mark.parametrize("is_counted", [True, False])
def test_a_country_that_has_verified_does_not_count(is_counted):
    """Nor does a later message to it; also one whose number has verified within the day."""
    address = Address()
    address.send_all("GB", "FR", "DE")
    address.verify("GB", NOW, NOW + MINUTE_MS, is_counted=is_counted)

    assert ["GB", "IT", "GB"] == address.send_all("GB", "IT", "ES", "GB", now=NOW + MINUTE_MS)
    assert 3 == address.send("ES", NOW + MINUTE_MS).refusal.unverified


def test_a_verification_pays_for_all_messages_to_its_country_for_a_day():
    """After the day, messages since then count again."""
    address = Address()
    address.send_all("GB", "FR")
    address.verify("GB", NOW, NOW)
    later = NOW + 20 * HOUR_MS
    assert ["GB", "DE", "IT"] == address.send_all("GB", "DE", "IT", "ES", now=later)

    counted_again = NOW + 7 * SLOT_MS
    assert [] == address.send_all("ES", now=counted_again)
    assert ["GB"] == address.send_all("GB", now=counted_again)


def test_the_wait_ends_when_the_oldest_country_leaves_the_day():
    """And not a millisecond earlier."""
    address = Address()
    for index, country in enumerate(("GB", "FR", "DE")):
        address.send(country, NOW + index * SLOT_MS)
    now = NOW + 10 * HOUR_MS

    wait = address.wait("IT", now)

    assert NOW + 7 * SLOT_MS == now + wait
    assert not address.send("IT", now + wait - 1).is_sent
    assert address.send("IT", now + wait).is_sent
    assert not address.send("ES", now + wait).is_sent


def test_a_later_message_keeps_its_country_in_the_day():
    address = Address()
    address.send_all("GB", "FR", "DE")
    later = NOW + 23 * HOUR_MS
    address.send_all("GB", "FR", "DE", now=later)

    assert [] == address.send_all("IT", now=NOW + 7 * SLOT_MS)
    assert ["IT"] == address.send_all("IT", now=later + 7 * SLOT_MS)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_country_to_which_nothing_was_sent_does_not_count(order):
    """Two sends at the same time fail, in any order; and one that was sent stays."""
    address = Address()
    address.send_all("FR", "DE")
    for index in (0, 1):
        address.send("GB", NOW + index)
    for index in order:
        assert ["GB"] == address.send_all("GB", now=NOW + 9)
        address.refund("GB", NOW + 9, NOW + 9)
        assert [] == address.send_all("IT", now=NOW + 9)
        address.refund("GB", NOW + index, NOW + 9)

    assert ["IT"] == address.send_all("IT", now=NOW + 9)


def test_messages_that_were_sent_while_the_clock_was_ahead_age_from_now_on():
    address = Address()
    address.send_all("GB", "FR", "DE", now=NOW + 30 * DAY_MS)

    assert [] == address.send_all("IT", now=NOW)
    assert DAY_MS <= address.wait("IT", NOW) <= DAY_MS + SLOT_MS


def test_an_operator_opens_and_closes_countries_with_the_address():
    """One scope for operators: a person who calls is let through as a whole."""
    address = Address()
    address.send_all("GB", "FR", "DE")
    named = DebtLimit.UNVERIFIED_ADDRESS, "shop", "192.0.2.1"

    address.overrides = Overrides((ScopeOverride(*named, "open", NOW + 1, "", "", NOW),))
    assert ["IT"] == address.send_all("IT")
    address.overrides = Overrides((ScopeOverride(*named, "closed", NOW + 1, "", "", NOW),))
    assert [] == address.send_all("GB")
    assert 0 == address.send("GB").refusal.allowance

    address.overrides = Overrides()
    assert 4 == address.send("ES").refusal.unverified
    assert [] == address.send_all("GB")  # of the four one more has to verify or to leave


def test_record_mode_sends_to_the_fourth_country_and_does_not_count_it():
    address = Address(replace(SETTINGS, mode=BrakeMode.RECORD))

    assert ["GB", "FR", "DE", "IT"] == address.send_all("GB", "FR", "DE", "IT")
    assert 3 == address.send("ES").refusal.unverified


def test_an_address_that_may_have_no_country_has_one():
    """A formula of 0 would refuse everyone whose address is known."""
    floors = replace(SETTINGS.floors, address_countries=0)
    address = Address(replace(SETTINGS, floors=floors))

    assert ["GB", "GB"] == address.send_all("GB", "FR", "GB")


steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "verify", "refund"]),
        st.sampled_from(["GB", "FR", "DE", "IT", "ES"]),
        st.integers(0, 9 * HOUR_MS),
    ),
    max_size=40,
)


@given(steps)
def test_no_day_has_more_countries_than_three_without_a_verification(steps):
    """In any window of a day, by a list of sends instead of slots."""
    address, now = Address(), NOW
    sent, verified = [], []
    for kind, country, gap in steps:
        now += gap
        last = next((at for at, name in reversed(sent) if name == country), None)
        if kind == "send" and address.send(country, now).is_sent:
            sent.append((now, country))
        elif kind == "verify" and last is not None:
            address.verify(country, last, now)
            sent.remove((last, country))
            verified.append((last, country))
        elif kind == "refund" and last is not None:
            address.refund(country, last, now)
            sent.remove((last, country))
        paid = {name for at, name in verified if now - at < 7 * SLOT_MS}
        owed = {name for at, name in sent if now - at < DAY_MS} - paid
        if kind == "send":
            assert len(owed) <= 3 or sent[-1:] != [(now, country)] or country in paid


def test_a_known_number_counts_in_no_country():
    """Neither its messages nor its verifications."""
    brake = MemoryBrake(BrakeFormula(SETTINGS), lambda _: PRICE)
    for country in ("GB", "FR", "DE", "IT"):
        brake.verify([], country, NOW)

    def send(country, number=""):
        subject = SendSubject("shop", country, country, country, "192.0.2.1")
        return brake.send(subject, number, PRICE, NOW)

    known = [send(country, country) for country in ("GB", "FR", "DE", "IT")]
    brake.verify([sent for _, sent in known], "GB", NOW)
    unknown = [send(country)[0].is_sent for country in ("GB", "FR", "DE", "IT")]

    assert {Measure.EXEMPT} == {sent.measure for _, sent in known}
    assert [True, True, True, False] == unknown

"""When messages to a country do not arrive, and what an attacker can make of it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.pumping.outages import (
    BREAKER_MARGIN_MS,
    EVIDENCE_SLOT_MS,
    HALF_OPEN_MS,
    SETTLE_MS,
    SLOTS_PER_DAY,
    STRAIN_MARGIN_MS,
    UNSEEN_MS,
    Evidence,
    ExemptCounts,
    can_be_strained,
    is_without_provider,
    judge_exempt_sends,
    list_read_slots,
    update_outages,
)
from otp_service.core.pumping.send_debts import Outage
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS


SLOT = 2_939_690
NOW = SLOT * EVIDENCE_SLOT_MS + SETTLE_MS
"""The slot before this one has just settled."""
SHOP_DE = ("shop", "DE")
USUAL = ExemptCounts(30, 20)


def build_slots(today, usual=USUAL, *, until=SLOT):
    """Return `today` as the counts before the slot `until`, after two usual days."""
    slots = dict.fromkeys(range(SLOT - 2 * SLOTS_PER_DAY, SLOT + 1), usual)
    slots.update(dict.fromkeys(range(until, SLOT + 1), ExemptCounts()))
    slots.update({until - len(today) + index: counts for index, counts in enumerate(today)})
    return slots


def test_twenty_sends_without_a_verification_are_an_outage():
    assert Evidence.STOPPED == judge_exempt_sends(build_slots([ExemptCounts(20, 0)]), NOW)
    assert Evidence.STOPPED != judge_exempt_sends(build_slots([ExemptCounts(19, 0)]), NOW)


def test_few_sends_of_two_hours_add_up_and_those_of_before_do_not():
    twelve = [ExemptCounts(), ExemptCounts(), *[ExemptCounts(2, 0)] * 10]

    assert Evidence.STOPPED == judge_exempt_sends(build_slots(twelve), NOW)
    late = [ExemptCounts(18, 0), *[ExemptCounts()] * 11, ExemptCounts(2, 0)]
    assert Evidence.STOPPED != judge_exempt_sends(build_slots(late), NOW)


def test_the_last_sends_of_a_slot_have_time_to_verify():
    """A shift that begins with fifty logins in the last seconds of a slot is no outage."""
    slots = build_slots([ExemptCounts(), ExemptCounts(50, 0)])

    assert Evidence.STOPPED != judge_exempt_sends(slots, NOW - 1)
    assert Evidence.STOPPED == judge_exempt_sends(slots, NOW)
    slots[SLOT] = ExemptCounts(0, 30)
    assert Evidence.RESUMED == judge_exempt_sends(slots, NOW)


def test_the_known_numbers_of_an_attacker_are_no_outage_while_people_log_in():
    """It can leave any number of sends unverified, but cannot keep others from verifying."""
    for sends in (20, 200, 2_000, 20_000):
        slots = build_slots([ExemptCounts(30 + sends, 20)])
        assert Evidence.STOPPED != judge_exempt_sends(slots, NOW)


def test_an_outage_is_forged_only_where_a_tenth_of_the_usual_people_log_in():
    """What the module says about its own limit."""
    tenth = [ExemptCounts(3, 2)] * 12
    less = [ExemptCounts(1, 1), *[ExemptCounts()] * 11]
    forged = ExemptCounts(40, 0)

    assert Evidence.STOPPED != judge_exempt_sends(build_slots([*tenth, forged, *tenth[:2]]), NOW)
    assert Evidence.STOPPED == judge_exempt_sends(build_slots([*less, forged]), NOW)


@pytest.mark.parametrize("logins", [10, 20, 40])
def test_chance_is_no_help_to_known_numbers_that_send_twenty_messages(logins):
    """Where few people log in, ten minutes without any are common, and an attacker can wait for them."""
    rng = random.Random(logins)  # noqa: S311  # a simulation
    judged = []
    for _ in range(400):
        slots = {slot: draw_logins(rng, logins / 12) for slot in list_read_slots(NOW)}
        slots[SLOT - 1] = ExemptCounts(slots[SLOT - 1].sent + 20, slots[SLOT - 1].verified)
        judged.append(judge_exempt_sends(slots, NOW))

    assert judged.count(Evidence.STOPPED) <= 4


def draw_logins(rng, mean):
    """Return people who all log in, each by chance in this slot or in another one."""
    count = sum(rng.random() < mean / 100 for _ in range(100))
    return ExemptCounts(count, count)


@pytest.mark.parametrize("usual", [ExemptCounts(), ExemptCounts(1, 0), ExemptCounts(30, 14)])
def test_a_country_in_which_little_verifies_anyway_shows_no_outage(usual):
    """One without history cannot be forged."""
    assert Evidence.STOPPED != judge_exempt_sends(build_slots([ExemptCounts(99, 0)], usual), NOW)


@given(
    st.integers(0, 2**32),
    st.integers(1, 300),
    st.floats(0.6, 0.95),
    st.floats(0.5, 1.5),
    st.integers(0, EVIDENCE_SLOT_MS - 1),
)
def test_people_who_log_in_as_usual_are_no_outage(seed, logins, share, growth, elapsed):
    """Chance alone does not stop verifications, at any volume and any minute of the slot."""
    rng = random.Random(seed)  # noqa: S311  # a simulation
    slots = {}
    for slot in list_read_slots(NOW + elapsed):
        count = round(logins * (growth if slot > SLOT - SLOTS_PER_DAY // 2 else 1))
        slots[slot] = ExemptCounts(count, sum(rng.random() < share for _ in range(count)))

    assert Evidence.STOPPED != judge_exempt_sends(slots, NOW + elapsed)


@given(st.integers(10, 300), st.floats(0.6, 0.95), st.integers(0, EVIDENCE_SLOT_MS - 1))
def test_an_outage_is_noticed_within_the_time_of_twenty_sends_and_two_slots(logins, share, elapsed):
    verified = round(logins * share)
    down_since = SLOT - 1 - (20 + logins - 1) // logins
    slots = {
        slot: ExemptCounts(logins, verified if slot < down_since else 0)
        for slot in list_read_slots(NOW + elapsed)
    }

    assert Evidence.STOPPED == judge_exempt_sends(slots, NOW + elapsed)


@pytest.mark.parametrize("now", [NOW, NOW - SETTLE_MS])
def test_only_the_slots_that_are_listed_are_needed(now):
    """At both instants the first of the twelve slots has one of the twenty sends."""
    settled = (now - SETTLE_MS) // EVIDENCE_SLOT_MS
    few = [ExemptCounts(1, 0), *[ExemptCounts()] * 10, ExemptCounts(19, 0)]
    slots = build_slots(few, until=settled)
    listed = {slot: slots[slot] for slot in list_read_slots(now)}

    assert Evidence.STOPPED == judge_exempt_sends(listed, now)


@pytest.mark.parametrize(
    ("today", "seen"),
    [
        ([ExemptCounts(100, 0)] * 8 + [ExemptCounts(20, 8)] * 2, Evidence.RESUMED),
        ([ExemptCounts(5, 3)], Evidence.RESUMED),
        ([ExemptCounts(5, 2)], Evidence.MISSING),
        ([ExemptCounts(5, 3), ExemptCounts(10, 1)], Evidence.MISSING),
        ([ExemptCounts(5, 3), *[ExemptCounts()] * 2], Evidence.MISSING),
        ([], Evidence.MISSING),
    ],
)
def test_known_numbers_that_verify_again_end_an_outage(today, seen):
    """Three within half an hour, and a third of the sends: some have another provider."""
    slots = build_slots([*[ExemptCounts()] * 3, *today, ExemptCounts()], until=SLOT + 1)

    assert seen == judge_exempt_sends(slots, NOW)


@pytest.mark.parametrize(
    ("open_until", "fails"),
    [
        ([], False),
        ([0], False),
        ([NOW + 1], True),
        ([NOW + 1, 0], False),
        ([NOW + 1, NOW - HALF_OPEN_MS + 1], True),
        ([NOW + 1, NOW - HALF_OPEN_MS], False),
    ],
)
def test_a_country_has_no_provider_while_the_breakers_of_all_are_open_or_were_just_now(
    open_until, fails
):
    """A half-open breaker of a country without traffic stays half-open, and is no outage for ever."""
    assert fails == is_without_provider(open_until, NOW)


def test_an_outage_ends_by_itself_after_its_last_evidence():
    begun = update_outages((), ["FR"], {SHOP_DE: Evidence.STOPPED}, NOW)

    assert begun == (
        Outage(NOW, NOW + BREAKER_MARGIN_MS, "FR"),
        Outage(NOW, NOW + UNSEEN_MS, "DE", "shop"),
    )
    later = update_outages(begun, ["FR"], {SHOP_DE: Evidence.STOPPED}, NOW + MINUTE_MS)
    assert [NOW, NOW] == [outage.started_at for outage in later]
    assert NOW + MINUTE_MS + BREAKER_MARGIN_MS == later[0].ended_at
    assert NOW + MINUTE_MS + UNSEEN_MS == later[1].ended_at
    assert later == update_outages(later, [], {SHOP_DE: Evidence.MISSING}, NOW + 2 * MINUTE_MS)


def test_an_outage_of_known_numbers_ends_once_they_verify():
    begun = update_outages((), ["DE"], {SHOP_DE: Evidence.STOPPED}, NOW)

    ended = update_outages(begun, ["DE"], {SHOP_DE: Evidence.RESUMED}, NOW + HOUR_MS)

    assert {NOW + HOUR_MS} == {o.ended_at for o in ended if o.tenant}
    assert {NOW + HOUR_MS + BREAKER_MARGIN_MS} == {o.ended_at for o in ended if not o.tenant}
    again = update_outages(ended, ["DE"], {SHOP_DE: Evidence.RESUMED}, NOW + HOUR_MS + MINUTE_MS)
    assert {NOW + HOUR_MS} == {o.ended_at for o in again if o.tenant}


def test_one_that_is_noticed_again_after_its_end_is_another_outage():
    begun = update_outages((), ["DE"], {}, NOW)
    late = NOW + BREAKER_MARGIN_MS

    assert (Outage(late, late + BREAKER_MARGIN_MS, "DE"),) == update_outages(
        begun, ["DE"], {}, late
    )


def test_no_country_is_strained_during_an_outage_and_for_an_hour_after_it():
    """What was sent before the outage was noticed is debt of honest people."""
    outages = update_outages((), ["FR"], {SHOP_DE: Evidence.STOPPED}, NOW)
    end = NOW + UNSEEN_MS + STRAIN_MARGIN_MS

    assert not can_be_strained(outages, "shop", "DE", NOW)
    assert not can_be_strained(outages, "bank", "FR", NOW)
    assert can_be_strained(outages, "bank", "DE", NOW)
    assert not can_be_strained(update_outages(outages, [], {}, end - 1), "shop", "DE", end - 1)
    assert can_be_strained(update_outages(outages, [], {}, end), "shop", "DE", end)
    assert () == update_outages(outages, [], {}, end)


def test_a_clock_that_is_set_back_lengthens_no_outage():
    begun = update_outages((), ["FR"], {SHOP_DE: Evidence.STOPPED}, NOW + 30 * HOUR_MS)

    seen = update_outages(begun, [], {}, NOW)

    assert {NOW} == {outage.started_at for outage in seen}
    assert all(outage.ended_at <= NOW + UNSEEN_MS for outage in seen)

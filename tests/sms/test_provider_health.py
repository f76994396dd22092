"""The health of providers as a value: breakers, backoffs and qualities."""

from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.timestamps import SECOND_MS
from otp_service.sms.provider_health import (
    BREAKER_WINDOW_MS,
    FIRST_OPEN_MS,
    HALF_OPEN_SHARE,
    MAX_OPEN_MS,
    MAX_SCORED_NUMBERS,
    MIN_QUALITY,
    QUALITY_HALF_LIFE_MS,
    Breaker,
    BreakerChange,
    HealthEvent,
    Outcome,
    ProviderHealth,
    Quality,
)


NOW = 1_795_348_800_000


def failed(times=1, at=NOW, breaker=None):
    """A breaker that has seen so many failures."""
    breaker = breaker or Breaker()
    for _ in range(times):
        breaker = breaker.add_outcome(Outcome(at, ok=False))
    return breaker


def test_five_of_the_last_ten_open_it():
    """Four are bad luck."""
    assert "closed" == failed(4).get_state(NOW)
    assert "open" == failed(5).get_state(NOW)


def test_what_is_old_has_no_say():
    """Four failures an hour ago and one now are one failure."""
    assert "closed" == failed(1, NOW + BREAKER_WINDOW_MS, failed(4)).get_state(
        NOW + BREAKER_WINDOW_MS
    )


def test_less_than_half_of_ten_leaves_it_closed():
    """Four in ten, however long it goes on."""
    breaker = Breaker()
    for place in range(200):
        breaker = breaker.add_outcome(Outcome(NOW + place, ok=place % 10 >= 4))
        assert "closed" == breaker.get_state(NOW + place)


def test_it_is_half_open_when_its_time_is_over_and_a_success_closes_it():
    """What came before is forgotten: the provider has healed."""
    later = NOW + FIRST_OPEN_MS
    half = failed(5)
    assert ("open", "half-open") == (half.get_state(later - 1), half.get_state(later))

    healed = half.add_outcome(Outcome(later, ok=True))

    assert Breaker() == healed


def test_each_failure_while_half_open_keeps_it_open_for_twice_as_long():
    """Up to ten minutes."""
    breaker, now, spans = failed(5), NOW, []
    for _ in range(8):
        spans.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = failed(1, now, breaker)

    assert [FIRST_OPEN_MS * 2**n for n in range(5)] == spans[:5]
    assert [MAX_OPEN_MS] * 3 == spans[5:]


def test_a_half_open_provider_gets_a_small_share_of_real_traffic():
    """R90: no message is sent for the sake of trying."""
    memory, _ = ProviderHealth().apply_events([HealthEvent("a", "GB", NOW, "failed")] * 5)
    later = NOW + FIRST_OPEN_MS

    firsts = [memory.order_providers(["a", "b"], "GB", later, n / 100)[0] for n in range(100)]

    assert HALF_OPEN_SHARE * 100 == firsts.count("a")
    assert ("b", "a") == memory.order_providers(["a", "b"], "GB", later - 1, 0.0)


def test_every_opening_and_closing_is_reported():
    """An operator reads them later; a breaker that keeps its state is not reported."""
    seen = [HealthEvent("a", "GB", NOW, "failed", reason="read-timeout")] * 7
    memory, changes = ProviderHealth().apply_events(seen)
    assert [BreakerChange("a", "GB", "open", "read-timeout")] == changes

    _, changes = memory.apply_events([HealthEvent("a", "GB", NOW + FIRST_OPEN_MS, "accepted")])

    assert [BreakerChange("a", "GB", "closed", "")] == changes


def test_what_was_lost_drifts_back():
    """Half of it in a quarter of an hour."""
    bad = Quality(0.2, NOW)

    assert 0.6 == round(bad.compute_value(NOW + QUALITY_HALF_LIFE_MS), 6)
    assert bad.compute_value(NOW + 40 * QUALITY_HALF_LIFE_MS) > 0.999


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3600 * SECOND_MS)), max_size=300))
def test_quality_stays_between_a_tenth_and_one(receipts):
    """Receipts never remove a provider from the list."""
    quality, now = Quality(), NOW
    for good, pause in receipts:
        now += pause
        before = quality.compute_value(now)
        quality = quality.add_score(good, now)
        assert MIN_QUALITY <= quality.compute_value(now) <= 1
        assert abs(quality.compute_value(now) - before) <= 0.05 + 1e-9, "one receipt is no verdict"


events = st.builds(
    HealthEvent,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["GB", "FR"]),
    st.integers(NOW, NOW + 10 * BREAKER_WINDOW_MS),
    st.sampled_from(["accepted", "failed", "throttled", "receipt"]),
    st.sampled_from(["", "one", "two"]),
    st.integers(0, 90_000),
    st.floats(0, 1),
)


@given(st.lists(events, max_size=60), st.integers(0, 60))
def test_learning_in_two_goes_is_learning_in_one(seen, cut):
    """A process adds what it has learnt to what others have written meanwhile."""
    seen.sort(key=lambda one: one.at)
    first, some = ProviderHealth().apply_events(seen[:cut])
    second, more = first.apply_events(seen[cut:])

    assert (second, [*some, *more]) == ProviderHealth().apply_events(seen)


@given(
    st.lists(events, max_size=60), st.integers(NOW, NOW + 10 * BREAKER_WINDOW_MS), st.floats(0, 1)
)
def test_no_provider_is_ever_removed_from_the_list(seen, now, chance):
    """R87: when all are open, all are tried."""
    memory, _ = ProviderHealth().apply_events(seen)

    assert {"a", "b", "c"} == set(memory.order_providers(["a", "b", "c"], "GB", now, chance))


def test_what_is_remembered_does_not_grow_without_end():
    """An outage of a million receipts is one record of some kilobytes."""
    lost = [
        HealthEvent("a", "GB", NOW + n, "receipt", f"number-{n}", score=0.0) for n in range(2500)
    ]

    memory, _ = ProviderHealth().apply_events(lost)

    assert MAX_SCORED_NUMBERS == len(memory.scored_numbers)
    assert (
        memory
        is memory.apply_events([HealthEvent("b", "GB", NOW, "receipt", "other", score=1.0)])[0]
    )

"""The arithmetic of limits: exact windows, GCRA and consecutive failures, as pure functions."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otp_service.core import limits
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    Algorithm,
    Bucket,
    Charge,
    Limit,
    LimitRefusal,
    Window,
    compute_consecutive_failures_wait,
    compute_gcra,
    compute_sliding_window_wait,
)


NOW = 1_763_814_000_123
SECOND, HOUR = 1000, 3_600_000

windows = st.builds(Window, st.integers(1, 20), st.integers(1, 100_000))


# ----------------------------------------------------------------------------- the text of a window


@pytest.mark.parametrize(
    ("text", "count", "period"),
    [
        ("5 in 10 min", 5, 600),
        ("10 in 1 d", 10, 86400),
        ("1 in 30 s", 1, 30),
        ("50 in 1 h", 50, 3600),
        ("5 in 10min", 5, 600),
        ("999999999 in 9999 d", 999_999_999, 9999 * 86400),
    ],
)
def test_a_window_is_parsed(text: str, count: int, period: int) -> None:
    """R25: five in ten minutes."""
    assert Window(count, period) == Window.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5 in 10",
        "5 in 10 m",
        "5 in 10 minutes",
        "0 in 10 min",
        "5 in 0 min",
        "-5 in 10 min",
        "5 in -1 min",
        "5.5 in 10 min",
        "5 per 10 min",
        "5  in 10 min",
        "5 in 10  min",
        " 5 in 10 min",
        "5 in 10 min\n",
        "５ in 10 min",
        "5 in ١٠ min",
        "1_0 in 10 min",
        "1000000000 in 1 d",
        "5 in 10000 d",
        "5 in 10 MIN",
    ],
)
def test_any_other_text_is_refused_with_an_example(text: str) -> None:
    """A misread limit would not limit anything."""
    with pytest.raises(ValueError, match="write a limit like '5 in 10 min'") as refusal:
        Window.parse(text)

    assert repr(text) in str(refusal.value)


@given(
    st.integers(1, 999_999_999),
    st.integers(1, 9999),
    st.sampled_from(list(limits.SECONDS_PER_UNIT)),
)
def test_a_window_parses_its_own_text(count: int, period: int, unit: str) -> None:
    """`check` prints the limits in force, and its output can be pasted into the configuration."""
    window = Window(count, period * limits.SECONDS_PER_UNIT[unit])
    text = str(window)
    assume(
        len(text.split()[2]) <= 4
    )  # 9998 h is written in hours, but 9999 d 1 h has no short form

    assert window == Window.parse(text)


# -------------------------------------------------------------------------------- the set of limits


def test_limits_of_a_number_and_guesses_at_an_account_are_exact_and_the_others_are_gcra() -> None:
    """The contract: windows on a number are exact; the wide ones have a burst."""
    exact = {limit for limit in Limit if limit.algorithm is Algorithm.SLIDING_WINDOW}

    narrow = {*limits.ACCOUNT_RECORD_LIMITS, Limit.AUTO_RESENDS, Limit.FAILURES_ACCOUNT}
    assert exact == (limits.NUMBER_LIMITS | narrow) - limits.CONSECUTIVE_LIMITS
    consecutive = {limit for limit in Limit if limit.algorithm is Algorithm.CONSECUTIVE_FAILURES}
    assert consecutive == limits.CONSECUTIVE_LIMITS
    wide = set(Limit) - exact - consecutive
    assert wide == {limit for limit in Limit if limit.algorithm is Algorithm.GCRA}


def test_the_default_limits_are_those_of_the_contract() -> None:
    """R16 to R28: the table in the design, word by word."""
    texts = {
        limit: [str(window) for window in windows] for limit, windows in DEFAULT_LIMITS.items()
    }

    assert {
        Limit.COOLDOWN: ["1 in 30 s"],
        Limit.SENDS_NUMBER_TENANT: ["5 in 10 min", "10 in 1 d"],
        Limit.SENDS_NUMBER: ["8 in 10 min", "20 in 1 d"],
        Limit.REFUNDS: ["3 in 10 min"],
        Limit.FAILURES_NUMBER: ["10 in 1 h"],
        Limit.CONSECUTIVE_FAILURES: ["100 in 90 d"],
        Limit.FAILURES_ACCOUNT: ["10 in 1 h"],
        Limit.CONSECUTIVE_FAILURES_ACCOUNT: ["100 in 90 d"],
        Limit.AUTHENTICATOR_FAILURES: ["5 in 10 min", "20 in 1 d"],
        Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES: ["100 in 90 d"],
        Limit.RECOVERY_FAILURES: ["5 in 1 h", "20 in 1 d"],
        Limit.CONSECUTIVE_RECOVERY_FAILURES: ["100 in 90 d"],
        Limit.RECOVERY_SETS: ["5 in 1 d"],
        Limit.FAILURES_ADDRESS: ["50 in 1 h"],
        Limit.FAILURES_TENANT: ["1000 in 1 h", "10000 in 1 d"],
        Limit.SENDS_ADDRESS: ["30 in 1 h"],
        Limit.SENDS_ACCOUNT: ["10 in 1 h"],
        Limit.SENDS_PREFIX_TENANT: ["60 in 10 min", "600 in 1 d"],
        Limit.SENDS_PREFIX: ["60 in 10 min", "600 in 1 d"],
        Limit.AUTO_RESENDS: ["5 in 1 h"],
        Limit.SENDS_COUNTRY_TENANT: ["2000 in 1 h", "20000 in 1 d"],
        Limit.SENDS_COUNTRY: ["2000 in 1 h", "20000 in 1 d"],
        Limit.SENDS_TENANT: ["5000 in 1 h", "50000 in 1 d"],
        Limit.SENDS_OVERALL: ["10000 in 1 h", "100000 in 1 d"],
    } == texts
    assert set(Limit) == set(DEFAULT_LIMITS)


def test_a_charge_costs_one_and_is_not_forced_by_default() -> None:
    """R30: only events that have already happened are counted beyond a limit."""
    charge = Charge(Bucket(Limit.SENDS_NUMBER), (Window(1, 1),))

    assert (1, False) == (charge.cost, charge.force)


@given(st.integers(1, 10**9))
def test_retry_after_is_rounded_up_to_whole_seconds(wait: int) -> None:
    """R52: a wait of exactly this long succeeds, and a second less need not."""
    seconds = LimitRefusal(Limit.COOLDOWN, Window(1, 30), wait).retry_after

    assert (seconds - 1) * SECOND < wait <= seconds * SECOND


def test_retry_after_is_never_zero() -> None:
    """R52: 0 would request a call at once."""
    assert 1 == LimitRefusal(Limit.COOLDOWN, Window(1, 30), 0).retry_after


# ------------------------------------------------------------------------------------ exact windows


@st.composite
def draw_history(draw: st.DrawFn) -> tuple[list[int], tuple[Window, ...], int]:
    """Draw the charges of some windows in the past, and a cost that each window can hold."""
    drawn_windows = tuple(draw(st.lists(windows, min_size=1, max_size=3)))
    longest = max(window.period_seconds for window in drawn_windows) * SECOND
    instants = st.integers(NOW - longest - 5, NOW)
    spent = draw(st.lists(instants, max_size=30))
    return spent, drawn_windows, draw(st.integers(1, min(window.count for window in drawn_windows)))


@given(draw_history())
def test_the_wait_is_the_shortest_that_succeeds(
    case: tuple[list[int], tuple[Window, ...], int],
) -> None:
    """R52: exactly the wait succeeds, one millisecond less does not."""
    spent, drawn_windows, cost = case

    wait = compute_sliding_window_wait(spent, drawn_windows, cost, NOW)

    assert 0 == compute_sliding_window_wait(spent, drawn_windows, cost, NOW + wait)
    if wait:
        assert 1 == compute_sliding_window_wait(spent, drawn_windows, cost, NOW + wait - 1)


@given(draw_history(), st.integers(0, 200_000_000))
def test_no_window_ever_holds_more_than_its_count(
    case: tuple[list[int], tuple[Window, ...], int], later: int
) -> None:
    """R25: at no instant, wherever the edge of the window is."""
    _, drawn_windows, _ = case
    spent: list[int] = []
    for instant in range(NOW, NOW + later, max(1, later // 40)):
        if compute_sliding_window_wait(spent, drawn_windows, 1, instant) == 0:
            spent.append(instant)

    for window in drawn_windows:
        for end in spent:
            inside = [i for i in spent if end - window.period_seconds * SECOND < i <= end]
            assert len(inside) <= window.count


@given(draw_history(), st.randoms())
def test_the_order_of_the_instants_does_not_matter(case, generator) -> None:
    """A log of instants is a set with repeats."""
    spent, drawn_windows, cost = case
    shuffled = list(spent)
    generator.shuffle(shuffled)

    assert compute_sliding_window_wait(
        spent, drawn_windows, cost, NOW
    ) == compute_sliding_window_wait(shuffled, drawn_windows, cost, NOW)


def test_an_instant_leaves_its_window_exactly_a_period_later() -> None:
    """R25: neither a millisecond earlier nor later."""
    window = (Window(1, 30),)

    assert 30_000 == compute_sliding_window_wait([NOW], window, 1, NOW)
    assert 1 == compute_sliding_window_wait([NOW], window, 1, NOW + 29_999)
    assert 0 == compute_sliding_window_wait([NOW], window, 1, NOW + 30_000)


def test_the_longest_wait_of_the_refusing_windows_is_returned() -> None:
    """R52: otherwise the other window would refuse after the wait."""
    spent = [NOW - 500 * SECOND, NOW - 1 * SECOND]

    assert 99 * SECOND + 1 * SECOND == compute_sliding_window_wait(spent, (Window(2, 600),), 1, NOW)
    assert 29 * SECOND == compute_sliding_window_wait(spent, (Window(1, 30),), 1, NOW)
    assert 100 * SECOND == compute_sliding_window_wait(
        spent, (Window(1, 30), Window(2, 600)), 1, NOW
    )


def test_a_zero_cost_checks_whether_the_window_is_overdrawn() -> None:
    """R26: forced charges may exceed the count; with cost 0 the wait ends when they do not."""
    assert 0 == compute_sliding_window_wait([NOW], (Window(1, 30),), 0, NOW)
    assert 30_000 == compute_sliding_window_wait([NOW, NOW], (Window(1, 30),), 0, NOW)


# ---------------------------------------------------------------------- GCRA


@given(windows, st.integers(1, 20), st.integers(0, 40))
def test_a_gcra_wait_is_enough_and_a_millisecond_less_is_not(
    window: Window, cost: int, before: int
) -> None:
    """R52: for the wide limits too."""
    assume(cost <= window.count)
    tat = 0.0
    for _ in range(before):
        wait, new = compute_gcra(tat, window, 1, NOW)
        tat = tat if wait else new

    wait, _ = compute_gcra(tat, window, cost, NOW)

    assert 0 == compute_gcra(tat, window, cost, NOW + wait)[0]
    if wait:
        assert 1 == compute_gcra(tat, window, cost, NOW + wait - 1)[0]


@given(windows, st.lists(st.integers(0, 30_000), max_size=60))
def test_gcra_admits_no_more_than_its_burst_and_its_rate(window: Window, pauses: list[int]) -> None:
    """The contract: 60 in 10 min admits 60 at once and then one every 10 s."""
    tat, now, admitted = 0.0, NOW, []
    for pause in [0] * (window.count + 2) + pauses:
        now += pause
        wait, new = compute_gcra(tat, window, 1, now)
        if wait == 0:
            tat = new
            admitted.append(now)

    ms_per_charge = window.period_seconds * SECOND / window.count
    for i, first in enumerate(admitted):
        for j in range(i, len(admitted)):
            assert j - i + 1 <= window.count + (admitted[j] - first + 1) / ms_per_charge


def measure_burst(window: Window) -> int:
    """Return how many charges are admitted in one millisecond."""
    tat, admitted = 0.0, 0
    while admitted <= window.count:
        wait, new = compute_gcra(tat, window, 1, NOW)
        if wait:
            break
        tat, admitted = new, admitted + 1
    return admitted


def test_a_default_limits_burst_fits_into_one_millisecond() -> None:
    """The contract: a limit of 60 in 10 min admits 60 at once."""
    for window in {window for windows in DEFAULT_LIMITS.values() for window in windows}:
        assert window.count == measure_burst(window), window


@pytest.mark.parametrize("window", [Window(9, 60), Window(33, 60), Window(14, 60)], ids=str)
def test_rounding_takes_nothing_from_a_burst(window: Window) -> None:
    """The contract: also where the period is not a whole multiple of the count."""
    assert window.count == measure_burst(window)


def test_a_full_gcra_bucket_admits_the_next_one_after_its_share_of_the_period() -> None:
    """The contract: 60 in 10 min admits one every 10 s, and not 9.999."""
    full = NOW + 600.0 * SECOND

    assert 10_000 == compute_gcra(full, Window(60, 600), 1, NOW)[0]
    assert 30_000 == compute_gcra(full, Window(60, 600), 3, NOW)[0]


def test_an_unused_bucket_is_empty_at_its_tat() -> None:
    """R28: from then on, the bucket may be deleted."""
    _, tat = compute_gcra(0.0, Window(60, 600), 3, NOW)

    assert NOW + 30_000 == tat
    assert (0, NOW + 40_000) == compute_gcra(tat, Window(60, 600), 1, NOW + 30_000)


@given(windows, st.integers(1, 10), st.integers(0, 5))
def test_an_immediate_refund_restores_the_bucket(window: Window, cost: int, before: int) -> None:
    """R20: a refusal by another bucket changes nothing in this one."""
    _, tat = compute_gcra(0.0, window, before, NOW)

    _, spent = compute_gcra(tat, window, cost, NOW)
    _, refunded = compute_gcra(spent, window, -cost, NOW)

    assert max(tat, NOW) == pytest.approx(refunded, abs=0.01)


# ----------------------------------------------------------------------------- consecutive failures


def test_the_tenth_consecutive_failure_starts_a_growing_delay() -> None:
    """R19: from 30 s, doubling, to one hour."""
    waits = [compute_consecutive_failures_wait(failures, NOW, NOW) or 0 for failures in range(100)]

    assert [0] * 10 == waits[:10]
    assert [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] == [w // SECOND for w in waits[10:19]]
    assert {HOUR} == set(waits[17:])
    assert waits == sorted(waits)


@pytest.mark.parametrize("failures", [100, 101, 10_000])
def test_a_hundred_consecutive_failures_need_an_operator(failures: int) -> None:
    """R18: NIST SP 800-63B-4 §3.2.2; waiting does not."""
    assert compute_consecutive_failures_wait(failures, NOW, NOW + 90 * 24 * HOUR) is None


@given(st.integers(0, 99), st.integers(0, 2 * HOUR))
def test_a_failure_delays_for_exactly_its_wait(failures: int, later: int) -> None:
    """R52: the wait counts from the last failure."""
    wait = compute_consecutive_failures_wait(failures, NOW, NOW)
    assert wait is not None

    assert max(0, wait - later) == compute_consecutive_failures_wait(failures, NOW, NOW + later)

"""Once faults have stopped, calls end and persons log in."""

import pytest

from tests.simulation.auditor.disturbance import Disturbance
from tests.simulation.history import (
    Crashed,
    Failed,
    FaultKind,
    FaultRecord,
    Refused,
    Unavailable,
)
from tests.simulation.history_builder import NUMBER, OTHER_NUMBER, START_MS, HistoryBuilder


@pytest.fixture
def history():
    return HistoryBuilder(probe_actors=frozenset({"probe"}))


def list_liveness_rules(history):
    return [found.rule for found in history.audit() if found.promise == "liveness"]


def log_in(history, actor="probe"):
    challenge = history.issue(actor=actor)
    history.verify(challenge, actor=actor)


def be_calm(history):
    history.calm_since = history.now


def test_a_person_who_logs_in_after_the_faults_is_enough(history):
    history.issue()
    history.wait(31_000)
    be_calm(history)
    log_in(history)

    assert [] == history.list_rules()


def test_a_person_who_cannot_log_in_is_found(history):
    be_calm(history)
    challenge = history.issue(actor="probe")
    history.refuse("verify", "rate-limited", actor="probe", challenge=challenge, code="1")

    assert ["a person cannot log in after the faults"] == history.list_rules()


def test_a_person_who_logged_in_before_the_end_of_the_faults_has_to_again(history):
    log_in(history)
    history.wait(1_000)
    be_calm(history)

    assert ["no person tried to log in after the faults"] == history.list_rules()


def test_a_run_may_have_some_of_the_probes():
    history = HistoryBuilder(probe_actors=frozenset({"probe", "another probe"}))
    log_in(history)

    history.calm_since = START_MS
    assert [] == history.list_rules()


def refuse_probe(history, **arguments):
    arguments = {"phone_number": NUMBER, "actor": "probe", **arguments}
    history.refuse("issue", "rate-limited", limit="CooldownPerNumber", retry_after=20, **arguments)


def test_a_person_waits_as_long_as_retry_after_says(history):
    history.issue()
    be_calm(history)
    history.wait(10_000)
    refuse_probe(history)
    history.wait(20_000)
    log_in(history)

    assert [] == history.list_rules()


def test_a_retry_after_that_is_too_short_is_found(history):
    history.issue()
    be_calm(history)
    refuse_probe(history)
    history.wait(20_000)
    refuse_probe(history)
    history.wait(20_000)
    log_in(history)

    (violation,) = history.audit()

    assert "a call was refused again after Retry-After" == violation.rule
    assert ("probe", "CooldownPerNumber", (1, 2)) == (
        violation.subject,
        violation.details,
        violation.calls,
    )


@pytest.mark.parametrize(("number", "rules"), [(NUMBER, 0), (OTHER_NUMBER, 1)])
def test_another_call_may_have_spent_what_was_free(history, number, rules):
    history.issue()
    be_calm(history)
    refuse_probe(history)
    history.wait(10_000)
    history.issue("4711000002", number=number, actor="other")
    history.wait(10_000)
    refuse_probe(history)
    history.wait(31_000)
    log_in(history)

    assert ["a call was refused again after Retry-After"] * rules == list_liveness_rules(history)


def test_a_call_that_does_not_end_is_found(history):
    log_in(history)
    history.wait(31_000)
    history.call("issue", None, phone_number=NUMBER)
    be_calm(history)
    log_in(history)
    history.wait(15_000)

    assert ["a call did not end within its deadline"] == list_liveness_rules(history)


def test_a_call_that_ends_late_is_found(history):
    be_calm(history)
    history.issue(ms=15_001, actor="probe")
    history.verify(next(iter(history.submissions)).challenge, actor="probe")

    assert ["a call did not end within its deadline"] == history.list_rules()


def test_a_deadline_counts_from_the_end_of_the_faults(history):
    start = history.now
    history.calm_since = start + 90_000
    history.issue(ms=100_000)
    history.wait(31_000)
    log_in(history)

    assert [] == list_liveness_rules(history)


def test_a_call_of_a_dead_worker_has_ended(history):
    history.call("get", Crashed(), challenge="c07-1")
    be_calm(history)
    history.wait(31_000)
    log_in(history)

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("seconds", "reason", "rules"),
    [
        (6, "store-unavailable", ["a call was 503 although nothing was wrong"]),
        (4, "store-unavailable", []),
        (6, "overloaded", []),
    ],
)
def test_a_503_of_a_store_that_answers_is_found(history, seconds, reason, rules):
    be_calm(history)
    history.wait(seconds * 1000)
    history.call("get", Unavailable(reason), challenge="c07-1")
    log_in(history)

    assert rules == history.list_rules()


def test_an_exception_is_found_at_any_time(history):
    history.call("get", Failed("KeyError in get"), challenge="c07-1")
    be_calm(history)
    log_in(history)
    history.unhandled_errors.append("Task exception was never retrieved")

    assert ["a call failed with an exception", "an exception was not handled"] == (
        history.list_rules()
    )


# ---- what faults excuse


def build_disturbance(*faults, **settings):
    history = HistoryBuilder(**settings)
    for kind, start, ms, members in faults:
        history.add_fault(kind, at=START_MS + start, ms=ms, **members)
    call = history.call("issue", Refused("rate-limited"), at=START_MS, phone_number=NUMBER)
    return Disturbance(history.build()), call


def test_a_refused_call_has_no_charge_a_second_later():
    disturbance, call = build_disturbance()

    assert call.ended_at + 1_000 == disturbance.find_release(call)


def test_a_refund_waits_for_the_end_of_each_outage_that_follows_another():
    disturbance, call = build_disturbance(
        (FaultKind.STORE_DOWN, 50, 3_000, {}), (FaultKind.LINK_CUT, 6_000, 10_000, {})
    )

    assert START_MS + 16_000 + 5_000 == disturbance.find_release(call)


def test_a_store_is_closed_only_if_it_was_for_the_whole_span():
    disturbance, _ = build_disturbance((FaultKind.STORE_FULL, 100, 100, {}))

    assert disturbance.is_store_closed(START_MS + 101, START_MS + 199)
    assert not disturbance.is_store_closed(START_MS + 100, START_MS + 150)
    assert not disturbance.is_store_closed(START_MS + 150, START_MS + 200)


def test_a_clock_that_is_set_and_set_right_has_two_steps():
    disturbance, _ = build_disturbance((FaultKind.STORE_CLOCK, 100, 100, {"jump_ms": -5_000}))
    before, during, after = (START_MS + at for at in (99, 150, 200))

    read = disturbance.read_store_clocks
    assert [0, -5_000, 0] == [read(at)[0] - at for at in (before, during, after)]
    assert [0, 5_000, 10_000] == [disturbance.stretch(at) - at for at in (before, during, after)]


def test_a_clock_that_is_set_right_at_once_was_never_wrong():
    history = HistoryBuilder()
    at = history.now
    fault = FaultRecord(kind=FaultKind.STORE_CLOCK, at=at, until=at, jump_ms=400_000)
    history.faults.append(fault)

    assert (at + 5, at + 5) == Disturbance(history.build()).read_store_clocks(at + 5)


def test_a_clock_that_is_set_within_a_span_shows_instants_of_before_and_after():
    disturbance, _ = build_disturbance((FaultKind.STORE_CLOCK, 100, 100, {"jump_ms": -5_000}))

    read = disturbance.read_store_clocks
    start = START_MS
    assert (start, start + 50) == read(start, start + 50)
    assert (start + 100 - 5_000, start + 100) == read(start, start + 150)
    assert (start + 100 - 5_000, start + 250) == read(start, start + 250)


def test_clocks_of_two_servers_are_a_span():
    disturbance, _ = build_disturbance(
        (FaultKind.STORE_CLOCK, 0, 0, {"jump_ms": -5_000, "target": "one"}),
        (FaultKind.STORE_CLOCK, 0, 0, {"jump_ms": 2_000, "target": "two"}),
    )

    at = START_MS + 10
    assert (at - 5_000, at + 2_000) == disturbance.read_store_clocks(at)

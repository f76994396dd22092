"""Five comparisons a challenge, and none while the store is in doubt."""

import pytest

from tests.simulation.history import Canceled, FaultKind, Refused, Unavailable
from tests.simulation.history_builder import CODE, WRONG_CODE, HistoryBuilder


TOO_MANY = "a challenge was compared more often than it has attempts"


def guess(history, challenge, times):
    return [history.verify(challenge, WRONG_CODE) for _ in range(times)]


def test_five_guesses_are_compared():
    history = HistoryBuilder()
    challenge = history.issue()
    guess(history, challenge, 5)
    history.refuse("verify", "challenge-locked", challenge=challenge, code=CODE)

    assert [] == history.list_rules()


def test_a_sixth_comparison_is_found():
    history = HistoryBuilder()
    challenge = history.issue()
    guess(history, challenge, 6)

    (violation,) = history.audit()

    assert (TOO_MANY, challenge) == (violation.rule, violation.subject)
    assert "6 comparisons" == violation.details
    assert (1, 2, 3, 4, 5, 6) == violation.calls


def test_a_sixth_comparison_counts_whatever_became_of_its_call():
    """The caller gives up, and the code is compared all the same."""
    history = HistoryBuilder()
    challenge = history.issue()
    guess(history, challenge, 5)
    call = history.call("verify", Canceled(), challenge=challenge, code=WRONG_CODE)
    history.compare(call, challenge, WRONG_CODE)

    assert [TOO_MANY] == history.list_rules()


def test_answers_count_where_the_hasher_is_not_seen():
    """Of a real process only answers are known."""
    history = HistoryBuilder()
    challenge = history.issue()
    guess(history, challenge, 6)
    history.comparisons.clear()

    assert [TOO_MANY] == history.list_rules()


def test_a_repeated_answer_is_no_comparison():
    history = HistoryBuilder()
    challenge = history.issue()
    guess(history, challenge, 4)
    first = history.verify(challenge, idempotency_key="k")
    history.repeat(first.number)

    assert [] == history.list_rules()


@pytest.mark.parametrize(("lost_writes", "rules"), [(1, []), (0, [TOO_MANY])])
def test_without_replicas_a_failover_gives_back_the_attempts_that_it_lost(lost_writes, rules):
    history = HistoryBuilder()
    challenge = history.issue()
    guess(history, challenge, 3)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=lost_writes)
    guess(history, challenge, 3)

    assert rules == history.list_rules()


def test_with_replicas_a_failover_gives_no_attempt_back():
    history = HistoryBuilder(is_replicated=True)
    challenge = history.issue()
    guess(history, challenge, 3)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=50)
    guess(history, challenge, 3)

    assert [TOO_MANY] == history.list_rules()


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.STORE_DOWN,
        FaultKind.STORE_FULL,
        FaultKind.STORE_READ_ONLY,
        FaultKind.STORE_LOADING,
    ],
)
def test_a_comparison_while_the_store_took_no_write_is_found(kind):
    history = HistoryBuilder()
    challenge = history.issue()
    history.add_fault(kind, ms=5_000)
    history.wait(1)  # so that it is certain which was first
    call = history.call("verify", Unavailable(), challenge=challenge, code=CODE)
    history.compare(call, challenge, CODE)

    assert ["a code was compared while the store took no write"] == history.list_rules()


def test_a_comparison_of_a_call_that_began_before_the_store_failed_is_lawful():
    history = HistoryBuilder()
    challenge = history.issue()
    history.add_fault(FaultKind.STORE_DOWN, ms=5_000, at=history.now + 10)
    call = history.call("verify", Unavailable(), challenge=challenge, code=CODE)
    history.compare(call, challenge, CODE)

    assert [] == history.list_rules()


def test_a_fault_in_the_first_millisecond_of_a_call_may_follow_its_commit():
    history = HistoryBuilder()
    challenge = history.issue()
    history.add_fault(FaultKind.STORE_READ_ONLY, ms=5_000)
    history.verify(challenge, outcome=Unavailable())

    assert [] == [found for found in history.audit() if found.promise == "comparisons"]


@pytest.mark.parametrize(
    ("is_replicated", "rules"),
    [
        (True, ["a code was compared while too few replicas could have its attempt"]),
        (False, []),
    ],
)
def test_a_comparison_without_its_replicas_is_found(is_replicated, rules):
    """This is what a service does that ignores the reply of WAIT."""
    history = HistoryBuilder(is_replicated=is_replicated)
    challenge = history.issue()
    history.add_fault(FaultKind.REPLICA_DOWN, ms=5_000)
    history.wait(1)
    call = history.call("verify", Canceled(), challenge=challenge, code=CODE)
    history.compare(call, challenge, CODE)

    assert rules == history.list_rules()


def test_a_comparison_that_its_event_calls_reversed_is_found():
    history = HistoryBuilder()
    challenge = history.issue()
    call = history.call("verify", Unavailable(), challenge=challenge, code=CODE)
    history.compare(call, challenge, CODE)
    history.add_event("otp.verify_denied", call, challenge, reason="store_unavailable")

    assert ["a code was compared in a call that an event calls reversed"] == history.list_rules()


def test_two_challenges_under_one_salt_are_found():
    """This is what a service does that uses a prepared code twice."""
    history = HistoryBuilder()
    first = history.issue()
    history.wait(31_000)
    second = history.issue("4711000002")
    for challenge in (first, second):
        call = history.call(
            "verify", Refused("incorrect-code"), challenge=challenge, code=WRONG_CODE
        )
        history.add_event("otp.attempted", call, challenge)
        history.add_event("otp.rejected", call, challenge)
        history.compare(call, challenge, WRONG_CODE, salt="5a17")

    assert ["two challenges were compared under one salt"] == history.list_rules()


def test_the_tokens_of_one_recovery_set_share_a_salt():
    history = HistoryBuilder()
    codes = history.create_recovery_set()
    for token, code, left in (("r1.new", codes[0], 9), ("r1.next", codes[1], 8)):
        call = history.use_recovery_code(token, code, left=left)
        history.compare(call, token, code, salt="5a17")

    assert [] == history.list_rules()

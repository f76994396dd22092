"""Each answer belongs to its call, each refusal has its reason, and attempts are counted once."""

import pytest

from tests.simulation.history import Answered, Canceled, FaultKind, Refused
from tests.simulation.history_builder import (
    CODE,
    NUMBER,
    OTHER_NUMBER,
    WRONG_CODE,
    HistoryBuilder,
)


SECOND_CODE = "4711000002"


@pytest.fixture
def history():
    return HistoryBuilder()


def list_answer_rules(history):
    return [found.rule for found in history.audit() if found.promise == "answers"]


def get(history, challenge, **value):
    return history.call("get", Answered({"id": challenge, **value}), challenge=challenge)


# ---- answers


def test_a_challenge_is_shown_as_it_was_issued(history):
    challenge = history.issue()
    get(history, challenge, expires_at=history.calls[0].outcome.value["expires_at"])

    assert [] == history.list_rules()


def test_the_answer_of_another_call_is_found(history):
    """This is what a service does that matches a reply to the wrong command."""
    challenge = history.issue()
    call = history.call("get", Answered({"id": "c07-other"}), challenge=challenge)

    (violation,) = history.audit()

    assert "a call was answered with another challenge" == violation.rule
    assert (challenge, (call.number,)) == (violation.subject, violation.calls)


def test_a_deadline_that_moves_is_found(history):
    challenge = history.issue()
    get(history, challenge, expires_at=history.now + 300_000)

    assert ["the deadline of a challenge moved"] == history.list_rules()


def test_a_challenge_that_another_tenant_sees_is_found(history):
    challenge = history.issue()
    history.call("get", Answered({"id": challenge}), challenge=challenge, tenant="bank")

    assert ["a challenge was shown to another tenant"] == history.list_rules()


def test_a_2xx_on_a_verify_means_verified(history):
    challenge = history.issue()
    history.verify(challenge, outcome=Answered({"id": challenge, "status": "pending"}))

    assert ["a verify was answered without being verified"] == history.list_rules()


# ---- refusals


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("verify", "challenge-not-found"),
        ("verify", "challenge-expired"),
        ("resend", "challenge-expired"),
        ("verify", "challenge-canceled"),
        ("verify", "challenge-already-verified"),
        ("verify", "challenge-locked"),
        ("resend", "sends-exhausted"),
        ("get", "challenge-not-found"),
    ],
)
def test_a_refusal_without_its_reason_is_found(history, kind, reason):
    challenge = history.issue()
    history.wait(40_000)
    code = CODE if kind == "verify" else None
    history.refuse(kind, reason, challenge=challenge, code=code, account="u-1")

    assert [f"{reason} was answered without a reason"] == list_answer_rules(history)


def test_a_refusal_after_its_reason_is_lawful(history):
    verified, canceled, guessed = (
        history.issue(f"471100000{number}", number=f"+44740012345{number}") for number in range(3)
    )
    history.verify(verified, "4711000000")
    history.call("cancel", Answered(), challenge=canceled)
    history.add_event("otp.canceled", history.calls[-1], canceled)
    for _ in range(5):
        history.verify(guessed, WRONG_CODE)
    for challenge, reason in (
        (verified, "challenge-already-verified"),
        (canceled, "challenge-canceled"),
        (guessed, "challenge-locked"),
    ):
        history.refuse("verify", reason, challenge=challenge, code=CODE, account="u-1")
    history.wait(3_700_000)
    history.refuse("get", "challenge-not-found", challenge=verified)

    assert [] == history.list_rules()


def test_an_unknown_outcome_may_be_the_reason(history):
    verified, canceled = history.issue(), history.issue(number=OTHER_NUMBER)
    history.call("verify", Canceled(), challenge=verified, code=CODE)
    history.call("cancel", Canceled(), challenge=canceled)
    for challenge, reason in (
        (verified, "challenge-already-verified"),
        (canceled, "challenge-canceled"),
    ):
        history.refuse("verify", reason, challenge=challenge, code=CODE)

    assert [] == list_answer_rules(history)


def test_a_challenge_of_another_tenant_is_not_found(history):
    challenge = history.issue()
    history.refuse(
        *("verify", "challenge-not-found"), challenge=challenge, code=CODE, tenant="bank"
    )

    assert [] == history.list_rules()


def test_a_loss_is_a_reason(history):
    challenge = history.issue()
    history.add_fault(FaultKind.STORE_REPLACED)
    history.refuse("verify", "challenge-not-found", challenge=challenge, code=CODE)

    assert [] == list_answer_rules(history)


def test_a_right_code_that_is_refused_is_found(history):
    challenge = history.issue()
    history.verify(challenge, outcome=Refused("incorrect-code"))

    assert ["incorrect-code was answered without a reason"] == history.list_rules()


@pytest.mark.parametrize(
    ("name", "value"), [("account", "u-2"), ("phone_number", OTHER_NUMBER), ("purpose", "payment")]
)
def test_a_right_code_with_another_bound_value_is_refused(history, name, value):
    challenge = history.issue()
    history.verify(challenge, outcome=Refused("incorrect-code"), **{name: value})

    assert [] == history.list_rules()


def test_a_code_that_newer_ones_replaced_is_refused(history):
    challenge = history.issue()
    for send in (2, 3):
        history.wait(31_000)
        history.resend(challenge, f"471100000{send}", send)
    history.verify(challenge, CODE, outcome=Refused("incorrect-code"))

    assert [] == history.list_rules()


@pytest.mark.parametrize("reason", ["blocked", "opted_out"])
def test_a_number_that_was_never_blocked_is_found(history, reason):
    details = {"reason": reason}
    history.refuse("issue", "number-not-allowed", details=details, phone_number=NUMBER)

    assert [f"a number was refused as {reason} that never was"] == history.list_rules()


def test_a_number_of_a_foreign_country_needs_no_block(history):
    details = {"reason": "country"}
    history.refuse("issue", "number-not-allowed", details=details, phone_number=NUMBER)

    assert [] == history.list_rules()


# ---- counts


def reject(history, challenge, left):
    outcome = Refused("incorrect-code", details={"attempts_left": left})
    return history.verify(challenge, WRONG_CODE, outcome=outcome)


def test_each_wrong_code_takes_one_attempt(history):
    challenge = history.issue()
    for left in (4, 3, 2, 1, 0):
        reject(history, challenge, left)

    assert [] == history.list_rules()


def test_an_attempt_that_counted_twice_is_found(history):
    challenge = history.issue()
    reject(history, challenge, 4)
    reject(history, challenge, 2)

    assert ["an attempt counted twice"] == history.list_rules()


def test_an_attempt_that_was_not_counted_is_found(history):
    challenge = history.issue()
    reject(history, challenge, 4)
    reject(history, challenge, 4)

    assert ["an attempt was not counted"] == history.list_rules()


def test_a_call_whose_caller_gave_up_may_have_taken_an_attempt(history):
    challenge = history.issue()
    history.call("verify", Canceled(), challenge=challenge, code=WRONG_CODE)
    reject(history, challenge, 3)

    assert [] == history.list_rules()


def fail_in_a_row(history, seconds, times=1):
    for number in range(times):
        challenge = history.issue(f"47120{len(history.calls):05d}")
        history.wait(seconds[number] * 1000 if isinstance(seconds, list) else seconds * 1000)
        history.verify(challenge, WRONG_CODE)


def test_after_ten_failures_in_a_row_each_attempt_waits_longer():
    history = HistoryBuilder({})
    fail_in_a_row(history, 1, 10)
    fail_in_a_row(history, [31, 61, 121], 3)

    assert [] == history.list_rules()


@pytest.mark.parametrize("waits", [[20], [31, 31]])
def test_an_attempt_that_did_not_wait_is_found(waits):
    history = HistoryBuilder({})
    fail_in_a_row(history, 1, 10)
    fail_in_a_row(history, waits, len(waits))

    # Once for the number, and once for the account.
    assert ["an attempt did not wait after failures in a row"] * 2 == history.list_rules()


def test_a_success_begins_the_row_again():
    history = HistoryBuilder({})
    fail_in_a_row(history, 1, 10)
    history.verify(history.issue())
    fail_in_a_row(history, 1, 5)

    assert [] == history.list_rules()


@pytest.mark.parametrize("reason", ["number-locked", "account-locked"])
def test_a_lock_without_a_hundred_failures_is_found(history, reason):
    challenge = history.issue()
    history.refuse("verify", reason, challenge=challenge, code=CODE, account="u-1")

    kind = "Number" if reason == "number-locked" else "Account"
    rule = f"ConsecutiveFailuresPer{kind} refused without as many failures"
    assert [rule] == history.list_rules()


def test_a_lock_after_as_many_failures_is_lawful():
    history = HistoryBuilder({"ConsecutiveFailuresPerNumber": ((2, 90 * 86_400),)})
    fail_in_a_row(history, 1, 2)
    challenge = history.issue()
    history.refuse("verify", "number-locked", challenge=challenge, code=CODE, account="u-1")

    assert [] == history.list_rules()


def test_a_delay_without_ten_failures_is_found(history):
    challenge = history.issue()
    history.refuse(
        *("verify", "rate-limited"),
        limit="ConsecutiveFailuresPerNumber",
        retry_after=30,
        challenge=challenge,
        code=CODE,
    )

    assert ["ConsecutiveFailuresPerNumber refused without as many failures"] == (
        history.list_rules()
    )

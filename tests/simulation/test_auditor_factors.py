"""A time step and a recovery code are accepted once."""

import pytest

from tests.simulation.auditor.authenticator_steps import compute_code
from tests.simulation.history import Answered, Canceled, FaultKind, Refused
from tests.simulation.history_builder import SECRET_BYTES, HistoryBuilder


STEP_TWICE = "a time step was accepted twice"
CODE_TWICE = "a recovery code was accepted twice"


@pytest.fixture
def history():
    return HistoryBuilder()


def list_factor_rules(history):
    return [found.rule for found in history.audit() if found.promise == "factors"]


@pytest.mark.parametrize(
    ("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (2000000000, "279037")]
)
def test_codes_are_those_of_rfc_6238(seconds, code):
    """The last six digits of the test vectors in its Appendix B."""
    assert code == compute_code(SECRET_BYTES, seconds // 30)


def test_each_step_is_accepted_once(history):
    token = history.confirm()
    for _ in range(3):
        history.wait(30_000)
        history.verify_app(token)
    history.verify_app(token, outcome=Refused("code-already-used"))
    history.verify_app(token, step=5, outcome=Refused("incorrect-code"))

    assert [] == history.list_rules()


def test_a_step_that_was_accepted_twice_is_found(history):
    token = history.confirm()
    history.wait(30_000)
    history.verify_app(token)
    history.verify_app(token)

    (violation,) = history.audit()

    assert (STEP_TWICE, "u-1", (2, 3)) == (violation.rule, violation.subject, violation.calls)


def test_the_step_of_the_confirmation_counts(history):
    token = history.confirm()
    history.verify_app(token)

    assert [STEP_TWICE] == history.list_rules()


def test_a_repeat_with_the_same_key_is_no_second_use(history):
    token = history.confirm()
    history.wait(30_000)
    first = history.verify_app(token, idempotency_key="k")
    history.repeat(first.number)

    assert [] == history.list_rules()


def test_a_step_that_is_older_than_one_before_is_found(history):
    token = history.confirm(step=-1)
    history.wait(30_000)
    history.verify_app(token, step=1)
    history.verify_app(token, step=0)

    assert ["an older time step was accepted after a newer one"] == history.list_rules()


def test_two_steps_at_the_same_time_have_no_order(history):
    token = history.confirm(step=-1)
    history.wait(30_000)
    start = history.now
    history.verify_app(token, step=1, at=start)
    history.verify_app(token, step=0, at=start, ms=150)

    assert [] == history.list_rules()


@pytest.mark.parametrize("kind", [FaultKind.STORE_REPLACED, FaultKind.STORE_FAILOVER])
def test_no_loss_excuses_a_step_that_is_accepted_twice(history, kind):
    """The service waits until each code is new: CodesAfterDataLoss."""
    token = history.confirm()
    history.wait(30_000)
    history.verify_app(token)
    history.add_fault(kind, lost_writes=10)
    history.verify_app(token)

    assert [STEP_TWICE] == list_factor_rules(history)


def test_a_step_is_that_of_the_clock_of_the_store(history):
    token = history.confirm()
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=3_600_000)
    history.verify_app(token, step=120)

    assert [] == list_factor_rules(history)


@pytest.mark.parametrize(
    ("jump_ms", "rules"),
    [(-30_000, []), (0, ["an older time step was accepted after a newer one"])],
)
def test_a_clock_that_was_set_back_shows_older_steps_again(history, jump_ms, rules):
    token = history.confirm()
    history.wait(30_000)
    history.verify_app(token, step=1)
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=jump_ms)
    history.verify_app(token, step=0 if jump_ms == 0 else -1)

    assert rules == list_factor_rules(history)


@pytest.mark.parametrize("step", [-120, 0])
def test_a_step_is_that_of_either_clock_if_it_was_set_during_the_call(history, step):
    token = history.confirm()
    history.wait(30_000)
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=-3_600_000, at=history.now + 50)
    history.verify_app(token, step=step)

    assert [] == list_factor_rules(history)


def test_a_code_of_no_near_step_that_was_accepted_is_found(history):
    token = history.confirm()
    history.verify_app(token, step=3)

    assert ["an authenticator accepted a code of no near time step"] == history.list_rules()


def test_the_code_of_a_near_step_that_was_refused_is_found(history):
    token = history.confirm()
    history.wait(30_000)
    history.verify_app(token, step=0, outcome=Refused("incorrect-code"))

    assert ["an authenticator refused the code of a near time step"] == history.list_rules()


@pytest.mark.parametrize(("name", "value"), [("account", "u-2"), ("tenant", "bank")])
def test_an_authenticator_of_another_account_is_found(history, name, value):
    token = history.confirm()
    history.wait(30_000)
    history.verify_app(token, **{name: value})

    assert ["an authenticator was accepted for another account"] == list_factor_rules(history)


def test_an_unconfirmed_authenticator_that_verifies_is_found(history):
    history.confirm()
    history.wait(30_000)
    history.verify_app("a1.new")

    assert ["an authenticator was used in the wrong state"] == list_factor_rules(history)


def test_a_confirmation_after_half_an_hour_is_found(history):
    history.confirm()
    history.wait(1_800_000)
    history.verify_app("a1.new", kind="confirm_authenticator", returned="a1.late")

    assert ["an authenticator was confirmed after half an hour"] == list_factor_rules(history)


def test_each_recovery_code_is_accepted_once(history):
    codes = history.create_recovery_set()
    history.use_recovery_code("r1.new", codes[0])
    history.use_recovery_code("r1.next", codes[1].lower(), returned="r1.third", left=8)
    history.use_recovery_code("r1.third", codes[1], outcome=Refused("code-already-used"))

    assert [] == history.list_rules()


@pytest.mark.parametrize("token", ["r1.new", "r1.next"])
def test_a_recovery_code_that_was_accepted_twice_is_found(history, token):
    codes = history.create_recovery_set()
    history.use_recovery_code("r1.new", codes[0])
    history.use_recovery_code(token, codes[0], left=8)

    assert [CODE_TWICE] == history.list_rules()


@pytest.mark.parametrize(("token", "rules"), [("r1.new", []), ("r1.next", [CODE_TWICE])])
def test_after_a_loss_only_the_newest_token_protects(history, token, rules):
    codes = history.create_recovery_set()
    history.use_recovery_code("r1.new", codes[0])
    history.add_fault(FaultKind.STORE_REPLACED)
    history.use_recovery_code(token, codes[0])

    assert rules == list_factor_rules(history)


def test_a_recovery_code_that_may_have_been_used_before_is_repeated_with_its_key(history):
    codes = history.create_recovery_set()
    history.call(
        *("verify_recovery_code", Canceled()),
        recovery_set="r1.new",
        code=codes[0],
        account="u-1",
        idempotency_key="k",
    )
    history.use_recovery_code("r1.new", codes[0], idempotency_key="k")

    assert [] == history.list_rules()


def test_a_recovery_code_of_another_set_is_found(history):
    history.create_recovery_set()
    history.use_recovery_code("r1.new", "ZZZZ-ZZZZ-ZZZZ-ZZZZ")

    assert ["a recovery code was accepted that is not in its set"] == history.list_rules()


def test_a_recovery_set_of_another_account_is_found(history):
    codes = history.create_recovery_set()
    history.use_recovery_code("r1.new", codes[0], account="u-2")

    assert ["a recovery code was accepted for another account"] == history.list_rules()


def test_a_count_that_includes_a_used_code_is_found(history):
    codes = history.create_recovery_set()
    history.use_recovery_code("r1.new", codes[0])
    history.use_recovery_code("r1.next", codes[1], left=9)

    assert ["codes_left counts a code that was used"] == history.list_rules()


def test_a_token_that_no_call_returned_is_not_judged(history):
    """One of another run, of which the secret is unknown."""
    history.call(
        "verify_authenticator", Answered({"authenticator": "a1.x"}), authenticator="a1.y", code="1"
    )

    assert [] == list_factor_rules(history)

"""Budgets are spent by what may have been billed, and by nothing else."""

import math

import pytest

from tests.simulation.auditor.budget import (
    PossibleCharges,
    PossibleSpend,
    Spend,
    find_burst_excess,
    find_window_excess,
)
from tests.simulation.history import (
    Answered,
    Canceled,
    Crashed,
    FaultKind,
    Refused,
    Unavailable,
)
from tests.simulation.history_builder import (
    DEFAULT_LIMITS,
    NUMBER,
    OTHER_NUMBER,
    WRONG_CODE,
    HistoryBuilder,
)


COOLDOWN = "CooldownPerNumber admitted more than its budget"
UNFOUNDED = "CooldownPerNumber refused although its budget cannot be spent"


@pytest.fixture
def history():
    return HistoryBuilder()


def list_charge_rules(history):
    return [found.rule for found in history.audit() if found.promise == "charges"]


def issue_many(history, times, seconds, **arguments):
    for number in range(times):
        history.issue(f"47110{len(history.calls):05d}", **arguments)
        history.wait(seconds * 1000 if number < times - 1 else 0)


def refuse_issue(history, limit, retry_after=30, number=NUMBER, **arguments):
    return history.refuse(
        "issue",
        "rate-limited",
        limit=limit,
        retry_after=retry_after,
        phone_number=number,
        account="u-1",
        **arguments,
    )


# ---- the arithmetic


def spend_at(*instants):
    return [Spend(at, at, number) for number, at in enumerate(instants)]


def test_an_exact_window_frees_a_charge_exactly_one_period_later():
    assert find_window_excess(spend_at(0, 10, 1_000), [], 2, 1_000) is None
    assert find_window_excess(spend_at(0, 10, 999), [], 2, 1_000) is not None


def test_a_charge_within_a_span_may_be_at_either_end():
    spends = [Spend(0, 500, 0), Spend(900, 1_100, 1)]

    assert find_window_excess(spends, [], 1, 1_000) is None
    assert find_window_excess(spends, [], 1, 1_101) is not None


def test_a_forced_charge_counts_for_later_ones_and_is_never_too_many():
    assert find_window_excess(spend_at(0), spend_at(5, 6, 7), 1, 1_000) is None
    assert find_window_excess(spend_at(0, 10), spend_at(5), 2, 1_000) is not None


@pytest.mark.parametrize(("last", "is_excess"), [(1_000, False), (999, False), (980, True)])
def test_gcra_admits_a_burst_and_then_one_after_another(last, is_excess):
    """Two in 2,000 ms: a third fits after 1,000 ms; rounding may add a hundredth of a charge."""
    excess = find_burst_excess(spend_at(0, 0, last), 2, 2_000)

    assert is_excess == (excess is not None)


def test_gcra_finds_a_burst_after_a_quiet_time():
    assert find_burst_excess(spend_at(0, 10_000, 10_000, 10_000), 2, 2_000) is not None


def test_what_time_has_emptied_is_no_excess_of_gcra():
    """A success takes one failure more: that explains an excess of one, and not all charges of a while."""
    excess = find_burst_excess(spend_at(0, 0, 0, 500, 1_000), 3, 3_000)

    assert excess is not None
    assert 4 == excess.total


def test_a_possible_charge_counts_until_it_is_refunded():
    charges = PossibleCharges([PossibleSpend(0, 10, 50, 0), PossibleSpend(0, 10, math.inf, 1)])

    assert 2 == charges.count_units(9, (40, 60), 1_000) + 1  # the call 9 itself is not among them
    assert 1 == charges.count_units(9, (51, 60), 1_000) + 1
    assert 0 == charges.count_units(9, (1_010, 1_020), 1_000) + 1


def test_gcra_is_full_only_if_so_many_charges_are_possible():
    charges = PossibleCharges([PossibleSpend(0, 0, math.inf, number) for number in range(2)])

    assert charges.can_fill_burst(9, (0, 0), 2, 2_000)
    assert charges.can_fill_burst(9, (999, 999), 2, 2_000)
    assert not charges.can_fill_burst(9, (1_010, 1_010), 2, 2_000)
    assert not charges.can_fill_burst(9, (0, 0), 3, 2_000)


# ---- sends


def test_sends_that_wait_for_the_cooldown_are_within_the_budget(history):
    issue_many(history, 5, 30)
    refuse_issue(history, "SendsPerNumberAndTenant", 500)

    assert [] == history.list_rules()


def test_a_send_within_the_cooldown_is_found(history):
    issue_many(history, 2, 29)

    (violation,) = history.audit()

    assert (COOLDOWN, NUMBER, (0, 1)) == (violation.rule, violation.subject, violation.calls)


def test_two_sends_at_the_same_time_are_found(history):
    start = history.now
    history.issue(at=start)
    history.issue("4711000002", at=start)

    assert [COOLDOWN] == history.list_rules()


def test_a_sixth_send_in_ten_minutes_is_found(history):
    """This is what a service does that refunds a charge twice."""
    issue_many(history, 6, 31)

    assert ["SendsPerNumberAndTenant admitted more than its budget"] == history.list_rules()


def test_a_number_has_one_budget_for_all_tenants(history):
    for tenant in ("shop", "bank", "shop", "bank", "shop", "bank", "shop", "bank", "bank"):
        history.issue(f"47110{len(history.calls):05d}", tenant=tenant)
        history.wait(31_000)

    assert ["SendsPerNumber admitted more than its budget"] == history.list_rules()


def test_a_message_of_a_crashed_call_stays_charged(history):
    history.issue(outcome=Crashed())
    history.issue("4711000002")

    assert [COOLDOWN] == history.list_rules()


def test_the_further_messages_of_a_send_are_charged(history):
    for number in range(4):
        challenge = history.issue(f"471100000{number}", answer="unknown")
        call = history.calls[-1]
        history.send(call, challenge, f"471100000{number}", ordinal=2, at=call.started_at + 60)
        history.wait(31_000)

    assert ["SendsPerNumberAndTenant admitted more than its budget"] == history.list_rules()


def test_what_no_provider_took_is_refunded_except_the_cooldown(history):
    for number in range(6):
        outcome = Refused("delivery-failed") if number < 2 else None
        answer = "refused" if number < 2 else "accepted"
        history.issue(f"471100000{number}", answer=answer, outcome=outcome)
        history.wait(31_000)
    assert [] == history.list_rules()

    history.wait(-25_000)
    history.issue("4711000009")
    assert COOLDOWN in history.list_rules()


def test_a_limit_that_refuses_without_charges_is_found(history):
    history.issue(number=OTHER_NUMBER)
    refuse_issue(history, "CooldownPerNumber")

    assert [UNFOUNDED] == history.list_rules()


def test_a_limit_that_refuses_after_its_window_is_found(history):
    history.issue()
    history.wait(30_500)
    refuse_issue(history, "CooldownPerNumber", 1)

    assert [UNFOUNDED] == history.list_rules()


def test_a_refused_call_costs_nothing(history):
    history.issue()
    for _ in range(6):
        history.wait(2_000)
        refuse_issue(history, "CooldownPerNumber", 20)
    history.wait(17_000)
    refuse_issue(history, "SendsPerNumberAndTenant")

    assert ["SendsPerNumberAndTenant refused although its budget cannot be spent"] == (
        history.list_rules()
    )


def test_a_call_that_runs_may_have_charged(history):
    start = history.now
    history.call("issue", Canceled(), at=start, ms=10, phone_number=NUMBER)
    refuse_issue(history, "CooldownPerNumber", at=start + 20)

    assert [] == history.list_rules()


def test_a_503_is_refunded_once_the_store_answers(history):
    history.add_fault(FaultKind.STORE_DOWN, ms=10_000)
    history.call("issue", Unavailable(retry_after=1), phone_number=NUMBER)
    refuse_issue(history, "CooldownPerNumber")
    assert [] == list_charge_rules(history)

    history.wait(16_000)
    refuse_issue(history, "CooldownPerNumber")
    assert [UNFOUNDED] == list_charge_rules(history)


def test_a_503_with_too_few_replicas_is_refunded_at_once():
    """This is what a service does that forgets the refund after an unmet WAIT."""
    history = HistoryBuilder(is_replicated=True)
    history.add_fault(FaultKind.REPLICA_DOWN, ms=1_000)
    history.call("issue", Unavailable(retry_after=1), phone_number=NUMBER)
    history.wait(7_000)
    refuse_issue(history, "CooldownPerNumber")

    assert [UNFOUNDED] == history.list_rules()


def test_a_loss_may_take_a_refund_back(history):
    refuse_issue(history, "SendsPerNumber")
    history.wait(5_000)
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=5)
    refuse_issue(history, "CooldownPerNumber")

    assert "CooldownPerNumber" not in str(history.list_rules())


@pytest.mark.parametrize("trouble", ["crash", "long outage"])
def test_a_refund_may_be_lost_with_its_worker_or_in_a_long_outage(history, trouble):
    history.add_fault(FaultKind.STORE_DOWN, ms=300_000 if trouble == "long outage" else 2_000)
    history.call("issue", Unavailable(retry_after=1), phone_number=NUMBER)
    if trouble == "crash":
        history.add_fault(FaultKind.WORKER_CRASH, target="a1")
    history.wait(20_000)
    refuse_issue(history, "CooldownPerNumber")

    assert [] == list_charge_rules(history)


@pytest.mark.parametrize(("lost_writes", "rules"), [(0, [COOLDOWN]), (4, [])])
def test_a_loss_gives_back_what_it_lost(history, lost_writes, rules):
    history.issue()
    history.add_fault(FaultKind.STORE_RESTART, lost_writes=lost_writes)
    history.issue("4711000002")

    assert rules == history.list_rules()


@pytest.mark.parametrize(("after_ms", "rules"), [(20, []), (200, [COOLDOWN])])
def test_a_failover_within_a_call_may_lose_its_charge_also_with_replicas(after_ms, rules):
    history = HistoryBuilder(is_replicated=True)
    start = history.now
    history.issue(at=start)
    history.add_fault(FaultKind.STORE_FAILOVER, at=start + after_ms, lost_writes=1)
    history.wait(1_000)
    history.issue("4711000002")

    assert rules == list_charge_rules(history)


def test_a_clock_that_was_set_forward_drains_windows(history):
    history.issue()
    history.add_fault(FaultKind.STORE_CLOCK, jump_ms=40_000)
    history.issue("4711000002")

    assert [] == list_charge_rules(history)


def test_a_new_limit_key_begins_budgets_again(history):
    history.issue()
    history.add_fault(FaultKind.KEY_ROTATION, target="limit")
    history.issue("4711000002")

    assert [] == list_charge_rules(history)


def test_a_send_after_a_receipt_that_was_refused_may_have_charged_for_a_moment(history):
    challenge = history.issue()
    call = history.call("receive_receipt", Answered(), tenant="", reference=f"shop.{challenge}.1.1")
    history.wait(40_000)
    history.add_event("otp.issue_denied", call, challenge, reason="rate_limited")
    history.edit_event(-1, at=history.now)
    refuse_issue(history, "CooldownPerNumber")
    assert [] == history.list_rules()

    history.wait(16_000)
    refuse_issue(history, "CooldownPerNumber")
    assert [UNFOUNDED] == history.list_rules()


def test_a_send_long_after_a_receipt_is_charged_when_it_is_sent(history):
    """Found by seed 7473: the receipt of a lost message was answered 30 s before the next message."""
    challenge = history.issue()
    call = history.call("receive_receipt", Answered(), tenant="", reference=f"shop.{challenge}.1.1")
    history.wait(31_000)
    history.send(call, challenge, "4711000002", send=2, at=history.now)
    history.wait(5_000)
    refuse_issue(history, "CooldownPerNumber", retry_after=25)

    assert [] == list_charge_rules(history)


# ---- failures


FAILURE_LIMITS = {name: DEFAULT_LIMITS[name] for name in DEFAULT_LIMITS if "Failures" in name}


def guess(history, times, *, account="u-1"):
    """Enter wrong codes in ten minutes or more, two for each challenge."""
    for count in range(times):
        if count % 2 == 0:
            challenge = history.issue(f"47120{len(history.calls):05d}")
        history.wait(60_000)
        history.verify(challenge, WRONG_CODE, account=account)


def refuse_verify(history, limit, **arguments):
    challenge = history.issue("4713000001")
    arguments = {"account": "u-1", **arguments}
    return history.refuse(
        *("verify", "rate-limited"),
        limit=limit,
        retry_after=1,
        challenge=challenge,
        code=WRONG_CODE,
        **arguments,
    )


def test_ten_failures_an_hour_are_within_the_budget():
    history = HistoryBuilder(FAILURE_LIMITS)
    guess(history, 10)
    refuse_verify(history, "FailuresPerNumber")

    assert [] == history.list_rules()


@pytest.mark.parametrize(
    ("account", "limits"),
    [("u-1", ["FailuresPerAccount", "FailuresPerNumber"]), (None, ["FailuresPerNumber"])],
)
def test_an_eleventh_failure_is_found_over_all_challenges(account, limits):
    history = HistoryBuilder(FAILURE_LIMITS)
    guess(history, 11, account=account)

    expected = [f"{limit} admitted more than its budget" for limit in limits]
    assert expected == sorted(history.list_rules())


def test_an_unlock_empties_the_failures():
    history = HistoryBuilder(FAILURE_LIMITS)
    guess(history, 10)
    history.call("unlock_number", Answered(), phone_number=NUMBER)
    history.call("unlock_account", Answered(), account="u-1", tenant="shop")
    guess(history, 10)

    assert [] == history.list_rules()


def test_a_right_code_costs_no_failure():
    history = HistoryBuilder(FAILURE_LIMITS)
    for _ in range(12):
        history.wait(10_000)
        history.verify(history.issue())
    refuse_verify(history, "FailuresPerNumber")

    assert ["FailuresPerNumber refused although its budget cannot be spent"] == (
        history.list_rules()
    )


@pytest.mark.parametrize(("failures", "is_founded"), [(8, True), (7, False)])
def test_two_of_ten_failures_are_kept_back_for_known_addresses(failures, is_founded):
    history = HistoryBuilder(FAILURE_LIMITS)
    guess(history, failures)
    refuse_verify(history, "FailuresPerAccount")

    assert is_founded == (history.list_rules() == [])


def test_failures_of_a_factor_are_its_own():
    history = HistoryBuilder(FAILURE_LIMITS)
    token = history.confirm()
    for _ in range(6):
        history.wait(31_000)
        history.verify_app(token, step=9, outcome=Refused("incorrect-code"))

    assert ["AuthenticatorFailuresPerAccount admitted more than its budget"] == (
        history.list_rules()
    )


def test_a_sixth_recovery_set_of_a_day_is_found():
    history = HistoryBuilder()
    for number in range(6):
        history.create_recovery_set(f"r1.{number}")

    assert ["RecoverySetsPerAccount admitted more than its budget"] == history.list_rules()


def test_the_failures_of_an_address_are_gcra():
    limits = {"FailuresPerClientAddress": ((3, 3_600),)}
    history = HistoryBuilder(limits)
    challenge = history.issue()
    for _ in range(3):
        history.verify(challenge, WRONG_CODE, client_ip="2001:db8::17")
    assert [] == history.list_rules()

    history.verify(challenge, WRONG_CODE, client_ip="2001:db8::18")
    assert ["FailuresPerClientAddress admitted more than its budget"] == history.list_rules()

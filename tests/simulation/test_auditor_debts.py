"""The brake counts each message that nothing has verified, once, and no other one."""

import pytest
from msgspec.structs import replace

from tests.simulation.history import Crashed, FaultKind, Refused, StoredDebt, Unavailable
from tests.simulation.history_builder import NUMBER, WRONG_CODE, HistoryBuilder


RANGE, BLOCK = (
    ("UnverifiedPerRange", (NUMBER[:-4],)),
    ("UnverifiedPerOperatorBlock", (NUMBER[:-5],)),
)
ADDRESS = ("UnverifiedPerClientAddress", ("shop", "203.0.113.9"))
COUNTRY = ("UnverifiedPerCountryAndTenant", ("shop", "GB"))
CLIENT_IP = "203.0.113.9"


class DebtHistory(HistoryBuilder):
    """A history whose sends say how the brake counts them."""

    def __init__(self):
        super().__init__(limits={})
        self.debts = []

    def add_event(self, kind, *arguments, **members):
        if kind in {"otp.issued", "otp.resent"}:
            members = {"measure": "unverified", **members}
        super().add_event(kind, *arguments, **members)

    def store_debt(self, messages, scope=RANGE):
        limit, subject = scope
        self.debts.append(
            StoredDebt(limit=limit, subject=subject, messages=messages, read_at=self.now)
        )

    def build(self):
        return replace(super().build(), debts=tuple(self.debts))


@pytest.fixture
def history():
    return DebtHistory()


def list_debt_rules(history):
    return [found.rule for found in history.audit() if " debt" in found.rule]


@pytest.mark.parametrize("scope", [RANGE, BLOCK, ADDRESS, COUNTRY])
@pytest.mark.parametrize(
    ("messages", "rules"), [(1, ["lacks a debt"]), (2, []), (3, ["kept a debt that is repaid"])]
)
def test_each_message_counts_once(history, scope, messages, rules):
    challenge = history.issue(client_ip=CLIENT_IP)
    history.resend(challenge, "4711000002")
    history.wait(1_000)

    history.store_debt(messages, scope)

    assert [f"{scope[0]} {rule}" for rule in rules] == list_debt_rules(history)


def test_a_verification_repays_all_messages_of_its_challenge(history):
    challenge = history.issue()
    history.resend(challenge, "4711000002")
    history.verify(challenge)
    history.wait(1_000)

    history.store_debt(0)
    assert [] == list_debt_rules(history)

    history.store_debt(1)
    assert ["UnverifiedPerRange kept a debt that is repaid"] == list_debt_rules(history)


def test_a_wrong_code_repays_nothing(history):
    challenge = history.issue()
    history.verify(challenge, WRONG_CODE)

    history.store_debt(0)

    assert ["UnverifiedPerRange lacks a debt"] == list_debt_rules(history)


@pytest.mark.parametrize("outcome", [Refused("delivery-failed"), Unavailable()])
def test_a_send_that_was_refused_is_refunded(history, outcome):
    history.call("issue", outcome, phone_number=NUMBER)
    history.wait(10_000)

    history.store_debt(0)
    assert [] == list_debt_rules(history)

    history.store_debt(1)
    assert ["UnverifiedPerRange kept a debt that is repaid"] == list_debt_rules(history)


def test_a_number_that_its_provider_refuses_stays_charged(history):
    history.call("issue", Refused("undeliverable"), phone_number=NUMBER)
    history.wait(10_000)

    history.store_debt(1)

    assert [] == list_debt_rules(history)


@pytest.mark.parametrize("messages", [0, 1])
def test_a_send_of_unknown_outcome_may_count(history, messages):
    history.call("issue", Crashed(), phone_number=NUMBER)
    history.wait(10_000)

    history.store_debt(messages)

    assert [] == list_debt_rules(history)


@pytest.mark.parametrize("members", [{"measure": "exempt"}, {"over_limit": "UnverifiedPerRange"}])
def test_a_send_that_is_exempt_or_over_a_limit_that_only_records_need_not_count(history, members):
    history.issue()
    for number, event in enumerate(history.events):
        if event.members.get("type") == "otp.issued":
            history.edit_event(number, members={**event.members, **members})

    history.store_debt(0)

    assert [] == list_debt_rules(history)


def test_a_message_after_a_bot_check_is_half_a_message(history):
    history.issue(bot_check="passed")
    history.wait(1_000)

    history.store_debt(0.5)
    assert [] == list_debt_rules(history)

    history.store_debt(0.25)
    assert ["UnverifiedPerRange lacks a debt"] == list_debt_rules(history)


def test_a_debt_may_go_with_lost_writes(history):
    history.issue()
    history.add_fault(FaultKind.STORE_FAILOVER, lost_writes=1)

    history.store_debt(0)

    assert [] == list_debt_rules(history)


def test_a_repayment_may_be_late_while_something_is_wrong(history):
    challenge = history.issue()
    history.add_fault(FaultKind.WORKER_CRASH, ms=None)
    history.verify(challenge)

    history.store_debt(1)

    assert [] == list_debt_rules(history)


@pytest.mark.parametrize("target", ["limit", "state"])
def test_debts_begin_again_with_a_new_limit_key_alone(history, target):
    history.issue()
    history.add_fault(FaultKind.KEY_ROTATION, target=target)

    history.store_debt(0)

    assert (target == "limit") == (list_debt_rules(history) == [])


@pytest.mark.parametrize(("answer", "is_right"), [("accepted", True), ("refused", False)])
def test_a_503_after_a_message_that_may_have_been_taken_keeps_its_debt(history, answer, is_right):
    history.issue(outcome=Unavailable(), answer=answer)
    history.wait(10_000)
    history.store_debt(1)

    assert is_right == (list_debt_rules(history) == [])


@pytest.mark.parametrize("replacement", [FaultKind.KEY_ROTATION, FaultKind.WORKER_RESTART, None])
def test_a_worker_that_ends_while_the_store_is_down_may_give_up_its_refund(history, replacement):
    """It tries for two seconds (REFUND_DRAIN_SECONDS); one that stays tries until the store is back."""
    history.issue(outcome=Unavailable(), answer="refused")
    history.add_fault(FaultKind.STORE_DOWN, ms=5_000)
    if replacement:
        history.add_fault(replacement, target="seal" if "key" in replacement else "a1")
    history.wait(60_000)
    history.store_debt(1)

    assert (replacement is not None) == (list_debt_rules(history) == [])

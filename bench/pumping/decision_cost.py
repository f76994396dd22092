"""What a decision costs in CPU: building the charges of a send, and deciding it."""

import time

from otp_service.core.pumping.allowance import Figures
from otp_service.core.pumping.debt import Debt
from otp_service.core.pumping.decision import decide_send
from otp_service.core.pumping.scopes import ScopeBucket
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
)


DECISION_COUNT = 20_000
PRICE = 75_000


def measure_decision_seconds() -> float:
    """Return the CPU seconds of one admitted send with all scopes."""
    settings = BrakeSettings(day_budget=PRICE * DECISION_COUNT)
    usual = (PRICE * DECISION_COUNT, PRICE * DECISION_COUNT)
    figures = SendFigures(Figures(1.0, 0.5, usual))
    debts: dict[ScopeBucket, Debt] = {}
    start = time.process_time()
    for index in range(DECISION_COUNT):
        subject = SendSubject("shop", "DE", f"{index}", f"{index}", f"{index}")
        charges = build_debt_charges(subject, PRICE, Measure.UNVERIFIED, figures, settings)
        decision = decide_send(debts, charges, index)
        assert decision.refusal is None
        debts.update(decision.debts)
    return (time.process_time() - start) / DECISION_COUNT

"""A run of a seed with the promises that it breaks."""

from typing import NamedTuple

from tests.simulation.auditor import Violation, audit_history
from tests.simulation.history import History
from tests.simulation.prefix import WHOLE, Prefix
from tests.simulation.run import run_seed
from tests.simulation.timeline import format_timeline


class Verdict(NamedTuple):
    """What was observed of a seed, and what of it breaks a promise."""

    seed: int
    prefix: Prefix
    history: History
    violations: list[Violation]

    @property
    def rules(self) -> frozenset[str]:
        """The names of the promises that are broken, and how: the same for each seed with one bug."""
        return frozenset(map(name_rule, self.violations))

    @property
    def first_rule(self) -> str:
        """The rule that is broken first. Raises IndexError if none is."""
        return name_rule(self.violations[0])

    def format_timeline(self) -> str:
        """Return the run as text for people, with how it is played again."""
        options = f"--seed {self.seed}"
        if self.prefix != WHOLE:
            options += f" {self.prefix.format_options()}"
        timeline = format_timeline(self.history, self.violations)
        return f"python -m tests.simulation {options}\n{timeline}"


def judge_seed(seed: int, prefix: Prefix = WHOLE) -> Verdict:
    """Run a seed, and audit its history."""
    history = run_seed(seed, prefix)
    return Verdict(seed, prefix, history, audit_history(history))


def name_rule(violation: Violation) -> str:
    """Return the promise and how it is broken, without what differs from seed to seed."""
    return f"{violation.promise}: {violation.rule}"

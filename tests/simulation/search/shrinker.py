"""Finds the shortest prefix of a seed that still breaks a promise in the same way."""

from collections.abc import Callable

from tests.simulation.faults.plan import MAX_FAULTS
from tests.simulation.prefix import Prefix
from tests.simulation.search.verdict import Verdict, judge_seed


Judge = Callable[[int, Prefix], Verdict]


def shrink_seed(seed: int, rule: str, judge: Judge = judge_seed) -> Verdict:
    """Return the verdict of the shortest prefix of a seed that still breaks this rule.

    It has the fewest calls, and then no fault that can be left out. Raises ValueError if the whole run
    does not break the rule.
    """
    verdict = judge(seed, Prefix())
    if rule not in verdict.rules:
        raise ValueError(f"seed {seed} does not break the rule: {rule}")
    verdict = _drop_faults(verdict, rule, judge)
    verdict = _drop_calls(verdict, rule, judge)
    return _drop_faults(verdict, rule, judge)


def _drop_calls(verdict: Verdict, rule: str, judge: Judge) -> Verdict:
    """Return the verdict with the fewest calls. A longer prefix may pass again, so each is tried."""
    for calls in range(count_main_calls(verdict)):
        shorter = judge(verdict.seed, Prefix(calls, verdict.prefix.faults))
        if rule in shorter.rules:
            return shorter
    return verdict


def _drop_faults(verdict: Verdict, rule: str, judge: Judge) -> Verdict:
    """Return the verdict without each fault that is not needed."""
    seed, calls, faults = verdict.seed, verdict.prefix.calls, verdict.prefix.faults
    kept = tuple(range(MAX_FAULTS)) if faults is None else faults
    for number in kept:
        fewer = tuple(one for one in kept if one != number)
        calmer = judge(seed, Prefix(calls, fewer))
        if rule in calmer.rules:
            kept, verdict = fewer, calmer
    return verdict


def count_main_calls(verdict: Verdict) -> int:
    """Return the calls of a run, without those of the persons who log in at its end."""
    history = verdict.history
    return sum(call.started_at <= history.calm_since for call in history.calls)

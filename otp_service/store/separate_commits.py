"""The commits of one call where each is a script of its own: in a cluster, and during a rotation.

There a commit may be applied although a later one is refused, until it is refunded. For that moment a send
that the scope of an address refuses would be charged to the range of its number: with several calls at once,
it took the room of a range from other callers. So the commit that would be refused is looked for first.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from otp_service.core.commit import Commit, CommitOutcome, Committed, Inspection, Undone
from otp_service.core.pumping.commits import DebtOutcome


class SeparateStore(Protocol):
    """What applies and inspects one commit of a call."""

    async def commit(self, commit: Commit) -> CommitOutcome: ...

    async def inspect(self, commits: Sequence[Commit]) -> list[Inspection]: ...


async def commit_one_by_one(
    store: SeparateStore, commits: Sequence[Commit]
) -> list[CommitOutcome | Undone]:
    """Apply commits until one is not applied; see `ports.Store.commit_together`.

    The caller's own buckets come first: their commit is the one without debts. The others are inspected
    meanwhile, and the one that would be refused is applied before them, so that it alone is refused.
    """
    call = _SeparateCall(store, commits)
    own_count = 0 if commits[0].debts else 1
    others = range(own_count, len(commits))
    _, order = await asyncio.gather(call.run(range(own_count)), call.choose_order(others))
    await call.run(order)
    return call.outcomes


class _SeparateCall:
    """The commits of a call by their position, and what became of those that ran."""

    def __init__(self, store: SeparateStore, commits: Sequence[Commit]) -> None:
        self._store = store
        self._commits = commits
        self._earlier = DebtOutcome()
        self.outcomes: list[CommitOutcome | Undone] = [Undone()] * len(commits)

    async def choose_order(self, positions: Sequence[int]) -> Sequence[int]:
        """Return the positions with the first one that would be refused at the front.

        They stay as they are if no scope of the brake refuses. The same holds for a known number, which
        is charged nothing that others share but the budget of the day.
        """
        commits = [self._commits[position] for position in positions]
        if not any(map(_may_be_over_debt, commits)):
            return positions
        inspections = await self._store.inspect(commits)
        refused = [i for i, one in zip(positions, inspections, strict=True) if one.refusal][:1]
        if not refused or any(one.is_exempt for one in inspections):
            return positions
        # The wait of a refusal ends where the number is exempt again.
        exempt_time = next((one.exempt_time for one in inspections if one.exempt_time), None)
        self._earlier = DebtOutcome(exempt_time=exempt_time)
        return sorted(positions, key=lambda position: position not in refused)

    async def run(self, positions: Sequence[int]) -> None:
        """Apply commits of the call in turn, unless one of it was refused."""
        for position in positions:
            if any(not isinstance(one, Committed | Undone) for one in self.outcomes):
                return
            commit = _pass_on_debts(self._commits[position], self._earlier)
            outcome = self.outcomes[position] = await self._store.commit(commit)
            if isinstance(outcome, Committed) and outcome.debts != DebtOutcome():
                self._earlier = outcome.debts


def _may_be_over_debt(commit: Commit) -> bool:
    """Return whether a scope may refuse the commit, apart from the budget of the day."""
    charges = commit.debts.charges if commit.debts else ()
    return any(one.refuses and not one.is_always_charged for one in charges)


def _pass_on_debts(commit: Commit, earlier: DebtOutcome) -> Commit:
    """Return a commit of a send whose earlier commit has this outcome, as one script does it."""
    if commit.debts is None or earlier == DebtOutcome():
        return commit
    debts = msgspec.structs.replace(
        commit.debts,
        is_uncharged=commit.debts.is_uncharged or not earlier.is_charged,
        is_exempt=commit.debts.is_exempt or earlier.is_exempt,
        exempt_time=earlier.exempt_time or commit.debts.exempt_time,
    )
    return msgspec.structs.replace(commit, debts=debts)

"""A challenge is changed by whoever moves first; everybody else decides anew on what is left."""

from collections.abc import Callable

import msgspec

from otp_service.core.challenge import Challenge
from otp_service.core.errors import ChallengeNotFound, StoreUnavailable
from otp_service.core.limits import Refusal
from otp_service.core.ports import Blocked, Commit, Done, Store, Stored


MOVES = 16
"""How often a change is decided anew; five attempts and three sends bound it far below."""


class Move(msgspec.Struct, frozen=True):
    """A commit that nobody was before: what it was decided on, and what came of it."""

    before: Stored
    commit: Commit
    outcome: Done | Refusal | Blocked

    def after(self) -> Stored:
        """Return the challenge as the commit has left it, if it cannot have been refused."""
        assert isinstance(self.outcome, Done)
        assert self.commit.swap
        return Stored(self.outcome.now, self.commit.swap.new, self.commit.swap.secret or None)


async def move(store: Store, stored: Stored, decide: Callable[[Stored], Commit]) -> Move:
    """Commit what `decide` makes of the newest state.

    What `decide` raises ends it. Raises StoreUnavailable if the state never stands still.
    """
    for _ in range(MOVES):
        commit = decide(stored)
        outcome = await store.commit(commit)
        if not isinstance(outcome, Stored):
            return Move(stored, commit, outcome)
        stored = outcome
    raise StoreUnavailable


def present(stored: Stored) -> Challenge:
    """Return the challenge. Raises ChallengeNotFound if there is none any more."""
    if stored.challenge is None:
        raise ChallengeNotFound
    return stored.challenge

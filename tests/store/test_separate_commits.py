"""The commits of a send where each is a script of its own, and what happens between two of them."""

from collections.abc import Sequence

import pytest

from otp_service.core.commit import (
    Commit,
    CommitOutcome,
    Committed,
    Inspection,
    OverDebt,
    Undone,
)
from otp_service.core.pumping.commits import DebtSettlement
from otp_service.core.timestamps import DAY_MS
from otp_service.store.client import ScriptClient
from otp_service.store.separate_commits import commit_one_by_one
from tests.store.frozen_store import FrozenStore
from tests.store.test_debts_together import KNOWN, PRICE, build_send, read_unverified


class WatchedStore(FrozenStore):
    """Notes which commits it runs, by their operation ids, and that it inspects."""

    def __init__(self, client: ScriptClient) -> None:
        super().__init__(client)
        self.calls: list[str] = []
        self.inspected: list[Inspection] | None = None
        """What an inspection has found a while ago, instead of what is found now."""

    async def commit(self, commit: Commit) -> CommitOutcome:
        self.calls.append(commit.operation_id)
        return await super().commit(commit)

    async def inspect(self, commits: Sequence[Commit]) -> list[Inspection]:
        self.calls.append("inspect")
        return self.inspected or await super().inspect(commits)


@pytest.fixture
def store(one_server_client: ScriptClient) -> WatchedStore:
    return WatchedStore(one_server_client)


async def test_only_a_send_that_a_scope_may_refuse_is_inspected(store: WatchedStore) -> None:
    recorded, refusable = build_send(refuses=False), build_send()

    await commit_one_by_one(store, recorded)
    await commit_one_by_one(store, refusable)

    ids = [[one.operation_id for one in commits] for commits in (recorded, refusable)]
    assert [*ids[0], "inspect", *ids[1]] == store.calls


async def test_the_commit_that_is_refused_is_the_only_one_that_runs(store: WatchedStore) -> None:
    await commit_one_by_one(store, build_send(country_sends=1))
    store.calls.clear()
    number, shared = build_send(country_sends=1)

    outcomes = await commit_one_by_one(store, [number, shared])

    assert ["inspect", shared.operation_id] == store.calls
    assert [Undone, OverDebt] == list(map(type, outcomes))


async def test_a_known_number_is_sent_to_whatever_the_country_owes(store: WatchedStore) -> None:
    """The inspection does not know that the send is exempt when it asks about the country."""
    await commit_one_by_one(store, build_send(country_sends=1))
    await store.decide(settlement=DebtSettlement(known_number=KNOWN))

    outcomes = await commit_one_by_one(store, build_send(country_sends=1))

    assert [Committed, Committed] == list(map(type, outcomes))


async def test_a_scope_that_fills_up_after_the_inspection_refuses(store: WatchedStore) -> None:
    """The decision is that of the commits. Then the range is charged until the refund."""
    store.inspected = await store.inspect(build_send(country_sends=1))
    await commit_one_by_one(store, build_send(country_sends=1))

    outcomes = await commit_one_by_one(store, build_send(country_sends=1))

    assert [Committed, OverDebt] == list(map(type, outcomes))
    assert [2 * PRICE, PRICE, PRICE] == await read_unverified(store)


@pytest.fixture
async def emptied(store: WatchedStore) -> WatchedStore:
    """Return a store whose country was full when it was inspected, and has no debts any more."""
    await commit_one_by_one(store, build_send(country_sends=1))
    store.inspected = await store.inspect(build_send(country_sends=1))
    store.now += 2 * DAY_MS
    store.calls.clear()
    return store


async def test_a_scope_that_is_free_after_the_inspection_admits(emptied: WatchedStore) -> None:
    """The commits run in the other order, each of them once."""
    number, shared = build_send(country_sends=1)

    outcomes = await commit_one_by_one(emptied, [number, shared])

    assert ["inspect", shared.operation_id, number.operation_id] == emptied.calls
    assert [Committed, Committed] == list(map(type, outcomes))


async def test_a_commit_that_was_applied_before_the_refused_one_is_shown(
    emptied: WatchedStore,
) -> None:
    """Also if it is the later one of the two: the caller refunds it."""
    await emptied.commit(build_send(range_sends=1)[0])

    outcomes = await commit_one_by_one(emptied, build_send(country_sends=1, range_sends=1))

    assert [OverDebt, Committed] == list(map(type, outcomes))

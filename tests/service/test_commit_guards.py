"""Each guard of a commit: without it one of these tests fails."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from otp_service.core.errors import ChallengeExpired, StoreUnavailable
from otp_service.core.phone_number import parse_number
from otp_service.store.client import LuaScript, ScriptClient
from tests.installation import SECOND_MS, Installation, make_wrong_code


PHONE = parse_number("+447400123456")


class LosesItsReplicas(ScriptClient):
    """A client whose replicas acknowledge the first durable scripts, and then no more."""

    def __init__(self, client: ScriptClient, acknowledged: int) -> None:
        super().__init__(client.redis_client, replicas=1, wait_ms=1)
        self.acknowledged = acknowledged

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run it, and wait for the replica that does not exist once none acknowledges."""
        self.acknowledged -= durable
        durable = durable and self.acknowledged < 0
        return await super().run_script(script, keys, arguments, durable=durable)


def lose_replicas(installation: Installation, acknowledged: int = 0) -> LosesItsReplicas:
    """Let the replicas acknowledge that many durable commits from here on."""
    client = LosesItsReplicas(installation.script_client, acknowledged)
    installation.store.client = client
    installation.dependencies.number_registry._client = client  # type: ignore[attr-defined]
    return client


NumberCall = Callable[[Installation], Awaitable[Any]]

NUMBER_CALLS: dict[str, NumberCall] = {
    "unlock": lambda i: i.service.numbers.unlock_number(i.build_caller(), PHONE),
    "block": lambda i: i.service.numbers.block_number(i.build_caller(), PHONE),
    "unblock": lambda i: i.service.numbers.unblock_number(i.build_caller(), PHONE),
    "forget": lambda i: i.service.numbers.forget_number(i.build_caller(), PHONE, lambda *_: None),
}


@pytest.mark.parametrize("call", NUMBER_CALLS, ids=str)
async def test_an_operators_change_is_reported_only_once_replicas_have_it(
    installation: Installation, call: str
) -> None:
    """R79: a failover must not undo an unlock or a block that was reported as done."""
    lose_replicas(installation)

    with pytest.raises(StoreUnavailable):
        await NUMBER_CALLS[call](installation)


async def test_a_repeated_success_is_reported_only_once_replicas_have_it(
    installation: Installation,
) -> None:
    """R79, R54: the first response was 503, because the replicas lacked the success."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    lose_replicas(installation, 1)
    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, key="k")

    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, key="k")

    lose_replicas(installation, 1)
    await installation.verify(issued, code, key="k")
    assert 2 == installation.hasher.hash_count


async def test_a_resend_whose_deadline_passes_during_the_hash_is_refused(
    installation: Installation,
) -> None:
    """R3: the deadline is checked in the step that stores the code; its charges are refunded."""
    issued = await installation.issue()
    installation.advance_clock(31 * SECOND_MS)
    fetch = installation.store.fetch_challenge
    fetched = []

    async def fetch_in_time(tenant: str, challenge_id: str) -> Any:
        fetched.append(await fetch(tenant, challenge_id))
        if len(fetched) == 2:
            installation.advance_clock(300 * SECOND_MS)
        return fetched[-1]

    installation.store.fetch_challenge = fetch_in_time  # type: ignore[method-assign]

    with pytest.raises(ChallengeExpired):
        await installation.resend(issued)

    assert 1 == len(installation.router.messages)
    assert 0 == (await installation.list_event_types()).count("otp.resent")


async def test_a_right_code_is_compared_ten_seconds_after_the_deadline(
    installation: Installation,
) -> None:
    """R15: the attempt was charged in time, and a conflict makes it read the secret again."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    commit = installation.store.commit
    tried: list[Any] = []

    async def delay_conflict(decision: Any) -> Any:
        if decision.swap and decision.swap.secret is None and not tried:
            tried.append(decision)
            installation.store.commit = commit  # type: ignore[method-assign]
            with pytest.raises(Exception, match="not right"):
                await installation.verify(issued, make_wrong_code(code))
            installation.advance_clock(300 * SECOND_MS)
        return await commit(decision)

    installation.store.commit = delay_conflict  # type: ignore[method-assign,assignment]

    verified = await installation.verify(issued, code)

    assert [True] == [bool(decision) for decision in tried]
    assert verified.require_challenge().verified_at is not None


async def test_an_end_that_the_attempt_charge_finds_is_stored(installation: Installation) -> None:
    """R15, R81: the deadline passes between the read and the charge, and the clock is set back."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    fetch = installation.store.fetch_challenge

    async def fetch_in_time(tenant: str, challenge_id: str) -> Any:
        snapshot = await fetch(tenant, challenge_id)
        if installation.clock_shift_ms == 0:
            installation.advance_clock(300 * SECOND_MS)
        return snapshot

    installation.store.fetch_challenge = fetch_in_time  # type: ignore[method-assign]

    with pytest.raises(ChallengeExpired):
        await installation.verify(issued, code)

    assert 0 == installation.hasher.hash_count - 1
    stored = await fetch("shop", installation.get_challenge_id(issued))
    assert (5, True) == (
        stored.require_challenge().attempts_left,
        stored.require_challenge().has_expired,
    )

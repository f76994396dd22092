"""Cases of the commit script that random histories rarely reach, on a real server and on the model."""

from collections.abc import AsyncIterator
from random import Random

import pytest
import redis
from msgspec.structs import replace

from otp_service.core.commit import Commit, Committed
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Attempted, IssueDenied
from otp_service.core.limits import Bucket, Charge, Limit, Window
from otp_service.core.pumping.commits import DebtCommit, DebtRefund, KnownNumberName, TrafficName
from otp_service.core.pumping.decision import ALWAYS_OPEN
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS
from otp_service.store.commit_request import COMMIT_LUA
from otp_service.store.embedded import EmbeddedServer
from tests.simulation.commit_twins import parts
from tests.simulation.commit_twins.moves import MOVES, play
from tests.simulation.commit_twins.player import LogOptions, Player
from tests.simulation.commit_twins.twins import TwinClient
from tests.store.lua import replace_function


PARTITION = 7
KNOWN = KnownNumberName("shop", parts.NUMBERS[0])
HISTORIES = 40
"""Within which a broken script is found."""


@pytest.fixture
async def twins(server: EmbeddedServer) -> AsyncIterator[TwinClient]:
    async with TwinClient(server) as client:
        yield client


def build_denials(player: Player, count: int, number: str = "") -> list[Commit]:
    """Return refusals from as many addresses, of a number or of as many."""
    return [
        Commit(
            partition=PARTITION,
            operation_id=player.name_next(),
            foldable_event=IssueDenied(
                id=str(i), client_ip=f"2001:db8::{i}", number=number or f"1:{i}"
            ),
        )
        for i in range(count)
    ]


# ------------------------------------------------------------------------------------ limits


async def test_a_fold_counts_a_hundred_addresses(twins: TwinClient) -> None:
    player = Player(twins, LogOptions())
    await player.commit_all(build_denials(player, 120, "1:aa"))
    twins.pass_time(MINUTE_MS)
    player.shift_ms += MINUTE_MS

    await player.store.flush_folds(PARTITION, player.name_next())

    twins.compare_data()


async def test_a_full_archive_has_a_thousand_waiting_folds(twins: TwinClient) -> None:
    """What comes after is only counted, until there is space."""
    player = Player(twins, LogOptions(has_archive=True, max_stream_entries=8))
    await player.commit_all(build_denials(player, 1010))
    refusals = player.store.key_names.event_log_keys(PARTITION)[2]
    twins.delete_key(refusals.encode())

    for _ in range(2):
        player.shift_ms += MINUTE_MS
        await player.store.flush_folds(PARTITION, player.name_next())

    twins.compare_data()


async def test_a_record_that_a_caller_began_ends_with_its_only_send(twins: TwinClient) -> None:
    """The caller says that the number is known, and no provider takes the message."""
    player = Player(twins, LogOptions())
    debts = DebtCommit(charges=(), known_number=KNOWN, is_assumed_known=True)
    sent = Commit(partition=PARTITION, operation_id="sent", debts=debts)
    assert isinstance(await player.commit(sent), Committed)
    key = player.store.key_names.known_number_key(PARTITION, KNOWN).encode()
    assert twins.keyspace.get(key)

    refund = (DebtRefund(debts, "sent"),)
    await player.commit(Commit(partition=PARTITION, operation_id="back", debt_refunds=refund))

    assert twins.keyspace.get(key) is None


# ------------------------------------------------------------------------------------ errors


async def test_a_lost_log_with_later_entries_is_an_error_of_both(twins: TwinClient) -> None:
    """The clock was ahead, and then the state of the log alone was lost: no id would be higher."""
    player = Player(twins, LogOptions())
    player.shift_ms += HOUR_MS
    await MOVES["append_many_events"](player, Random(1))  # noqa: S311  # of events
    player.shift_ms -= HOUR_MS
    log = player.store.key_names.event_log_keys(PARTITION)[0]
    twins.delete_key(log.encode())

    with pytest.raises(redis.ResponseError, match="XADD"):
        await twins.run_script(
            player.store._commit_script,
            *player.store._pack_call(
                [player.store._draft_commit(build_denials(player, 1)[0])],
                player.store._epoch_event,
            ),
        )


KINDS = (
    "operation",
    "log",
    "events",
    "refusals",
    "folds",
    "due",
    "limit",
    "debt",
    "known",
    "traffic-index",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_of_another_type_is_an_error_of_both(twins: TwinClient, kind: str) -> None:
    """What the script has written until then stays."""
    player = Player(twins, LogOptions())
    debts = parts.draw_debts(Random(7), player.now)  # noqa: S311  # of scopes
    debts = replace(
        debts, traffic=TrafficName("shop", "GB"), known_number=KNOWN, is_uncharged=False
    )
    debts = replace(
        debts, charges=tuple(replace(one, open_until=ALWAYS_OPEN) for one in debts.charges)
    )
    commit = Commit(
        partition=PARTITION,
        operation_id="one",
        charges=(Charge(Bucket(Limit.SENDS_TENANT, "shop"), (Window(3, 30),)),),
        events=(Attempted(id="a"),),
        foldable_event=IssueDenied(id="b"),
        debts=debts,
    )
    call = player.store._pack_call([player.store._draft_commit(commit)], player.store._epoch_event)
    keys = [key.encode() for key in call[0] if key.split(":")[1] == kind]
    if kind in {"events", "refusals", "log", "folds", "due", "traffic-index"}:
        twins.set_string(keys[0], b"text")
    else:
        twins.set_fields(keys[0], {b"field": b"value"})

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await twins.run_script(player.store._commit_script, *call)


@pytest.mark.parametrize("limit", [Limit.COOLDOWN, Limit.SENDS_TENANT])
async def test_a_cost_above_the_count_of_its_window_has_one_outcome(
    twins: TwinClient, limit: Limit
) -> None:
    """An exact bucket cannot say when it fits; GCRA waits for longer than its period."""
    player = Player(twins, LogOptions())
    charge = Charge(Bucket(limit, "shop", "a"), (Window(1, 30),), 3)
    commit = Commit(partition=PARTITION, operation_id="one", charges=(charge,))

    outcome = await player.commit(commit)

    assert (outcome is None) == (limit is Limit.COOLDOWN)
    assert (StoreUnavailable.__name__ in player.outcomes) == (limit is Limit.COOLDOWN)


# -------------------------------------------------------------------------------- broken scripts

BROKEN_FUNCTIONS = {
    "find_conflict": "return nil",
    "mark_reversed": "",
    "has_log_capacity": "return true",
    "find_listed_reason": "return nil",
    "is_due": "return now >= due",
    "run_all_or_none": "return run_each()",
    "write_window": "redis.call('SET', key, cmsgpack.pack(bucket), 'PX', 30000)",
}


@pytest.mark.parametrize("name", BROKEN_FUNCTIONS)
async def test_a_broken_script_is_found(server: EmbeddedServer, name: str) -> None:
    """Or the comparison would be one that cannot fail."""
    commit_lua = replace_function(COMMIT_LUA, name, BROKEN_FUNCTIONS[name])

    with pytest.raises(AssertionError):
        await play_histories(server, Random(name), commit_lua)  # noqa: S311  # of calls


async def play_histories(server: EmbeddedServer, random: Random, commit_lua: str) -> None:
    for _ in range(HISTORIES):
        twins = TwinClient(server, commit_lua=commit_lua, is_frozen=True)
        options = LogOptions(random.random() < 0.5, random.choice((9, 80)))
        kinds = random.choices(list(MOVES), k=20)
        async with twins:
            await play(Player(twins, options), [(kind, random.getrandbits(32)) for kind in kinds])

"""Reads the totals that commits keep for the brake, and the debts of the same countries.

A total is a field of a hash. `487190:u` is what was unverified in the hour 487190 since 1970; `2923140:e`
has the exempt sends of a slot of ten minutes. The commit script (`lua/debt_records.lua`) writes them in the same
step as the debt.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from otp_service.core.pumping.commits import TrafficName
from otp_service.core.pumping.debt import (
    EMPTY_DEBT,
    SLOTS_PER_PERIOD,
    Debt,
    DebtWindow,
    settle_debt,
)
from otp_service.core.pumping.learned_traffic import parse_country, parse_tenant
from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS, ExemptCounts, list_read_slots
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.pumping.usual_traffic import DAY_HOURS, HISTORY_DAYS, HourTotals
from otp_service.core.timestamps import DAY_MS, HOUR_MS
from otp_service.store.redis_store import RedisStore


logger = logging.getLogger(__name__)

SCOPES_PER_ROUND_TRIP: Final = 16
"""Hashes to read in one round trip: each has up to 1,700 fields, which is half a millisecond of Redis."""

HISTORY_HOURS: Final = HISTORY_DAYS * DAY_HOURS
KEPT_HOURS: Final = HISTORY_HOURS + DAY_HOURS
KEPT_SLOTS: Final = (DAY_MS + 3 * HOUR_MS) // EVIDENCE_SLOT_MS
"""Slots of exempt sends that are kept: the two hours of the day before, and an hour more."""

MAX_LOGGED_FIELDS: Final = 3

_FIELD_PATTERN: Final = re.compile(rb"([1-9]\d{0,8}):([uvmrep])")
_AMOUNT_PATTERN: Final = re.compile(rb"-?\d{1,18}")
_SLOT_KINDS: Final = "ep"
_WINDOW_VALUES: Final = 1 + 2 * (SLOTS_PER_PERIOD + 1)
_decode_bucket = msgspec.msgpack.Decoder(list[float]).decode


class TrafficFields(msgspec.Struct, frozen=True):
    """The fields of one hash, by what they are."""

    amounts: dict[tuple[int, str], int] = {}
    """By the number of the hour or slot, and the kind."""
    malformed: tuple[bytes, ...] = ()

    def build_hours(self, hour: int) -> tuple[HourTotals, ...]:
        """Return the totals of HISTORY_HOURS until the hour before this one, oldest first.

        A repayment in another hour than its charge was counted can leave less than zero.
        """
        return tuple(
            HourTotals(
                self.get(each, "v"),
                self.get(each, "u"),
                self.get(each, "m"),
                has_refusals=(each, "r") in self.amounts,
            )
            for each in range(hour - HISTORY_HOURS, hour)
        )

    def get(self, number: int, kind: str) -> int:
        """Return the amount of an hour or slot, 0 if it is missing or less."""
        return max(0, self.amounts.get((number, kind), 0))

    def build_slots(self) -> dict[int, ExemptCounts]:
        """Return the exempt sends of each slot that has any."""
        return {
            slot: ExemptCounts(*(max(0, self.amounts.get((slot, kind), 0)) for kind in _SLOT_KINDS))
            for slot, kind in self.amounts
            if kind in _SLOT_KINDS
        }

    def has_refusals(self) -> bool:
        """Return whether the budget of the country was used up in one of the hours."""
        return any(kind == "r" for _, kind in self.amounts)

    def add(self, other: "TrafficFields") -> "TrafficFields":
        """Return the sums of two hashes of one scope, as there are while the limit key is rotated."""
        amounts = dict(self.amounts)
        for field, amount in other.amounts.items():
            amounts[field] = amounts.get(field, 0) + amount
        return TrafficFields(amounts, (*self.malformed, *other.malformed))

    def list_old_fields(self, now: int) -> list[bytes]:
        """Return the names of fields that nothing reads any more, and of those that nothing can read."""
        oldest_hour, oldest_slot = now // HOUR_MS - KEPT_HOURS, now // EVIDENCE_SLOT_MS - KEPT_SLOTS
        old = [
            b"%d:%b" % (number, kind.encode())
            for number, kind in self.amounts
            if number < (oldest_slot if kind in _SLOT_KINDS else oldest_hour)
        ]
        return [*old, *self.malformed]


class RecentTraffic(msgspec.Struct, frozen=True):
    """What changes within the hour."""

    slots: dict[int, ExemptCounts] = {}
    has_refusals: bool = False
    """Whether the budget of the country was used up in this hour or the last one."""


class TrafficTotals:
    """Reads the totals of the countries of each tenant. Every method raises StoreUnavailable.

    Scopes have the names of `learned_traffic.name_scope`. Instants are milliseconds since 1970. While two
    limit keys are in force the totals are in two partitions: those of both count, or nothing would be
    known for two weeks.
    """

    def __init__(self, store: RedisStore) -> None:
        self._client, self._key_names = store.client, store.key_names
        partitions = (names.compute_shared_partition() for names in store.all_key_names)
        self._partitions = [*dict.fromkeys(partitions)]
        self._logged_count = 0

    async def list_scopes(self) -> list[str]:
        """Return the names of the scopes that have totals, sorted."""
        indexes = map(self._key_names.traffic_index_key, self._partitions)
        replies = await self._read_each([("SMEMBERS", index) for index in indexes])
        return sorted({member.decode() for members in replies for member in members})

    async def read_all(self, scopes: Sequence[str]) -> dict[str, TrafficFields]:
        """Return every field of these scopes."""
        found = await self._read_fields(scopes, "HGETALL")
        for scope, fields in found.items():
            self._log_malformed(scope, fields)
        return found

    async def read_recent(self, scopes: Sequence[str], now: int) -> dict[str, RecentTraffic]:
        """Return what these scopes have of the last hours."""
        hour = now // HOUR_MS
        names = [f"{number}:r".encode() for number in (hour - 1, hour)]
        names += [f"{slot}:{kind}".encode() for slot in list_read_slots(now) for kind in "ep"]
        found = await self._read_fields(scopes, "HMGET", *names)
        return {
            scope: RecentTraffic(fields.build_slots(), fields.has_refusals())
            for scope, fields in found.items()
        }

    async def read_debts(self, scopes: Sequence[str]) -> dict[str, Debt]:
        """Return the bucket of UnverifiedPerCountryAndTenant of these scopes."""
        buckets = [
            ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, parse_tenant(scope), parse_country(scope))
            for scope in scopes
        ]
        keys = [self._key_names.debt_key(self._partitions[0], bucket) for bucket in buckets]
        values = await self._read_each([("GET", key) for key in keys])
        return dict(zip(scopes, map(decode_debt, values), strict=True))

    async def read_day_spend(self, now: int) -> int:
        """Return the price of all messages that count in the budget of the day."""
        key = self._key_names.debt_key(self._partitions[0], ScopeBucket(DebtLimit.SPEND_OVERALL))
        (stored,) = await self._read_each([("GET", key)])
        return sum(settle_debt(decode_debt(stored), now).windows[1].unverified)

    async def delete_old(self, found: Mapping[str, TrafficFields], now: int) -> None:
        """Delete what is too old of what `read_all` has returned, and empty scopes from the index.

        A commit adds its scope to the index again with each total.
        """
        for partition in self._partitions:
            index = self._key_names.traffic_index_key(partition)
            for scope, fields in found.items():
                key, old = self._name_key(partition, scope), fields.list_old_fields(now)
                if old:
                    await self._client.repeat_commands(key, [("HDEL", key, *old)])
                if not fields.amounts:
                    await self._client.repeat_commands(index, [("SREM", index, scope)])

    def _name_key(self, partition: int, scope: str) -> str:
        name = TrafficName(parse_tenant(scope), parse_country(scope))
        return self._key_names.traffic_key(partition, name)

    async def _read_fields(
        self, scopes: Sequence[str], command: str, *names: bytes
    ) -> dict[str, TrafficFields]:
        """Return fields of these scopes: those of each partition are added."""
        found = dict.fromkeys(scopes, TrafficFields())
        for partition in self._partitions:
            keys = [self._name_key(partition, scope) for scope in scopes]
            replies = await self._read_each([(command, key, *names) for key in keys])
            for scope, reply in zip(scopes, replies, strict=True):
                pairs = zip(names, reply, strict=True) if names else batch_pairs(reply)
                found[scope] = found[scope].add(parse_fields(pairs))
        return found

    async def _read_each(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the reply to each of the commands, whose second part is their key."""
        replies: list[Any] = []
        for start in range(0, len(commands), SCOPES_PER_ROUND_TRIP):
            batch = commands[start : start + SCOPES_PER_ROUND_TRIP]
            calls = [(str(command[1]), [command]) for command in batch]
            replies += [reply for (reply,) in await self._client.read_many(calls)]
        return replies

    def _log_malformed(self, scope: str, fields: TrafficFields) -> None:
        """Log fields that nothing of the service has written; at most MAX_LOGGED_FIELDS in a process."""
        if fields.malformed and self._logged_count < MAX_LOGGED_FIELDS:
            self._logged_count += 1
            logger.warning(
                "the traffic of %r has %d fields of another form, which are deleted, as %r",
                scope,
                len(fields.malformed),
                fields.malformed[0][:40],
            )


def parse_fields(fields: Iterable[tuple[bytes, bytes | None]]) -> TrafficFields:
    """Return pairs of name and value as totals; what is malformed or missing is left out of them."""
    amounts: dict[tuple[int, str], int] = {}
    malformed = []
    for name, value in fields:
        if value is None:
            continue
        match = _FIELD_PATTERN.fullmatch(name)
        if match and _AMOUNT_PATTERN.fullmatch(value):
            amounts[int(match[1]), match[2].decode()] = int(value)
        else:
            malformed.append(name)
    return TrafficFields(amounts, tuple(malformed))


def batch_pairs(reply: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return the pairs of a flat reply to HGETALL."""
    return zip(reply[::2], reply[1::2], strict=True)


def decode_debt(stored: bytes | None) -> Debt:
    """Return a bucket as `lua/debts.lua` has stored it. One that cannot be read is empty."""
    if stored is None:
        return EMPTY_DEBT
    try:
        values = [int(value) for value in _decode_bucket(stored)]
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return EMPTY_DEBT
    if len(values) != 2 * _WINDOW_VALUES:
        return EMPTY_DEBT
    hour, day = values[:_WINDOW_VALUES], values[_WINDOW_VALUES:]
    return Debt((_decode_window(hour), _decode_window(day)))


def _decode_window(values: Sequence[int]) -> DebtWindow:
    middle = 1 + SLOTS_PER_PERIOD + 1
    return DebtWindow(values[0], tuple(values[1:middle]), tuple(values[middle:]))

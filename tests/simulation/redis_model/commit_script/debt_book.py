"""The buckets of the brake on SMS pumping, as they are stored."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from otp_service.core.pumping.debt import (
    EMPTY_DEBT,
    Debt,
    DebtWindow,
    repay_debt,
    settle_debt,
)
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import HOUR_MS
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.typed_values import read_string


DEBT_TTL_MS = 28 * HOUR_MS
"""Until each slot has left the longer window."""

_encode_values = msgspec.msgpack.Encoder().encode
_decode_values = msgspec.msgpack.Decoder(tuple[int | str, ...]).decode


def name_scope(key: bytes, limit: str = DebtLimit.SPEND_OVERALL) -> ScopeBucket:
    """Return a name for the bucket of a key: the script knows buckets by their keys alone."""
    return ScopeBucket(DebtLimit(limit), subject=key.decode())


class DebtBook(Mapping[ScopeBucket, Debt]):
    """The buckets of one commit, settled at its time. Each is read once."""

    def __init__(self, context: CommitContext) -> None:
        self._context = context
        self._settled: dict[bytes, Debt] = {}
        self._corrected: set[bytes] = set()

    def __getitem__(self, bucket: ScopeBucket) -> Debt:
        return self.read(bucket.subject.encode())

    def __iter__(self) -> Iterator[ScopeBucket]:
        return map(name_scope, self._settled)

    def __len__(self) -> int:
        return len(self._settled)

    def read(self, key: bytes) -> Debt:
        """Return a bucket, and remember whether the clock was set back since it was written."""
        settled = self._settled.get(key)
        if settled is None:
            packed = read_string(self._context.keyspace, key)
            stored = unpack_debt(packed) if packed else EMPTY_DEBT
            settled = self._settled[key] = settle_debt(stored, self._context.now)
            pairs = zip(stored.windows, settled.windows, strict=True)
            if any(before.newest_slot > after.newest_slot for before, after in pairs):
                self._corrected.add(key)
        return settled

    def write(self, key: bytes, debt: Debt) -> None:
        """Store a bucket, or delete an empty one."""
        self._settled[key] = debt
        countries = {name: one for name, one in debt.countries.items() if _has_amount(one)}
        if countries:
            packed = _pack_countries(debt.windows[1].newest_slot, countries)
            self._context.call.put_for(key, packed, DEBT_TTL_MS)
        elif any(map(_has_amount, debt.windows)):
            self._context.call.put_for(key, _pack_debt(debt), DEBT_TTL_MS)
        else:
            self._context.keyspace.delete(key)

    def write_corrected(self) -> None:
        """Store what was settled because the clock was set back, also if the commit is refused."""
        for key in self._corrected:
            self.write(key, self._settled[key])

    def repay(
        self,
        key: bytes,
        amount: int,
        charged_at: int,
        verified: int = 0,
        country: str | None = None,
    ) -> None:
        """Take an amount from the slot in which it was charged, and add what has verified there.

        With a country they are messages of a bucket that counts countries.
        """
        debt, now = self.read(key), self._context.now
        repaid = repay_debt(debt, amount, charged_at, now, verified=verified, country=country)
        self.write(key, repaid)


def _has_amount(window: DebtWindow) -> bool:
    return any(window.unverified) or any(window.verified)


def unpack_debt(packed: bytes) -> Debt:
    values: Any = _decode_values(packed)
    if isinstance(values[1], str):
        return _unpack_countries(values)
    hour = DebtWindow(values[0], values[1:8], values[8:15])
    return Debt((hour, DebtWindow(values[15], values[16:23], values[23:30])))


def _unpack_countries(values: Any) -> Debt:
    """Return a bucket that counts countries: one number of a slot, then each country with its slots."""
    newest_slot, *_ = values
    countries = {
        values[i]: DebtWindow(newest_slot, values[i + 1 : i + 8], values[i + 8 : i + 15])
        for i in range(1, len(values), 15)
    }
    return Debt((DebtWindow(), DebtWindow(newest_slot)), countries)


def _pack_debt(debt: Debt) -> bytes:
    hour, day = debt.windows
    return _encode_values(
        (
            hour.newest_slot, *hour.unverified, *hour.verified,
            day.newest_slot, *day.unverified, *day.verified,
        )
    )  # fmt: skip


def _pack_countries(newest_slot: int, countries: Mapping[str, DebtWindow]) -> bytes:
    values: list[int | str] = [newest_slot]
    for name, window in countries.items():
        values += [name, *window.unverified, *window.verified]
    return _encode_values(values)

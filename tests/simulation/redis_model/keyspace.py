"""The data of a server. Values are replaced and never changed, so that writes can be undone."""

from collections.abc import Callable, Iterator

import msgspec

from tests.simulation.redis_model.stream import Stream


class Hash(msgspec.Struct, frozen=True):
    """Fields and their values. Do not change the dict."""

    fields: dict[bytes, bytes]

    def set(self, changed: dict[bytes, bytes]) -> "Hash":
        """Return the hash with more or other fields."""
        return Hash({**self.fields, **changed})

    def remove(self, *names: bytes) -> "Hash":
        """Return the hash without some fields, also if it does not have them."""
        return Hash({name: value for name, value in self.fields.items() if name not in names})


class SortedSet(msgspec.Struct, frozen=True):
    """Members and their scores. Do not change the dict."""

    scores: dict[bytes, float]

    def set(self, member: bytes, score: float) -> "SortedSet":
        """Return the set with a member, or with its other score."""
        return SortedSet({**self.scores, member: score})

    def remove(self, *members: bytes) -> "SortedSet":
        """Return the set without some members, also if it does not have them."""
        return SortedSet({name: at for name, at in self.scores.items() if name not in members})

    def list_sorted(self) -> list[tuple[float, bytes]]:
        """Return scores and members by ascending score, then by the bytes of the member."""
        return sorted((score, member) for member, score in self.scores.items())


Set = frozenset[bytes]

Value = bytes | Hash | SortedSet | Set | Stream


class Keyspace:
    """The keys of a server with their values and expiry.

    A key that has expired is deleted at its next access, which is a write as in Redis: a clock that
    is set back afterwards does not bring it back. `offset` counts the writes.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """Start empty, with a clock of milliseconds since 1970."""
        self.clock = clock
        self._values: dict[bytes, Value] = {}
        self._expiries: dict[bytes, int] = {}
        self._journal: list[tuple[bytes, Value | None, int]] = []
        """For each write the key, with the value and the expiry that it had before."""

    @property
    def offset(self) -> int:
        """The count of writes."""
        return len(self._journal)

    def get(self, key: bytes) -> Value | None:
        """Return a value, or None if the key is missing or has expired."""
        if self._expiries and self._expiries.get(key, 0):
            self._expire(key)
        return self._values.get(key)

    def get_expiry(self, key: bytes) -> int:
        """Return the last millisecond of a key, or 0 for a missing key and one that never expires."""
        if self._expiries.get(key, 0):
            self._expire(key)
        return self._expiries.get(key, 0)

    def put(self, key: bytes, value: Value, expires_at: int = 0) -> None:
        """Write a value with its expiry; 0 for none. An empty collection deletes the key."""
        if not isinstance(value, bytes | Stream) and _is_empty(value):
            self.delete(key)
            return
        self._note(key)
        self._values[key] = value
        if expires_at:
            self._expiries[key] = expires_at
        else:
            self._expiries.pop(key, None)

    def replace(self, key: bytes, value: Value) -> None:
        """Write a value and keep the expiry that the key has."""
        self.put(key, value, self.get_expiry(key))

    def delete(self, key: bytes) -> bool:
        """Delete a key and return whether it was present."""
        if self.get(key) is None:
            return False
        self._remove(key)
        return True

    def list_keys(self) -> list[bytes]:
        """Return the keys that have not expired, sorted. Deletes nothing."""
        now, expiries = self.clock(), self._expiries
        return sorted(key for key in self._values if not 0 < expiries.get(key, 0) < now)

    def sweep_expired(self) -> None:
        """Delete every key that has expired, as Redis does in the background."""
        for key in sorted(self._expiries):
            self._expire(key)

    def clear(self) -> None:
        """Delete every key."""
        for key in sorted(self._values):
            self._remove(key)

    def roll_back(self, offset: int) -> None:
        """Undo every write after an offset. Raises ValueError for one that was not reached."""
        if not 0 <= offset <= self.offset:
            raise ValueError(f"offset {offset} is not from 0 to {self.offset}")
        for key, value, expires_at in self._pop_writes(offset):
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
            if expires_at:
                self._expiries[key] = expires_at
            else:
                self._expiries.pop(key, None)

    def copy(self, clock: Callable[[], int] | None = None) -> "Keyspace":
        """Return a keyspace with the same data and offset that changes independently."""
        copied = Keyspace(clock or self.clock)
        copied._values.update(self._values)
        copied._expiries.update(self._expiries)
        copied._journal.extend(self._journal)
        return copied

    def _pop_writes(self, offset: int) -> Iterator[tuple[bytes, Value | None, int]]:
        while self.offset > offset:
            yield self._journal.pop()

    def _expire(self, key: bytes) -> None:
        # Redis serves a key during its last millisecond: keyIsExpired in db.c compares with `>`.
        if self.clock() > self._expiries[key]:
            self._remove(key)

    def _remove(self, key: bytes) -> None:
        self._note(key)
        del self._values[key]
        self._expiries.pop(key, None)

    def _note(self, key: bytes) -> None:
        self._journal.append((key, self._values.get(key), self._expiries.get(key, 0)))


def _is_empty(value: Hash | SortedSet | Set) -> bool:
    match value:
        case Hash():
            return not value.fields
        case SortedSet():
            return not value.scores
        case _:
            return not value

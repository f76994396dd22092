"""What argon2 compared and the router sent, against what Redis charges for it.

    books = Books(installation, hasher)
    ...  # calls, a fault and its end
    await books.assert_balanced()

A charge may be missing: a failover loses what was not to be kept. It is never more than what was
compared or sent, because a call that did neither is refunded.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import msgspec

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    Algorithm,
    Bucket,
    Limit,
    LimitTable,
    Window,
)
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import HashPriority
from otp_service.store.line import Command
from tests.installation import CountingHasher, Installation
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


UNIT_SECONDS = 36_000
"""What one charge adds to a wide bucket: so much that no test lasts long enough to lower it by one."""

GUESSES_PER_HOUR = DEFAULT_LIMITS[Limit.FAILURES_NUMBER][0].count

COUNTED_LIMITS: LimitTable = {
    **DEFAULT_LIMITS,
    # An attacker may ask for a code each second, so that only the limits on failures refuse.
    Limit.COOLDOWN: (Window(1, 1),),
    Limit.SENDS_NUMBER_TENANT: (Window(1_000, 86_400),),
    Limit.SENDS_NUMBER: (Window(1_000, 86_400),),
    **{
        limit: (Window(10_000, 10_000 * UNIT_SECONDS),)
        for limit in (
            Limit.SENDS_PREFIX,
            Limit.SENDS_PREFIX_TENANT,
            Limit.SENDS_COUNTRY,
            Limit.SENDS_COUNTRY_TENANT,
            Limit.SENDS_TENANT,
            Limit.SENDS_OVERALL,
            Limit.FAILURES_TENANT,
        )
    },
}
"""Limits whose buckets show how many charges they hold."""


class Comparison(NamedTuple):
    """What a hash is computed for."""

    number: str
    is_guess: bool
    """Whether the code is a wrong one."""


_comparison: ContextVar[Comparison | None] = ContextVar("comparison", default=None)


@contextmanager
def count_comparisons(number: str, *, is_guess: bool) -> Iterator[None]:
    """Count the hashes of the block, and of the tasks that it starts, for a number."""
    token = _comparison.set(Comparison(number, is_guess))
    try:
        yield
    finally:
        _comparison.reset(token)


class RecordingHasher(CountingHasher):
    """Counts the hashes for each salt, which belongs to one challenge, and for each number."""

    def __init__(self) -> None:
        super().__init__()
        self.runs_by_salt: Counter[bytes] = Counter()
        self.comparisons: Counter[str] = Counter()
        """By number. The hash of a code that is issued compares nothing."""
        self.guesses: Counter[str] = Counter()
        """Comparisons of wrong codes, by number."""

    async def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        profile: Argon2Profile | None = None,
        *,
        priority: HashPriority = HashPriority.ISSUE,
    ) -> bytes:
        self.runs_by_salt[salt] += 1
        if comparison := _comparison.get():
            self.comparisons[comparison.number] += 1
            self.guesses[comparison.number] += comparison.is_guess
        return await super().compute_argon2id(code, salt, profile, priority=priority)


class Books:
    """Compares the buckets in Redis with what was compared and sent."""

    def __init__(self, installation: Installation, hasher: RecordingHasher) -> None:
        self._installation = installation
        self._store = installation.store
        self._hasher = hasher
        self.numbers: set[str] = set()
        """Each number for which a call was made."""
        self.successes: Counter[str] = Counter()
        """By number. The charge of a success is refunded in the step that accepts it."""
        for name, tenant in installation.tenants.items():
            counted = msgspec.structs.replace(tenant, limits=COUNTED_LIMITS)
            installation.tenants[name] = counted

    async def assert_balanced(self, *, max_unknown: int = 0) -> None:
        """Assert that each bucket holds at most what was compared or sent.

        A bucket may hold `max_unknown` more: charges of calls of which Redis has lost the record.
        """
        # They wait for both replicas, and a busy machine may leave one behind for a while.
        left = await self._installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)
        assert not left, f"{left} refunds are not on all replicas"
        surplus: dict[str, tuple[int, int]] = {}
        for bucket, partition, allowed in self._list_expected():
            charged = await self._count_charges(bucket, partition)
            if charged > allowed + max_unknown:
                surplus[f"{bucket.limit} of {bucket.subject}"] = charged, allowed
        assert not surplus, f"charged, and not compared or sent: {surplus}"

    def _list_expected(self) -> Iterator[tuple[Bucket, int, int]]:
        """Yield each bucket, its partition, and the most that it may hold."""
        failed = self._hasher.comparisons - self.successes
        sent = Counter(message.to.e164 for message in self._installation.router.messages)
        sent_to_prefix: Counter[str] = Counter()
        for number in self.numbers:
            partition = self._store.get_number_partition(number)
            sent_to_prefix[parse_number(number).prefix] += sent[number]
            for limit, tenant, allowed in (
                (Limit.SENDS_NUMBER, "", sent),
                (Limit.SENDS_NUMBER_TENANT, "shop", sent),
                (Limit.FAILURES_NUMBER, "shop", failed),
                (Limit.CONSECUTIVE_FAILURES, "shop", failed),
            ):
                yield Bucket(limit, tenant, number), partition, allowed[number]
        for prefix, count in sent_to_prefix.items():
            partition = self._store.get_number_partition(f"{prefix}0000")
            yield Bucket(Limit.SENDS_PREFIX, "", prefix), partition, count
        for bucket, count in (
            (Bucket(Limit.SENDS_OVERALL), sent.total()),
            (Bucket(Limit.SENDS_COUNTRY, "", "GB"), sent.total()),
            (Bucket(Limit.SENDS_TENANT, "shop"), sent.total()),
            (Bucket(Limit.FAILURES_TENANT, "shop"), failed.total()),
        ):
            yield bucket, self._store.get_bucket_partition(bucket), count

    async def _count_charges(self, bucket: Bucket, partition: int) -> int:
        key = self._store.key_names.bucket_key(partition, bucket)
        link, (window, *_) = self._installation.script_client, COUNTED_LIMITS[bucket.limit]
        (seconds, microseconds), stored = await link.run_pipeline(
            key, [("TIME",), _READ_COMMANDS[bucket.limit.algorithm](key)]
        )
        now = int(seconds) * 1000 + int(microseconds) / 1000
        match bucket.limit.algorithm:
            case Algorithm.SLIDING_WINDOW:
                instants = msgspec.msgpack.decode(stored)[::2] if stored else []
                return sum(instant > now - window.period_seconds * 1000 for instant in instants)
            case Algorithm.CONSECUTIVE_FAILURES:
                return int(stored or 0)
            case Algorithm.GCRA:
                tat, _ = msgspec.msgpack.decode(stored) if stored else (now, now)
                return round(max(0, tat - now) / (UNIT_SECONDS * 1000))


_READ_COMMANDS: dict[Algorithm, Callable[[str], Command]] = {
    Algorithm.SLIDING_WINDOW: lambda key: ("GET", key),
    Algorithm.CONSECUTIVE_FAILURES: lambda key: ("HGET", key, "count"),
    Algorithm.GCRA: lambda key: ("GET", key),
}

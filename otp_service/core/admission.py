"""Admission control: a bounded number of slots, of which each tenant gets at most a share."""

import math
from collections import Counter
from contextlib import ExitStack

from otp_service.core.errors import Overloaded


MAX_HASH_SLOTS = 1000
"""With a cheap hash a call waits for Redis and the event loop instead, which more calls only delay."""


def count_hash_slots(threads: int, max_wait_ms: float, hash_ms: float) -> int:
    """Return how many calls may run or wait for argon2, so that none waits longer than `max_wait_ms`.

    `hash_ms` is the time of one hash in one thread. There is always a slot more than there are
    threads, so that no thread is idle between two calls.
    """
    fitting = math.floor(threads * max_wait_ms / hash_ms) if hash_ms > 0 else MAX_HASH_SLOTS
    return max(threads + 1, min(fitting, MAX_HASH_SLOTS))


class AdmissionControl:
    """Admits at most `slots` calls at once, and at most `max_per_tenant` of one tenant."""

    def __init__(self, slots: int, max_per_tenant: int) -> None:
        self._slots = slots
        self._max_per_tenant = max_per_tenant
        self._slots_by_tenant: Counter[str] = Counter()

    @classmethod
    def create_fair(cls, slots: int, tenants: int) -> "AdmissionControl":
        """Return a control in which, with several tenants, each gets at most half of the slots."""
        return cls(slots, max(1, slots // 2) if tenants > 1 else slots)

    def acquire(self, tenant: str, count: int = 1) -> ExitStack:
        """Take slots, which `close()` or the end of the `with` statement releases once.

        `count` is how many runs the call needs. A call that needs more than a tenant can have takes
        all that the tenant can have, so that it is admitted when no other one runs. Raises
        Overloaded at once if too few are free; calls never queue.
        """
        count = max(1, min(count, self._slots, self._max_per_tenant))
        in_use = self._slots_by_tenant[tenant]
        if self.in_use + count > self._slots or in_use + count > self._max_per_tenant:
            raise Overloaded
        self._slots_by_tenant[tenant] += count
        slots = ExitStack()
        slots.callback(self.release, tenant, count)
        return slots

    def release(self, tenant: str, count: int = 1) -> None:
        self._slots_by_tenant[tenant] -= count
        if not self._slots_by_tenant[tenant]:
            del self._slots_by_tenant[tenant]

    @property
    def in_use(self) -> int:
        return self._slots_by_tenant.total()

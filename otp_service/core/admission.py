"""Admission control: a bounded number of slots, of which each tenant gets at most a share."""

from collections import Counter
from contextlib import ExitStack

from otp_service.core.errors import Overloaded


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

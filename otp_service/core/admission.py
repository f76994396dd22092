"""Admission control: a bounded number of slots, of which each tenant gets at most a share."""

from collections import Counter
from types import TracebackType
from typing import Self

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

    def acquire(self, tenant: str) -> "Slot":
        """Take a slot. Raises Overloaded at once if none is free; calls never queue."""
        if (
            self._slots_by_tenant.total() >= self._slots
            or self._slots_by_tenant[tenant] >= self._max_per_tenant
        ):
            raise Overloaded
        self._slots_by_tenant[tenant] += 1
        return Slot(self, tenant)

    def release(self, tenant: str) -> None:
        self._slots_by_tenant[tenant] -= 1
        if not self._slots_by_tenant[tenant]:
            del self._slots_by_tenant[tenant]

    @property
    def in_use(self) -> int:
        return self._slots_by_tenant.total()


class Slot:
    """One slot of an admission control; releasing it again does nothing."""

    def __init__(self, admission: AdmissionControl, tenant: str) -> None:
        self._admission: AdmissionControl | None = admission
        self._tenant = tenant

    def release(self) -> None:
        if self._admission:
            self._admission.release(self._tenant)
            self._admission = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

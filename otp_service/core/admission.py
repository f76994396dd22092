"""Admission: a bounded number of places, of which no tenant may take more than its share."""

from collections import Counter
from types import TracebackType
from typing import Self

from otp_service.core.errors import Overloaded


class AdmissionControl:
    """Lets at most `places` in at once, and at most `share` of one tenant."""

    def __init__(self, slots: int, max_per_tenant: int) -> None:
        self._slots = slots
        self._max_per_tenant = max_per_tenant
        self._slots_by_tenant: Counter[str] = Counter()

    @classmethod
    def create_fair(cls, slots: int, tenants: int) -> "AdmissionControl":
        """Return a gate at which no tenant holds more than half, where there are several."""
        return cls(slots, max(1, slots // 2) if tenants > 1 else slots)

    def acquire(self, tenant: str) -> "Slot":
        """Take a place. Raises Overloaded at once when there is none: nobody waits outside."""
        if (
            self._slots_by_tenant.total() >= self._slots
            or self._slots_by_tenant[tenant] >= self._max_per_tenant
        ):
            raise Overloaded
        self._slots_by_tenant[tenant] += 1
        return Slot(self, tenant)

    def release(self, tenant: str) -> None:
        """Give a place back."""
        self._slots_by_tenant[tenant] -= 1
        if not self._slots_by_tenant[tenant]:
            del self._slots_by_tenant[tenant]

    @property
    def in_use(self) -> int:
        """How many places are taken."""
        return self._slots_by_tenant.total()


class Slot:
    """One place inside; leaving twice is leaving once."""

    def __init__(self, admission: AdmissionControl, tenant: str) -> None:
        self._admission: AdmissionControl | None = admission
        self._tenant = tenant

    def release(self) -> None:
        """Give the place back."""
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

"""Admission: a bounded number of places, of which no tenant may take more than its share."""

from collections import Counter
from types import TracebackType
from typing import Self

from otp_service.core.errors import Overloaded


class Gate:
    """Lets at most `places` in at once, and at most `share` of one tenant."""

    def __init__(self, places: int, share: int) -> None:
        self._places = places
        self._share = share
        self._inside: Counter[str] = Counter()

    @classmethod
    def fair(cls, places: int, tenants: int) -> "Gate":
        """Return a gate at which no tenant holds more than half, where there are several."""
        return cls(places, max(1, places // 2) if tenants > 1 else places)

    def enter(self, tenant: str) -> "Place":
        """Take a place. Raises Overloaded at once when there is none: nobody waits outside."""
        if self._inside.total() >= self._places or self._inside[tenant] >= self._share:
            raise Overloaded
        self._inside[tenant] += 1
        return Place(self, tenant)

    def leave(self, tenant: str) -> None:
        """Give a place back."""
        self._inside[tenant] -= 1
        if not self._inside[tenant]:
            del self._inside[tenant]

    @property
    def inside(self) -> int:
        """How many places are taken."""
        return self._inside.total()


class Place:
    """One place inside; leaving twice is leaving once."""

    def __init__(self, gate: Gate, tenant: str) -> None:
        self._gate: Gate | None = gate
        self._tenant = tenant

    def leave(self) -> None:
        """Give the place back."""
        if self._gate:
            self._gate.leave(self._tenant)
            self._gate = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

"""Statistics of deliveries, by tenant: codes of other products, of which no success is known."""

from collections.abc import Mapping
from typing import Final

import msgspec

from otp_service.audit.reports.event_record import EventRecord


DELIVERY_COLUMNS: Final = ("created", "sent", "failed", "delivered", "refused")
"""The counts of `DeliveryRow` that tables show."""

ROW_FIELDS: Final[Mapping[str, str]] = {
    "delivery.created": "created",
    "delivery.sent": "sent",
    "delivery.provider_failed": "failed",
    "delivery.denied": "refused",
}
"""The field of `DeliveryRow` that an event counts in."""


class DeliveryRow(msgspec.Struct):
    """The counts of deliveries at one tenant."""

    tenant: str | None
    created: int = 0
    sent: int = 0
    """Messages that a provider accepted, or may have."""
    failed: int = 0
    """Messages that a provider certainly did not accept."""
    delivered: int = 0
    """Messages that a receipt reports as delivered."""
    refused: int = 0
    """Calls that were refused, and sent nothing."""


class DeliveryCollector:
    """Counts the events of deliveries."""

    def __init__(self) -> None:
        self._rows: dict[str | None, DeliveryRow] = {}

    def add_event(self, event: EventRecord) -> None:
        field = ROW_FIELDS.get(event.type)
        if event.type == "delivery.reported" and event.status == "delivered":
            field = "delivered"
        if field:
            row = self._rows.setdefault(event.tenant, DeliveryRow(event.tenant))
            setattr(row, field, getattr(row, field) + event.folded)

    def build_rows(self) -> tuple[DeliveryRow, ...]:
        """Return the rows, sorted by tenant."""
        return tuple(sorted(self._rows.values(), key=lambda row: row.tenant or ""))

"""The use cases of operators about the brake: open a scope for a time, close one, and lift either.

All overrides are one record, which every process reads every few seconds (`app/brake_sync.py`). Each
change is one commit with its event; if another operator was first, it is decided again.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from otp_service.core import events
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import Key
from otp_service.core.ports import OverrideRegistry, StoredOverrides
from otp_service.core.pumping.overrides import Overrides, ScopeOverride
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.random_source import RandomSource
from otp_service.core.timestamps import format_rfc3339
from otp_service.service.context import Caller


MAX_CONFLICTS: Final = 16
"""Changes by other operators in a row after which one is given up."""

OPERATOR_REASON: Final = "by_operator"

_EVENT_TYPES: Final[dict[str, type[events.ScopeOpened | events.ScopeClosed]]] = {
    "open": events.ScopeOpened,
    "closed": events.ScopeClosed,
}


class OverrideService:
    """Opens and closes scopes. Every method raises StoreUnavailable.

    Events carry `versions`, and name a range and a block under `pseudonym_key`.
    """

    def __init__(
        self,
        registry: OverrideRegistry,
        random: RandomSource,
        versions: dict[str, str],
        pseudonym_key: Key,
    ) -> None:
        self._registry = registry
        self._random = random
        self._versions = versions
        self._pseudonym_key = pseudonym_key

    async def load_overrides(self) -> StoredOverrides:
        """Return the overrides, also those that have ended since the last change."""
        return await self._registry.load_overrides()

    async def override_scope(
        self,
        caller: Caller,
        bucket: ScopeBucket,
        action: Literal["open", "closed"],
        *,
        duration_ms: int,
        reason: str,
    ) -> ScopeOverride:
        """Open or close a scope from now on, and return what is stored; it replaces an earlier override.

        Raises TooManyOverrides.
        """

        def build_override(now: int) -> ScopeOverride:
            until, by = now + duration_ms, caller.machine_user or caller.key_id
            return ScopeOverride(
                bucket.limit, bucket.tenant, bucket.subject, action, until, reason, by, now
            )

        def add_override(stored: StoredOverrides) -> tuple[Overrides, events.Event]:
            override = build_override(stored.now)
            event = _EVENT_TYPES[action](
                **self._build_event_fields(caller, bucket),
                expires_at=format_rfc3339(override.until),
                note=reason,
            )
            return stored.overrides.add_override(override, stored.now), event

        stored = await self._change_overrides(add_override)
        return build_override(stored.now)

    async def lift_override(self, caller: Caller, bucket: ScopeBucket) -> ScopeOverride | None:
        """End what was decided of a scope, and return it; None if it was neither open nor closed."""
        lifted: ScopeOverride | None = None

        def remove_override(stored: StoredOverrides) -> tuple[Overrides, events.Event] | None:
            nonlocal lifted
            lifted = stored.overrides.find_override(bucket, stored.now)
            if lifted is None:
                return None
            fields = self._build_event_fields(caller, bucket)
            event = events.OverrideLifted(**fields, state=lifted.action)
            return stored.overrides.remove_override(bucket, stored.now), event

        await self._change_overrides(remove_override)
        return lifted

    async def _change_overrides(
        self, decide: Callable[[StoredOverrides], tuple[Overrides, events.Event] | None]
    ) -> StoredOverrides:
        """Store what `decide` returns, if it returns a change, and return what it was decided on."""
        for _ in range(MAX_CONFLICTS):
            stored = await self._registry.load_overrides()
            change = decide(stored)
            if change is None:
                return stored
            operation_id = self._random.generate_operation_id()
            if await self._registry.swap_overrides(stored, *change, operation_id):
                return stored
        raise StoreUnavailable

    def _build_event_fields(self, caller: Caller, bucket: ScopeBucket) -> dict[str, Any]:
        """Return the fields of an event about a scope, which is named as in events of sends."""
        return {
            "id": self._random.generate_operation_id(),
            "key_id": caller.key_id,
            "request": caller.request_id,
            "versions": self._versions,
            "tenant": bucket.tenant or None,
            "limit": bucket.limit,
            "reason": OPERATOR_REASON,
            "by": caller.machine_user,
            **self._name_subject(bucket),
        }

    def _name_subject(self, bucket: ScopeBucket) -> dict[str, str]:
        match bucket.limit:
            case DebtLimit.UNVERIFIED_RANGE:
                name = self._pseudonym_key.derive_pseudonym("prefix", bucket.subject)
                return {"prefix": name}
            case DebtLimit.UNVERIFIED_BLOCK:
                return {"block": self._pseudonym_key.derive_pseudonym("block", bucket.subject)}
            case DebtLimit.UNVERIFIED_COUNTRY:
                return {"country": bucket.subject}
            case DebtLimit.UNVERIFIED_ADDRESS:
                return {"client_ip": bucket.subject.removesuffix("/64")}
            case _:
                return {}

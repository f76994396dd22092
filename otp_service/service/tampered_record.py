"""Recording that a record in Redis has a wrong MAC, wherever in a call it was read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from otp_service.core import errors, events
from otp_service.core.ports import Store
from otp_service.service.context import CallContext


@asynccontextmanager
async def record_tampering(store: Store, context: CallContext) -> AsyncIterator[None]:
    """Append `store.tampered` in the partition of the context if the body raises StoreTampered."""
    try:
        yield
    except errors.StoreTampered as error:
        tampered = events.Tampered(**context.build_event_fields(), record=error.record_key)
        await store.commit(context.build_commit(foldable_event=tampered))
        raise

"""Use cases about a number: unlock, block, unblock, opt out and in, and forget; empty a wide bucket.

`POST /v1/numbers/unlock`, the command line and messages from phones call the same methods: nothing else
changes the do-not-send list. Each change is one commit with its event, and repeating it is harmless.
Every method raises StoreUnavailable.
"""

from collections.abc import Sequence
from typing import TypeVar

from otp_service.core import charges, events
from otp_service.core.commit import Commit
from otp_service.core.do_not_send import (
    DoNotSendEntry,
    DoNotSendReason,
    InboundState,
    ListedEntry,
    ReceivedMessage,
    StoredOptOut,
)
from otp_service.core.inbound import Keyword
from otp_service.core.inbound_decision import AnsweredSender
from otp_service.core.limits import WIDE_LIMITS, Bucket, WideSubject
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import ErasedCounts, LockedNumber, ProgressCallback
from otp_service.service.context import CallContext, Caller, Dependencies, Subject


KeywordEventT = TypeVar("KeywordEventT", bound=events.KeywordReceived)


class NumberService:
    """Changes and lists what is stored about numbers, over all tenants."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._registry = dependencies.number_registry
        self._random = dependencies.random

    async def unlock_number(self, caller: Caller, phone: PhoneNumber) -> None:
        """Reset the failures of a number at all tenants; its sends stay counted."""
        context = self._create_context(caller, phone)
        fields = context.build_event_fields(reason="by_operator", by=caller.machine_user)
        reset_buckets = tuple(
            bucket
            for tenant in self._dependencies.tenants
            for bucket in charges.list_lock_buckets(tenant, phone.canonical)
        )
        commit = context.build_commit(
            reset_buckets=reset_buckets,
            foldable_event=events.Unlocked(**fields),
            durable=True,
            requires_log_capacity=True,
        )
        await self._store.commit(commit)

    async def reset_limit(self, caller: Caller, bucket: Bucket) -> None:
        """Empty the bucket of a limit in WIDE_LIMITS."""
        subject_kind, _ = WIDE_LIMITS[bucket.limit]
        is_country = subject_kind is WideSubject.COUNTRY
        context = CallContext(self._dependencies, caller, Subject())
        fields = context.build_event_fields(
            reason="by_operator",
            tenant=bucket.tenant or None,
            country=bucket.subject if is_country else None,
            by=caller.machine_user,
        )
        commit = Commit(
            partition=self._get_wide_partition(bucket),
            operation_id=self._random.generate_operation_id(),
            reset_buckets=charges.list_reset_buckets(bucket),
            events=(events.LimitReset(**fields, limit=bucket.limit),),
            durable=True,
            requires_log_capacity=True,
        )
        await self._store.commit(commit)

    def _get_wide_partition(self, bucket: Bucket) -> int:
        subject_kind, has_tenant = WIDE_LIMITS[bucket.limit]
        if subject_kind is WideSubject.PREFIX and not has_tenant:
            # It is charged with its numbers, all of which have one partition.
            return self._store.get_number_partition(bucket.subject + "0000")
        return self._store.get_bucket_partition(bucket)

    async def block_number(
        self, caller: Caller, phone: PhoneNumber, *, at: int | None = None
    ) -> None:
        """Block a number for all tenants, as of an instant in milliseconds; None for now."""
        event = self._build_blocklist_event(caller, phone, "blocked")
        await self._registry.block_number(phone, event, self._random.generate_operation_id(), at=at)

    async def unblock_number(self, caller: Caller, phone: PhoneNumber) -> None:
        """Lift the block of a number and its opt-outs, for all tenants."""
        event = self._build_blocklist_event(caller, phone, "unblocked")
        await self._registry.unblock_number(
            phone,
            event,
            self._random.generate_operation_id(),
            tenants=self._dependencies.tenants,
        )

    async def forget_number(
        self, caller: Caller, phone: PhoneNumber, progress: ProgressCallback
    ) -> ErasedCounts:
        """Delete the challenges and the buckets of a number; the do-not-send list keeps it."""
        context = self._create_context(caller, phone)
        fields = context.build_event_fields(reason="by_operator", by=caller.machine_user)
        event = events.NumberErased(**fields)
        operation_id, tenants = self._random.generate_operation_id(), self._dependencies.tenants
        return await self._registry.erase_number(
            phone, event, operation_id, tenants=tenants, progress=progress
        )

    async def read_inbound_state(
        self, phone: PhoneNumber, keyword: Keyword, sender: AnsweredSender, message_id: str
    ) -> InboundState:
        """Return what a message with a keyword is decided on."""
        tenants = self._dependencies.tenants if keyword is Keyword.START else (sender.scope,)
        return await self._registry.read_inbound_state(
            phone, sender.provider, message_id, tenants=tenants
        )

    async def opt_out_number(
        self, caller: Caller, phone: PhoneNumber, sender: AnsweredSender, message: ReceivedMessage
    ) -> bool:
        """Store the opt-out of a STOP for the caller's tenant. Return False if another change came first."""
        return await self._registry.opt_out(
            phone,
            caller.tenant.name,
            DoNotSendEntry(phone.e164, message.at, sender.provider, sender.own_number),
            message=message,
            event=self._build_keyword_event(
                events.NumberOptedOut, caller, phone, sender, Keyword.STOP
            ),
            operation_id=self._random.generate_operation_id(),
        )

    async def opt_in_number(
        self,
        caller: Caller,
        phone: PhoneNumber,
        sender: AnsweredSender,
        opt_outs: Sequence[StoredOptOut],
        message: ReceivedMessage,
    ) -> bool:
        """Lift these opt-outs for a START. Return False if another change came first."""
        return await self._registry.opt_in(
            phone,
            opt_outs,
            message=message,
            event=self._build_keyword_event(
                events.NumberOptedIn, caller, phone, sender, Keyword.START
            ),
            operation_id=self._random.generate_operation_id(),
        )

    async def record_help_request(
        self, caller: Caller, phone: PhoneNumber, sender: AnsweredSender, message: ReceivedMessage
    ) -> bool:
        """Record a HELP, which changes nothing. Return False if it was recorded before."""
        return await self._registry.record_help(
            phone,
            message=message,
            event=self._build_keyword_event(
                events.HelpRequested, caller, phone, sender, Keyword.HELP
            ),
            operation_id=self._random.generate_operation_id(),
        )

    async def confirm_state(self, phone: PhoneNumber) -> None:
        """Wait until replicas have what is stored of a number. Raises NotReplicated."""
        await self._registry.confirm_state(phone, self._random.generate_operation_id())

    async def import_opt_out(
        self, caller: Caller, phone: PhoneNumber, entry: DoNotSendEntry
    ) -> bool:
        """Store an opt-out of another list for the caller's tenant. Return False if there is one."""
        context = self._create_context(caller, phone)
        fields = context.build_event_fields(
            provider=entry.provider or None,
            own_number=entry.own_number or None,
            by=caller.machine_user,
        )
        is_added = await self._registry.opt_out(
            phone,
            caller.tenant.name,
            entry,
            message=None,
            event=events.NumberOptedOut(**fields),
            operation_id=self._random.generate_operation_id(),
        )
        if not is_added:
            await self.confirm_state(phone)
        return is_added

    async def list_blocked_numbers(self, progress: ProgressCallback) -> list[ListedEntry]:
        return await self._registry.list_entries(DoNotSendReason.BLOCKED, progress)

    async def list_opted_out_numbers(self, progress: ProgressCallback) -> list[ListedEntry]:
        return await self._registry.list_entries(DoNotSendReason.OPTED_OUT, progress)

    async def list_locked_numbers(self, progress: ProgressCallback) -> list[LockedNumber]:
        return await self._registry.list_locked_numbers(self._dependencies.tenants, progress)

    def _build_keyword_event(
        self,
        event_type: type[KeywordEventT],
        caller: Caller,
        phone: PhoneNumber,
        sender: AnsweredSender,
        keyword: Keyword,
    ) -> KeywordEventT:
        """Return the event of a keyword, for the caller's tenant."""
        fields = self._create_context(caller, phone).build_event_fields(
            provider=sender.provider, own_number=sender.own_number or None, keyword=keyword
        )
        return event_type(**fields)

    def _build_blocklist_event(
        self, caller: Caller, phone: PhoneNumber, reason: str
    ) -> events.BlocklistChanged:
        context = self._create_context(caller, phone)
        fields = context.build_event_fields(reason=reason, by=caller.machine_user)
        return events.BlocklistChanged(**fields)

    def _create_context(self, caller: Caller, phone: PhoneNumber) -> CallContext:
        return CallContext(self._dependencies, caller, Subject(phone))

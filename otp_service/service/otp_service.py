"""The use cases: fetch, decide, store, tell.

    issue   own buckets → other buckets ∥ argon2 → challenge stored → providers → outcome stored
    verify  read → claim paid ∥ other buckets → argon2, compare → outcome stored

Closed when Redis is in doubt: a step that cannot be taken raises StoreUnavailable, and no code is
compared and no message sent after it. That is decided here, by catching it nowhere.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from otp_service.core import charges, events
from otp_service.core.challenge import Challenge, build_challenge_id, parse_partition
from otp_service.core.delivery import Receipt, SubmissionReference
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeExpired,
    ChallengeNotFound,
    NumberNotAllowed,
    OtpError,
    SendsExhausted,
    StoreTampered,
)
from otp_service.core.keys import join_length_prefixed
from otp_service.core.messages import parse_locale
from otp_service.core.phone_number import (
    PhoneNumber,
    check_country,
    classify_number,
    restore_number,
)
from otp_service.core.ports import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.schemas import IssueRequest, UnlockRequest, VerifyRequest
from otp_service.service.code_sender import CodeSender
from otp_service.service.code_verifier import CodeVerifier
from otp_service.service.context import CallContext, Caller, Dependencies, Subject
from otp_service.service.idempotency import IdempotentCall
from otp_service.service.optimistic_commit import (
    commit_once,
    commit_with_retry,
    require_challenge,
)
from otp_service.service.receipt_handler import ReceiptHandler, ReceiptResult


UNKNOWN_SUBJECT = Subject()


class OtpService:
    """Issue, resend, verify, cancel, and the operator's unlock.

    Every method raises the OtpError that refuses it; the answers carry the challenge and the
    instant, by Redis's clock, at which it stood so.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store

    async def issue(
        self, caller: Caller, request: IssueRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Send a code to a number, and return its new challenge."""
        caller.tenant.check_purpose(request.purpose)
        locale = parse_locale(request.locale) if request.locale is not None else None
        person = Subject.from_request(None, request.account, request.client_ip)
        phone = await self._resolve_destination(caller, request, person)
        person = replace(person, phone=phone)
        partition = self._store.get_number_partition(phone.canonical)
        challenge_id = build_challenge_id(partition, self._dependencies.random.token_bytes(16))

        def send_code(id_: str) -> Awaitable[ChallengeSnapshot]:
            return CodeSender(self._dependencies, caller, person, request.purpose, id_).issue(
                locale
            )

        async with self._record_tampering(
            CallContext(self._dependencies, caller, person, partition)
        ):
            if idempotency_key is None:
                return await send_code(challenge_id)
            fields = (
                request.phone_number,
                request.purpose,
                request.locale,
                request.client_ip,
                request.account,
            )
            once = self._create_idempotent_call(
                caller, idempotency_key, "issue", fields, challenge_id
            )
            return await once.run(send_code, creates_challenge=True)

    async def resend(
        self, caller: Caller, challenge_id: str, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Send another code for a challenge; the earlier one stays valid beside it."""
        async with self._record_tampering(self._create_context(caller, challenge_id), challenge_id):
            stored = await self._fetch_challenge(caller, challenge_id)
            try:
                require_challenge(stored).check_pending(stored.now)
            except ChallengeEnded as error:
                await self._record_denial(
                    self._create_context(caller, challenge_id, stored.challenge), error
                )
                raise
            if idempotency_key is None:
                return await self._resend_code(caller, stored)
            once = self._create_idempotent_call(
                caller, idempotency_key, "resend", (challenge_id,), challenge_id
            )
            return await once.run(
                lambda _: self._resend_code(caller, stored), creates_challenge=False
            )

    async def verify(
        self, caller: Caller, challenge_id: str, request: VerifyRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Accept the code, once. Every other outcome is an error."""
        async with self._record_tampering(self._create_context(caller, challenge_id), challenge_id):
            stored = await self._fetch_challenge(caller, challenge_id)
            return await CodeVerifier(self._dependencies, caller, stored, request).verify(
                idempotency_key
            )

    async def get_challenge(self, caller: Caller, challenge_id: str) -> ChallengeSnapshot:
        """Return a challenge in whatever status. Raises ChallengeNotFound."""
        async with self._record_tampering(self._create_context(caller, challenge_id), challenge_id):
            return await self._fetch_challenge(caller, challenge_id)

    async def cancel(self, caller: Caller, challenge_id: str) -> None:
        """End a challenge; a second time does nothing."""
        async with self._record_tampering(self._create_context(caller, challenge_id), challenge_id):
            await self._cancel_challenge(caller, await self._fetch_challenge(caller, challenge_id))

    async def unlock_number(self, caller: Caller, request: UnlockRequest) -> None:
        """End the rows of failures of a number at all tenants; its sends stay counted."""
        phone, _ = classify_number(request.phone_number)
        buckets = [
            charges.list_lock_buckets(name, phone.canonical) for name in self._dependencies.tenants
        ]
        partition = self._store.get_number_partition(phone.canonical)
        desk = CallContext(self._dependencies, caller, Subject(phone), partition)
        told = events.Unlocked(**desk.build_event_fields(reason="by_operator"))
        clear = tuple(bucket for pair in buckets for bucket in pair)
        await self._store.commit(
            desk.build_commit(reset_buckets=clear, events=(told,), durable=True)
        )

    async def handle_receipt(
        self, caller: Caller, provider: str, receipt: Receipt, *, trusted: bool
    ) -> ReceiptResult:
        """Note what a provider tells of a submission; `trusted`: nobody else can have said it."""
        reference = SubmissionReference.parse(receipt.reference)
        if reference is None or parse_partition(reference.challenge_id) is None:
            return ReceiptResult(is_known=False)
        receiving = self._create_receipt_handler(caller, provider, reference)
        async with self._record_tampering(
            self._create_context(caller, reference.challenge_id), reference.challenge_id
        ):
            return await receiving.handle_receipt(reference, receipt, trusted=trusted)

    async def auto_resend(
        self,
        caller: Caller,
        provider: str,
        reference: SubmissionReference,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> bool:
        """Send once more what a provider has lost, if that is still to be and every limit allows."""
        receiving = self._create_receipt_handler(caller, provider, reference)
        async with self._record_tampering(
            self._create_context(caller, reference.challenge_id), reference.challenge_id
        ):
            return await receiving.auto_resend(reference, sleep)

    def _create_receipt_handler(
        self, caller: Caller, provider: str, reference: SubmissionReference
    ) -> ReceiptHandler:
        tenant = self._dependencies.tenants.get(reference.tenant, caller.tenant)
        return ReceiptHandler(self._dependencies, replace(caller, tenant=tenant), provider)

    async def _resolve_destination(
        self, caller: Caller, request: IssueRequest, subject: Subject
    ) -> PhoneNumber:
        """Return the number if codes are sent there; one that is none is not even an event."""
        phone, why = classify_number(request.phone_number)
        try:
            if why == "type" or (why and not self._dependencies.allow_fictitious):
                raise NumberNotAllowed(why)
            if self._dependencies.only_fictitious and not phone.is_fictitious:
                raise NumberNotAllowed("fictitious", "In test mode only fictitious numbers work.")
            check_country(phone, caller.tenant.countries)
        except NumberNotAllowed as error:
            partition = self._store.get_number_partition(phone.canonical)
            subject = replace(subject, phone=phone)
            await self._record_denial(
                CallContext(
                    self._dependencies, caller, subject, partition, purpose=request.purpose
                ),
                error,
            )
            raise
        return phone

    async def _fetch_challenge(self, caller: Caller, challenge_id: str) -> ChallengeSnapshot:
        stored = await self._store.fetch_challenge(caller.tenant.name, challenge_id)
        if stored.challenge is None:
            raise ChallengeNotFound
        return stored

    async def _cancel_challenge(self, caller: Caller, snapshot: ChallengeSnapshot) -> None:
        desk = self._create_context(
            caller, require_challenge(snapshot).id, require_challenge(snapshot)
        )
        told = events.Canceled(**desk.build_event_fields(reason="by_tenant"))

        def build_cancel_commit(current: ChallengeSnapshot) -> Commit:
            challenge = require_challenge(current)
            new = challenge.cancel(current.now)
            if new is challenge:
                return desk.build_commit()
            return desk.build_commit(swap=CompareAndSwap(challenge, new, None), events=(told,))

        await commit_with_retry(self._store, snapshot, build_cancel_commit)

    async def _resend_code(self, caller: Caller, snapshot: ChallengeSnapshot) -> ChallengeSnapshot:
        challenge, secret = require_challenge(snapshot), snapshot.secret
        desk = self._create_context(caller, challenge.id, challenge)
        try:
            if secret is None:
                raise ChallengeExpired
            challenge.check_resend(snapshot.now)
        except ChallengeEnded as error:
            await self._record_denial(desk, error)
            raise
        except SendsExhausted as error:
            assert secret  # or it would have expired
            await self._record_denial(desk, error, restore_number(secret.number, challenge.country))
            raise
        phone = restore_number(secret.number, challenge.country)
        person = Subject.from_request(phone, challenge.account, secret.client_ip)
        sending = CodeSender(self._dependencies, caller, person, challenge.purpose, challenge.id)
        return await sending.resend(secret)

    async def _record_denial(
        self, context: CallContext, error: OtpError, phone: PhoneNumber | None = None
    ) -> None:
        """Record a refusal; raises NumberLocked where that of this number comes before it."""
        told = events.IssueDenied(**context.build_event_fields(reason=error.reason))
        row = (charges.build_lock_check(context.caller.tenant, phone),) if phone else ()
        await commit_once(
            self._store,
            context.build_commit(charges=row, event_if_refused=told, foldable_event=told),
        )

    @asynccontextmanager
    async def _record_tampering(
        self, context: CallContext, challenge_id: str | None = None
    ) -> AsyncIterator[None]:
        """Record a record that is not ours, wherever in a call it is met."""
        try:
            yield
        except StoreTampered as error:
            told = events.Tampered(
                **context.build_event_fields(challenge=challenge_id), record=error.record_key
            )
            await self._store.commit(context.build_commit(events=(told,)))
            raise

    def _create_context(
        self, caller: Caller, challenge_id: str, challenge: Challenge | None = None
    ) -> CallContext:
        partition = parse_partition(challenge_id)
        if partition is None:
            raise ChallengeNotFound
        return CallContext(
            self._dependencies, caller, UNKNOWN_SUBJECT, partition, existing=challenge
        )

    def _create_idempotent_call(
        self,
        caller: Caller,
        idempotency_key: str,
        call_name: str,
        fields: tuple[str | None, ...],
        challenge_id: str,
    ) -> IdempotentCall:
        said = join_length_prefixed(
            *(b"\0" if field is None else field.encode() for field in fields)
        )
        fingerprint = self._dependencies.keys.limit.current.compute_mac(
            "fingerprint", call_name.encode(), said
        )
        return IdempotentCall(
            self._dependencies, caller.tenant.name, idempotency_key, fingerprint, challenge_id
        )

"""The facade of the use cases: each reads fetch, charge, decide, store, send.

    issue   charge the number → charge shared limits ∥ argon2 → store → send → store the result
    verify  fetch → charge the attempt ∥ shared limits → argon2, compare → store the result

Fails closed: StoreUnavailable is never handled in this package, so no code is compared and no
message is sent after an error of the store.
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
    NumberNotAllowed,
    OtpError,
    SendsExhausted,
    StoreTampered,
)
from otp_service.core.messages import parse_locale
from otp_service.core.phone_number import PhoneNumber, check_country, classify_number
from otp_service.core.ports import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.schemas import IssueRequest, VerifyRequest
from otp_service.service.code_sender import CodeSender
from otp_service.service.code_verifier import CodeVerifier
from otp_service.service.context import (
    UNKNOWN_CHALLENGE,
    CallContext,
    Caller,
    ChallengeRef,
    Dependencies,
    Subject,
)
from otp_service.service.idempotency import IdempotencyKeys, IdempotentRequest
from otp_service.service.numbers import NumberService
from otp_service.service.optimistic_commit import (
    commit_once,
    commit_with_retry,
    require_challenge,
)
from otp_service.service.receipt_handler import ReceiptHandler, ReceiptResult


UNKNOWN_SUBJECT = Subject()


class OtpService:
    """Issue, resend, verify and cancel a challenge, and handle its receipts.

    Every method raises the OtpError that refuses the call. A snapshot holds the challenge and the
    instant, by Redis's clock, at which it was in this state.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._idempotency_keys = IdempotencyKeys(dependencies)
        self.numbers = NumberService(dependencies)

    async def issue(
        self, caller: Caller, request: IssueRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Send a code to a number, and return its new challenge."""
        caller.tenant.check_purpose(request.purpose)
        locale = parse_locale(request.locale) if request.locale is not None else None
        subject = Subject.from_request(None, request.account, request.client_ip)
        phone, problem = classify_number(request.phone_number)
        subject = replace(subject, phone=phone)
        partition = self._store.get_number_partition(phone.canonical)
        try:
            self._check_destination(phone, problem, caller.tenant.countries)
        except NumberNotAllowed as error:
            await self._record_denial(
                CallContext(
                    self._dependencies,
                    caller,
                    subject,
                    ChallengeRef(purpose=request.purpose),
                ),
                error,
            )
            raise
        async with (
            self._record_tampering(caller, subject),
            self._idempotency_keys.claim(
                self._describe_issue(caller, request, idempotency_key, partition)
            ) as claim,
        ):
            if claim.previous_result:
                return claim.previous_result
            context = CallContext(
                self._dependencies,
                caller,
                subject,
                ChallengeRef(claim.challenge_id, request.purpose),
            )
            return await CodeSender(self._dependencies, context, phone).issue(locale)

    async def resend(
        self, caller: Caller, challenge_id: str, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Send another code for a challenge; the earlier one stays valid as well."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, ChallengeRef(challenge_id)):
            snapshot, challenge = await self._fetch_challenge(caller, challenge_id)
            try:
                challenge.check_pending(snapshot.now)
            except ChallengeEnded as error:
                await self._record_denial(
                    CallContext(self._dependencies, caller, UNKNOWN_SUBJECT, challenge),
                    error,
                )
                raise
            request = IdempotentRequest(
                tenant=caller.tenant.name,
                key=idempotency_key,
                operation="resend",
                fields=(challenge_id,),
                challenge_id=challenge_id,
                creates_challenge=False,
            )
            async with self._idempotency_keys.claim(request) as claim:
                return claim.previous_result or await self._resend_code(caller, snapshot)

    async def verify(
        self, caller: Caller, challenge_id: str, request: VerifyRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Accept the code, once. Every other outcome is an error."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, ChallengeRef(challenge_id)):
            snapshot, challenge = await self._fetch_challenge(caller, challenge_id)
            subject = Subject.from_challenge(challenge, snapshot.secret, request.client_ip)
            context = CallContext(self._dependencies, caller, subject, challenge=challenge)
            verifier = CodeVerifier(self._dependencies, context, challenge, request)
            return await verifier.verify(snapshot, idempotency_key)

    async def get_challenge(self, caller: Caller, challenge_id: str) -> ChallengeSnapshot:
        """Return a challenge in any status. Raises ChallengeNotFound."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, ChallengeRef(challenge_id)):
            snapshot, _ = await self._fetch_challenge(caller, challenge_id)
            return snapshot

    async def cancel(self, caller: Caller, challenge_id: str) -> None:
        """End a challenge; a second call does nothing."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, ChallengeRef(challenge_id)):
            snapshot, challenge = await self._fetch_challenge(caller, challenge_id)
            context = CallContext(self._dependencies, caller, UNKNOWN_SUBJECT, challenge)
            canceled = events.Canceled(**context.build_event_fields(reason="by_tenant"))

            def build_cancel_commit(current: ChallengeSnapshot) -> Commit:
                old = require_challenge(current)
                new = old.cancel(current.now)
                if new is old:
                    return context.build_commit()
                return context.build_commit(swap=CompareAndSwap(old, new, None), events=(canceled,))

            await commit_with_retry(self._store, snapshot, build_cancel_commit)

    async def handle_receipt(
        self, caller: Caller, provider: str, receipt: Receipt, *, trusted: bool
    ) -> ReceiptResult:
        """Store a provider's report about a submission.

        `trusted` is whether the report can only be the provider's.
        """
        reference = SubmissionReference.parse(receipt.reference)
        if reference is None or parse_partition(reference.challenge_id) is None:
            return ReceiptResult(is_known=False)
        caller = self._as_tenant_of(reference, caller)
        id_ = reference.challenge_id
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, ChallengeRef(id_)):
            handler = ReceiptHandler(self._dependencies, caller, provider)
            return await handler.handle_receipt(reference, receipt, trusted=trusted)

    async def auto_resend(
        self,
        caller: Caller,
        provider: str,
        reference: SubmissionReference,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> bool:
        """Send again after a failed delivery, if the challenge and every limit allow it."""
        caller = self._as_tenant_of(reference, caller)
        id_ = reference.challenge_id
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, ChallengeRef(id_)):
            handler = ReceiptHandler(self._dependencies, caller, provider)
            return await handler.auto_resend(reference, sleep)

    def _as_tenant_of(self, reference: SubmissionReference, caller: Caller) -> Caller:
        tenant = self._dependencies.tenants.get(reference.tenant, caller.tenant)
        return replace(caller, tenant=tenant)

    def _check_destination(
        self, phone: PhoneNumber, problem: str | None, countries: frozenset[str]
    ) -> None:
        """Raise NumberNotAllowed unless codes are sent to this number."""
        if problem == "type" or (problem and not self._dependencies.allow_fictitious):
            raise NumberNotAllowed(problem)
        if self._dependencies.only_fictitious and not phone.is_fictitious:
            raise NumberNotAllowed("fictitious", "In test mode only fictitious numbers work.")
        check_country(phone, countries)

    def _describe_issue(
        self, caller: Caller, request: IssueRequest, idempotency_key: str | None, partition: int
    ) -> IdempotentRequest:
        return IdempotentRequest(
            tenant=caller.tenant.name,
            key=idempotency_key,
            operation="issue",
            fields=(
                request.phone_number,
                request.purpose,
                request.locale,
                request.client_ip,
                request.account,
            ),
            challenge_id=build_challenge_id(partition, self._dependencies.random.token_bytes(16)),
            creates_challenge=True,
        )

    async def _fetch_challenge(
        self, caller: Caller, challenge_id: str
    ) -> tuple[ChallengeSnapshot, Challenge]:
        snapshot = await self._store.fetch_challenge(caller.tenant.name, challenge_id)
        return snapshot, require_challenge(snapshot)

    async def _resend_code(self, caller: Caller, snapshot: ChallengeSnapshot) -> ChallengeSnapshot:
        challenge, secret = require_challenge(snapshot), snapshot.secret
        subject = Subject.from_challenge(challenge, secret, secret.client_ip if secret else None)
        try:
            if secret is None or subject.phone is None:
                raise ChallengeExpired
            challenge.check_resend(snapshot.now)
        except (ChallengeEnded, SendsExhausted) as error:
            denied = CallContext(self._dependencies, caller, UNKNOWN_SUBJECT, challenge)
            locked_first = subject.phone if isinstance(error, SendsExhausted) else None
            await self._record_denial(denied, error, locked_first)
            raise
        context = CallContext(
            self._dependencies,
            caller,
            subject,
            ChallengeRef(challenge.id, challenge.purpose),
        )
        return await CodeSender(self._dependencies, context, subject.phone).resend(secret)

    async def _record_denial(
        self, context: CallContext, error: OtpError, phone: PhoneNumber | None = None
    ) -> None:
        """Record a refusal. Raises NumberLocked instead if `phone` is given and locked."""
        denied = events.IssueDenied(**context.build_event_fields(reason=error.reason))
        lock_check = (charges.build_lock_check(context.caller.tenant, phone),) if phone else ()
        commit = context.build_commit(
            charges=lock_check, event_if_refused=denied, foldable_event=denied
        )
        await commit_once(self._store, commit)

    @asynccontextmanager
    async def _record_tampering(
        self,
        caller: Caller,
        subject: Subject,
        challenge: ChallengeRef = UNKNOWN_CHALLENGE,
    ) -> AsyncIterator[None]:
        """Record that a record has a wrong MAC, wherever in the call it was read."""
        try:
            yield
        except StoreTampered as error:
            context = CallContext(self._dependencies, caller, subject, challenge)
            tampered = events.Tampered(**context.build_event_fields(), record=error.record_key)
            await self._store.commit(context.build_commit(events=(tampered,)))
            raise

"""The facade of the use cases: each reads fetch, charge, decide, store, send.

    issue   charge the caller → the number → the shared limits ∥ argon2 → store → send → store the result
    deliver the same without argon2: the code is another product's, and is not stored
    verify  fetch → charge the caller → the attempt → argon2, compare → store the result

Fails closed: no code is compared and no message is sent after StoreUnavailable. In this package it
is caught only to refund what was charged (pending_refunds.py), and is raised again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec.structs import astuple, replace

from otp_service.core import errors, events
from otp_service.core.challenge import check_challenge_id, check_delivery_id, parse_partition
from otp_service.core.commit import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.core.delivery import Receipt, SubmissionReference
from otp_service.core.inbound import InboundMessage, InboundResult
from otp_service.core.tenant import Tenant
from otp_service.core.verify_service import VerificationStart
from otp_service.schemas import DeliveryRequest, IssueRequest, VerifyRequest
from otp_service.service.accounts import AccountService
from otp_service.service.authenticator_service import AuthenticatorService
from otp_service.service.code_sender import CodeSender
from otp_service.service.code_verifier import CodeVerifier
from otp_service.service.context import CallContext, Caller, ChallengeRef, Dependencies, Subject
from otp_service.service.delivery_sender import DeliverySender
from otp_service.service.expiry import record_expiry
from otp_service.service.idempotency import IdempotencyKeys, Operation, list_issue_fields
from otp_service.service.inbound_handler import InboundHandler
from otp_service.service.numbers import NumberService
from otp_service.service.optimistic_commit import commit_with_retry
from otp_service.service.receipt_handler import ReceiptHandler, ReceiptResult
from otp_service.service.recovery_sets import RecoverySetService
from otp_service.service.send_admission import SendAdmission
from otp_service.service.send_previewer import SendPreviewer
from otp_service.service.shared_limits import SharedLimits
from otp_service.service.tampered_record import record_tampering
from otp_service.service.verification_service import VerificationService


UNKNOWN_SUBJECT = Subject()


class OtpService:
    """Issue, resend, verify and cancel a challenge, send a delivery, and handle their receipts.

    Every method raises the OtpError that refuses the call. A snapshot holds the challenge and the
    instant, by Redis's clock, at which it was in this state.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._admission = SendAdmission(dependencies)
        self.accounts = AccountService(dependencies)
        self.authenticators = AuthenticatorService(dependencies)
        self.numbers = NumberService(dependencies)
        self.recovery_sets = RecoverySetService(dependencies)
        self.refunds = dependencies.refunds
        self.send_previewer = SendPreviewer(dependencies)
        self.verifications = VerificationService(self, dependencies)

    async def issue(
        self,
        caller: Caller,
        request: IssueRequest,
        idempotency_key: str | None,
        verification: VerificationStart | None = None,
    ) -> ChallengeSnapshot:
        """Send a code to a number, and return its new challenge.

        With `verification` the challenge has a `VE…`, and is found by its number.
        """
        caller.tenant.check_known(request.known)
        operation: Operation = "start" if verification else "issue"
        fields = list_issue_fields(request)
        admitting = self._admission.admit(caller, request, idempotency_key, operation, fields)
        async with admitting as send:
            sender = CodeSender(self._dependencies, send.context, send.phone)
            return send.previous_result or await sender.issue(send.locale, verification)

    async def deliver(
        self, caller: Caller, request: DeliveryRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Send the code of another product to a number, and return its new delivery."""
        caller.tenant.check_delivered_code(request.code)
        fields = (*astuple(request)[:-1], str(request.valid_minutes))
        admitting = self._admission.admit(caller, request, idempotency_key, "deliver", fields)
        async with admitting as send:
            sender = DeliverySender(self._dependencies, send.context, send.phone)
            return send.previous_result or await sender.send(request, send.locale)

    async def get_delivery(self, caller: Caller, delivery_id: str) -> ChallengeSnapshot:
        """Return a delivery. Raises DeliveryNotFound."""
        check_delivery_id(delivery_id)
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, delivery_id):
            snapshot = await self._store.fetch_challenge(caller.tenant.name, delivery_id)
        if snapshot.challenge is None or snapshot.challenge.sends == 0:
            raise errors.DeliveryNotFound
        return snapshot

    async def resend(
        self, caller: Caller, challenge_id: str, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Send another code for a challenge; the earlier one stays valid as well."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, challenge_id):
            snapshot = await self._fetch_challenge(caller, challenge_id)
            challenge = snapshot.require_challenge()
            try:
                challenge.check_pending(snapshot.now)
            except errors.ChallengeEnded as error:
                await self._admission.record_denial(caller, UNKNOWN_SUBJECT, challenge, error)
                raise
            keys = IdempotencyKeys(self._dependencies, caller.tenant.name)
            async with keys.claim(
                idempotency_key, "resend", (challenge_id,), challenge_id
            ) as claim:
                return claim.previous_result or await self._resend_code(caller, snapshot)

    async def verify(
        self, caller: Caller, challenge_id: str, request: VerifyRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot:
        """Accept the code, once. Every other outcome is an error."""
        caller.tenant.check_required(account=request.account, client_ip=request.client_ip)
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, challenge_id):
            snapshot = await self._fetch_challenge(caller, challenge_id)
            challenge = snapshot.require_challenge()
            subject = Subject.from_challenge(challenge, snapshot.secret, request.client_ip)
            caller = caller.select_limits(subject.phone)
            context = CallContext(self._dependencies, caller, subject, challenge)
            verifier = CodeVerifier(
                self._dependencies, context, challenge, request, idempotency_key
            )
            return await verifier.verify(snapshot)

    async def get_challenge(self, caller: Caller, challenge_id: str) -> ChallengeSnapshot:
        """Return a challenge in any status. Raises ChallengeNotFound."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, challenge_id):
            return await self._fetch_challenge(caller, challenge_id)

    async def cancel(self, caller: Caller, challenge_id: str) -> None:
        """End a challenge; a second call does nothing."""
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, challenge_id):
            snapshot = await self._fetch_challenge(caller, challenge_id)
            challenge = snapshot.require_challenge()
            context = CallContext(self._dependencies, caller, UNKNOWN_SUBJECT, challenge)
            canceled = events.Canceled(**context.build_event_fields(reason="by_tenant"))

            def build_cancel_commit(current: ChallengeSnapshot) -> Commit:
                old = current.require_challenge()
                new = old.cancel(current.now)
                if new is old:
                    return context.build_commit()
                return context.build_commit(swap=CompareAndSwap(old, new, None), events=(canceled,))

            await commit_with_retry(self._store, snapshot, build_cancel_commit)

    async def handle_receipt(
        self, caller: Caller, provider: str, receipt: Receipt, *, trusted: bool
    ) -> ReceiptResult:
        """Store a provider's report about a submission.

        `trusted` is whether only the provider can have sent the report.
        """
        reference = SubmissionReference.parse(receipt.reference)
        if reference is None or parse_partition(reference.challenge_id) is None:
            return ReceiptResult(is_known=False)
        handler = self._create_receipt_handler(caller, provider, reference)
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, reference.challenge_id):
            return await handler.handle_receipt(reference, receipt, trusted=trusted)

    async def handle_inbound(
        self, caller: Caller, provider: str, message: InboundMessage
    ) -> InboundResult:
        """Apply a message from a phone that only this provider can have passed on."""
        handler = InboundHandler(self._dependencies, self.numbers, caller, provider)
        return await handler.handle_message(message)

    async def auto_resend(
        self,
        caller: Caller,
        provider: str,
        reference: SubmissionReference,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> bool:
        """Send again after a failed delivery, if the challenge and every limit allow it."""
        handler = self._create_receipt_handler(caller, provider, reference)
        async with self._record_tampering(caller, UNKNOWN_SUBJECT, reference.challenge_id):
            return await handler.auto_resend(reference, sleep)

    async def _fetch_challenge(self, caller: Caller, challenge_id: str) -> ChallengeSnapshot:
        """Return a challenge; if it has expired, that is recorded. Raises ChallengeNotFound."""
        check_challenge_id(challenge_id)
        snapshot = await self._store.fetch_challenge(caller.tenant.name, challenge_id)
        challenge = snapshot.require_challenge()
        context = CallContext(self._dependencies, caller, UNKNOWN_SUBJECT, challenge)
        return await record_expiry(self._store, context, snapshot)

    def _create_receipt_handler(
        self, caller: Caller, provider: str, reference: SubmissionReference
    ) -> ReceiptHandler:
        tenant = self._dependencies.tenants.get(reference.tenant, caller.tenant)
        return ReceiptHandler(self._dependencies, replace(caller, tenant=tenant), provider)

    async def _resend_code(self, caller: Caller, snapshot: ChallengeSnapshot) -> ChallengeSnapshot:
        challenge, secret = snapshot.require_challenge(), snapshot.secret
        subject = Subject.from_challenge(challenge, secret, secret.client_ip if secret else None)
        caller = caller.select_limits(subject.phone)
        try:
            if secret is None or subject.phone is None:
                raise errors.ChallengeExpired
            challenge.check_resend(snapshot.now)
        except errors.ChallengeEnded as error:
            await self._admission.record_denial(caller, UNKNOWN_SUBJECT, challenge, error)
            raise
        except errors.SendsExhausted as error:
            refusal = await self._put_lock_first(caller.tenant, challenge.account, error)
            number = subject.phone
            await self._admission.record_denial(caller, UNKNOWN_SUBJECT, challenge, refusal, number)
            raise refusal from None
        reference = ChallengeRef(challenge.id, challenge.purpose)
        context = CallContext(self._dependencies, caller, subject, reference)
        return await CodeSender(self._dependencies, context, subject.phone).resend(secret)

    async def _put_lock_first(
        self, tenant: Tenant, account: str | None, error: errors.OtpError
    ) -> errors.OtpError:
        """Return AccountLocked, which is checked first, if the account is locked; else the error."""
        try:
            shared_limits = SharedLimits(
                self._store, self._dependencies.random, self._dependencies.refunds
            )
            await shared_limits.check_account_lock(tenant, account)
        except errors.AccountLocked as locked:
            return locked
        return error

    @asynccontextmanager
    async def _record_tampering(
        self, caller: Caller, subject: Subject, challenge_id: str | None = None
    ) -> AsyncIterator[None]:
        """Record that a record has a wrong MAC, wherever in the call it was read."""
        context = CallContext(self._dependencies, caller, subject, ChallengeRef(challenge_id))
        async with record_tampering(self._store, context):
            yield

"""The use cases of recovery codes: create ten for an account, and verify each of them once.

    create  take ten slots → charge RecoverySetsPerAccount, with the event → ten runs of argon2 → seal
    verify  read the time → open the token → factor_attempt.py, with one run of argon2 → seal the rest

The caller keeps the set as a sealed token, and sends it with each verify. The codes are shown once.
"""

from functools import partial

import msgspec

from otp_service.core import charges, errors, events
from otp_service.core.codes import SALT_BYTES
from otp_service.core.commit import Commit, Refund
from otp_service.core.recovery_codes import (
    CODE_COUNT,
    RECOVERY_SET_ID_BYTES,
    RecoverySet,
    build_recovery_set,
    generate_recovery_codes,
    normalize_recovery_code,
    open_recovery_set,
)
from otp_service.core.sealed_token import TokenCipher
from otp_service.core.verify_replay import REPLAY_WINDOW_MS
from otp_service.schemas import CreateRecoveryCodesRequest, VerifyRecoveryCodeRequest
from otp_service.service.answer_slot import AnswerSlot
from otp_service.service.context import CallContext, Caller, Dependencies, Subject
from otp_service.service.factor_attempt import FactorAttempt
from otp_service.service.optimistic_commit import commit_once
from otp_service.service.recovery_code_check import (
    OpenedRecoverySet,
    RecoveryAnswer,
    RecoveryCodeCheck,
)
from otp_service.service.tampered_record import record_tampering


class CreatedRecoverySet(msgspec.Struct, frozen=True):
    """A set, with its codes in clear."""

    token: str
    codes: tuple[str, ...]

    def __repr__(self) -> str:
        return "CreatedRecoverySet()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The default of msgspec shows the codes in pretty tracebacks.
        return []


class RecoverySetService:
    """Creates recovery sets and verifies codes. Every method raises the OtpError that refuses."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._hasher = dependencies.hasher
        self._refunds = dependencies.refunds
        self._random = dependencies.random
        self._key = dependencies.keys.authenticator.current
        self._cipher = TokenCipher(dependencies.keys.authenticator, self._random.token_bytes)

    async def create_set(
        self, caller: Caller, request: CreateRecoveryCodesRequest
    ) -> CreatedRecoverySet:
        """Return ten new codes and their token. An earlier set of the account stays valid.

        It takes as many slots as it has runs of argon2. Raises Overloaded, RateLimited and
        StoreUnavailable.
        """
        new_id = self._random.token_bytes(RECOVERY_SET_ID_BYTES)
        codes = generate_recovery_codes(self._random.token_bytes)
        token_fields = {"recovery_set": new_id.hex(), "sealed_under": self._key.id}
        subject = Subject(account=request.account)
        context = CallContext(self._dependencies, caller, subject, token_fields=token_fields)
        commit = self._build_create_commit(context)
        refund = partial(self._refund_create, context, commit)
        with self._dependencies.hash_slots.acquire(caller.tenant.name, CODE_COUNT):
            async with self._refunds.refund_if_unavailable(refund):
                now = (await commit_once(self._store, commit)).committed.now
                recovery_set = await self._hash_codes(context, new_id, codes, now)
        return CreatedRecoverySet(recovery_set.seal(self._cipher), codes)

    async def verify_code(
        self, caller: Caller, request: VerifyRecoveryCodeRequest, idempotency_key: str | None
    ) -> RecoveryAnswer:
        """Accept a code of the set, once. Every other outcome is an error."""
        caller.tenant.check_required(account=request.account, client_ip=request.client_ip)
        subject = Subject.from_request(None, request.account, request.client_ip)
        context = CallContext(self._dependencies, caller, subject)
        slot = AnswerSlot(
            self._dependencies,
            context,
            "recovery-codes/verify",
            idempotency_key,
            ttl_ms=REPLAY_WINDOW_MS,
        )
        async with record_tampering(self._store, context):
            # Also for a token that is invalid, so that this takes the same time for each reason.
            now, earlier = await slot.read()
            opened = await self._open(context, request.recovery_set, now)
            context = CallContext(
                self._dependencies, caller, subject, token_fields=opened.event_fields
            )
            check = RecoveryCodeCheck(
                self._dependencies, context, self._cipher, opened, request.code
            )
            answer = await FactorAttempt(self._dependencies, check, slot).run(now, earlier)
        return msgspec.msgpack.decode(answer, type=RecoveryAnswer)

    def _build_create_commit(self, context: CallContext) -> Commit:
        tenant, fields = context.caller.tenant, context.build_event_fields
        return context.build_commit(
            charges=(charges.build_recovery_set_charge(tenant, context.account),),
            events=(events.RecoverySetCreated(**fields()),),
            event_if_refused=events.RecoveryDenied(**fields()),
            durable=True,
        )

    async def _refund_create(self, context: CallContext, commit: Commit) -> None:
        """Reverse the charge of a set that the caller does not get."""
        reason = errors.StoreUnavailable.audit_reason
        denied = events.RecoveryDenied(**context.build_event_fields(reason=reason))
        refunds = tuple(Refund(charge, commit.operation_id) for charge in commit.charges)
        refund = context.build_commit(
            refunds=refunds, only_with_refunds=True, foldable_event=denied
        )
        await self._store.commit(refund)

    async def _hash_codes(
        self, context: CallContext, new_id: bytes, codes: tuple[str, ...], now: int
    ) -> RecoverySet:
        salt, profile = self._random.token_bytes(SALT_BYTES), self._hasher.profile
        # One run after the other, so that logins get their turn between two of them.
        argon2_hashes = [
            await self._hasher.compute_argon2id(normalize_recovery_code(code), salt, profile)
            for code in codes
        ]
        return build_recovery_set(
            self._key,
            id_=new_id,
            tenant=context.caller.tenant.name,
            account=context.account,
            now=now,
            salt=salt,
            profile=profile,
            argon2_hashes=argon2_hashes,
        )

    async def _open(self, context: CallContext, token: str, now: int) -> OpenedRecoverySet:
        """Return the set. Raises InvalidRecoverySet, and records that."""
        tenant, account = context.caller.tenant.name, context.account
        try:
            opened = open_recovery_set(self._cipher, token, tenant, account, now)
        except errors.InvalidRecoverySet as error:
            denied = events.RecoveryDenied(**context.build_refusal_fields(error))
            await commit_once(self._store, context.build_commit(foldable_event=denied))
            raise
        return OpenedRecoverySet(*opened)

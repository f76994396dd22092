"""The use cases of authenticator apps: create, confirm, verify.

The caller keeps an authenticator as a sealed token, and sends it with each call. Nothing about it is
stored here, except its last accepted time step and what its account may still try.
"""

from contextlib import ExitStack
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from otp_service.core import errors, events
from otp_service.core.authenticator import (
    MIN_API_SECRET_BITS,
    UNCONFIRMED_TTL_MS,
    create_authenticator,
    open_authenticator,
    parse_base32_secret,
)
from otp_service.core.otpauth_uri import build_otpauth_uri, choose_label, format_issuer
from otp_service.core.sealed_token import TokenCipher
from otp_service.core.timestamps import DAY_MS
from otp_service.core.verify_replay import REPLAY_WINDOW_MS
from otp_service.schemas import (
    ConfirmAuthenticatorRequest,
    CreateAuthenticatorRequest,
    VerifyAuthenticatorRequest,
)
from otp_service.service.answer_slot import AnswerSlot
from otp_service.service.authenticator_check import (
    AuthenticatorAnswer,
    ConfirmationCheck,
    LoginCheck,
    OpenedAuthenticator,
)
from otp_service.service.context import CallContext, Caller, ChallengeRef, Dependencies, Subject
from otp_service.service.factor_attempt import FactorAttempt
from otp_service.service.optimistic_commit import commit_once
from otp_service.service.tampered_record import record_tampering


CONFIRM_REPEAT_MS = DAY_MS
"""For this long, a repeat of a confirm with its Idempotency-Key gets the same token."""

Request = ConfirmAuthenticatorRequest | VerifyAuthenticatorRequest
Check = TypeVar("Check", bound=ConfirmationCheck)


class NewAuthenticator(msgspec.Struct, frozen=True):
    """An unconfirmed authenticator, with its secret in the forms that apps take."""

    token: str
    base32_secret: str
    uri: str
    expires_at: int

    def __repr__(self) -> str:
        return "NewAuthenticator()"


class AuthenticatorService:
    """Creates, confirms and verifies authenticators. Every method raises the OtpError that refuses."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._token_bytes = dependencies.random.token_bytes
        self._cipher = TokenCipher(dependencies.keys.authenticator, self._token_bytes)

    def take_slot(self, caller: Caller) -> ExitStack:
        """Take a slot for a QR code, whose drawing costs as much CPU as a run of argon2.

        Enrolments have no limit, so a tenant gets its share of the slots. Raises Overloaded.
        """
        return self._dependencies.hash_slots.acquire(caller.tenant.name)

    async def create(self, caller: Caller, request: CreateAuthenticatorRequest) -> NewAuthenticator:
        """Return a new unconfirmed authenticator, of a new secret or of an imported one.

        It is confirmed like any other: only a code proves that the app computes what we compute.
        Raises InvalidRequest and StoreUnavailable.
        """
        name, secret = _choose_name(request), _parse_secret(request)
        tenant, account = caller.tenant, request.account
        draft = create_authenticator(self._token_bytes, tenant.name, account, 0, secret)
        uri = build_otpauth_uri(draft, format_issuer(tenant.brand), name)
        opened = OpenedAuthenticator(draft, "", self._cipher.current_key_id)
        context = self._build_context(caller, Subject(account=account), None, opened)
        enrolled = events.AuthenticatorEnrolled(**context.build_event_fields())
        # Foldable: it changes nothing and costs the caller nothing.
        commit = context.build_commit(foldable_event=enrolled, requires_log_capacity=True)
        now = (await commit_once(self._store, commit)).committed.now
        return NewAuthenticator(
            replace(draft, created_at=now).seal(self._cipher),
            draft.base32_secret,
            uri,
            now + UNCONFIRMED_TTL_MS,
        )

    async def confirm(
        self, caller: Caller, request: ConfirmAuthenticatorRequest, idempotency_key: str | None
    ) -> AuthenticatorAnswer:
        """Return the active authenticator: the first right code proves that the app has it."""
        context = self._build_context(caller, Subject(account=request.account), None)
        slot = AnswerSlot(
            self._dependencies,
            context,
            "authenticators/confirm",
            idempotency_key,
            ttl_ms=CONFIRM_REPEAT_MS,
        )
        return await self._attempt(ConfirmationCheck, context, slot, request)

    async def verify(
        self, caller: Caller, request: VerifyAuthenticatorRequest, idempotency_key: str | None
    ) -> AuthenticatorAnswer:
        """Accept the code of a new time step, once. Every other outcome is an error."""
        caller.tenant.check_purpose(request.purpose)
        caller.tenant.check_required(account=request.account, client_ip=request.client_ip)
        subject = Subject.from_request(None, request.account, request.client_ip)
        context = self._build_context(caller, subject, request.purpose)
        slot = AnswerSlot(
            self._dependencies,
            context,
            "authenticators/verify",
            idempotency_key,
            ttl_ms=REPLAY_WINDOW_MS,
        )
        return await self._attempt(LoginCheck, context, slot, request)

    async def _attempt(
        self, kind: type[Check], context: CallContext, slot: AnswerSlot, request: Request
    ) -> AuthenticatorAnswer:
        async with record_tampering(self._store, context):
            # Also for a token that is invalid, so that this takes the same time for each reason.
            now, earlier = await slot.read()
            is_repeat = slot.has_answer(earlier, now)
            opened = await self._open(context, request.authenticator, None if is_repeat else now)
            purpose = context.challenge.purpose
            context = self._build_context(context.caller, context.subject, purpose, opened)
            check = kind(context, self._cipher, opened, request)
            answer = await FactorAttempt(self._dependencies, check, slot).run(now, earlier)
        return msgspec.msgpack.decode(answer, type=AuthenticatorAnswer)

    async def _open(self, context: CallContext, token: str, now: int | None) -> OpenedAuthenticator:
        """Return the authenticator. Raises InvalidAuthenticator, and records that.

        Without `now`, also an unconfirmed one that has expired since: the answer to a repeat is
        stored, and nothing is compared.
        """
        tenant, account = context.caller.tenant.name, context.account
        try:
            opened = open_authenticator(self._cipher, token, tenant, account, now)
        except errors.InvalidAuthenticator as error:
            denied = events.AuthenticatorDenied(**context.build_refusal_fields(error))
            await commit_once(self._store, context.build_commit(foldable_event=denied))
            raise
        return OpenedAuthenticator(opened[0], token, opened[1])

    def _build_context(
        self,
        caller: Caller,
        subject: Subject,
        purpose: str | None,
        opened: OpenedAuthenticator | None = None,
    ) -> CallContext:
        token_fields = opened.event_fields if opened else {}
        reference = ChallengeRef(purpose=purpose)
        return CallContext(self._dependencies, caller, subject, reference, token_fields)


def _choose_name(request: CreateAuthenticatorRequest) -> str:
    """Return the name that the app shows. Raises InvalidRequest."""
    try:
        return choose_label(request.name, request.account)
    except ValueError as error:
        raise errors.InvalidRequest(("name", str(error))) from None


def _parse_secret(request: CreateAuthenticatorRequest) -> bytes | None:
    """Return the secret to import, None for a new one. Raises InvalidRequest."""
    if request.secret is None:
        return None
    try:
        return parse_base32_secret(request.secret, MIN_API_SECRET_BITS)
    except ValueError as error:
        raise errors.InvalidRequest(("secret", str(error))) from None

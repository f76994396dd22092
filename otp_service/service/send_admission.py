"""What an issue and a delivery are checked for before they are charged, and their Idempotency-Key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec.structs import replace

from otp_service.core import charges, errors
from otp_service.core.challenge import Challenge, build_challenge_id, build_delivery_id
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.language_tag import parse_locale
from otp_service.core.phone_number import PhoneNumber, check_country, classify_number
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.core.tenant import Tenant
from otp_service.core.verification_sid import build_verification_challenge_id
from otp_service.schemas import DeliveryRequest, IssueRequest
from otp_service.service.context import CallContext, Caller, ChallengeRef, Dependencies, Subject
from otp_service.service.idempotency import IdempotencyKeys, Operation, RequestFields
from otp_service.service.optimistic_commit import commit_once
from otp_service.service.tampered_record import record_tampering


REAL_NUMBER_DETAIL = (
    "This service is in test mode, where only fictitious numbers work, like +447700900123. This one is"
    " not fictitious."
)


class AdmittedSend(msgspec.Struct, frozen=True):
    """A call that may be charged and sent, or the result of the first call with its key."""

    context: CallContext
    phone: PhoneNumber
    locale: str | None
    previous_result: ChallengeSnapshot | None


class SendAdmission:
    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store

    @asynccontextmanager
    async def admit(
        self,
        caller: Caller,
        request: IssueRequest | DeliveryRequest,
        idempotency_key: str | None,
        operation: Operation,
        fields: RequestFields,
    ) -> AsyncIterator[AdmittedSend]:
        """Check the request and claim its key, while the body of the `async with` sends.

        `fields` are all of the request. Raises the OtpError that refuses it, also as
        `IdempotencyKeys.claim`.
        """
        caller.tenant.check_required(account=request.account, client_ip=request.client_ip)
        caller.tenant.check_purpose(request.purpose)
        locale = parse_locale(request.locale) if request.locale is not None else None
        subject = Subject.from_request(None, request.account, request.client_ip)
        phone, disallowed_reason = classify_number(request.phone_number)
        subject = replace(subject, phone=phone, **_build_statements(request))
        new = ChallengeRef(self._create_id(phone, operation), request.purpose)
        try:
            check_destination(self._dependencies, phone, disallowed_reason, caller.tenant)
            _check_bot_check(request)
        except errors.NumberNotAllowed as error:
            await self.record_denial(caller, subject, new, error)
            raise
        keys = IdempotencyKeys(self._dependencies, caller.tenant.name)
        claiming = keys.claim(idempotency_key, operation, fields, new.id or "")
        tampering = record_tampering(self._store, CallContext(self._dependencies, caller, subject))
        async with tampering, claiming as claim:
            caller = caller.select_limits(phone)
            ref = ChallengeRef(claim.challenge_id, request.purpose)
            context = CallContext(self._dependencies, caller, subject, ref)
            yield AdmittedSend(context, phone, locale, claim.previous_result)

    async def record_denial(
        self,
        caller: Caller,
        subject: Subject,
        challenge: Challenge | ChallengeRef,
        error: errors.OtpError,
        number_to_check: PhoneNumber | None = None,
    ) -> None:
        """Record a refusal. Raises NumberLocked instead if `number_to_check` is locked."""
        context = CallContext(self._dependencies, caller, subject, challenge)
        denied = context.send_events.denied(**context.build_event_fields(reason=error.reason))
        number = number_to_check
        lock_checks = (charges.build_lock_check(caller.tenant, number),) if number else ()
        commit = context.build_commit(
            charges=lock_checks, event_if_refused=denied, foldable_event=denied
        )
        await commit_once(self._store, commit)

    def _create_id(self, phone: PhoneNumber, operation: Operation) -> str:
        """Return the id of the new challenge or delivery, in the partition of the number."""
        partition = self._store.get_number_partition(phone.canonical)
        random_bytes = self._dependencies.random.token_bytes(16)
        match operation:
            case "deliver":
                return build_delivery_id(partition, random_bytes)
            case "start":
                return build_verification_challenge_id(partition, random_bytes)
            case _:
                return build_challenge_id(partition, random_bytes)


def _check_bot_check(request: IssueRequest | DeliveryRequest) -> None:
    """Raise NumberNotAllowed if the caller itself says that its client may be a program."""
    if isinstance(request, IssueRequest) and request.bot_check is BotCheck.FAILED:
        raise errors.NumberNotAllowed("bot_check")


def _build_statements(request: IssueRequest | DeliveryRequest) -> dict[str, bool]:
    """Return what the caller says about the person, as the subject of the call has it."""
    if not isinstance(request, IssueRequest):
        return {}
    return {
        "is_assumed_known": request.known is True,
        "has_passed_bot_check": request.bot_check is BotCheck.PASSED,
    }


def check_destination(
    dependencies: Dependencies, phone: PhoneNumber, reason: str | None, tenant: Tenant
) -> None:
    """Raise NumberNotAllowed if the tenant may not send to the number, whatever is stored about it.

    `reason` is that of `classify_number`.
    """
    if reason == "type" or (reason and not dependencies.allow_fictitious):
        raise errors.NumberNotAllowed(reason)
    if dependencies.only_fictitious and not phone.is_fictitious:
        raise errors.NumberNotAllowed("fictitious", REAL_NUMBER_DETAIL)
    check_country(phone, tenant.countries)

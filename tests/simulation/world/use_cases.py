"""Each kind of call of a history: how a worker runs it, and what of its result is recorded."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import Receipt
from otp_service.core.inbound import InboundMessage
from otp_service.core.phone_number import classify_number
from otp_service.schemas import (
    ConfirmAuthenticatorRequest,
    CreateAuthenticatorRequest,
    CreateRecoveryCodesRequest,
    DeliveryRequest,
    IssueRequest,
    VerifyAuthenticatorRequest,
    VerifyRecoveryCodeRequest,
    VerifyRequest,
)
from otp_service.service import Caller
from tests.simulation.history import PlainValue
from tests.simulation.world.worker import Worker


Arguments = Mapping[str, Any]
Value = Mapping[str, PlainValue]
UseCase = Callable[[Worker, Caller, Arguments], Coroutine[Any, Any, Value]]

NOTHING: Final[Value] = {}


async def issue(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = IssueRequest(**_without_key(arguments))
    snapshot = await worker.service.issue(caller, request, _get_key(arguments))
    return _describe_challenge(snapshot)


async def resend(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    call = worker.service.resend(caller, arguments["challenge"], _get_key(arguments))
    return _describe_challenge(await call)


async def verify(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    fields = dict(_without_key(arguments))
    challenge = fields.pop("challenge")
    call = worker.service.verify(caller, challenge, VerifyRequest(**fields), _get_key(arguments))
    return _describe_challenge(await call)


async def get(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    return _describe_challenge(await worker.service.get_challenge(caller, arguments["challenge"]))


async def cancel(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    await worker.service.cancel(caller, arguments["challenge"])
    return NOTHING


async def deliver(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = DeliveryRequest(**_without_key(arguments))
    snapshot = await worker.service.deliver(caller, request, _get_key(arguments))
    return {"id": snapshot.require_challenge().id}


async def create_authenticator(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = CreateAuthenticatorRequest(**arguments)
    new = await worker.service.authenticators.create(caller, request)
    return {
        "authenticator": new.token,
        "secret": new.base32_secret,
        "expires_at": new.expires_at,
    }


async def confirm_authenticator(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = ConfirmAuthenticatorRequest(**_without_key(arguments))
    confirm = worker.service.authenticators.confirm
    return {"authenticator": (await confirm(caller, request, _get_key(arguments))).token}


async def verify_authenticator(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = VerifyAuthenticatorRequest(**_without_key(arguments))
    answer = await worker.service.authenticators.verify(caller, request, _get_key(arguments))
    return {"authenticator": answer.token, "verified_at": answer.at}


async def create_recovery_codes(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = CreateRecoveryCodesRequest(**arguments)
    created = await worker.service.recovery_sets.create_set(caller, request)
    return {"recovery_set": created.token, "codes": list(created.codes)}


async def verify_recovery_code(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    request = VerifyRecoveryCodeRequest(**_without_key(arguments))
    answer = await worker.service.recovery_sets.verify_code(caller, request, _get_key(arguments))
    return {"recovery_set": answer.token, "codes_left": answer.codes_left}


async def unlock_number(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    phone, _ = classify_number(arguments["phone_number"])
    await worker.service.numbers.unlock_number(caller, phone)
    return NOTHING


async def unlock_account(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    await worker.service.accounts.unlock_account(caller, arguments["tenant"], arguments["account"])
    return NOTHING


async def block_number(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    phone, _ = classify_number(arguments["phone_number"])
    await worker.service.numbers.block_number(caller, phone)
    return NOTHING


async def unblock_number(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    phone, _ = classify_number(arguments["phone_number"])
    await worker.service.numbers.unblock_number(caller, phone)
    return NOTHING


async def receive_message(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    message = InboundMessage(
        arguments["phone_number"],
        arguments["keyword"],
        receiver=arguments["own_number"],
        id=arguments["message_id"],
        is_signed=True,
    )
    result = await worker.service.handle_inbound(caller, arguments["provider"], message)
    return {"result": result.value}


async def receive_receipt(worker: Worker, caller: Caller, arguments: Arguments) -> Value:
    """Handle a receipt, and start the resend that it may cause, as `Application` does it."""
    provider, status = arguments["provider"], arguments["status"]
    reason = None if status in {"delivered", "pending"} else "x1"
    receipt = Receipt(status, arguments["reference"], reason=reason)
    handle, trusted = worker.service.handle_receipt, arguments["trusted"]
    result = await handle(caller, provider, receipt, trusted=trusted)
    if reference := result.auto_resend_reference:
        calls = worker.background_calls
        resend_code = worker.service.auto_resend(caller, provider, reference, calls.sleep)
        calls.start_detached(resend_code)
    return NOTHING


USE_CASES: Final[Mapping[str, UseCase]] = {
    use_case.__name__: use_case
    for use_case in (
        *(issue, resend, verify, get, cancel, deliver),
        *(create_authenticator, confirm_authenticator, verify_authenticator),
        *(create_recovery_codes, verify_recovery_code),
        *(unlock_number, unlock_account, block_number, unblock_number),
        *(receive_message, receive_receipt),
    )
}
"""By the kind of the call."""


def _get_key(arguments: Arguments) -> str | None:
    key: str | None = arguments.get("idempotency_key")
    return key


def _without_key(arguments: Arguments) -> Arguments:
    return {name: value for name, value in arguments.items() if name != "idempotency_key"}


def _describe_challenge(snapshot: ChallengeSnapshot) -> Value:
    challenge = snapshot.require_challenge()
    return {
        "id": challenge.id,
        "status": challenge.compute_status(snapshot.now).value,
        "expires_at": challenge.deadline,
        "attempts_left": challenge.attempts_left,
        "sends_left": challenge.sends_left,
        "verified_at": challenge.verified_at,
    }

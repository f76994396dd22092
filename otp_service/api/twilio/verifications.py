"""Start, check, fetch and cancel a verification, as Twilio's clients call them."""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.request_body import read_body
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_json_response
from otp_service.api.twilio.form_fields import (
    REFUSED_CHECK_FIELDS,
    build_issue_request,
    parse_form,
    refuse_fields,
    require_field,
)
from otp_service.api.twilio.verify_services import (
    SERVICE_PATH,
    get_view_builder,
    require_service,
)
from otp_service.core.errors import ChallengeNotFound, InvalidRequest
from otp_service.core.verification_sid import parse_verification_sid
from otp_service.schemas import VerifyRequest
from otp_service.service.verification_service import VerificationService


T = TypeVar("T")

VERIFICATION_PATH: Final = f"{SERVICE_PATH}/Verifications/{{sid:str}}"

APPROVAL_DETAIL: Final = (
    "must be canceled: a verification is approved only by a check that compares its code"
)
SUBJECT_DETAIL: Final = "is missing: send it, or VerificationSid"


@post(f"{SERVICE_PATH}/Verifications", status_code=201)
async def start_verification(
    request: AuthenticatedRequest, service_sid: FromPath[str]
) -> ASGIResponse:
    """Send a code to a number; of a pending verification another one, under the same `VE…`."""
    fields = await parse_form(request)
    service = require_service(request, service_sid)
    body = build_issue_request(fields, service)
    call = _get_verifications(request).start(request.auth, service, body)
    view = get_view_builder(request).build_verification(service, await _run_shielded(request, call))
    return build_json_response(view, status=201)


@post(f"{SERVICE_PATH}/VerificationCheck", status_code=200)
async def check_verification(
    request: AuthenticatedRequest, service_sid: FromPath[str]
) -> ASGIResponse:
    """Compare a code. 200 is also the answer to a wrong one: only `approved` means verified."""
    fields = await parse_form(request)
    service = require_service(request, service_sid)
    refuse_fields(fields, REFUSED_CHECK_FIELDS)
    code, number = require_field(fields, "Code"), fields.get("To")
    verifications = _get_verifications(request)
    if "VerificationSid" in fields:
        challenge_id = _require_challenge_id(fields["VerificationSid"])
    else:
        number_to_find = require_field(fields, "To", SUBJECT_DETAIL)
        challenge_id = await verifications.find(request.auth, service, number_to_find)
        number = None  # it may be another spelling of the same phone
    call = verifications.check(
        request.auth, service, challenge_id, VerifyRequest(code, phone_number=number)
    )
    view = get_view_builder(request).build_check(service, await _run_shielded(request, call))
    return build_json_response(view)


@get(VERIFICATION_PATH)
async def get_verification(
    request: AuthenticatedRequest, service_sid: FromPath[str], sid: FromPath[str]
) -> ASGIResponse:
    """Get a pending verification."""
    await read_body(request)
    service = require_service(request, service_sid)
    call = _get_verifications(request).fetch(request.auth, service, _require_challenge_id(sid))
    view = get_view_builder(request).build_verification(service, await _run_shielded(request, call))
    return build_json_response(view)


@post(VERIFICATION_PATH, status_code=200)
async def cancel_verification(
    request: AuthenticatedRequest, service_sid: FromPath[str], sid: FromPath[str]
) -> ASGIResponse:
    """Cancel a pending verification. No other status can be set."""
    fields = await parse_form(request)
    service = require_service(request, service_sid)
    if require_field(fields, "Status") != "canceled":
        raise InvalidRequest(("Status", APPROVAL_DETAIL))
    call = _get_verifications(request).cancel(request.auth, service, _require_challenge_id(sid))
    view = get_view_builder(request).build_verification(service, await _run_shielded(request, call))
    return build_json_response(view)


def _get_verifications(request: AuthenticatedRequest) -> VerificationService:
    return get_context(request).service.verifications


def _require_challenge_id(sid: str) -> str:
    """Return the id of the challenge. Raises ChallengeNotFound for an invalid `VE…` or a number."""
    challenge_id = parse_verification_sid(sid)
    if challenge_id is None:
        raise ChallengeNotFound
    return challenge_id


async def _run_shielded(request: AuthenticatedRequest, call: Coroutine[Any, Any, T]) -> T:
    return await get_context(request).background_calls.run_shielded(call)


VERIFICATION_HANDLERS: Final = (
    start_verification,
    check_verification,
    get_verification,
    cancel_verification,
)

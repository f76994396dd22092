"""/v1/deliveries: sends codes that other products generated and will check."""

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.challenges import SEND_PROBLEMS
from otp_service.api.request_body import parse_body, parse_call
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_code_delivery_view, build_json_response
from otp_service.core.challenge import check_delivery_id
from otp_service.core.tenant import Scope
from otp_service.schemas import CodeDeliveryView, DeliveryRequest, EmptyBody


DELIVERY_SCOPES: Final = {Scope.DELIVER}
DELIVERY_PATH: Final = "/v1/deliveries/{delivery_id:str}"


@post(
    "/v1/deliveries",
    scopes=DELIVERY_SCOPES,
    request_body=DeliveryRequest,
    response_body=CodeDeliveryView,
    problems=(*SEND_PROBLEMS, "invalid-phone-number", "challenge-expired"),
    accepts_idempotency_key=True,
)
async def create_delivery(request: AuthenticatedRequest) -> ASGIResponse:
    """Send a code that you generated and will check.

    The text is ours, in the language of `locale`. The code is never stored, so it can be neither
    verified nor sent again here. `Location` is the URL of the delivery.
    """
    body, key = await parse_call(request, DeliveryRequest)
    context = get_context(request)
    call = context.service.deliver(request.auth, body, key)
    view = build_code_delivery_view(await context.background_calls.run_shielded(call))
    return build_json_response(view, status=201, headers={"Location": f"/v1/deliveries/{view.id}"})


@get(DELIVERY_PATH, scopes=DELIVERY_SCOPES, response_body=CodeDeliveryView)
async def get_delivery(request: AuthenticatedRequest, delivery_id: FromPath[str]) -> ASGIResponse:
    """Get a delivery, with what providers have reported about its message.

    It remains readable for one hour after its `valid_minutes`.
    """
    await parse_body(request, EmptyBody)
    check_delivery_id(delivery_id)
    context = get_context(request)
    call = context.service.get_delivery(request.auth, delivery_id)
    view = build_code_delivery_view(await context.background_calls.run_shielded(call))
    return build_json_response(view)


DELIVERY_HANDLERS: Final[tuple[Any, ...]] = (create_delivery, get_delivery)

"""The two Litestar applications: one for login back ends, one for operators.

    RequestMiddleware → router → auth.authenticate_request → handler → service
                           └────────── any error ──────────→ error_responses.build_error_response

`RequestMiddleware` identifies and records every request. A handler parses the request, calls a use
case and builds the response. Only `error_responses` turns an error into a response.
"""

from collections.abc import Callable, Sequence

from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from otp_service.api import (
    audit,
    audit_ui,
    authenticators,
    callbacks,
    challenges,
    deliveries,
    docs,
    hooks,
    ops,
    recovery_codes,
    twilio,
)
from otp_service.api.audit_ui import AuditUiDependencies
from otp_service.api.auth import ApiKeyRegistry, authenticate_request
from otp_service.api.error_responses import build_error_response
from otp_service.api.middleware import RequestMiddleware
from otp_service.api.request_body import MAX_BODY_BYTES
from otp_service.api.request_context import ApiContext
from otp_service.api.twilio.basic_auth import authenticate_twilio_request
from otp_service.schemas import ServiceStatus


def create_public_api(context: ApiContext) -> Litestar:
    handlers = [
        *challenges.CHALLENGE_HANDLERS,
        *challenges.OPERATOR_HANDLERS,
        *deliveries.DELIVERY_HANDLERS,
        *authenticators.AUTHENTICATOR_HANDLERS,
        *recovery_codes.RECOVERY_CODE_HANDLERS,
        *audit.AUDIT_HANDLERS,
    ]
    calls = Router("/", before_request=authenticate_request, route_handlers=handlers)
    verify_calls = Router(
        "/", before_request=authenticate_twilio_request, route_handlers=twilio.TWILIO_HANDLERS
    )
    providers = (*callbacks.CALLBACK_HANDLERS, *callbacks.INBOUND_HANDLERS)
    unkeyed = (*providers, *hooks.HOOK_HANDLERS, *ops.HEALTH_HANDLERS)
    app = _create_litestar(context, [calls, verify_calls, *unkeyed])
    app.state.api_keys = _create_registry(context)
    return app


def create_admin_api(
    context: ApiContext,
    ui_dependencies: AuditUiDependencies,
    read_status: Callable[[], ServiceStatus],
) -> Litestar:
    """Return the application for operators and security, with the handlers that `app` adds."""
    pages = (*docs.DOCS_HANDLERS, audit_ui.AUDIT_ROUTER)
    handlers = [ops.get_metrics, ops.get_status, *pages, *context.admin_handlers]
    app = _create_litestar(context, handlers)
    app.state.api_keys = _create_registry(context)
    app.state.read_status = read_status
    app.state.ui_dependencies = ui_dependencies
    return app


def _create_registry(context: ApiContext) -> ApiKeyRegistry:
    return ApiKeyRegistry(context.api_keys, context.tenants, context.count_denied_access)


def _create_litestar(context: ApiContext, handlers: Sequence[ControllerRouterHandler]) -> Litestar:
    app = Litestar(
        handlers,
        debug=False,
        exception_handlers={Exception: build_error_response},
        logging_config=None,
        openapi_config=None,
        pdb_on_exception=False,  # otherwise an environment variable could enable it
        request_max_body_size=MAX_BODY_BYTES,
    )
    app.state.context = context
    # Around the router, as Litestar does it for CORS, so that it also sees 404 and 405.
    app.asgi_handler = RequestMiddleware(app.asgi_handler, context)
    return app

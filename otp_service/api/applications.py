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
    """Return the application for login back ends."""
    return connect_api(create_public_routes(), context)


def create_public_routes() -> Litestar:
    """Return the routes for login back ends, which do not have their service yet."""
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
    return _create_litestar([calls, verify_calls, *unkeyed])


def connect_api(routes: Litestar, context: ApiContext) -> Litestar:
    """Give the routes their service, and return them."""
    routes.state.context = context
    routes.state.api_keys = ApiKeyRegistry(
        context.api_keys, context.tenants, context.count_denied_access
    )
    # Around the router, as Litestar does it for CORS, so that it also sees 404 and 405.
    routes.asgi_handler = RequestMiddleware(routes.asgi_handler, context)
    return routes


def create_admin_api(
    context: ApiContext,
    ui_dependencies: AuditUiDependencies,
    read_status: Callable[[], ServiceStatus],
) -> Litestar:
    """Return the application for operators and security, with the handlers that `app` adds."""
    routes = create_admin_routes(context.admin_handlers)
    return connect_admin_api(routes, context, ui_dependencies, read_status)


def create_admin_routes(handlers: Sequence[ControllerRouterHandler] = ()) -> Litestar:
    """Return the routes for operators and these handlers, without their service."""
    pages = (*docs.DOCS_HANDLERS, audit_ui.AUDIT_ROUTER)
    return _create_litestar([ops.get_metrics, ops.get_status, *pages, *handlers])


def connect_admin_api(
    routes: Litestar,
    context: ApiContext,
    ui_dependencies: AuditUiDependencies,
    read_status: Callable[[], ServiceStatus],
) -> Litestar:
    """Give the routes their service and what the pages need, and return them."""
    routes.state.read_status = read_status
    routes.state.ui_dependencies = ui_dependencies
    return connect_api(routes, context)


def _create_litestar(handlers: Sequence[ControllerRouterHandler]) -> Litestar:
    return Litestar(
        handlers,
        debug=False,
        exception_handlers={Exception: build_error_response},
        logging_config=None,
        openapi_config=None,
        pdb_on_exception=False,  # otherwise an environment variable could enable it
        request_max_body_size=MAX_BODY_BYTES,
    )

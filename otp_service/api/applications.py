"""The two applications: one for login back ends, one for operators.

    Door → Litestar's router → auth.authenticate → handler → service
                  └───────────── any error ──────────→ problems.refuse

`RequestMiddleware` names and counts every request; handlers read, call and show; `problems` is the only place
that turns an error into an answer.
"""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from otp_service.api import audit, audit_ui, callbacks, challenges, docs, ops
from otp_service.api.audit_ui import AuditUiDependencies
from otp_service.api.auth import ApiKeyRegistry, authenticate_request
from otp_service.api.middleware import RequestMiddleware
from otp_service.api.problems import build_problem_response
from otp_service.api.request_body import MAX_BODY_BYTES
from otp_service.api.request_context import ApiContext


def create_public_api(context: ApiContext) -> Litestar:
    """Return what login back ends call."""
    api_keys = ApiKeyRegistry(context.api_keys, context.tenants, context.count_denied_access)
    handlers = [*challenges.HANDLERS, *audit.HANDLERS]
    calls = Router("/", before_request=authenticate_request, route_handlers=handlers)
    app = _create_litestar(context, [calls, *callbacks.HANDLERS, *ops.PUBLIC_HANDLERS])
    app.state.api_keys = api_keys
    return app


def create_admin_api(context: ApiContext, ui_dependencies: AuditUiDependencies) -> Litestar:
    """Return what operators and security look at, and what `app` adds."""
    app = _create_litestar(
        context, [ops.get_metrics, *docs.HANDLERS, audit_ui.AUDIT_ROUTER, *context.admin_handlers]
    )
    app.state.ui_dependencies = ui_dependencies
    return app


def _create_litestar(context: ApiContext, handlers: Sequence[ControllerRouterHandler]) -> Litestar:
    app = Litestar(
        handlers,
        debug=False,
        exception_handlers={Exception: build_problem_response},
        logging_config=None,
        openapi_config=None,
        pdb_on_exception=False,  # or an environment variable could ask for it
        request_max_body_size=MAX_BODY_BYTES,
    )
    app.state.context = context
    # As Litestar does it with CORS: around the router, so that 404 and 405 pass through as well.
    app.asgi_handler = RequestMiddleware(app.asgi_handler, context)
    return app

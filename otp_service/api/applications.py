"""The two applications: one for login back ends, one for operators.

    Door → Litestar's router → auth.authenticate → handler → service
                  └───────────── any error ──────────→ problems.refuse

`Door` names and counts every request; handlers read, call and show; `problems` is the only place
that turns an error into an answer.
"""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from otp_service.api import audit, audit_ui, callbacks, challenges, docs, ops
from otp_service.api.audit_ui import PageParts
from otp_service.api.auth import Keyring, authenticate
from otp_service.api.context import ApiContext
from otp_service.api.middleware import Door
from otp_service.api.problems import refuse
from otp_service.api.request_body import MOST_BYTES


def public_app(context: ApiContext) -> Litestar:
    """Return what login back ends call."""
    keyring = Keyring(context.api_keys, context.tenants, context.count_denied)
    handlers = [*challenges.HANDLERS, *audit.HANDLERS]
    calls = Router("/", before_request=authenticate, route_handlers=handlers)
    app = _app(context, [calls, *callbacks.HANDLERS, *ops.PUBLIC])
    app.state.keyring = keyring
    return app


def admin_app(context: ApiContext, parts: PageParts) -> Litestar:
    """Return what operators and security look at, and what `app` adds."""
    app = _app(context, [ops.metrics, *docs.PAGES, audit_ui.AUDIT, *context.admin_handlers])
    app.state.pages = parts
    return app


def _app(context: ApiContext, handlers: Sequence[ControllerRouterHandler]) -> Litestar:
    app = Litestar(
        handlers,
        debug=False,
        exception_handlers={Exception: refuse},
        logging_config=None,
        openapi_config=None,
        pdb_on_exception=False,  # or an environment variable could ask for it
        request_max_body_size=MOST_BYTES,
    )
    app.state.context = context
    # As Litestar does it with CORS: around the router, so that 404 and 405 pass through as well.
    app.asgi_handler = Door(app.asgi_handler, context)
    return app

"""The two applications in front of a process: one for login back ends, one for operators."""

import secrets
import time

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from otp_service import api
from otp_service.api.audit_ui import PageParts
from otp_service.api.audit_ui.sessions import Sessions
from otp_service.api.auth import Keyring
from otp_service.api.context import Answered, ApiContext
from otp_service.api.inbox import inbox_routes
from otp_service.app.application import Application
from otp_service.app.factories import now
from otp_service.audit.reports.daily_stats import Days
from otp_service.sms.aws.certificates import Certificates
from otp_service.sms.provider_settings import HttpSettings


def public_door(app: Application) -> Litestar:
    """Return the application for login back ends."""
    door = api.public_app(_context(app))
    if app.tracing:
        door.asgi_handler = app.tracing.door(door.asgi_handler)
    return door


def worker_door(app: Application) -> Litestar:
    """Return the same, starting and ending the process with the server that runs it."""
    door = public_door(app)
    door.on_startup.append(app.start)
    door.on_shutdown.append(app.stop)
    return door


def admin_door(app: Application) -> Litestar:
    """Return the application for operators and the security team."""
    keyring = Keyring(app.settings.api_keys(), app.settings.tenants(), app.access.count)
    pages = PageParts(
        sessions=Sessions(keyring, now=now, token=lambda: secrets.token_urlsafe(32)),
        days=Days(app.reader(), now),
        verifications=app.verifications,
        now=now,
    )
    return api.admin_app(_context(app), pages)


def _context(app: Application) -> ApiContext:
    def observe(answered: Answered) -> None:
        if app.is_dev and answered.route.startswith("/inbox"):
            return  # the page asks each second
        told = msgspec.structs.asdict(answered)
        app.requests.observe(**told)
        if app.tracing:
            app.tracing.answered(**told)

    return ApiContext(
        service=app.service,
        api_keys=app.settings.api_keys(),
        tenants=app.settings.tenants(),
        reader=app.reader(),
        looked_up=app.telling.looked_up,
        ready=app.ready,
        metrics=app.metrics.render,
        observe=observe,
        count_denied=app.access.count,
        count_rejected=app.access.count_callback,
        count_receipt=app.metrics.receipt,
        in_flight=app.in_flight,
        callbacks=app.addresses,
        certificates=Certificates(app.transport, clock=time.monotonic),
        receivers={
            name: provider
            for name, provider in app.settings.providers.items()
            if isinstance(provider, HttpSettings)
        },
        loopback_only=app.is_dev,
        admin_handlers=_inbox(app) if app.is_dev else (),
    )


def _inbox(app: Application) -> list[HTTPRouteHandler]:
    service = app.settings.service
    return inbox_routes(app.inboxes[0].messages, service=f"http://{service.host}:{service.port}")

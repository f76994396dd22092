"""The two ASGI applications of a process: one for login back ends, one for operators."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from otp_service.api.applications import create_admin_api, create_public_api
from otp_service.api.audit_admission import AuditAdmission
from otp_service.api.audit_ui import AuditUiDependencies
from otp_service.api.audit_ui.sessions import SessionStore
from otp_service.api.auth import ApiKeyRegistry
from otp_service.api.authenticator_app import Enroll, create_authenticator_app_handlers
from otp_service.api.inbound_admission import InboundAdmission
from otp_service.api.inbox import HandleReply, ReplyRequest, create_inbox_handlers
from otp_service.api.inbox_access import InboxAccess
from otp_service.api.request_context import ApiContext, RequestSummary
from otp_service.api.request_head import LOOPBACK_ONLY, HostAllowlist
from otp_service.app.application import Application
from otp_service.audit.reports.daily_stats import DayStatsCache
from otp_service.clock import now_ms
from otp_service.core.inbound import InboundMessage, InboundResult
from otp_service.core.ip_address import is_loopback, is_wildcard
from otp_service.core.ports import InboxMessage
from otp_service.schemas import CreateAuthenticatorRequest, ServiceStatus
from otp_service.service import Caller
from otp_service.service.authenticator_service import NewAuthenticator
from otp_service.settings.development import DEV_TENANT
from otp_service.settings.service_tables import ServiceSettings
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers.inbox import Inbox


POLLED_ROUTES: Final = frozenset({"/inbox", "/inbox.json", "/authenticator", "/authenticator.json"})
"""The pages of a service for tests, and their data, which they get every second."""


def create_public_app(app: Application) -> Litestar:
    """Return the application for login back ends, traced if a collector is configured."""
    allowlist = _find_dev_allowlist(app)
    public = create_public_api(_create_api_context(app, allowlist))
    if app.tracing:
        public.asgi_handler = app.tracing.trace_requests(public.asgi_handler)
    return public


def create_admin_app(app: Application, read_status: Callable[[], ServiceStatus]) -> Litestar:
    """Return the application for operators and security; `read_status` is what /status shows."""
    keys, tenants = app.settings.build_api_keys(), app.settings.build_tenants()
    api_keys = ApiKeyRegistry(keys, tenants, app.access_counter.count_call)
    sessions = SessionStore(
        api_keys,
        now=now_ms,
        new_token=lambda: secrets.token_urlsafe(32),
        has_tls=app.settings.service.admin_tls,
    )
    dependencies = AuditUiDependencies(
        session_store=sessions,
        days=DayStatsCache(app.create_reader(), now_ms),
        background_verifier=app.background_verifier,
        now=now_ms,
        currency=app.settings.pumping.currency,
    )
    allowlist = _find_dev_allowlist(app) or build_admin_allowlist(app.settings.service)
    return create_admin_api(_create_api_context(app, allowlist), dependencies, read_status)


def build_public_url(service: ServiceSettings) -> str:
    """Return the URL of the public listener; without a setting, as in `dev`, that of its address."""
    if service.public_url is not None:
        return service.public_url.rstrip("/")
    host = "127.0.0.1" if is_wildcard(service.host) else service.host
    return f"http://{f'[{host}]' if ':' in host else host}:{service.port}"


def _find_dev_allowlist(app: Application) -> HostAllowlist | None:
    """Return the hosts of both listeners of `dev` on loopback; None elsewhere."""
    is_local = is_loopback(app.settings.service.host)
    return LOOPBACK_ONLY if app.is_dev and is_local else None


def build_admin_allowlist(service: ServiceSettings) -> HostAllowlist:
    """Return the hosts that the admin listener of `serve` answers to: loopback, and its own."""
    hosts = {service.admin_host, *service.admin_hosts}
    return HostAllowlist.from_hosts(hosts, allows_addresses=is_wildcard(service.admin_host))


def _create_api_context(app: Application, allowlist: HostAllowlist | None) -> ApiContext:
    providers = app.settings.providers

    def record_request(summary: RequestSummary) -> None:
        if summary.route in POLLED_ROUTES:
            return
        fields = msgspec.structs.asdict(summary)
        app.request_log.log_request(**fields)
        if app.tracing:
            app.tracing.record_response(**fields)

    return ApiContext(
        service=app.service,
        now=now_ms,
        api_keys=app.settings.build_api_keys(),
        tenants=app.settings.build_tenants(),
        reader=app.create_reader(),
        audit_admission=AuditAdmission(
            now_ms, calls_per_minute=app.settings.audit.calls_per_minute
        ),
        record_lookup=app.system_events.record_lookup,
        is_ready=app.is_ready,
        render_metrics=app.metrics.render_metrics,
        record_request=record_request,
        count_denied_access=app.access_counter.count_call,
        count_rejected_callback=app.access_counter.count_callback,
        count_hook_request=app.metrics.count_hook_request,
        handle_receipt=app.handle_receipt,
        handle_inbound=app.handle_inbound,
        inbound_admission=InboundAdmission(),
        background_calls=app.background_calls,
        callback_urls=app.callback_urls,
        certificates=CertificateCache(app.transport, clock=time.monotonic),
        verify_accounts=app.settings.build_verify_accounts(),
        public_url=build_public_url(app.settings.service),
        code_length=app.settings.policy.digits,
        callback_dialects={n: p for n, p in providers.items() if isinstance(p, HttpSettings)},
        hooks=app.settings.hooks,
        mode=app.settings.mode,
        host_allowlist=allowlist,
        admin_handlers=_create_test_handlers(app),
    )


def _create_test_handlers(app: Application) -> list[HTTPRouteHandler]:
    """Return what a phone would be: its messages, and in `dev` its authenticator app.

    A live service has none of it (R38).
    """
    service, inbox = app.settings.service, app.inbox
    if inbox is None:
        return []
    service_url = f"http://{service.host}:{service.port}"
    access = InboxAccess.for_listener(
        service.admin_host, service.admin_hosts, has_proxy=service.admin_tls
    )
    handlers = create_inbox_handlers(
        inbox.list_messages,
        app.reset_data,
        _create_reply_handler(app),
        access,
        service_url=service_url,
    )
    if not app.is_dev:
        return handlers
    enroll = _create_enroll(app)
    return [
        *handlers,
        *create_authenticator_app_handlers(enroll, now_ms, access, service_url=service_url),
    ]


def _create_reply_handler(app: Application) -> HandleReply:
    """Return what handles a reply as one that the provider of the answered message has passed on.

    A phone answers the sender that it sees, which is that of the message's tenant.
    """
    tenants, providers = app.settings.build_tenants(), app.settings.providers
    first_inbox = next((name for name, p in providers.items() if isinstance(p, Inbox)), "inbox")

    async def handle_reply(
        reply: ReplyRequest, answered: InboxMessage | None, state: Mapping[str, Any]
    ) -> InboundResult:
        tenant = tenants.get(answered.tenant) if answered else None
        message = InboundMessage(
            sender=reply.phone_number,
            text=reply.text,
            receiver=(tenant.sender or "") if tenant else "",
            id=state["request"],
            is_signed=True,
        )
        provider = answered.provider if answered else first_inbox
        caller = Caller.without_tenant(f"inbox-{provider}", state["request"], state["trace"])
        return await app.handle_inbound(caller, provider, message)

    return handle_reply


def _create_enroll(app: Application) -> Enroll:
    tenant = app.settings.build_tenants()[DEV_TENANT]

    async def enroll(account: str, state: Mapping[str, Any]) -> NewAuthenticator:
        caller = Caller(tenant, DEV_TENANT, state["request"], state["trace"])
        request = CreateAuthenticatorRequest(account=account)
        return await app.service.authenticators.create(caller, request)

    return enroll

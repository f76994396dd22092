"""The development authenticator app: the codes that a phone would show, as a page and as JSON.

It enrolls test authenticators of the tenant of `dev`, and also shows the codes of a URI that another
call returned. It keeps the secrets in memory, so it exists in development only.
"""

import asyncio
import html
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.inbox_access import InboxAccess
from otp_service.api.qr_code import render_qr_svg
from otp_service.api.request_body import parse_body
from otp_service.api.request_context import AnonymousRequest
from otp_service.api.responses import ISOLATION_HEADERS, build_html_response
from otp_service.core.authenticator import (
    MIN_SECRET_BITS,
    Authenticator,
    create_authenticator,
)
from otp_service.core.errors import InvalidRequest
from otp_service.core.otpauth_uri import parse_otpauth_uri
from otp_service.core.tenant import Scope
from otp_service.core.timestamps import SECOND_MS
from otp_service.schemas import Account
from otp_service.service.authenticator_service import NewAuthenticator


APP_SCOPES: Final = {Scope.CHALLENGES}

MAX_ENTRIES: Final = 8
"""The oldest is dropped. The page gets all of them each second."""

Enroll = Callable[[str, Mapping[str, Any]], Awaitable[NewAuthenticator]]
"""Creates an authenticator for an account; it is given the state of the request, with its id."""


class AddEntryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either the account of a new authenticator, or the URI of an existing one."""

    account: Account | None = None
    uri: str | None = None


class AppEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticator in the app, at one instant."""

    account: str | None
    authenticator: str | None
    """The sealed token, if it was enrolled here."""
    uri: str
    qr_svg: str
    period: int
    code: str = ""
    next_code: str = ""
    """The code of the next step, which the service accepts already."""
    seconds_left: int = 0


class AuthenticatorApp:
    """The authenticators of the page, newest first."""

    def __init__(self, enroll: Enroll) -> None:
        self._enroll = enroll
        self._entries: list[tuple[Authenticator, AppEntry]] = []

    async def add(self, wanted: AddEntryRequest, state: Mapping[str, Any], now: int) -> None:
        """Enroll an account or add a URI. Raises what the service raises, and InvalidRequest.

        `now` is in milliseconds. One whose codes cannot be computed is not added: the list of all
        would fail until the process ends.
        """
        account, uri, token = wanted.account, wanted.uri, None
        if (account is None) == (uri is None):
            raise InvalidRequest(("account", "give either account or uri"))
        if account is not None:
            created = await self._enroll(account, state)
            uri, token = created.uri, created.token
        assert uri is not None
        authenticator = _parse_uri(uri, now)
        svg = await asyncio.to_thread(render_qr_svg, uri)
        entry = AppEntry(
            account=account, authenticator=token, uri=uri, qr_svg=svg, period=authenticator.period
        )
        others = [known for known in self._entries if known[1].uri != uri]
        self._entries = [(authenticator, entry), *others][:MAX_ENTRIES]

    def list_entries(self, now: int) -> list[AppEntry]:
        """Return the entries with their codes at this instant, in milliseconds."""
        return [_add_codes(authenticator, entry, now) for authenticator, entry in self._entries]


def _parse_uri(uri: str, now: int) -> Authenticator:
    """Return what computes the codes of a URI, as an app reads it.

    Raises InvalidRequest if the URI is wrong, or its code of this instant cannot be computed.
    """
    try:
        found = parse_otpauth_uri(uri, MIN_SECRET_BITS)
        draft = create_authenticator(bytes, "", "", 0, found.secret)
        parsed = replace(draft, algorithm=found.algorithm, digits=found.digits, period=found.period)
        parsed.compute_code(parsed.compute_step(now))
    except ValueError as error:
        raise InvalidRequest(("uri", str(error))) from None
    return parsed


def _add_codes(authenticator: Authenticator, entry: AppEntry, now: int) -> AppEntry:
    step = authenticator.compute_step(now)
    return replace(
        entry,
        code=authenticator.compute_code(step),
        next_code=authenticator.compute_code(step + 1),
        seconds_left=authenticator.period - now // SECOND_MS % authenticator.period,
    )


def create_authenticator_app_handlers(
    enroll: Enroll,
    now: Callable[[], int],
    access: InboxAccess,
    *,
    service_url: str = "http://127.0.0.1:8000",
) -> list[HTTPRouteHandler]:
    """Return the handlers of the page and its data, for the admin listener in development.

    `now` returns milliseconds; `service_url` is in the page's examples.
    """
    app = AuthenticatorApp(enroll)
    text = files(__package__).joinpath("authenticator_app.html").read_text("utf-8")
    filled = text.replace("{{service}}", html.escape(service_url))

    def build_list(status: int) -> ASGIResponse:
        body = msgspec.json.encode(app.list_entries(now()))
        headers = ISOLATION_HEADERS
        return ASGIResponse(
            body=body, status_code=status, headers=headers, media_type="application/json"
        )

    @get("/authenticator")
    async def show_authenticator_app() -> ASGIResponse:
        return build_html_response(filled)

    @get("/authenticator.json", scopes=APP_SCOPES, before_request=access.before_request)
    async def list_authenticators() -> ASGIResponse:
        return build_list(200)

    @post("/authenticator.json", scopes=APP_SCOPES, before_request=access.before_request)
    async def add_authenticator(request: AnonymousRequest) -> ASGIResponse:
        # Its type must be JSON, so that a page of another origin cannot send it.
        wanted = await parse_body(request, AddEntryRequest)
        await app.add(wanted, request.scope["state"], now())
        return build_list(201)

    return [show_authenticator_app, list_authenticators, add_authenticator]

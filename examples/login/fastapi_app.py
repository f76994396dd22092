"""The login as a FastAPI application.

Its handlers are plain `def`: FastAPI runs them in threads, so the same code serves Django. A site that is
async throughout takes AsyncOtpClient, which has the same methods.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Form, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from markupsafe import Markup
from starlette.middleware.base import BaseHTTPMiddleware

from examples.login.config import STATIC_FOLDER, TEMPLATE_FOLDER, Config, load_config
from examples.login.fastapi_sessions import ServerSession, SessionStore
from examples.login.login_site import LoginSite
from examples.login.refusals import OLD_FORM_TEXT, LoginRequired, Refused
from examples.login.security_headers import build_security_headers
from otp_service_client import OtpClient


SEE_OTHER: Final = 303

templates = Jinja2Templates(TEMPLATE_FOLDER)
templates.env.trim_blocks = templates.env.lstrip_blocks = True


# --------------------------------------------------------------------------------- what handlers use


def get_site(request: Request) -> LoginSite:
    site: LoginSite = request.app.state.site
    return site


def get_session(request: Request) -> ServerSession:
    session: ServerSession = request.state.session
    return session


def get_client_ip(request: Request) -> str:
    """Return the address of the user's device, for the limits of each address.

    It is that of the connection. Behind a proxy it would be the proxy's, so one user could use up the
    limits of all. Then let the server, not this code, take it from the header that your own proxy
    sets (uvicorn: --forwarded-allow-ips). A browser can send any X-Forwarded-For.
    """
    assert request.client
    return request.client.host


def require_csrf_token(
    session: Annotated[ServerSession, Depends(get_session)],
    csrf_token: Annotated[str, Form()] = "",
) -> None:
    """Refuse a form that was not made for this session, such as one of another site."""
    if not session.is_csrf_token(csrf_token):
        raise Refused("login.html", OLD_FORM_TEXT, status=403)


Site = Annotated[LoginSite, Depends(get_site)]
Session = Annotated[ServerSession, Depends(get_session)]
ClientIp = Annotated[str, Depends(get_client_ip)]
Text = Annotated[str, Form()]

pages = APIRouter()
forms = APIRouter(dependencies=[Depends(require_csrf_token)])
"""Every POST is one of these, so that none is without the check."""


def show_page(
    request: Request, page: str, *, refusal: Refused | None = None, **values: Any
) -> Response:
    session = get_session(request)
    field = Markup('<input type="hidden" name="csrf_token" value="{}">').format(session.csrf_token)
    context = get_site(request).describe(session, refusal) | {"csrf_input": field} | values
    status, headers = (refusal.status, refusal.headers) if refusal else (200, {})
    return templates.TemplateResponse(request, page, context, status, headers)


def redirect(path: str) -> Response:
    """Redirect to a path of this site: no address of a request is ever one, so none leads away."""
    return RedirectResponse(path, SEE_OTHER)


# ------------------------------------------------------------------------------------------- login


@pages.get("/login")
def show_login(request: Request, site: Site, session: Session) -> Response:
    try:
        site.account.get_proved_user(session)
    except LoginRequired:
        return show_page(request, "login.html")
    return redirect("/")


@forms.post("/login")
def start_login(
    site: Site, session: Session, client_ip: ClientIp, name: Text = "", password: Text = ""
) -> Response:
    return redirect(site.flow.start(session, name, password, client_ip))


@pages.get("/login/sms")
def show_sms(request: Request, site: Site, session: Session) -> Response:
    site.flow.get_pending_login(session)
    return show_page(request, "sms.html")


@forms.post("/login/sms")
def check_sms_code(site: Site, session: Session, client_ip: ClientIp, code: Text = "") -> Response:
    site.flow.check_sms_code(session, code, client_ip)
    return redirect("/")


@forms.post("/login/sms/send")
def send_sms_code(site: Site, session: Session, client_ip: ClientIp) -> Response:
    site.flow.send_code(session, client_ip)
    return redirect("/login/sms")


@pages.get("/login/app")
def show_app(request: Request, site: Site, session: Session) -> Response:
    site.flow.get_pending_login(session)
    return show_page(request, "app.html")


@forms.post("/login/app")
def check_app_code(site: Site, session: Session, client_ip: ClientIp, code: Text = "") -> Response:
    site.flow.check_app_code(session, code, client_ip)
    return redirect("/")


@pages.get("/login/recovery")
def show_recovery(request: Request, site: Site, session: Session) -> Response:
    site.flow.get_pending_login(session)
    return show_page(request, "recovery.html")


@forms.post("/login/recovery")
def check_recovery_code(
    site: Site, session: Session, client_ip: ClientIp, code: Text = ""
) -> Response:
    site.flow.check_recovery_code(session, code, client_ip)
    return redirect("/")


@forms.post("/logout")
def log_out(session: Session) -> Response:
    session.renew()
    return redirect("/login")


# ----------------------------------------------------------------------------------- after the login


@pages.get("/")
def show_account(request: Request, site: Site, session: Session) -> Response:
    site.flow.get_user(session)
    return show_page(request, "account.html")


@forms.post("/account/app")
def begin_enrollment(site: Site, session: Session) -> Response:
    site.account.begin_enrollment(session)
    return redirect("/account/app")


@pages.get("/account/app")
def show_enrollment(request: Request, site: Site, session: Session) -> Response:
    site.account.get_enrollment(session)
    return show_page(request, "enrollment.html")


@forms.post("/account/app/confirm")
def confirm_enrollment(site: Site, session: Session, code: Text = "") -> Response:
    site.account.confirm_enrollment(session, code)
    return redirect("/")


@forms.post("/account/app/remove")
def remove_authenticator(site: Site, session: Session) -> Response:
    site.account.remove_authenticator(session)
    return redirect("/")


@forms.post("/account/recovery-codes")
def create_recovery_codes(request: Request, site: Site, session: Session) -> Response:
    codes = site.account.create_recovery_codes(session)
    return show_page(request, "recovery_codes.html", codes=codes)


# -------------------------------------------------------------------------------- the application


async def show_refusal(request: Request, refusal: Exception) -> Response:
    """Show the page again."""
    assert isinstance(refusal, Refused)
    return show_page(request, refusal.page, refusal=refusal)


async def require_login(_request: Request, _error: Exception) -> Response:
    return redirect("/login")


class SessionDispatch:
    """Opens the session of each request, and sets its cookie and the security headers."""

    def __init__(self, config: Config) -> None:
        self._sessions = SessionStore()
        self._is_https = config.is_https
        self._headers = build_security_headers(is_https=config.is_https)
        # __Host- means: https alone, this host alone, so that no subdomain can plant an id.
        self._cookie = "__Host-session" if config.is_https else "session"

    async def __call__(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if request.url.path.startswith("/static/"):
            return await call_next(request)
        sent_id = request.cookies.get(self._cookie)
        session = request.state.session = self._sessions.open(sent_id)
        response = await call_next(request)
        response.headers.update(self._headers)
        if session.id != sent_id:
            response.set_cookie(
                self._cookie, session.id, httponly=True, samesite="lax", secure=self._is_https
            )
        return response


def create_app() -> FastAPI:
    """Return the application, configured by the environment."""
    config = load_config(os.environ)

    @asynccontextmanager
    async def run_client(app: FastAPI) -> AsyncIterator[None]:
        with OtpClient(config.otp_url, config.otp_api_key) as otp:
            app.state.site = LoginSite(otp)
            yield

    # Without /docs and /openapi.json: a login has no API to describe. Without a redirect of /login/ too,
    # as that would have the scheme and the Host of the request.
    app = FastAPI(openapi_url=None, redirect_slashes=False, lifespan=run_client)
    app.include_router(pages)
    app.include_router(forms)
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER))
    app.add_exception_handler(Refused, show_refusal)
    app.add_exception_handler(LoginRequired, require_login)
    app.add_middleware(BaseHTTPMiddleware, dispatch=SessionDispatch(config))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=config.hosts)
    return app

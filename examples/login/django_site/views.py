"""The login as Django views: they read the form, call the flow and redirect.

`LoginMiddleware` shows the page again for `Refused`, and redirects for `LoginRequired`.
"""

import functools
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import redirect, render

from examples.login.login_site import LoginSite
from examples.login.refusals import OLD_FORM_TEXT, LoginRequired, Refused
from otp_service_client import OtpClient


@functools.cache
def get_site() -> LoginSite:
    """Return the site of this process; `wsgi.py` makes it before the first request."""
    config = settings.LOGIN_CONFIG
    return LoginSite(OtpClient(config.otp_url, config.otp_api_key))


class DjangoSession:
    """Django's session, as the flow needs it."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def get(self, name: str) -> Any:
        return self._request.session.get(name)

    def put(self, name: str, value: Any) -> None:
        self._request.session[name] = value

    def renew(self, **values: Any) -> None:
        self._request.session.flush()
        self._request.session.update(values)
        rotate_token(self._request)


def get_client_ip(request: HttpRequest) -> str:
    """Return the address of the user's device, for the limits of each address.

    It is that of the connection. Behind a proxy it would be the proxy's, so one user could use up the
    limits of all. Then take the last address of the header that your own proxy sets, and only if the
    connection is the proxy's. A browser can send any X-Forwarded-For.
    """
    address: str = request.META["REMOTE_ADDR"]
    return address


def show_page(
    request: HttpRequest, page: str, *, refusal: Refused | None = None, **values: Any
) -> HttpResponse:
    return render(request, page, get_site().describe(DjangoSession(request), refusal) | values)


def refuse_old_form(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001  # Django passes it
    """Refuse a form that was not made for this session, such as one of another site."""
    refusal = Refused("login.html", OLD_FORM_TEXT, status=403)
    response = show_page(request, refusal.page, refusal=refusal)
    response.status_code = refusal.status
    return response


# ------------------------------------------------------------------------------------------- login


def log_in(request: HttpRequest) -> HttpResponse:
    session = DjangoSession(request)
    if request.method == "POST":
        name, password = request.POST.get("name", ""), request.POST.get("password", "")
        return redirect(get_site().flow.start(session, name, password, get_client_ip(request)))
    try:
        get_site().account.get_proved_user(session)
    except LoginRequired:
        return show_page(request, "login.html")
    return redirect("/")


def check_sms_code(request: HttpRequest) -> HttpResponse:
    session, flow = DjangoSession(request), get_site().flow
    if request.method == "POST":
        flow.check_sms_code(session, request.POST.get("code", ""), get_client_ip(request))
        return redirect("/")
    flow.get_pending_login(session)
    return show_page(request, "sms.html")


def send_sms_code(request: HttpRequest) -> HttpResponse:
    get_site().flow.send_code(DjangoSession(request), get_client_ip(request))
    return redirect("/login/sms")


def check_app_code(request: HttpRequest) -> HttpResponse:
    session, flow = DjangoSession(request), get_site().flow
    if request.method == "POST":
        flow.check_app_code(session, request.POST.get("code", ""), get_client_ip(request))
        return redirect("/")
    flow.get_pending_login(session)
    return show_page(request, "app.html")


def check_recovery_code(request: HttpRequest) -> HttpResponse:
    session, flow = DjangoSession(request), get_site().flow
    if request.method == "POST":
        flow.check_recovery_code(session, request.POST.get("code", ""), get_client_ip(request))
        return redirect("/")
    flow.get_pending_login(session)
    return show_page(request, "recovery.html")


def log_out(request: HttpRequest) -> HttpResponse:
    DjangoSession(request).renew()
    return redirect("/login")


# ----------------------------------------------------------------------------------- after the login


def show_account(request: HttpRequest) -> HttpResponse:
    get_site().flow.get_user(DjangoSession(request))
    return show_page(request, "account.html")


def begin_enrollment(request: HttpRequest) -> HttpResponse:
    session, account = DjangoSession(request), get_site().account
    if request.method == "POST":
        account.begin_enrollment(session)
        return redirect("/account/app")
    account.get_enrollment(session)
    return show_page(request, "enrollment.html")


def confirm_enrollment(request: HttpRequest) -> HttpResponse:
    get_site().account.confirm_enrollment(DjangoSession(request), request.POST.get("code", ""))
    return redirect("/")


def remove_authenticator(request: HttpRequest) -> HttpResponse:
    get_site().account.remove_authenticator(DjangoSession(request))
    return redirect("/")


def create_recovery_codes(request: HttpRequest) -> HttpResponse:
    codes = get_site().account.create_recovery_codes(DjangoSession(request))
    return show_page(request, "recovery_codes.html", codes=codes)

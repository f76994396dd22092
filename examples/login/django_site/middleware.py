"""What the views raise, as responses; and the security headers of every page."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from examples.login.django_site.views import show_page
from examples.login.refusals import LoginRequired, Refused
from examples.login.security_headers import build_security_headers


REFUSAL_KEY: Final = "login.refusal"


class LoginMiddleware:
    """The middleware of this site."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._headers = build_security_headers(is_https=settings.LOGIN_CONFIG.is_https)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        headers = {} if request.path.startswith("/static/") else self._headers
        if refusal := request.META.get(REFUSAL_KEY):
            # Only here, outside of SessionMiddleware: it stores no session with a 5xx.
            response.status_code = refusal.status
            headers = headers | refusal.headers
        for name, value in headers.items():
            response[name] = value
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Show the page again, or the login; any other exception is a defect."""
        if isinstance(error, Refused):
            request.META[REFUSAL_KEY] = error
            return show_page(request, error.page, refusal=error)
        if isinstance(error, LoginRequired):
            return redirect("/login")
        return None

"""Responses from templates: every value is escaped, and the browser may only display them."""

import logging
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Request, Response, get
from litestar.response.base import ASGIResponse
from markupsafe import Markup

from otp_service.api.audit import get_visible_tenant
from otp_service.api.audit_ui.charts import build_chart
from otp_service.api.audit_ui.event_rows import build_field
from otp_service.api.audit_ui.search_period import format_instant
from otp_service.api.problems import (
    PROBLEM_TYPES,
    build_problem,
    build_problem_headers,
    get_problem_type,
)
from otp_service.api.request_context import AuthenticatedRequest
from otp_service.api.responses import ISOLATION_HEADERS
from otp_service.core.printable_text import format_value
from otp_service.core.pumping.prices import format_money
from otp_service.core.timestamps import to_datetime


logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

PAGE_HEADERS: Final = ISOLATION_HEADERS | {"Content-Security-Policy": CONTENT_SECURITY_POLICY}


def render_page(template: str, *, status: int = 200, **values: Any) -> ASGIResponse:
    html = _render_html(template, **values)
    return ASGIResponse(body=html, status_code=status, headers=PAGE_HEADERS, media_type="text/html")


def render_view(request: AuthenticatedRequest, template: str, **values: Any) -> ASGIResponse:
    """Return a page of a session, which shows its key and the tenant whose events it may see."""
    sees, key = get_visible_tenant(request), f"{request.user.tenant}/{request.user.id}"
    return render_page(template, sees=sees, key=key, **values)


def redirect(path: str, headers: Mapping[str, str]) -> ASGIResponse:
    location = PAGE_HEADERS | {"Location": path, **headers}
    return ASGIResponse(status_code=303, headers=location, media_type="text/html")


def render_error_page(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return a page for an exception, as `problems` returns a document for programs."""
    slug = get_problem_type(error)
    request.scope["state"]["problem"] = slug
    if slug == "internal-error":
        logger.error("request %s failed", request.scope["state"]["request"], exc_info=error)
    problem = build_problem(error)
    return Response(
        content=_render_html("error.html", problem=problem).encode(),
        status_code=PROBLEM_TYPES[slug].status,
        headers=PAGE_HEADERS | build_problem_headers(error),
        media_type=MediaType.HTML,
    )


@get("/style.css", sync_to_thread=False)
def get_stylesheet() -> ASGIResponse:
    """Return the stylesheet of all pages."""
    text = files(__package__).joinpath("style.css").read_bytes()
    return ASGIResponse(body=text, headers=PAGE_HEADERS, media_type="text/css")


def _render_html(template: str, **values: Any) -> str:
    return _TEMPLATE_ENVIRONMENT.get_template(template).render(values)


def _escape_value(value: object) -> object:
    """Cut a value and escape line breaks and text direction; Jinja escapes HTML afterwards.

    A template writes a long text of ours with the filter `e`, which returns Markup.
    """
    return value if isinstance(value, Markup | int | float) else format_value(value)


def _format_time(at: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return f"{to_datetime(at):{form}}"


def _format_quantity(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _format_percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


_TEMPLATE_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("otp_service.api.audit_ui"),
    autoescape=True,
    finalize=_escape_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATE_ENVIRONMENT.filters |= {
    "clock": _format_time,
    "percent": _format_percent,
    "count": "{:,}".format,
    "instant": format_instant,
    "of": _format_quantity,
    "money": format_money,
}
_TEMPLATE_ENVIRONMENT.globals |= {"plot": build_chart, "member": build_field}

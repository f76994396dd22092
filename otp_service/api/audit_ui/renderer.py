"""Templates into answers: every value escaped, and no browser allowed more than to show them."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Request, Response, get
from litestar.response.base import ASGIResponse
from markupsafe import Markup, escape

from otp_service.api.audit_ui.charts import plot
from otp_service.api.problems import KINDS, problem_of, slug_of
from otp_service.api.responses import PRIVATE
from otp_service.audit.reports.event_record import plain


logger = logging.getLogger(__name__)

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

HEADERS: Final = PRIVATE | {"Content-Security-Policy": POLICY}


def shown(template: str, *, status: int = 200, **values: Any) -> ASGIResponse:
    """Return a template, filled."""
    return ASGIResponse(
        body=_text(template, **values),
        status_code=status,
        headers=HEADERS,
        media_type="text/html",
    )


def going_to(path: str, headers: Mapping[str, str]) -> ASGIResponse:
    """Send a browser to another page."""
    return ASGIResponse(
        status_code=303, headers=HEADERS | {"Location": path, **headers}, media_type="text/html"
    )


def refused(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Show what went wrong to a person, as `problems.refuse` does to a program."""
    slug = slug_of(error)
    request.scope["state"]["problem"] = slug
    if slug == "internal-error":
        logger.error("request %s failed", request.scope["state"]["request"], exc_info=error)
    problem = problem_of(error)
    return Response(
        content=_text("error.html", problem=problem).encode(),
        status_code=KINDS[slug].status,
        headers=HEADERS,
        media_type=MediaType.HTML,
    )


@get("/style.css", sync_to_thread=False)
def stylesheet() -> ASGIResponse:
    """Give the style of all pages."""
    text = files(__package__).joinpath("style.css").read_bytes()
    return ASGIResponse(body=text, headers=HEADERS, media_type="text/css")


def _text(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(values)


def _in_its_place(value: object) -> object:
    """Keep what is shown on its line and in its direction; Jinja escapes it afterwards."""
    return value if isinstance(value, Markup | int | float) else plain(value)


def _whole(text: str) -> Markup:
    """Show a text of ours that may be long; values in it are `plain` already."""
    return escape(text)


def _clock(at: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):{form}}"


def _of(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


_TEMPLATES: Final = Environment(
    loader=PackageLoader("otp_service.api.audit_ui"),
    autoescape=True,
    finalize=_in_its_place,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "whole": _whole,
    "clock": _clock,
    "percent": _percent,
    "count": "{:,}".format,
    "of": _of,
}
_TEMPLATES.globals |= {"plot": plot}

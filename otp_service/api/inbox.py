"""The development inbox: the messages that phones would receive, as a page and as JSON.

The page is one file that loads nothing, and message texts never become markup.
"""

import html
from collections.abc import Callable
from importlib.resources import files

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from otp_service.api.responses import ISOLATION_HEADERS, build_html_response


def create_inbox_handlers(
    messages: Callable[[], list[dict[str, str]]], *, service_url: str = "http://127.0.0.1:8000"
) -> list[HTTPRouteHandler]:
    """Return the handlers of the page and its data, for the admin listener in development.

    `messages` returns them newest first; `service_url` is in the page's example.
    """
    text = files(__package__).joinpath("inbox.html").read_text("utf-8")
    filled = text.replace("{{service}}", html.escape(service_url))

    @get("/inbox")
    async def show_inbox() -> ASGIResponse:
        return build_html_response(filled)

    @get("/inbox.json")
    async def list_messages() -> ASGIResponse:
        body = msgspec.json.encode(messages())
        return ASGIResponse(body=body, headers=ISOLATION_HEADERS, media_type="application/json")

    return [show_inbox, list_messages]

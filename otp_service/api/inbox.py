"""The development inbox: what a phone would have shown, for a person and for tests.

The page is one file without anything from elsewhere, in which no text ever becomes markup.
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
    """Return the handlers of the page and of its data, for the admin listener in development.

    `messages` returns them newest first; `service` is the address that the page's example calls.
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

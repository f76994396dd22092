"""The development inbox: what a phone would have shown, for a person and for tests.

The page is one file without anything from elsewhere. Its policy allows exactly the script and the
style that are in it, by their hashes, and no text ever becomes markup (Trusted Types).
"""

import base64
import hashlib
import html
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler


DEFAULT_SERVICE: Final = "http://127.0.0.1:8000"

_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def inbox_routes(
    messages: Callable[[], list[dict[str, str]]], *, service: str = DEFAULT_SERVICE
) -> list[HTTPRouteHandler]:
    """Return the handlers of the page and of its data, for the admin listener in development.

    `messages` returns them newest first; `service` is the address that the page's examples call.
    """
    text = files(__package__).joinpath("inbox.html").read_text("utf-8")
    page = text.replace("{{service}}", html.escape(service))
    headers = _HEADERS | {"Content-Security-Policy": policy(page)}

    @get("/inbox", include_in_schema=False, sync_to_thread=False)
    def show_inbox() -> Response[str]:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    @get("/inbox.json", include_in_schema=False, sync_to_thread=False)
    def list_messages() -> Response[list[dict[str, str]]]:
        return Response(messages(), headers=_HEADERS)

    return [show_inbox, list_messages]


def policy(page: str) -> str:
    """Return the Content-Security-Policy that allows a page what it holds and nothing else."""
    allowed = {kind: _hash(text) for kind, text in _INLINE.findall(page)}
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{allowed['script']}'",
            f"style-src '{allowed['style']}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

"""The ASGI middleware of every request, also of those that match no route."""

import logging
import re
import secrets
import time
from typing import Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from otp_service.api.body_receiver import BodyReceiver
from otp_service.api.error_responses import build_error_response
from otp_service.api.request_context import ApiContext, RequestSummary
from otp_service.api.request_head import find_head_error, has_head
from otp_service.api.twilio import TWILIO_PREFIX
from otp_service.core.errors import Overloaded


logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST: Final = 499
"""The status, as in nginx, of a request that was canceled before a response."""

_RESPONSE_HEADERS: Final = ((b"cache-control", b"no-store"),)

_CALL_PREFIXES: Final = ("/v1/", TWILIO_PREFIX)
"""The paths that are refused while the service stops."""

_LAST_RESPONSE_HEADER: Final = (b"connection", b"close")

MODE_HEADER: Final = b"otp-mode"
"""The mode of a service that is not live, in each of its responses."""
# Version ff is invalid, an id of zeros is invalid, and only versions after 00 have more fields.
_TRACEPARENT_PATTERN: Final = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?",
    re.DOTALL,
)


class RequestMiddleware:
    """Assigns the request id, refuses requests by their head, and records each request.

    A HEAD is served as the GET of the same target, without its body (RFC 9110 §9.3.2), except where a GET
    changes something. A response to a request whose body was not read closes the connection.

    It is not a Litestar middleware, because those run only after a route was found.
    """

    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context
        self._headers: tuple[tuple[bytes, bytes], ...] = _RESPONSE_HEADERS
        if context.mode != "live":
            self._headers = (*_RESPONSE_HEADERS, (MODE_HEADER, context.mode.encode()))
        self._last_headers = (*self._headers, _LAST_RESPONSE_HEADER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started_at, status = time.perf_counter(), CLIENT_CLOSED_REQUEST
        method = scope["method"]
        scope["state"]["request"] = secrets.token_hex(16)
        if "trace" not in scope["state"]:  # no outer middleware set one
            scope["state"]["trace"] = _parse_trace_id(scope)

        body = BodyReceiver(scope["headers"], receive)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                is_last = not body.is_complete or "refused" in scope["state"]
                added = self._last_headers if is_last else self._headers
                message["headers"] = [*message["headers"], *added]
            elif message["type"] == "http.response.body" and method == "HEAD":
                message["body"] = b""
            await send(message)

        try:
            await self._serve_request(scope, body, send_with_headers)
        except Exception:  # after the response started, no problem can be sent
            logger.exception("request %s failed", scope["state"]["request"])
        finally:
            seconds = time.perf_counter() - started_at
            self._context.record_request(_summarize_request(scope, method, status, seconds))

    async def _serve_request(self, scope: Any, receive: Receive, send: Send) -> None:
        error = self._find_error(scope)
        if error:
            request: Request[Any, Any, Any] = Request(scope, receive, send)
            response = build_error_response(request, error)
            # After some of these errors the end of the request is uncertain.
            scope["state"]["refused"] = True
            await response.to_asgi_response(None, request)(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" or (
            scope["method"] == "HEAD" and not has_head(scope["path"])
        ):
            # Litestar would respond itself; the contract treats it like any unknown method.
            scope["method"] = "UNKNOWN"
        elif scope["method"] == "HEAD":
            scope["method"] = "GET"
        await self._app(scope, receive, send)

    def _find_error(self, scope: Any) -> Exception | None:
        if error := find_head_error(scope, self._context.host_allowlist):
            return error
        if self._context.background_calls.is_draining and scope["path"].startswith(_CALL_PREFIXES):
            return Overloaded("The service is stopping. Send the request again.")
        return None


def _summarize_request(scope: Any, method: str, status: int, seconds: float) -> RequestSummary:
    caller = scope.get("auth")
    return RequestSummary(
        method=method,
        route=scope.get("path_template", ""),
        status=status,
        seconds=seconds,
        request=scope["state"]["request"],
        tenant=caller.tenant.name if caller else None,
        trace=scope["state"]["trace"],
        problem=scope["state"].get("problem"),
    )


def _parse_trace_id(scope: Any) -> str | None:
    """Return the trace id of the request (W3C Trace Context, 3.2).

    An invalid header counts as missing (R59). The sampling flag is ignored.
    """
    values = [value for name, value in scope["headers"] if name == b"traceparent"]
    match = _TRACEPARENT_PATTERN.fullmatch(values[0]) if len(values) == 1 else None
    return str(match[1], "ascii") if match else None

"""The inbox of a service for tests: the messages that phones would receive, as a page and as JSON.

The page is one file that loads nothing, and message texts never become markup. A reply is handled as a
message from a phone is that arrives through a provider: see service/inbound_handler.py.
"""

import html
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Annotated, Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from otp_service.api.inbox_access import InboxAccess
from otp_service.api.inbox_wait import InboxWaits, ListMessages
from otp_service.api.request_body import parse_body, parse_query
from otp_service.api.request_context import AnonymousRequest
from otp_service.api.responses import (
    ISOLATION_HEADERS,
    build_html_response,
    build_json_response,
)
from otp_service.core.errors import InvalidRequest, OtpError
from otp_service.core.inbound import InboundResult
from otp_service.core.phone_number import classify_number
from otp_service.core.ports import InboxMessage
from otp_service.core.tenant import Scope
from otp_service.core.timestamps import format_rfc3339, to_epoch_ms
from otp_service.schemas import Timestamp
from otp_service.schemas.members import PhoneNumberText


MAX_WAIT_SECONDS: Final = 30
MAX_REPLY_CHARS: Final = 1600
"""Of ten parts of a long message, and more than any keyword has."""

UNANSWERABLE_REMEDY: Final = "must have a message of this tenant in the inbox, which it answers"
PLUS_REMEDY: Final = "must begin with a plus: write it as %2B in a URL, where + means a space"
FICTITIOUS_REMEDY: Final = (
    "must be a fictitious number, like %2B447700900123: a real one must not be in a URL"
)


class InboxQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The filters of a list of messages. Messages that match all of them are listed."""

    to: str | None = None
    """A fictitious number."""
    since: Timestamp | None = None
    """Messages of this instant and later ones."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10_000
    wait: Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0
    """Seconds to wait for a message if none matches."""


class ResetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields. It must not be missing: a page of another origin can send no body, and no JSON."""


class ReplyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the person with this number answers. Its `repr` omits the fields."""

    phone_number: PhoneNumberText
    text: Annotated[str, msgspec.Meta(max_length=MAX_REPLY_CHARS)]

    def __repr__(self) -> str:
        return f"ReplyRequest({len(self.text)} characters)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # msgspec's own would show the fields


class ReplyResult(msgspec.Struct, frozen=True):
    """What the service did with a reply."""

    result: InboundResult


HandleReply = Callable[
    [ReplyRequest, InboxMessage | None, Mapping[str, Any]], Awaitable[InboundResult]
]
"""Handles a reply to the message, with the state of the request. A phone can write without a message, too."""


def create_inbox_handlers(
    list_messages: ListMessages,
    reset_data: Callable[[], Awaitable[None]],
    handle_reply: HandleReply,
    access: InboxAccess,
    *,
    service_url: str = "http://127.0.0.1:8000",
) -> list[HTTPRouteHandler]:
    """Return the handlers of the page, its data, replies and the reset, for the admin listener.

    `list_messages` returns them newest first; `service_url` is in the page's example.
    """
    text = files(__package__).joinpath("inbox.html").read_text("utf-8")
    waits = InboxWaits(list_messages)
    filled = text.replace("{{service}}", html.escape(service_url))

    async def find_answered_message(number: str, tenant: str | None) -> InboxMessage | None:
        select = partial(select_messages, query=InboxQuery(to=number, limit=1), tenant=tenant)
        found = await waits.wait_for(select, 0, tenant)
        if not found and tenant is not None:  # only another tenant may have sent to this number
            raise InvalidRequest(("phone_number", UNANSWERABLE_REMEDY))
        return found[0] if found else None

    @get("/inbox")
    async def show_inbox() -> ASGIResponse:
        return build_html_response(filled)

    @get("/inbox.json", scopes={Scope.CHALLENGES}, before_request=access.before_request)
    async def show_messages(request: AnonymousRequest) -> ASGIResponse:
        query = _parse_inbox_query(request)
        tenant = access.get_visible_tenant(request)
        select = partial(select_messages, query=query, tenant=tenant)
        messages = await waits.wait_for(select, query.wait, tenant)
        body = msgspec.json.encode([_format_message(message) for message in messages])
        return ASGIResponse(body=body, headers=ISOLATION_HEADERS, media_type="application/json")

    @post("/inbox/replies", scopes={Scope.CHALLENGES}, before_request=access.before_request)
    async def reply(request: AnonymousRequest) -> ASGIResponse:
        # Its type must be JSON, so that a page of another origin cannot send it.
        wanted = await parse_body(request, ReplyRequest)
        tenant = access.get_visible_tenant(request)
        answered = await find_answered_message(wanted.phone_number, tenant)
        result = await handle_reply(wanted, answered, request.scope["state"])
        return build_json_response(ReplyResult(result), headers=ISOLATION_HEADERS)

    @post("/reset", scopes={Scope.OPERATOR}, before_request=access.before_request)
    async def reset(request: AnonymousRequest) -> ASGIResponse:
        await parse_body(request, ResetRequest)
        await reset_data()
        return ASGIResponse(status_code=204)

    return [show_inbox, show_messages, reply, reset]


def _parse_inbox_query(request: AnonymousRequest) -> InboxQuery:
    """Return the filters. Raises InvalidRequest with the invalid ones."""
    query = parse_query(request, InboxQuery)
    if query.to is not None:
        _check_number(query.to)
    return query


def _check_number(text: str) -> None:
    if not text.startswith("+"):
        raise InvalidRequest(("to", PLUS_REMEDY))
    try:
        phone, _ = classify_number(text)
    except OtpError:
        raise InvalidRequest(("to", FICTITIOUS_REMEDY)) from None
    if not phone.is_fictitious:
        raise InvalidRequest(("to", FICTITIOUS_REMEDY))


def select_messages(
    messages: list[InboxMessage], query: InboxQuery, tenant: str | None
) -> list[InboxMessage]:
    """Return the messages that match, of one tenant or of all, newest first."""
    since = to_epoch_ms(query.since) if query.since else 0
    found = [
        message
        for message in messages
        if query.to in {None, message.to}
        and tenant in {None, message.tenant}
        and message.at >= since
    ]
    return found[: query.limit]


def _format_message(message: InboxMessage) -> dict[str, str]:
    return {
        "to": message.to,
        "text": message.text,
        "provider": message.provider,
        "at": format_rfc3339(message.at),
    }

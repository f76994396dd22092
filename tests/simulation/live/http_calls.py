"""The calls of a history as HTTP requests, and their responses as outcomes."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from tests.processes import HttpResponse, build_request
from tests.simulation.history import (
    Answered,
    Failed,
    Outcome,
    PlainValue,
    Refused,
    Unavailable,
)
from tests.simulation.live.live_configuration import LiveConfiguration


Arguments = Mapping[str, PlainValue]

CHALLENGE: Final = "/v1/challenges/{challenge}"


class Route(NamedTuple):
    """Where a kind of call goes; `{challenge}` is replaced by that of its arguments."""

    method: str
    path: str


ROUTES: Final[Mapping[str, Route]] = {
    "issue": Route("POST", "/v1/challenges"),
    "resend": Route("POST", f"{CHALLENGE}/resend"),
    "verify": Route("POST", f"{CHALLENGE}/verify"),
    "get": Route("GET", CHALLENGE),
    "cancel": Route("DELETE", CHALLENGE),
    "deliver": Route("POST", "/v1/deliveries"),
    "create_authenticator": Route("POST", "/v1/authenticators"),
    "confirm_authenticator": Route("POST", "/v1/authenticators/confirm"),
    "verify_authenticator": Route("POST", "/v1/authenticators/verify"),
    "create_recovery_codes": Route("POST", "/v1/recovery-codes"),
    "verify_recovery_code": Route("POST", "/v1/recovery-codes/verify"),
    "unlock_number": Route("POST", "/v1/numbers/unlock"),
    "unlock_account": Route("POST", "/v1/accounts/unlock"),
    "receive_message": Route("POST", "/v1/inbound/{provider}"),
    "receive_receipt": Route("POST", "/v1/callbacks/{provider}"),
}

INSTANTS: Final = frozenset({"expires_at", "verified_at"})
RECORDED_MEMBERS: Final = frozenset(
    {"id", "status", "attempts_left", "sends_left", "authenticator", "secret"}
    | {"recovery_set", "codes", "codes_left", *INSTANTS}
)
"""The members of an answer that a history has."""

DETAIL_MEMBERS: Final = ("attempts_left", "reason", "id")
SPAN: Final = "1" * 16
"""The part of a `traceparent` that is not recorded."""

SERVER_ERROR: Final = 500


def build_http_call(
    kind: str, arguments: Arguments, tenant: str, configuration: LiveConfiguration, trace: str
) -> bytes:
    """Return the request of a call; `trace` names it in events and observations."""
    method, path = ROUTES[kind]
    named = {name: str(value) for name, value in arguments.items()}
    path = path.replace("{challenge}", quote(named.get("challenge", ""), safe=""))
    path = path.replace("{provider}", named.get("provider", ""))
    headers = {"traceparent": f"00-{trace}-{SPAN}-00", "Connection": "close"}
    if key := named.get("idempotency_key"):
        headers["Idempotency-Key"] = key
    if kind == "receive_message":
        path += f"?key={configuration.inbound_key}-{named['provider']}"
    elif kind == "receive_receipt" and arguments["trusted"]:
        path += f"?key={configuration.callback_key}-{named['provider']}"
    api_key = configuration.api_keys.get(tenant)
    body = _build_body(kind, arguments) if method == "POST" else None
    return build_request(method, path, body=body, key=api_key, headers=headers)


def _build_body(kind: str, arguments: Arguments) -> dict[str, PlainValue] | None:
    if kind == "receive_message":
        return {
            "from": arguments["phone_number"],
            "text": arguments["keyword"],
            "to": arguments["own_number"],
            "id": arguments["message_id"],
        }
    if kind == "receive_receipt":
        return {"status": arguments["status"], "reference": arguments["reference"]}
    left_out = {"challenge", "idempotency_key"}
    body = {name: value for name, value in arguments.items() if name not in left_out}
    return body if kind != "resend" else None


def describe_response(response: HttpResponse) -> Outcome:
    """Return what a caller learns from a response."""
    if response.status < 300:  # 2xx
        return Answered(_select_members(json.loads(response.body)) if response.body else {})
    problem, document = response.problem_type, response.json
    retry_after = response.headers.get("retry-after")
    seconds = None if retry_after is None else int(retry_after)
    if problem in {"store-unavailable", "overloaded"}:
        return Unavailable(problem, seconds)  # type: ignore[arg-type]  # one of these two
    if response.status == SERVER_ERROR or not problem:
        return Failed(f"HTTP {response.status} {problem}")
    return Refused(
        reason=problem,
        retry_after=seconds,
        limit=document.get("limit"),
        details={name: document[name] for name in DETAIL_MEMBERS if name in document},
    )


def _select_members(document: Mapping[str, Any]) -> dict[str, PlainValue]:
    return {
        name: _to_milliseconds(value) if name in INSTANTS else value
        for name, value in document.items()
        if name in RECORDED_MEMBERS and value is not None
    }


def _to_milliseconds(text: str) -> int:
    """Return an instant of RFC 3339 in milliseconds since 1970, exact to the millisecond."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)

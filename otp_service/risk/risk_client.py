"""Asks the risk service about one send: one signed request, one short answer, one deadline.

The deadline covers everything: a free connection, DNS, TCP, TLS and the whole answer. A question is never
repeated, and no redirect is followed. What is not a 200 with a valid answer in time is a failure, for which
`on_failure` decides.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable
from typing import Any, Final, cast

import httpx

from otp_service.core.keys import Key
from otp_service.core.risk import RiskAnswer, RiskAssessment, RiskFault, RiskQuery
from otp_service.core.standard_webhook import sign_webhook
from otp_service.core.timestamps import SECOND_MS
from otp_service.risk.risk_exchange import MAX_ANSWER_BYTES, build_body, parse_answer
from otp_service.risk.risk_settings import RiskSettings


logger = logging.getLogger(__name__)

_TIMEOUT_TEXTS: Final = frozenset({"connect-timeout", "read-timeout"})
"""Reasons of the transport that are its deadlines, which end at the same instant as ours."""
_OK, _REDIRECTS = 200, range(300, 400)


class RiskCallError(Exception):
    """There is no answer."""

    def __init__(self, fault: RiskFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class RiskClient:
    """Implements `core.ports.RiskService`."""

    def __init__(
        self,
        settings: RiskSettings,
        transport: httpx.AsyncBaseTransport,
        *,
        pseudonym_key: Key,
        generate_id: Callable[[], str],
        now: Callable[[], int],
    ) -> None:
        """`generate_id` returns the id of a request; `now` returns milliseconds since 1970."""
        self._settings = settings
        self._transport = transport
        self._pseudonym_key = pseudonym_key if settings.number == "pseudonym" else None
        self._signing_key = settings.signing_key
        self._generate_id = generate_id
        self._now = now
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), settings.deadline_seconds)
        self._extensions: dict[str, Any] = {"timeout": timeouts, "max_bytes": MAX_ANSWER_BYTES}

    async def assess(self, query: RiskQuery) -> RiskAssessment:
        """Return the answer of the service, or after the deadline that it failed."""
        try:
            async with asyncio.timeout(self._settings.deadline_seconds):
                answer, reason = await self._ask(query)
        except TimeoutError:
            return self._build_failure(RiskFault.TIMEOUT)
        except RiskCallError as failure:
            return self._build_failure(failure.fault)
        except Exception as error:  # noqa: BLE001  # whatever it was, there is no answer
            # Its name only: the text of an exception may contain the number or the account.
            logger.error("risk service: cannot ask: %s", type(error).__name__)  # noqa: TRY400
            return self._build_failure(RiskFault.INTERNAL)
        return RiskAssessment(answer, reason, is_refusal=answer is RiskAnswer.REFUSE)

    def _build_failure(self, fault: RiskFault) -> RiskAssessment:
        is_refusal = self._settings.on_failure == "refuse"
        return RiskAssessment(RiskAnswer.FAILED, fault.value, is_refusal=is_refusal)

    async def _ask(self, query: RiskQuery) -> tuple[RiskAnswer, str | None]:
        try:
            response = await self._transport.handle_async_request(self._build_request(query))
            stream = cast("AsyncIterable[bytes]", response.stream)
            body = b"".join([chunk async for chunk in stream])
        except (httpx.TransportError, OSError) as error:
            raise RiskCallError(_classify_error(error)) from None
        if response.status_code in _REDIRECTS:
            raise RiskCallError(RiskFault.REDIRECT)
        if response.status_code != _OK:
            raise RiskCallError(RiskFault.STATUS)
        if broken_by := response.extensions.get("broken_by"):
            raise RiskCallError(_classify_break(broken_by))
        try:
            return parse_answer(body)
        except ValueError:
            raise RiskCallError(RiskFault.UNREADABLE) from None

    def _build_request(self, query: RiskQuery) -> httpx.Request:
        body = build_body(query, self._pseudonym_key)
        seconds = self._now() // SECOND_MS
        signature = sign_webhook(self._generate_id(), seconds, body, self._signing_key)
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # so that MAX_ANSWER_BYTES limits the real size
            "content-type": "application/json",
            "user-agent": "otp-service",
            **signature,
        }
        url, extensions = self._settings.url, self._extensions
        return httpx.Request("POST", url, headers=headers, content=body, extensions=extensions)


def _classify_error(error: Exception) -> RiskFault:
    if str(error) in _TIMEOUT_TEXTS:
        return RiskFault.TIMEOUT
    is_connecting = isinstance(error, httpx.ConnectError)
    return RiskFault.CONNECT_ERROR if is_connecting else RiskFault.DISCONNECTED


def _classify_break(broken_by: str) -> RiskFault:
    if broken_by in _TIMEOUT_TEXTS:
        return RiskFault.TIMEOUT
    is_too_big = broken_by == RiskFault.REPLY_TOO_BIG
    return RiskFault.REPLY_TOO_BIG if is_too_big else RiskFault.DISCONNECTED

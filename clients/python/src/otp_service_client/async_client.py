"""The client for asyncio."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from otp_service_client import calls
from otp_service_client.calls import Call
from otp_service_client.connection import (
    ReplyBody,
    build_client_options,
    build_http_request,
    copy_documentation,
    to_lost_reply,
)
from otp_service_client.exchange import Outcome, Pause, Request, run_call


P = ParamSpec("P")
T = TypeVar("T")


def _create_method(
    build_call: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncOtpClient", P], Coroutine[Any, Any, T]]:
    """Return the method that sends a call, with the parameters and the documentation of the call."""

    async def send(self: "AsyncOtpClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            call = build_call(*args, **kwargs)
        finally:
            del args, kwargs  # a traceback with its locals would show the code
        return await self._send(call)

    return copy_documentation(build_call, send)


class AsyncOtpClient:
    """A client of otp-service: one coroutine for each operation.

    Tasks of one event loop may share it. Create one for the loop, and close it at the end, or use it as
    a context manager. Each method raises a subclass of OtpServiceError where the call does not succeed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """Create a client of the service at `base_url`, which is https, or http on loopback.

        `timeout` is in seconds; by default a call that sends a message has 15, and others 5, as
        docs/api-guide.md says. A repetition after a lost reply has the same time again. `transport`
        replaces that of httpx, for example `httpx.AsyncHTTPTransport(verify=context)` for a private CA.
        `allow_http` allows http in a network of your own. Raises ValueError for an unsafe address.
        """
        options = build_client_options(base_url, api_key, allow_http=allow_http)
        self._http = httpx.AsyncClient(**options, transport=transport)
        self._timeout_seconds = timeout

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._http.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _send(self, call: Call[T]) -> T:
        steps = run_call(call, secrets.token_urlsafe())
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._perform(step))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Request | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        seconds = step.timeout_seconds if self._timeout_seconds is None else self._timeout_seconds
        request, body = build_http_request(self._http, step, seconds), ReplyBody(seconds)
        try:
            async with contextlib.aclosing(await self._http.send(request, stream=True)) as response:
                async for chunk in response.aiter_bytes():
                    body.append(chunk)
            return body.to_reply(response)
        except httpx.RequestError as error:
            return to_lost_reply(error)

    issue_challenge = _create_method(calls.issue_challenge)
    get_challenge = _create_method(calls.get_challenge)
    cancel_challenge = _create_method(calls.cancel_challenge)
    verify_challenge = _create_method(calls.verify_challenge)
    resend_code = _create_method(calls.resend_code)

    create_delivery = _create_method(calls.create_delivery)
    get_delivery = _create_method(calls.get_delivery)

    create_authenticator = _create_method(calls.create_authenticator)
    confirm_authenticator = _create_method(calls.confirm_authenticator)
    verify_authenticator = _create_method(calls.verify_authenticator)

    create_recovery_codes = _create_method(calls.create_recovery_codes)
    verify_recovery_code = _create_method(calls.verify_recovery_code)

    list_events = _create_method(calls.list_events)
    search_events = _create_method(calls.search_events)

    unlock_number = _create_method(calls.unlock_number)
    unlock_account = _create_method(calls.unlock_account)

    check_liveness = _create_method(calls.check_liveness)
    check_readiness = _create_method(calls.check_readiness)

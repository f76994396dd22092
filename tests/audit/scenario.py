"""Everything that is told to the audit log, one step after another: through the real application.

    told = tell(server)      # a scripted run on an embedded Redis, with two providers on loopback
    text = written(told)     # what each step has told, in order, without what chance decides

Its clock is moved instead of waited for, and its keys are fixed, so that numbers always have the
same partitions.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

import otp_service.app.application
from otp_service.app import Application, link_of, public_door
from otp_service.audit.query.stream_scan import NEWEST
from otp_service.cli import numbers
from otp_service.core.charges import row_of
from otp_service.core.keys import RINGS, Key, Keys, Ring
from otp_service.core.limits import Limit, Window
from otp_service.core.log_entry import Entry
from otp_service.core.phone_number import PhoneNumber, parse
from otp_service.core.ports import Commit
from otp_service.core.tenant import Scope, digest
from otp_service.settings.model import (
    ApiKeyTable,
    Hash,
    Redis,
    Routing,
    Service,
    Settings,
    TenantTable,
)
from otp_service.sms.providers.generic_http import Http, Receipts
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.event_streams import RedisStreams
from tests.installation import MINUTE, SECOND, wrong
from tests.processes import Gateway
from tests.store import redis_servers


KEYS = {name: f"a key that is fixed for {name} alone".encode().ljust(32, b".") for name in RINGS}
API_KEYS = {
    "shop": frozenset({Scope.CHALLENGES}),
    "security": frozenset({Scope.AUDIT_ALL, Scope.OPERATOR}),
}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LOGIN: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9", "purpose": "login"}
DOWN, NO_SUCH_NUMBER = (500, {"error": {"code": "down"}}), (400, {"error": {"code": "unknown"}})


class Step(NamedTuple):
    """What was done, and what it has told, in order of partition and place."""

    title: str
    entries: list[Entry]


def tell(server: EmbeddedServer) -> list[Step]:
    """Return what every step has told. The server is emptied before."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    with Gateway() as one, Gateway() as two, pytest.MonkeyPatch.context() as patch:
        # What runs beside the requests runs when the scenario says so.
        for name in ("HOUSEKEEPING", "EXCHANGE"):
            patch.setattr(otp_service.app.application, name, 3600.0)
        scenario = Scenario(server, one, two)
        asyncio.run(scenario.tell())
    return scenario.steps


def settings_of(server: EmbeddedServer, gateways: Mapping[str, Gateway]) -> Settings:
    """Return the settings of an installation with two providers."""
    return Settings(
        keys=Keys(**{name: Ring((Key("1", secret),)) for name, secret in KEYS.items()}),
        service=Service(public_url="https://otp.example"),
        redis=Redis(url=server.url, timeout_milliseconds=5000),
        hash=Hash(memory_kib=8, passes=1, accept_below_owasp=True),
        limits={Limit.SENDS_ADDRESS: (Window(2, 3600),)},
        tenant_tables={
            name: TenantTable(
                brand=name.title(),
                countries=frozenset({"GB"}),
                keys=(ApiKeyTable("first", digest(name).hex(), scopes),),
            )
            for name, scopes in API_KEYS.items()
        },
        providers={
            name: Http(
                url=gateway.url,
                fields={"to": "{to}", "text": "{text}", "tell": "{callback}"},
                message_id="id",
                code="error.code",
                recipient_codes=frozenset({"unknown"}),
                provider_codes=frozenset({"down"}),
                receipt=Receipts("status", frozenset({"there"}), failed=frozenset({"dead"})),
            )
            for name, gateway in gateways.items()
        },
        routing=Routing(providers=tuple(gateways)),
    )


class Scenario:
    """One installation, everybody who calls it, and what each step has told."""

    def __init__(self, server: EmbeddedServer, one: Gateway, two: Gateway) -> None:
        self.steps: list[Step] = []
        self._server = server
        self._one, self._two = one, two
        self._app = Application(settings_of(server, {"one": one, "two": two}))
        self._app.store._shift = lambda: self._elapsed
        self._public: Any = public_door(self._app)
        self._http = _client(self._public)
        # Of its own, for it reads on when the service has stopped.
        self._link = link_of(self._app.settings)
        self._streams = RedisStreams(self._link, self._app.store.names)
        self._seen: set[tuple[int, Any]] = set()
        self._elapsed = 0
        self._numbers = (f"+4474{i:02d}012345" for i in range(10, 60))

    async def tell(self) -> None:
        """Do everything."""
        async with self._step("the service starts"):
            await self._app.start()
        async with self._step("the first housekeeping: each partition begins an epoch"):
            await self._app.telling.everything()
        await self._logs_in()
        await self._sends_again()
        await self._guesses()
        await self._ends()
        await self._providers_fail()
        await self._is_refused()
        await self._is_locked()
        await self._operators_work()
        await self._strangers_call()
        await self._redis_fails()
        async with self._step("the service stops"):
            await self._app.stop()
        await self._http.aclose()
        await self._link.aclose()

    async def _logs_in(self) -> None:
        number = next(self._numbers)
        async with self._step("a code is issued"):
            id_ = await self._issue(number, **LOGIN)
        async with self._step("another one at once is refused by the cooldown"):
            await self._issue(number, 429)
        async with self._step("what is typed is no code"):
            await self._verify(id_, "12345", 400)
        async with self._step("the code is wrong"):
            await self._verify(id_, wrong(self._code(number)), 422)
        async with self._step("the code is right, for another purpose"):
            await self._verify(id_, self._code(number), 422, purpose="payment")
        async with self._step("the code is right, but the answer does not arrive"):
            await self._verify_in_vain(id_, self._code(number), key="login-1")
        async with self._step("the same call again is answered"):
            await self._verify(id_, self._code(number), 200, key="login-1")
        async with self._step("the same code in another call is not"):
            await self._verify(id_, self._code(number), 410)

    async def _sends_again(self) -> None:
        number = next(self._numbers)
        async with self._step("a code is issued, and repeating that call does nothing"):
            id_ = await self._issue(number, key="issue-1")
            await self._issue(number, key="issue-1")
        self._wait(31 * SECOND)
        async with self._step("it is sent again: both codes are valid"):
            await self._resend(id_)
        self._wait(31 * SECOND)
        async with self._step("and again: the oldest one is not any more"):
            await self._resend(id_)
        self._wait(31 * SECOND)
        async with self._step("there are no sends left"):
            await self._resend(id_, 409)
        async with self._step("it is delivered"):
            await self._bring(self._one, b"status=there")
        async with self._step("which the provider says twice"):
            await self._bring(self._one, b"status=there")

    async def _guesses(self) -> None:
        number = next(self._numbers)
        id_ = await self._unseen(number)
        async with self._step("five wrong codes lock the challenge"):
            for guess in range(5):
                await self._verify(id_, wrong(self._code(number), guess + 1), 422)
        async with self._step("then the right one is refused"):
            await self._verify(id_, self._code(number), 410)

    async def _ends(self) -> None:
        canceled, expired = next(self._numbers), next(self._numbers)
        id_ = await self._unseen(canceled)
        async with self._step("a challenge is canceled, twice"):
            for _ in range(2):
                await self._call("DELETE", f"/v1/challenges/{id_}", 204)
        async with self._step("its code is refused, and so is another one"):
            await self._verify(id_, self._code(canceled), 410)
            await self._resend(id_, 410)
        id_ = await self._unseen(expired)
        self._wait(5 * MINUTE)
        async with self._step("five minutes later a code has expired"):
            await self._verify(id_, self._code(expired), 410)

    async def _providers_fail(self) -> None:
        number = next(self._numbers)
        async with self._step("the first provider is down, and the second takes the message"):
            with says(self._one, *DOWN):
                await self._issue(number)
        async with self._step("both are down: the challenge is canceled"):
            with says(self._one, *DOWN), says(self._two, *DOWN):
                await self._issue(next(self._numbers), 502)
        async with self._step("there is no such number"):
            with says(self._one, *NO_SUCH_NUMBER):
                await self._issue(next(self._numbers), 422)
        async with self._step("whether it was sent is not known"):
            with says(self._one, 200, {}):
                await self._issue(next(self._numbers))
        await self._unseen(next(self._numbers))
        self._wait(31 * SECOND)
        async with self._step("a message is lost later, and rescued through the other provider"):
            await self._bring(self._one, b"status=dead")
            await asyncio.gather(*self._app.in_flight._tasks)
        async with self._step("the first provider fails until its breaker opens"):
            with says(self._one, *DOWN):
                for _ in range(3):
                    await self._issue(next(self._numbers))
            await self._app.sharing.exchange()

    async def _is_refused(self) -> None:
        for why, number in (
            ("there are no SMS to that country", "+33612345678"),
            ("this is no phone that takes SMS", "+442079461234"),
            ("this number is fictitious", "+447700900123"),
        ):
            async with self._step(f"a code is asked, but {why}"):
                await self._issue(number, 422)
        async with self._step("three codes are asked from one address, of which two are allowed"):
            for status in (201, 201, 429):
                await self._issue(next(self._numbers), status, client_ip="2001:db8::1")
        number = next(self._numbers)
        await self._unseen(number)
        async with self._step("fourteen more at once: ten refusals are told"):
            for guess in range(14):
                await self._issue(number, 429, client_ip=f"198.51.100.{guess}")
        self._wait(61 * SECOND)
        async with self._step("a minute later the other four are one event"):
            await self._app.telling.everything()

    async def _is_locked(self) -> None:
        phone = parse(next(self._numbers))
        id_ = await self._unseen(phone.e164)
        await self._fails(phone, times=99)
        self._wait(2 * 3600 * SECOND)
        id_ = await self._unseen(phone.e164)
        async with self._step("the hundredth failure in a row locks the number"):
            await self._verify(id_, wrong(self._code(phone.e164)), 422)
        async with self._step("nothing is compared any more, and nothing sent"):
            await self._verify(id_, self._code(phone.e164), 403)
            await self._issue(phone.e164, 403)
        async with self._step("an operator unlocks it"):
            body = {"phone_number": phone.e164}
            await self._call("POST", "/v1/numbers/unlock", 204, by="security", body=body)

    async def _operators_work(self) -> None:
        phone = parse(next(self._numbers))
        async with self._step("a number is put on the do-not-send list"):
            await numbers._block(self._app, phone)
        async with self._step("nothing is sent to it"):
            await self._issue(phone.e164, 422)
        async with self._step("it is taken off the list"):
            await numbers._unblock(self._app, phone)
        async with self._step("somebody of the security team looks for what it did"):
            body = {"phone_number": phone.e164}
            await self._call("POST", "/v1/audit/search", 200, by="security", body=body)
        async with self._step("and an operator, at the machine"):
            await self._app.telling.looked_up(phone, 3, by="operator", reason="INC-4711")
        async with self._step("everything about it is deleted"):
            await numbers._forget(self._app, phone)
        async with self._step("the archive has stood still for too long, and goes on"):
            await self._app.telling.archive("overflow")
            await self._app.telling.archive("recovered")

    async def _strangers_call(self) -> None:
        async with self._step("strangers call, and bring receipts that are none"):
            for by in ("", "", "nobody"):
                await self._issue(next(self._numbers), 401, by=by)
            await self._issue(next(self._numbers), 403, by="security")
            await self._bring(self._one, b"status=there", 401, token="forged")
            await self._bring(self._one, b"nothing", 400)
        async with self._step("which is told once a minute"):
            await self._app.telling.everything()

    async def _redis_fails(self) -> None:
        id_ = await self._unseen(next(self._numbers))
        with redis_servers.client_of(self._server) as client:
            (record,) = client.keys(f"*:challenge:shop:{id_}")
            client.append(record, "x")
            async with self._step("somebody has written to Redis"):
                await self._call("GET", f"/v1/challenges/{id_}", 503)
            client.replicaof("127.0.0.1", redis_servers.free_port())
            client.replicaof("NO", "ONE")
        async with self._step("another server answers: its first event begins an epoch"):
            await self._issue(next(self._numbers))
        async with self._step("and so it does in every other partition"):
            await self._app.telling.everything()

    # ------------------------------------------------------------------ how that is done

    @asynccontextmanager
    async def _step(self, title: str) -> AsyncIterator[None]:
        yield
        self.steps.append(Step(title, await self._news()))

    async def _news(self) -> list[Entry]:
        found = await self._streams.newest(dict.fromkeys(range(64), NEWEST), since=0, count=500)
        entries = [entry for some in found.values() for entry in reversed(some)]
        new = [one for one in entries if (one.partition, one.position) not in self._seen]
        self._seen |= {(one.partition, one.position) for one in new}
        return new

    def _wait(self, milliseconds: int) -> None:
        self._elapsed += milliseconds

    async def _call(  # noqa: PLR0913  # what a request is made of
        self,
        method: str,
        path: str,
        status: int,
        *,
        by: str = "shop",
        key: str = "",
        body: Any = None,
    ) -> Any:
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        headers |= {"Authorization": f"Bearer {by}"} if by else {}
        headers |= {"Idempotency-Key": f'"{key}"'} if key else {}
        answer = await self._http.request(method, path, json=body, headers=headers)
        assert status == answer.status_code, (path, answer.text)
        return answer.json() if answer.content else None

    async def _issue(
        self, number: str, status: int = 201, *, by: str = "shop", key: str = "", **more: Any
    ) -> str:
        body = {"phone_number": number, **more}
        answer = await self._call("POST", "/v1/challenges", status, by=by, key=key, body=body)
        return str(answer.get("id"))

    async def _unseen(self, number: str) -> str:
        """Issue a code as before, which needs no step of its own."""
        async with self._step("another code is issued"):
            return await self._issue(number)

    async def _resend(self, id_: str, status: int = 200) -> None:
        await self._call("POST", f"/v1/challenges/{id_}/resend", status)

    async def _verify(
        self, id_: str, code: str, status: int, *, key: str = "", **more: Any
    ) -> None:
        body = {"code": code, **more}
        await self._call("POST", f"/v1/challenges/{id_}/verify", status, key=key, body=body)

    async def _verify_in_vain(self, id_: str, code: str, *, key: str) -> None:
        """Verify on a connection that is gone when the answer is to be written."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps({"code": code}).encode()}

        async def send(_: Any) -> None:
            raise OSError("the caller has hung up")

        headers = {"authorization": "Bearer shop", "idempotency-key": f'"{key}"'}
        headers |= {"content-type": "application/json"}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": f"/v1/challenges/{id_}/verify",
            "query_string": b"",
            "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
            "state": {},
        }
        await self._public(scope, receive, send)

    async def _bring(
        self, gateway: Gateway, body: bytes, status: int = 204, *, token: str = ""
    ) -> None:
        """Bring a receipt to the address that the gateway was told last."""
        address = urlsplit(gateway.messages[-1]["tell"])
        path = f"{address.path}?{address.query}{token}"
        form = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._http.post(path, content=body, headers=form)
        assert status == answer.status_code, answer.text

    async def _fails(self, phone: PhoneNumber, *, times: int) -> None:
        """Let a number have failed so often in a row."""
        tenant = self._app.settings.tenants()["shop"]
        row = msgspec.structs.replace(row_of(tenant, phone), cost=times, force=True)
        partition = self._app.store.partition_of(phone.collapsed)
        await self._app.store.commit(
            Commit(partition=partition, operation="failures", charges=(row,))
        )

    def _code(self, number: str) -> str:
        found = [g for g in (self._one, self._two) if g.sent_to(number)]
        return found[-1].code_for(number)


def _client(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="https://otp.example")


@contextmanager
def says(gateway: Gateway, status: int, body: Any) -> Iterator[None]:
    """Let a gateway answer something else for a while."""
    gateway.says(status, body)
    yield
    gateway.recovers()


# ------------------------------------------------------------------------------------- writing

HIDDEN = frozenset({"id", "versions", "type"})
BARE = frozenset(
    {"request", "trace", "milliseconds", "wait", "first", "last", "phone_metadata", "record"}
)
"""What is only there or not: its value is chance's."""
NAMED = ("challenge", "number", "account")
"""What is called by the order in which it came."""


def told_by(entry: Entry) -> dict[str, Any]:
    """Return what an event says, and its stamp."""
    stamp = msgspec.json.decode(entry.stamp) if entry.stamp else {}
    return {**msgspec.json.decode(entry.event), **stamp}


def written(steps: list[Step]) -> str:
    """Return what every step has told, so that it is the same each time."""
    names: dict[str, dict[str, int]] = {name: {} for name in NAMED}
    lines = []
    for count, (title, entries) in enumerate(steps, start=1):
        lines.append(f"{count}. {title}")
        told = [_line(told_by(entry), names) for entry in entries]
        for line, same in groupby(told):
            times = len(list(same))
            lines.append(f"   {line}" if times == 1 else f"   {line} ({times} times)")
    return "\n".join(lines) + "\n"


def _line(event: dict[str, Any], names: dict[str, dict[str, int]]) -> str:
    said = [event["type"]]
    for name in sorted(event.keys() - HIDDEN):
        value = event[name]
        if name in NAMED:
            value = f"#{names[name].setdefault(value, len(names[name]) + 1)}"
        said.append(name if name in BARE else f"{name}={value}")
    return " ".join(said)

"""Every event of the audit log, one step after another, through the real application.

    steps = run_scenario(server)  # a run on an embedded Redis, with two providers on loopback
    text = format_steps(steps)    # the events of each step, in order, without random values

Its clock is moved instead of waited for, and its keys are fixed, so that numbers always have the
same partitions.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
import pyotp
import pytest

import otp_service.app.application
from otp_service.app import Application, create_client, create_public_app
from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.cli import numbers
from otp_service.core import events
from otp_service.core.charges import build_consecutive_failure_charge, build_factor_failure_charges
from otp_service.core.commit import Commit
from otp_service.core.factor import Factor
from otp_service.core.inbound import InboundMessage
from otp_service.core.keys import KEY_RING_NAMES, Key, KeyRing, ServiceKeys
from otp_service.core.limits import Bucket, Limit, Window
from otp_service.core.log_entry import Entry
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.pumping.scope_text import parse_scope
from otp_service.core.tenant import Scope, hash_api_key
from otp_service.service import Caller
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import (
    HashSettings,
    RedisSettings,
    RoutingSettings,
    ServiceSettings,
)
from otp_service.settings.tenant_tables import ApiKeySettings, TenantSettings
from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.providers.generic_http import GenericHttp
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.event_streams import RedisEventStreams
from tests.installation import MINUTE_MS, SECOND_MS, make_wrong_code
from tests.processes import GatewayServer
from tests.store import redis_servers


KEY_SECRETS = {
    name: f"a key that is fixed for {name} alone".encode().ljust(32, b".")
    for name in KEY_RING_NAMES
}
API_KEY_SCOPES = {
    "shop": frozenset({Scope.CHALLENGES, Scope.DELIVER}),
    "security": frozenset({Scope.AUDIT_ALL, Scope.OPERATOR}),
}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
LOGIN_FIELDS: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9", "purpose": "login"}
TOTP_PERIOD_MS = 30 * SECOND_MS
DOWN_REPLY, UNKNOWN_NUMBER_REPLY = (
    (500, {"error": {"code": "down"}}),
    (400, {"error": {"code": "unknown"}}),
)


class ScenarioStep(NamedTuple):
    """What was done, and the events it appended, in order of partition and position."""

    title: str
    entries: list[Entry]


def run_scenario(server: EmbeddedServer) -> list[ScenarioStep]:
    """Return every step with its events. The server is emptied before."""
    redis_servers.flush_server(server)
    with GatewayServer() as one, GatewayServer() as two, pytest.MonkeyPatch.context() as patch:
        # Background tasks run only when the scenario starts them.
        for name in ("HOUSEKEEPING_INTERVAL_SECONDS", "HEALTH_SYNC_INTERVAL_SECONDS"):
            patch.setattr(otp_service.app.application, name, 3600.0)
        scenario = Scenario(server, one, two)
        asyncio.run(scenario.run_all())
    return scenario.steps


def build_settings(server: EmbeddedServer, gateways: Mapping[str, GatewayServer]) -> Settings:
    """Return the settings of an installation with two providers."""
    return Settings(
        keys=ServiceKeys(
            **{name: KeyRing((Key("1", secret),)) for name, secret in KEY_SECRETS.items()}
        ),
        service=ServiceSettings(public_url="https://otp.example"),
        redis=RedisSettings(url=server.url, timeout_milliseconds=5000),
        hash=HashSettings(memory_kib=8, passes=1, accept_below_owasp=True),
        limits={Limit.SENDS_ADDRESS: (Window(2, 3600),)},
        tenant_settings={
            name: TenantSettings(
                brand=name.title(),
                countries=frozenset({"GB"}),
                keys=(ApiKeySettings("first", hash_api_key(name).hex(), scopes),),
            )
            for name, scopes in API_KEY_SCOPES.items()
        },
        providers={
            name: GenericHttp(
                url=gateway.url,
                fields={"to": "{to}", "text": "{text}", "tell": "{callback}"},
                message_id="id",
                code="error.code",
                recipient_codes=frozenset({"unknown"}),
                provider_codes=frozenset({"down"}),
                receipt=ReceiptSettings("status", frozenset({"there"}), failed=frozenset({"dead"})),
            )
            for name, gateway in gateways.items()
        },
        routing=RoutingSettings(providers=tuple(gateways)),
    )


class Scenario:
    """One installation, its callers, and the events of each step."""

    def __init__(self, server: EmbeddedServer, one: GatewayServer, two: GatewayServer) -> None:
        self.steps: list[ScenarioStep] = []
        self._server = server
        self._first_gateway, self._second_gateway = one, two
        self._app = Application(build_settings(server, {"one": one, "two": two}))
        self._app.store._clock_shift_ms = lambda: self._elapsed_ms
        self._public: Any = create_public_app(self._app)
        self._http = _create_http_client(self._public)
        # Of its own, for it reads on when the service has stopped.
        self._script_client = create_client(self._app.settings)
        self._streams = RedisEventStreams(self._script_client, self._app.store.key_names)
        self._seen_entries: set[tuple[int, Any]] = set()
        self._elapsed_ms = 0
        self._numbers = (f"+4474{i:02d}012345" for i in range(10, 60))

    async def run_all(self) -> None:
        """Do everything."""
        async with self._record_step("the service starts"):
            await self._app.start()
        async with self._record_step("the first housekeeping: each partition begins an epoch"):
            await self._app.system_events.flush_counted_events()
        await self._verify_login()
        await self._resend_code()
        await self._guess_codes()
        await self._end_challenges()
        await self._fail_providers()
        await self._refuse_issues()
        await self._deliver_codes()
        await self._lock_number()
        await self._use_authenticator()
        await self._use_recovery_codes()
        await self._run_operator_commands()
        await self._send_unauthenticated()
        await self._break_redis()
        async with self._record_step("the service refuses a reload"):
            await self._app.system_events.record_service_change("reload_refused")
        async with self._record_step("the service stops"):
            await self._app.stop()
        await self._http.aclose()
        await self._script_client.aclose()

    async def _verify_login(self) -> None:
        number = next(self._numbers)
        async with self._record_step("a code is issued"):
            id_ = await self._issue_code(number, **LOGIN_FIELDS)
        async with self._record_step("another one at once is refused by the cooldown"):
            await self._issue_code(number, 429)
        async with self._record_step("what is typed is no code"):
            await self._verify_code(id_, "12345", 400)
        async with self._record_step("the code is wrong, and comes from another client IP"):
            wrong = make_wrong_code(self._find_code(number))
            await self._verify_code(id_, wrong, 422, client_ip="198.51.100.7")
        async with self._record_step("the code is right, for another purpose"):
            await self._verify_code(id_, self._find_code(number), 422, purpose="payment")
        async with self._record_step("the code is right, but the answer does not arrive"):
            await self._verify_without_reply(id_, self._find_code(number), key="login-1")
        async with self._record_step("the same call again is answered"):
            await self._verify_code(id_, self._find_code(number), 200, key="login-1")
        async with self._record_step("the same code in another call is not"):
            await self._verify_code(id_, self._find_code(number), 410)

    async def _resend_code(self) -> None:
        number = next(self._numbers)
        async with self._record_step("a code is issued, and repeating that call does nothing"):
            id_ = await self._issue_code(number, key="issue-1")
            await self._issue_code(number, key="issue-1")
        self._advance_clock(31 * SECOND_MS)
        async with self._record_step("it is sent again: both codes are valid"):
            await self._request_resend(id_)
        self._advance_clock(31 * SECOND_MS)
        async with self._record_step("and again: the oldest one is not any more"):
            await self._request_resend(id_)
        self._advance_clock(31 * SECOND_MS)
        async with self._record_step("there are no sends left"):
            await self._request_resend(id_, 409)
        async with self._record_step("it is delivered"):
            await self._deliver_receipt(self._first_gateway, b"status=there")
        async with self._record_step("which the provider says twice"):
            await self._deliver_receipt(self._first_gateway, b"status=there")

    async def _guess_codes(self) -> None:
        number = next(self._numbers)
        id_ = await self._issue_in_own_step(number)
        async with self._record_step("five wrong codes lock the challenge"):
            for guess in range(5):
                await self._verify_code(
                    id_, make_wrong_code(self._find_code(number), guess + 1), 422
                )
        async with self._record_step("then the right one is refused"):
            await self._verify_code(id_, self._find_code(number), 410)

    async def _end_challenges(self) -> None:
        canceled, expired = next(self._numbers), next(self._numbers)
        id_ = await self._issue_in_own_step(canceled)
        async with self._record_step("a challenge is canceled, twice"):
            for _ in range(2):
                await self._send_request("DELETE", f"/v1/challenges/{id_}", 204)
        async with self._record_step("its code is refused, and so is another one"):
            await self._verify_code(id_, self._find_code(canceled), 410)
            await self._request_resend(id_, 410)
        id_ = await self._issue_in_own_step(expired)
        self._advance_clock(5 * MINUTE_MS)
        async with self._record_step("five minutes later a code has expired"):
            await self._verify_code(id_, self._find_code(expired), 410)

    async def _fail_providers(self) -> None:
        number = next(self._numbers)
        async with self._record_step(
            "the first provider is down, and the second takes the message"
        ):
            with use_reply(self._first_gateway, *DOWN_REPLY):
                await self._issue_code(number)
        async with self._record_step("both are down: the challenge is canceled"):
            with (
                use_reply(self._first_gateway, *DOWN_REPLY),
                use_reply(self._second_gateway, *DOWN_REPLY),
            ):
                await self._issue_code(next(self._numbers), 502)
        async with self._record_step("there is no such number"):
            with use_reply(self._first_gateway, *UNKNOWN_NUMBER_REPLY):
                await self._issue_code(next(self._numbers), 422)
        async with self._record_step("whether it was sent is not known"):
            with use_reply(self._first_gateway, 200, {}):
                await self._issue_code(next(self._numbers))
        await self._issue_in_own_step(next(self._numbers))
        self._advance_clock(31 * SECOND_MS)
        async with self._record_step(
            "a message is lost later, and rescued through the other provider"
        ):
            await self._deliver_receipt(self._first_gateway, b"status=dead")
            await asyncio.gather(*self._app.background_calls._tasks)
        async with self._record_step("the first provider fails until its breaker opens"):
            with use_reply(self._first_gateway, *DOWN_REPLY):
                for _ in range(3):
                    await self._issue_code(next(self._numbers))
            await self._app.provider_health_sync.sync_health()

    async def _refuse_issues(self) -> None:
        for why, number in (
            ("there are no SMS to that country", "+33612345678"),
            ("this is no phone that takes SMS", "+442079461234"),
            ("this number is fictitious", "+447700900123"),
        ):
            async with self._record_step(f"a code is asked, but {why}"):
                await self._issue_code(number, 422)
        async with self._record_step(
            "three codes are asked from one address, of which two are allowed"
        ):
            for status in (201, 201, 429):
                await self._issue_code(next(self._numbers), status, client_ip="2001:db8::1")
        number = next(self._numbers)
        await self._issue_in_own_step(number)
        async with self._record_step("fourteen more at once: ten refusals are told"):
            for guess in range(14):
                await self._issue_code(number, 429, client_ip=f"198.51.100.{guess}")
        self._advance_clock(61 * SECOND_MS)
        async with self._record_step("a minute later the other four are one event"):
            await self._app.system_events.flush_counted_events()

    async def _deliver_codes(self) -> None:
        """Send codes of another product."""
        number = next(self._numbers)
        async with self._record_step("another product's code is sent"):
            await self._deliver_code(number, **LOGIN_FIELDS | {"client_ip": "192.0.2.7"})
        async with self._record_step("and delivered"):
            await self._deliver_receipt(self._second_gateway, b"status=there")
        async with self._record_step("another one at once is refused by the cooldown"):
            await self._deliver_code(number, 429)
        async with self._record_step("both providers are down when a code is to be sent"):
            with (
                use_reply(self._first_gateway, *DOWN_REPLY),
                use_reply(self._second_gateway, *DOWN_REPLY),
            ):
                await self._deliver_code(next(self._numbers), 502)
        async with self._record_step("a code is to be sent to a country without SMS"):
            await self._deliver_code("+33612345678", 422)

    async def _lock_number(self) -> None:
        phone = parse_number(next(self._numbers))
        id_ = await self._issue_in_own_step(phone.e164)
        await self._add_failures(phone, times=99)
        self._advance_clock(2 * 3600 * SECOND_MS)
        id_ = await self._issue_in_own_step(phone.e164)
        async with self._record_step("the hundredth failure in a row locks the number"):
            await self._verify_code(id_, make_wrong_code(self._find_code(phone.e164)), 422)
        async with self._record_step("nothing is compared any more, and nothing sent"):
            await self._verify_code(id_, self._find_code(phone.e164), 403)
            await self._issue_code(phone.e164, 403)
        async with self._record_step("an operator unlocks it"):
            body = {"phone_number": phone.e164}
            await self._send_request("POST", "/v1/numbers/unlock", 204, by="security", body=body)

    async def _use_authenticator(self) -> None:
        self._start_time_step()
        async with self._record_step("an authenticator app is enrolled"):
            app = await self._send_factor_request("", 201)
        body = {"authenticator": app["authenticator"]}
        codes = [pyotp.HOTP(app["secret"]).at(self._time_step + shift) for shift in range(5)]
        wrong = next(code for code in map("{:06d}".format, range(20)) if code not in codes)
        async with self._record_step("what is typed is no code, and then it is wrong"):
            await self._send_factor_request("/confirm", 400, code="12", **body)
            await self._send_factor_request("/confirm", 422, code=wrong, **body)
        async with self._record_step("its code confirms it, and the same call again is answered"):
            for _ in range(2):
                active = await self._send_factor_request(
                    "/confirm", 200, key="c", code=codes[0], **body
                )
        body = {"authenticator": active["authenticator"]}
        async with self._record_step("that code is no login"):
            await self._send_factor_request("/verify", 422, code=codes[0], **body)
        async with self._record_step("the next one is, and the same call again is answered"):
            for _ in range(2):
                await self._send_factor_request("/verify", 200, key="v", code=codes[1], **body)
        async with self._record_step("at another account the token is refused"):
            another = body | {"account": "u-82", "code": codes[2]}
            await self._send_factor_request("/verify", 422, **another)
        await self._add_factor_failures(Factor.AUTHENTICATOR, times=99)
        async with self._record_step(
            "the hundredth failure in a row locks the app, not the number"
        ):
            await self._send_factor_request("/verify", 422, code=wrong, **body)
            await self._send_factor_request("/verify", 403, code=wrong, **body)
        await self._unlock_account()
        async with self._record_step("an operator moves authenticators in and out"):
            for kind in (events.AuthenticatorsImported, events.AuthenticatorsExported):
                fields = {"count": 3, "by": "operator", "tenant": "shop", "key_id": "cli"}
                await self._app.system_events.record_transfer(kind, **fields)

    async def _use_recovery_codes(self) -> None:
        path = "/v1/recovery-codes"
        async with self._record_step("ten recovery codes are created"):
            created = await self._send_factor_request("", 201, path=path)
        body, codes = {"recovery_set": created["recovery_set"]}, created["codes"]
        async with self._record_step("seven are used, so few are left"):
            for code in codes[:7]:
                answer = await self._send_factor_request(
                    "/verify", 200, path=path, key=code, code=code, **body
                )
        async with self._record_step("the last call again is answered"):
            await self._send_factor_request(
                "/verify", 200, path=path, key=codes[6], code=codes[6], **body
            )
        assert 3 == answer["codes_left"]
        async with self._record_step("one is used again, one is wrong, one is malformed"):
            for code, status in ((codes[0], 422), (codes[9][::-1], 422), ("ABCD", 400)):
                await self._send_factor_request("/verify", status, path=path, code=code, **body)
        await self._add_factor_failures(Factor.RECOVERY_CODE, times=97)
        async with self._record_step("the hundredth failure in a row locks them"):
            for status in (422, 403):
                await self._send_factor_request(
                    "/verify", status, path=path, code=codes[9][::-1], **body
                )
        await self._unlock_account()

    async def _unlock_account(self) -> None:
        async with self._record_step("an operator unlocks the account"):
            body = {"account": LOGIN_FIELDS["account"], "tenant": "shop"}
            await self._send_request("POST", "/v1/accounts/unlock", 204, by="security", body=body)

    async def _send_factor_request(
        self,
        call: str,
        status: int,
        *,
        path: str = "/v1/authenticators",
        key: str = "",
        **fields: Any,
    ) -> Any:
        body = {"account": LOGIN_FIELDS["account"], **fields}
        return await self._send_request("POST", f"{path}{call}", status, key=key, body=body)

    async def _add_factor_failures(self, factor: Factor, *, times: int) -> None:
        """Let the account have failed so often in a row at a factor, hours ago."""
        tenant, account = self._app.settings.build_tenants()["shop"], LOGIN_FIELDS["account"]
        consecutive, _ = build_factor_failure_charges(tenant, factor, account)
        charge = msgspec.structs.replace(consecutive, cost=times, force=True)
        partition = self._app.store.get_account_partition("shop", account)
        await self._app.store.commit(
            Commit(partition=partition, operation_id=f"failures {factor}", charges=(charge,))
        )
        self._advance_clock(2 * 3600 * SECOND_MS)

    def _start_time_step(self) -> None:
        """Move the clock to the begin of the next time step of an app."""
        self._advance_clock(TOTP_PERIOD_MS - self._now_ms % TOTP_PERIOD_MS + SECOND_MS)

    @property
    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._elapsed_ms

    @property
    def _time_step(self) -> int:
        return self._now_ms // TOTP_PERIOD_MS

    async def _run_operator_commands(self) -> None:
        phone = parse_number(next(self._numbers))
        async with self._record_step("a number is put on the do-not-send list"):
            await numbers._block_number(self._app, phone)
        async with self._record_step("nothing is sent to it"):
            await self._issue_code(phone.e164, 422)
        async with self._record_step("it is taken off the list"):
            await numbers._unblock_number(self._app, phone)
        await self._answer_keywords()
        async with self._record_step("somebody of the security team looks for what it did"):
            body = {"phone_number": phone.e164}
            await self._send_request("POST", "/v1/audit/search", 200, by="security", body=body)
        async with self._record_step("and an operator, at the machine"):
            record = self._app.system_events.record_lookup
            await record(phone, None, 3, by="operator", reason="INC-4711")
        async with self._record_step("and for an account"):
            body = {"account": LOGIN_FIELDS["account"]}
            await self._send_request("POST", "/v1/audit/search", 200, by="security", body=body)
        async with self._record_step("everything about it is deleted"):
            await numbers._forget_number(self._app, phone)
        async with self._record_step("the bucket of a country is emptied"):
            bucket = Bucket(Limit.SENDS_COUNTRY, "", "GB")
            await self._app.service.numbers.reset_limit(numbers.CLI_CALLER, bucket)
        async with self._record_step("what is under an earlier limit key is moved"):
            for reason in ("started", "finished"):
                fields = {"count": 3, "by": "operator", "key_id": "cli"}
                await self._app.system_events.record_limit_key_move(reason, **fields)
        async with self._record_step(
            "scopes of the brake are opened and closed, and one is lifted"
        ):
            overrides = self._app.scope_overrides
            for text in ("range:+44740012", "block:+4474001", "address:2001:db8::1@shop"):
                scope = parse_scope(text, ["shop"])
                await overrides.override_scope(
                    numbers.CLI_CALLER,
                    scope,
                    "open",
                    duration_ms=3600 * SECOND_MS,
                    reason="a campaign",
                )
            country = parse_scope("country:GB@shop", ["shop"])
            await overrides.override_scope(
                numbers.CLI_CALLER,
                country,
                "closed",
                duration_ms=3600 * SECOND_MS,
                reason="INC-4711",
            )
            await overrides.lift_override(numbers.CLI_CALLER, country)
        async with self._record_step("the archive has stood still for too long, and goes on"):
            await self._app.system_events.record_fullness_change("overflow")
            await self._app.system_events.record_fullness_change("recovered")

    async def _answer_keywords(self) -> None:
        """Let a person answer, through the provider that has sent the message and the other one."""
        number = next(self._numbers)
        await self._issue_in_own_step(number)
        caller = Caller.without_tenant("callback-gateway", "1")
        for text in ("HELP", "my code is 471093", "STOP", "START"):
            async with self._record_step(f"a person answers: {text}"):
                for provider in ("one", "two"):
                    message = InboundMessage(number, text, "+447400999000", id=text)
                    await self._app.handle_inbound(caller, provider, message)
        async with self._record_step("the do-not-send list is exported"):
            fields = {"count": 3, "by": "operator", "key_id": "cli"}
            await self._app.system_events.record_transfer(events.DoNotSendListExported, **fields)

    async def _send_unauthenticated(self) -> None:
        async with self._record_step("strangers call, and bring receipts that are none"):
            for by in ("", "", "nobody"):
                await self._issue_code(next(self._numbers), 401, by=by)
            await self._issue_code(next(self._numbers), 403, by="security")
            await self._deliver_receipt(self._first_gateway, b"status=there", 401, token="forged")
            await self._deliver_receipt(self._first_gateway, b"nothing", 400)
        async with self._record_step("which is told once a minute"):
            await self._app.system_events.flush_counted_events()

    async def _break_redis(self) -> None:
        id_ = await self._issue_in_own_step(next(self._numbers))
        with redis_servers.open_client(self._server) as client:
            (record,) = client.keys(f"*:challenge:shop:{id_}")
            client.append(record, "x")
            async with self._record_step("somebody has written to Redis"):
                await self._send_request("GET", f"/v1/challenges/{id_}", 503)
            client.replicaof("127.0.0.1", redis_servers.find_free_port())
            client.replicaof("NO", "ONE")
        async with self._record_step("another server answers: its first event begins an epoch"):
            await self._issue_code(next(self._numbers))
        async with self._record_step("and so it does in every other partition"):
            await self._app.system_events.flush_counted_events()

    # ------------------------------------------------------------------ how that is done

    @asynccontextmanager
    async def _record_step(self, title: str) -> AsyncIterator[None]:
        yield
        self.steps.append(ScenarioStep(title, await self._read_new_entries()))

    async def _read_new_entries(self) -> list[Entry]:
        found = await self._streams.fetch_newest(
            dict.fromkeys(range(64), MAX_POSITION), since=0, count=500
        )
        entries = [entry for some in found.values() for entry in reversed(some)]
        new = [one for one in entries if (one.partition, one.position) not in self._seen_entries]
        self._seen_entries |= {(one.partition, one.position) for one in new}
        return new

    def _advance_clock(self, milliseconds: int) -> None:
        self._elapsed_ms += milliseconds

    async def _send_request(  # noqa: PLR0913  # what a request is made of
        self,
        method: str,
        path: str,
        status: int,
        *,
        by: str = "shop",
        key: str = "",
        body: Any = None,
    ) -> Any:
        headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
        headers |= {"Authorization": f"Bearer {by}"} if by else {}
        headers |= {"Idempotency-Key": f'"{key}"'} if key else {}
        answer = await self._http.request(method, path, json=body, headers=headers)
        assert status == answer.status_code, (path, answer.text)
        return answer.json() if answer.content else None

    async def _issue_code(
        self, number: str, status: int = 201, *, by: str = "shop", key: str = "", **more: Any
    ) -> str:
        body = {"phone_number": number, **more}
        answer = await self._send_request(
            "POST", "/v1/challenges", status, by=by, key=key, body=body
        )
        return str(answer.get("id"))

    async def _deliver_code(self, number: str, status: int = 201, **more: Any) -> None:
        body = {"phone_number": number, "code": "471093", **more}
        await self._send_request("POST", "/v1/deliveries", status, body=body)

    async def _issue_in_own_step(self, number: str) -> str:
        """Issue a code as before, which needs no step of its own."""
        async with self._record_step("another code is issued"):
            return await self._issue_code(number)

    async def _request_resend(self, id_: str, status: int = 200) -> None:
        await self._send_request("POST", f"/v1/challenges/{id_}/resend", status)

    async def _verify_code(
        self, id_: str, code: str, status: int, *, key: str = "", **more: Any
    ) -> None:
        body = {"code": code, **more}
        await self._send_request("POST", f"/v1/challenges/{id_}/verify", status, key=key, body=body)

    async def _verify_without_reply(self, id_: str, code: str, *, key: str) -> None:
        """Verify on a connection that is closed before the response is written."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps({"code": code}).encode()}

        async def send(_: Any) -> None:
            raise OSError("the caller has hung up")

        headers = {"authorization": "Bearer shop", "idempotency-key": f'"{key}"'}
        headers |= {"content-type": "application/json", "host": "otp.example"}
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

    async def _deliver_receipt(
        self, gateway: GatewayServer, body: bytes, status: int = 204, *, token: str = ""
    ) -> None:
        """Deliver a receipt to the callback address that the gateway received last."""
        address = urlsplit(gateway.messages[-1]["tell"])
        path = f"{address.path}?{address.query}{token}"
        form = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._http.post(path, content=body, headers=form)
        assert status == answer.status_code, answer.text

    async def _add_failures(self, phone: PhoneNumber, *, times: int) -> None:
        """Let a number have failed so often in a row."""
        tenant = self._app.settings.build_tenants()["shop"]
        row = msgspec.structs.replace(
            build_consecutive_failure_charge(tenant, phone), cost=times, force=True
        )
        partition = self._app.store.get_number_partition(phone.canonical)
        await self._app.store.commit(
            Commit(partition=partition, operation_id="failures", charges=(row,))
        )

    def _find_code(self, number: str) -> str:
        found = [g for g in (self._first_gateway, self._second_gateway) if g.list_texts_to(number)]
        return found[-1].find_code(number)


def _create_http_client(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="https://otp.example")


@contextmanager
def use_reply(gateway: GatewayServer, status: int, body: Any) -> Iterator[None]:
    """Let a gateway answer something else for a while."""
    gateway.set_reply(status, body)
    yield
    gateway.accept_messages()


# ------------------------------------------------------------------------------------- writing

HIDDEN_FIELDS = frozenset({"id", "versions", "type"})
VARIABLE_FIELDS = frozenset(
    {
        *("request", "trace", "milliseconds", "wait", "first", "last", "phone_metadata", "record"),
        *("by", "expires_at"),
    }
)
"""What is only there or not: its value is chance's."""
NUMBERED_FIELDS = (
    *("challenge", "number", "prefix", "block", "account", "authenticator", "recovery_set"),
)
"""What is called by the order in which it came."""


def decode_event(entry: Entry) -> dict[str, Any]:
    """Return the members of an event and of its stamp."""
    stamp = msgspec.json.decode(entry.stamp) if entry.stamp else {}
    return {**msgspec.json.decode(entry.event), **stamp}


def format_steps(steps: list[ScenarioStep]) -> str:
    """Return the events of every step as text that is equal in each run."""
    names: dict[str, dict[str, int]] = {name: {} for name in NUMBERED_FIELDS}
    lines = []
    for count, (title, entries) in enumerate(steps, start=1):
        lines.append(f"{count}. {title}")
        told = [_format_event(decode_event(entry), names) for entry in entries]
        for line, same in groupby(told):
            times = len(list(same))
            lines.append(f"   {line}" if times == 1 else f"   {line} ({times} times)")
    return "\n".join(lines) + "\n"


def _format_event(event: dict[str, Any], names: dict[str, dict[str, int]]) -> str:
    said = [event["type"]]
    for name in sorted(event.keys() - HIDDEN_FIELDS):
        value = event[name]
        if name in NUMBERED_FIELDS:
            value = f"#{names[name].setdefault(value, len(names[name]) + 1)}"
        said.append(name if name in VARIABLE_FIELDS else f"{name}={value}")
    return " ".join(said)

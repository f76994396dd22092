"""The sequential round trips to Redis of each call.

Counted on the wire. Concurrent exchanges count once. The proxy delays its replies, so that
everything that can overlap does.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
import pytest

from otp_service.core.do_not_send import DoNotSendEntry
from otp_service.core.errors import IncorrectCode, OtpError, RateLimited
from otp_service.core.events import BlocklistChanged
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.phone_number import parse_number
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import (
    ACCEPTED_REPLY,
    MINUTE_MS,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    gather_results,
    make_wrong_code,
)
from tests.service.app_user import AppUser
from tests.service.brake_books import start_brake
from tests.service.test_risk_check import REFUSED, FakeRiskService
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


CLIENT_FIELDS: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}
"""With these fields, every bucket takes part."""

PROXY_DELAY_SECONDS = 0.03


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultyProxy]:
    """Return a connection to Redis that counts its exchanges."""
    redis_servers.flush_server(server)
    async with FaultyProxy(server) as proxy:
        yield proxy


@pytest.fixture
async def installation(proxy: FaultyProxy) -> AsyncIterator[Installation]:
    """Return an installation whose connections are open and whose scripts are loaded."""
    async with ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as script_client:
        installation = Installation(script_client)
        issued = await installation.issue("+447400123450")
        await installation.verify(issued, installation.router.extract_code())
        proxy.delay = PROXY_DELAY_SECONDS  # otherwise one connection would be enough for all calls
        await gather_results(
            *(
                installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
                for _ in range(20)
            )
        )
        proxy.delay = 0
        installation.advance_clock(MINUTE_MS)
        yield installation


async def count_trips(proxy: FaultyProxy, call: Awaitable[Any]) -> int:
    """Return the sequential round trips of a call, whatever it returns."""
    proxy.batches.clear()
    proxy.delay = PROXY_DELAY_SECONDS
    (answer,) = await gather_results(call)
    proxy.delay = 0
    assert not isinstance(answer, Exception) or isinstance(answer, OtpError), repr(answer)
    assert all(batch.is_script for batch in proxy.batches)  # no connection was opened
    return proxy.count_sequential_trips()


def count_scripts(proxy: FaultyProxy) -> int:
    """Return the number of scripts that ran, however they were batched."""
    return sum(len(batch.commands) for batch in proxy.batches)


async def test_an_issue_that_its_own_number_refuses_costs_two(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The caller's buckets with the number's, which record the refusal; the refund."""
    await installation.issue(**CLIENT_FIELDS)

    assert 2 == await count_trips(proxy, installation.issue(**CLIENT_FIELDS))
    assert 2 == count_scripts(proxy)
    assert "otp.issue_denied" == (await installation.list_event_types())[-1]


async def test_an_issue_that_the_caller_s_bucket_refuses_costs_two(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The caller's buckets, which change together or not at all; the event of the refusal."""
    rates = {**DEFAULT_LIMITS, Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=rates
    )
    await installation.issue("+447400123451", **CLIENT_FIELDS)

    assert 2 == await count_trips(proxy, installation.issue("+447400123452", **CLIENT_FIELDS))
    assert 2 == count_scripts(proxy)
    with pytest.raises(RateLimited):
        await installation.issue("+447400123453", **CLIENT_FIELDS)


async def test_an_issue_that_a_shared_bucket_refuses_costs_two(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """All buckets, up to the one that refuses; all refunds at once."""
    rates = {**DEFAULT_LIMITS, Limit.SENDS_COUNTRY: (Window(1, 3600),)}
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=rates
    )
    await installation.issue("+447400123451", **CLIENT_FIELDS)

    assert 2 == await count_trips(proxy, installation.issue("+447400123452", **CLIENT_FIELDS))
    with pytest.raises(RateLimited):
        await installation.issue("+447400123453", **CLIENT_FIELDS)


@pytest.mark.parametrize("client_fields", [CLIENT_FIELDS, {}])
async def test_an_accepted_issue_costs_three(
    installation: Installation, proxy: FaultyProxy, client_fields: dict[str, Any]
) -> None:
    """All buckets: the caller's, the number's, the shared ones; the challenge; the replies."""
    assert 3 == await count_trips(proxy, installation.issue(**client_fields))
    assert 3 == count_scripts(proxy)
    assert 2 == len(installation.router.messages)


async def test_a_risk_service_costs_an_issue_no_trip(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """R31: its answer is in the event of the commit that stores the challenge."""
    asked = installation.restart(risk_service=FakeRiskService())
    await asked.issue("+447400123451")  # its first call does more

    assert 3 == await count_trips(proxy, asked.issue(**CLIENT_FIELDS))
    assert 3 == count_scripts(proxy)
    assert "allow" == (await asked.read_events())[-2]["risk_answer"]


async def test_a_risk_service_costs_an_issue_two_trips_where_the_brake_is_on(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """R31: the debts are inspected before the question, and charged after the answer."""
    asked = start_brake(installation, risk_service=FakeRiskService())
    await asked.issue("+447400123451")  # its first call does more

    assert 5 == await count_trips(proxy, asked.issue(**CLIENT_FIELDS))


async def test_an_issue_that_the_risk_service_refuses_costs_two(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """All buckets; all refunds at once, with the event of the refusal."""
    risk = FakeRiskService()
    asked = installation.restart(risk_service=risk)
    await asked.issue("+447400123451")  # its first call does more
    risk.queued.append(REFUSED)

    assert 2 == await count_trips(proxy, asked.issue(**CLIENT_FIELDS))
    assert "otp.issue_denied" == (await asked.list_event_types())[-1]


@pytest.mark.parametrize("client_fields", [CLIENT_FIELDS, {}])
async def test_a_right_code_costs_three(
    installation: Installation, proxy: FaultyProxy, client_fields: dict[str, Any]
) -> None:
    """The read; the caller's buckets and the attempt charge; the outcome and its refunds."""
    issued = await installation.issue(**client_fields)
    code, client_ip = installation.router.extract_code(), client_fields.get("client_ip")

    assert 3 == await count_trips(proxy, installation.verify(issued, code, client_ip=client_ip))
    assert 1 + 1 + 2 == count_scripts(proxy)
    assert "otp.verified" in await installation.list_event_types()


async def test_a_cluster_runs_a_script_for_each_partition(
    installation: Installation, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issue then costs five round trips, and a verify four."""
    monkeypatch.setattr(ScriptClient, "is_cluster", True)

    assert 5 == await count_trips(proxy, installation.issue(**CLIENT_FIELDS))
    assert 5 == count_scripts(proxy)
    (issued,) = await gather_results(installation.issue("+447400123459", **CLIENT_FIELDS))
    code, client_ip = installation.router.extract_code(), CLIENT_FIELDS["client_ip"]
    assert 4 == await count_trips(proxy, installation.verify(issued, code, client_ip=client_ip))
    assert 1 + 1 + 1 + 2 == count_scripts(proxy)


async def test_the_known_addresses_of_an_account_cost_no_trip(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """They are read with the charge of the caller, and stored with its refund."""
    issued = await installation.issue(**CLIENT_FIELDS)
    client_ip = CLIENT_FIELDS["client_ip"]
    await installation.verify(issued, installation.router.extract_code(), client_ip=client_ip)
    installation.advance_clock(MINUTE_MS)
    assert 1 == len(await installation.list_keys("*:addresses:*"))

    assert 3 == await count_trips(proxy, installation.issue(**CLIENT_FIELDS))
    assert 3 == count_scripts(proxy)
    (issued,) = await gather_results(installation.issue("+447400123459", **CLIENT_FIELDS))
    code = installation.router.extract_code()
    assert 3 == await count_trips(proxy, installation.verify(issued, code, client_ip=client_ip))
    assert 1 + 1 + 2 == count_scripts(proxy)


async def test_the_marks_of_submissions_cost_no_trip(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The commit that stores what the providers answered writes one for each that may have sent."""
    installation.router.queue_replies(UNKNOWN_OUTCOME, ACCEPTED_REPLY)
    before = await installation.list_keys("*:submitted:*")

    assert 3 == await count_trips(proxy, installation.issue())

    written = set(await installation.list_keys("*:submitted:*")) - set(before)
    assert [b"p1", b"p2"] == sorted(key.split(b":")[2] for key in written)


async def test_an_issue_that_the_do_not_send_list_refuses_costs_two(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The caller's buckets with the number's, whose commit finds all entries; the refund."""
    phone = parse_number("+447400123456")
    registry = installation.dependencies.number_registry
    entry = DoNotSendEntry(phone.e164, 1)
    event = BlocklistChanged(id="1", reason="opted_out")
    await registry.opt_out(phone, "shop", entry, message=None, event=event, operation_id="stop")

    assert 2 == await count_trips(proxy, installation.issue(**CLIENT_FIELDS))
    assert 2 == count_scripts(proxy)


async def test_a_wrong_code_costs_three(installation: Installation, proxy: FaultyProxy) -> None:
    """The same, without a refund."""
    issued = await installation.issue(**CLIENT_FIELDS)
    tried = make_wrong_code(installation.router.extract_code())

    assert 3 == await count_trips(
        proxy, installation.verify(issued, tried, client_ip=CLIENT_FIELDS["client_ip"])
    )
    assert 3 == count_scripts(proxy)
    with pytest.raises(IncorrectCode):
        await installation.verify(issued, tried)


async def test_a_code_for_an_ended_challenge_costs_two(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The read; the event of the refusal."""
    issued = await installation.issue(**CLIENT_FIELDS)
    await installation.verify(issued, installation.router.extract_code())

    assert 2 == await count_trips(
        proxy, installation.verify(issued, installation.router.extract_code())
    )


async def test_scripts_are_called_by_their_digests(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """R82: Redis has cached them, so no call contains thirteen kilobytes of Lua."""
    proxy.batches.clear()

    issued = await installation.issue(**CLIENT_FIELDS)
    await installation.verify(issued, installation.router.extract_code())

    sent = {command[0] for batch in proxy.batches for command in batch.commands}
    assert {b"EVALSHA"} == sent


async def test_the_count_detects_one_more_trip(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The count is sensitive: it sees one more read, and calls made one after another."""
    issued = await installation.issue(**CLIENT_FIELDS)

    async def read_and_verify() -> None:
        await installation.service.get_challenge(
            installation.build_caller(), installation.get_challenge_id(issued)
        )
        await installation.verify(issued, installation.router.extract_code())

    async def fetch_in_turn() -> None:
        for _ in range(3):
            await gather_results(
                *(
                    installation.store.fetch_challenge(
                        "shop", installation.get_challenge_id(issued)
                    )
                    for _ in range(5)
                )
            )

    assert 4 == await count_trips(proxy, read_and_verify())
    assert 3 == await count_trips(proxy, fetch_in_turn())
    assert 15 == count_scripts(proxy)


async def test_a_delivery_costs_three_and_no_argon2(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """All buckets; the delivery; the replies."""
    hash_count = installation.hasher.hash_count

    assert 3 == await count_trips(proxy, installation.deliver(**CLIENT_FIELDS))
    assert 3 == count_scripts(proxy)
    assert "471093" in installation.router.messages[-1].text
    assert hash_count == installation.hasher.hash_count


async def test_a_resend_costs_five(installation: Installation, proxy: FaultyProxy) -> None:
    """Not guaranteed: the cost of an issue, plus a read before and after the charge."""
    issued = await installation.issue(**CLIENT_FIELDS)
    installation.advance_clock(30 * SECOND_MS)

    assert 5 == await count_trips(proxy, installation.resend(issued))


async def test_a_code_of_an_authenticator_costs_five(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """Time and answer; the caller's buckets; the account's; the acceptance; the refund."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()

    assert 5 == await count_trips(proxy, user.verify(code, client_ip="203.0.113.9"))
    assert 5 == count_scripts(proxy)


async def test_a_wrong_code_of_an_authenticator_costs_four(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """The last one records it."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_wrong_code()

    assert 4 == await count_trips(proxy, user.verify(code, client_ip="203.0.113.9", key="k"))
    assert 4 == count_scripts(proxy)


async def test_an_invalid_authenticator_costs_two_whatever_is_wrong(
    installation: Installation, proxy: FaultyProxy
) -> None:
    """So that the time says nothing about the reason: the time; the event of the refusal."""
    user, other = AppUser(installation), AppUser(installation, "u-82")
    await user.enroll()
    await other.create()
    expired, swapped, altered = other.token, user.token, user.token[:-8] + "AAAAAAAA"
    installation.advance_clock(31 * MINUTE_MS)

    for token in (expired, swapped, altered):
        assert 2 == await count_trips(proxy, other.verify("123456", token=token))

"""Twilio's client for Node runs unchanged: each call, each error, and the emulator of `otp-service dev`.

The client for Python has the details: test_verifications.py, test_error_rows.py and test_behaviour.py.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otp_service.cli.http_server import ConnectionLimits, HttpServer
from otp_service.cli.listeners import open_listener
from otp_service.core.errors import StoreUnavailable
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.settings.development import DEV_ACCOUNT_SID, DEV_SERVICE_SID
from tests.api.twilio.node_sdk import NodeError, NodeSdk
from tests.api.twilio.sdk import ACCOUNTS, NUMBER, SHOP_SERVICE, VerifyHarness
from tests.installation import (
    PROVIDER_REFUSAL,
    RECIPIENT_REFUSAL,
    Installation,
    make_wrong_code,
)
from tests.processes import CODE_PATTERN, RunningService


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ACCOUNT_SID = ACCOUNTS["shop"].sid
TIGHT_LIMITS = {
    **DEFAULT_LIMITS,
    Limit.SENDS_TENANT: (Window(1, 3600),),
    Limit.CONSECUTIVE_FAILURES: (Window(1, 60),),
}


@pytest.fixture(scope="module")
def process(npm_folder: Path) -> Iterator[NodeSdk]:
    """Return the client in its process, which serves all tests."""
    with NodeSdk(npm_folder) as sdk:
        yield sdk


class NodeHarness:
    """The application of VerifyHarness over HTTP, and the client for Node."""

    def __init__(self, sdk: NodeSdk, verify: VerifyHarness, url: str) -> None:
        self._sdk, self.verify = sdk, verify
        self.router = verify.installation.router
        self._url = url
        self.use_key("shop-twilio-verify")

    def use_key(self, name: str, **options: Any) -> None:
        """Call with this key from now on, or with an unknown one, and with options of the client."""
        token = self.verify.keys.get(name, "worthless")
        self._sdk.connect(f"{self._url}/twilio", ACCOUNT_SID, token, SHOP_SERVICE, **options)

    async def call(self, name: str, sid: str = "", **fields: Any) -> Any:
        """Return the result of a call."""
        return await asyncio.to_thread(self._sdk.call, name, sid, **fields)

    async def start(self, to: str = NUMBER, **fields: Any) -> Any:
        """Start a verification."""
        return await self.call("start", to=to, channel="sms", **fields)

    async def check_wrong_codes(self, count: int) -> list[Any]:
        """Check that many wrong codes."""
        code = self.router.extract_code()
        return [
            await self.call("check", to=NUMBER, code=make_wrong_code(code, i + 1))
            for i in range(count)
        ]


@pytest.fixture
async def create_harness(
    installation: Installation, process: NodeSdk
) -> AsyncIterator[Callable[..., NodeHarness]]:
    """Return what serves the application with changes of its tenant over HTTP."""
    socket = open_listener("127.0.0.1", 0, advice="")
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    servers: list[HttpServer] = []

    def create(**changes: Any) -> NodeHarness:
        verify = VerifyHarness(installation, url, **changes)
        limits = ConnectionLimits(max_connections=8, idle_seconds=30)
        servers.append(HttpServer(verify.api.public, socket, limits))
        servers[0].start()
        return NodeHarness(process, verify, url)

    yield create
    for server in servers:
        await server.stop(5)
    socket.close()


@pytest.fixture
async def node(create_harness: Callable[..., NodeHarness]) -> NodeHarness:
    """Return the client in front of an application with its usual settings."""
    return create_harness()


async def test_a_code_is_approved_once(node: NodeHarness) -> None:
    """By its number and by its sid; a wrong one is pending, and not an exception."""
    started = await node.start()
    code = node.router.extract_code()

    (wrong,) = await node.check_wrong_codes(1)
    fetched = await node.call("fetch", started["sid"])
    approved = await node.call("check", verificationSid=started["sid"], code=code)
    with pytest.raises(NodeError) as repeated:
        await node.call("check", to=NUMBER, code=code)

    assert ("pending", False, NUMBER) == (started["status"], started["valid"], started["to"])
    assert ("pending", False) == (wrong["status"], wrong["valid"])
    assert ("approved", True) == (approved["status"], approved["valid"])
    assert started == fetched
    assert re.fullmatch(r"Date \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", started["dateCreated"])
    assert (404, 20404) == (repeated.value.status, repeated.value.code)


async def test_a_second_start_is_a_resend(node: NodeHarness) -> None:
    """Of the same sid, with one attempt more."""
    first = await node.start()
    node.verify.pass_cooldown()
    second = await node.start()
    approved = await node.call("check", to=NUMBER, code=node.router.extract_code())

    assert first["sid"] == second["sid"]
    assert [1, 2] == [len(each["sendCodeAttempts"]) for each in (first, second)]
    assert "approved" == approved["status"]


async def test_a_canceled_verification_is_unknown(node: NodeHarness) -> None:
    """To a check and to a fetch."""
    started = await node.start()

    canceled = await node.call("cancel", started["sid"])
    with pytest.raises(NodeError) as fetched:
        await node.call("fetch", started["sid"])

    assert "canceled" == canceled["status"]
    assert 20404 == fetched.value.code


async def test_pages_are_followed_to_the_end(node: NodeHarness) -> None:
    """The client follows `next_page_url` with its credentials."""
    listed = await node.call("list", pageSize=2)
    first = await node.call("list", limit=1)
    service = await node.call("fetchService")

    sids = [*ACCOUNTS["shop"].services]
    assert sids == [each["sid"] for each in listed]
    assert sids[:1] == [each["sid"] for each in first]
    assert (SHOP_SERVICE, ACCOUNT_SID) == (service["sid"], service["accountSid"])


async def test_a_refusal_that_is_asked_again_at_once_costs_nothing(node: NodeHarness) -> None:
    """With `autoRetry` the client repeats a 429 three times, whatever Retry-After says."""
    node.use_key("shop-twilio-verify", autoRetry=True)
    await node.start()
    with pytest.raises(NodeError) as refused:
        await node.start()
    node.verify.pass_cooldown()
    again = await node.start()

    assert 60212 == refused.value.code
    assert 2 == len(again["sendCodeAttempts"])
    statuses = [summary.status for summary in node.verify.api.request_summaries]
    assert [201, 429, 429, 429, 429, 201] == statuses


# ------------------------------------------------------------------------------------------- errors


async def refuse_parameter(node: NodeHarness) -> None:
    """Send a number that is not E.164."""
    await node.start("0044 7700 900123")


async def refuse_channel(node: NodeHarness) -> None:
    """Ask for a call."""
    await node.call("start", to=NUMBER, channel="call")


async def refuse_custom_code(node: NodeHarness) -> None:
    """Send a code that was drawn elsewhere."""
    await node.start(customCode="123456")


async def refuse_approval(node: NodeHarness) -> None:
    """Approve without a code."""
    started = await node.start()
    await node.call("approve", started["sid"])


async def refuse_credentials(node: NodeHarness) -> None:
    """Call with an unknown key."""
    node.use_key("unknown")
    await node.start()


async def refuse_scope(node: NodeHarness) -> None:
    """Call with a key of our own API."""
    node.use_key("shop-challenges")
    await node.start()


async def refuse_resource(node: NodeHarness) -> None:
    """Call what is not built."""
    await node.call("listEntities")


async def refuse_landline(node: NodeHarness) -> None:
    """Start for a landline."""
    await node.start("+442071838750")


async def refuse_unreachable_number(node: NodeHarness) -> None:
    """Start for a number that no provider reaches."""
    node.router.queue_replies(RECIPIENT_REFUSAL)
    await node.start()


async def refuse_sixth_check(node: NodeHarness) -> None:
    """Check five wrong codes, and the right one."""
    await node.start()
    await node.check_wrong_codes(5)
    await node.call("check", to=NUMBER, code=node.router.extract_code())


async def refuse_fourth_start(node: NodeHarness) -> None:
    """Start four times."""
    for _ in range(4):
        await node.start()
        node.verify.pass_cooldown()


async def refuse_start_at_once(node: NodeHarness) -> None:
    """Start twice within the cooldown."""
    await node.start()
    await node.start()


async def refuse_after_provider_failure(node: NodeHarness) -> None:
    """Start while the provider is down."""
    node.router.queue_replies(PROVIDER_REFUSAL)
    await node.start()


async def refuse_without_store(node: NodeHarness) -> None:
    """Start without Redis."""
    raise_at_start(node, StoreUnavailable())
    await node.start()


async def refuse_by_defect(node: NodeHarness) -> None:
    """Start where the service has a defect."""
    raise_at_start(node, RuntimeError("a defect"))
    await node.start()


def raise_at_start(node: NodeHarness, error: Exception) -> None:
    async def fail(*_: Any) -> None:
        raise error

    node.verify.installation.service.verifications.start = fail  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(
    ("refuse", "status", "code", "message"),
    [
        (refuse_parameter, 400, 60200, "Invalid parameter: To"),
        (refuse_channel, 400, 60200, "Invalid parameter: Channel"),
        (refuse_custom_code, 400, 60200, "Invalid parameter: CustomCode"),
        (refuse_approval, 400, 60200, "Invalid parameter: Status"),
        (refuse_credentials, 401, 20003, "Authenticate"),
        (refuse_scope, 403, 20403, "Forbidden"),
        (refuse_landline, 403, 60205, "SMS is not supported"),
        (refuse_unreachable_number, 403, 60205, "SMS is not supported"),
        (refuse_resource, 404, 20404, "The requested resource"),
        (refuse_sixth_check, 429, 60202, "Max check attempts reached"),
        (refuse_fourth_start, 429, 60203, "Max send attempts reached"),
        (refuse_start_at_once, 429, 60212, "Too many concurrent requests"),
        (refuse_after_provider_failure, 503, 20503, "Service unavailable"),
        (refuse_without_store, 503, 20503, "Service unavailable"),
        (refuse_by_defect, 500, 20500, "Internal server error"),
    ],
)
async def test_an_error_is_a_rest_exception_with_its_code(
    node: NodeHarness,
    refuse: Callable[[NodeHarness], Awaitable[None]],
    status: int,
    code: int,
    message: str,
) -> None:
    """A body of RFC 9457 would be a TwilioServiceException, which no application catches."""
    with pytest.raises(NodeError) as thrown:
        await refuse(node)

    assert "RestException" == thrown.value.kind
    assert (status, code) == (thrown.value.status, thrown.value.code)
    assert str(thrown.value).startswith(message)
    assert thrown.value.more_info.endswith(f"/{code}")


async def test_a_country_of_another_tenant_is_60605(
    create_harness: Callable[..., NodeHarness],
) -> None:
    """The tenant sends to the United States alone."""
    with pytest.raises(NodeError) as thrown:
        await create_harness(countries=frozenset({"US"})).start()

    assert ("RestException", 403, 60605) == (
        thrown.value.kind,
        thrown.value.status,
        thrown.value.code,
    )


async def test_limits_of_the_tenant_have_their_codes(
    create_harness: Callable[..., NodeHarness],
) -> None:
    """A limit that others share, and a number that is locked."""
    node = create_harness(limits=TIGHT_LIMITS)
    await node.start()
    await node.check_wrong_codes(1)

    with pytest.raises(NodeError) as locked:
        await node.call("check", to=NUMBER, code=node.router.extract_code())
    with pytest.raises(NodeError) as shared:
        await node.start("+447400100999")

    assert (403, 60410) == (locked.value.status, locked.value.code)
    assert (429, 20429) == (shared.value.status, shared.value.code)
    assert {"RestException"} == {locked.value.kind, shared.value.kind}


# ------------------------------------------------------------------------------------- the emulator


def test_a_login_works_against_the_emulator(process: NodeSdk, emulator: RunningService) -> None:
    """With the ids and the key of `otp-service dev`, and the code of its inbox."""
    number = "+447700900124"
    url = f"http://127.0.0.1:{emulator.port}/twilio"
    process.connect(url, DEV_ACCOUNT_SID, emulator.keys["dev"], DEV_SERVICE_SID)

    started = process.call("start", to=number, channel="sms")
    code = CODE_PATTERN.findall(emulator.fetch_inbox()[0]["text"])[0]
    wrong = process.call("check", to=number, code=make_wrong_code(code))
    approved = process.call("check", verificationSid=started["sid"], code=code)
    listed = process.call("list", pageSize=20)

    assert [("pending", False), ("approved", True)] == [
        (each["status"], each["valid"]) for each in (wrong, approved)
    ]
    assert [DEV_SERVICE_SID] == [each["sid"] for each in listed]

"""Twilio's API as it runs in production, over two workers: guesses, races, and what is logged."""

import base64
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from otp_service.core.tenant import hash_api_key
from otp_service.store.embedded import EmbeddedServer
from tests.attacks.attacker import has_standalone_code
from tests.installation import make_wrong_code
from tests.processes import (
    HIGH_CAPACITY_SETTINGS,
    GatewayServer,
    HttpResponse,
    RunningService,
    build_request,
    run_service,
)


pytestmark = pytest.mark.slow

ACCOUNT_SID, SERVICE_SID = f"AC{'1f' * 16}", f"VA{'1f' * 16}"
START_PATH = f"/twilio/v2/Services/{SERVICE_SID}/Verifications"
CHECK_PATH = f"/twilio/v2/Services/{SERVICE_SID}/VerificationCheck"
GUESS_COUNT = 40


class VerifyCaller:
    """An application that calls Twilio's API of a running service."""

    def __init__(self, service: RunningService, key: str) -> None:
        self.service = service
        credentials = base64.b64encode(f"{ACCOUNT_SID}:{key}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    def build(self, path: str, **fields: str) -> bytes:
        """Return the bytes of a call."""
        return build_request("POST", path, body=urlencode(fields).encode(), headers=self._headers)

    def call(self, path: str, method: str = "POST", **fields: str) -> HttpResponse:
        """Send a call."""
        body = urlencode(fields).encode() if method == "POST" else None
        return self.service.send_request(method, path, by="", body=body, headers=self._headers)

    def start(self, number: str) -> HttpResponse:
        """Start a verification."""
        return self.call(START_PATH, To=number, Channel="sms")


@pytest.fixture(scope="module")
def caller(
    tmp_path_factory: pytest.TempPathFactory, redis: EmbeddedServer, gateway: GatewayServer
) -> Iterator[VerifyCaller]:
    """Return an application in front of a service with two workers, which logs everything."""
    key = secrets.token_urlsafe(32)
    sha256 = hash_api_key(key).hex()
    settings = {
        "SERVICE__PUBLIC_URL": "https://otp.example.com",
        "SERVICE__LOG_LEVEL": "debug",
        "TENANTS__SHOP__KEYS": f'[{{id = "app", sha256 = "{sha256}", scopes = ["twilio-verify"]}}]',
        "TENANTS__SHOP__TWILIO_VERIFY": (
            f'{{account_sid = "{ACCOUNT_SID}", services = {{{SERVICE_SID} = {{}}}}}}'
        ),
        **HIGH_CAPACITY_SETTINGS,
    }
    folder = tmp_path_factory.mktemp("twilio")
    with run_service(folder, redis, [gateway.url], workers=2, **settings) as service:
        service.keys = {**service.keys, "shop": key}
        yield VerifyCaller(service, key)


def count_rows(answers: list[HttpResponse]) -> Counter[tuple[int, Any]]:
    """Count answers by status, and by code or status of the verification."""
    bodies = [(answer.status, answer.json) for answer in answers]
    return Counter((status, body.get("code", body["status"])) for status, body in bodies)


async def test_of_forty_guesses_five_are_compared(
    caller: VerifyCaller, gateway: GatewayServer, number: str
) -> None:
    """A2: five answers say that a code was wrong, and every other one that no attempt is left."""
    caller.start(number)
    code = gateway.find_code(number)
    wrong = [make_wrong_code(code, i + 1) for i in range(GUESS_COUNT)]

    answers = await caller.service.send_together(
        [caller.build(CHECK_PATH, To=number, Code=guess) for guess in wrong]
    )
    right = caller.call(CHECK_PATH, To=number, Code=code)

    assert {(200, "pending"): 5, (429, 60202): GUESS_COUNT - 5} == count_rows(answers)
    assert {False} == {answer.json["valid"] for answer in answers if answer.status == 200}
    assert (429, 60202) == (right.status, right.json["code"])


async def test_of_twenty_right_checks_one_is_approved(
    caller: VerifyCaller, gateway: GatewayServer, number: str
) -> None:
    """A3: whichever worker answers; no other answer is 2xx."""
    caller.start(number)
    check = caller.build(CHECK_PATH, To=number, Code=gateway.find_code(number))

    rows = count_rows(await caller.service.send_together([check] * 20))

    assert 1 == rows.pop((200, "approved"))
    assert rows.keys() <= {(404, 20404), (429, 60202)}
    assert 19 == sum(rows.values())


async def test_of_twenty_starts_one_sends(
    caller: VerifyCaller, gateway: GatewayServer, number: str
) -> None:
    """And the number has one verification, which a check by the number finds."""
    start = caller.build(START_PATH, To=number, Channel="sms")

    answers = await caller.service.send_together([start] * 20)
    approved = caller.call(CHECK_PATH, To=number, Code=gateway.find_code(number))

    assert {(201, "pending"): 1, (429, 60212): 19} == count_rows(answers)
    assert 1 == len(gateway.list_texts_to(number))
    (started,) = (answer.json["sid"] for answer in answers if answer.status == 201)
    assert ("approved", started) == (approved.json["status"], approved.json["sid"])


def test_no_output_has_a_number_a_code_or_a_key(
    caller: VerifyCaller, gateway: GatewayServer, generate_number: Callable[[], str]
) -> None:
    """A18: at DEBUG, through success and every refusal, also of a number in a path or a query."""
    number, other = generate_number(), generate_number()
    sid = caller.start(number).json["sid"]
    code = gateway.find_code(number)
    wrong = make_wrong_code(code)
    refused = [
        caller.start(number),
        caller.start(f" {number}"),
        caller.call(START_PATH, To=number, Channel=code),
        caller.call(CHECK_PATH, To=other, Code=code),
        caller.call(CHECK_PATH, To=number, Code=f"{code}{code}"),
        caller.call(f"{START_PATH}/{number}", "GET"),
        caller.call(f"{START_PATH}/{sid}?To={number}", Status="approved"),
        caller.call(f"/twilio/v2/Services?Page={number[1:]}", "GET"),
    ]
    answers = [
        caller.call(CHECK_PATH, VerificationSid=sid, Code=typed) for typed in (wrong, code, code)
    ]

    log = caller.service.read_complete_log()
    events = json.dumps(caller.service.fetch_events())

    assert {400, 404, 429} == {answer.status for answer in refused}
    assert [200, 200, 404] == [answer.status for answer in answers]
    bodies = "".join(answer.body.decode() for answer in (*refused, answers[-1]))
    for secret in (number[1:], other[1:], caller.service.keys["shop"]):
        assert secret not in log + bodies
    for typed in (code, wrong):
        assert not has_standalone_code(typed, (log + bodies).encode())
    assert number[1:] not in events
    assert '"route": "/twilio/v2/Services/{service_sid}/Verifications"' in log.replace(
        '":"', '": "'
    ).replace(":str}", "}")

"""Outcomes on demand, as the tests of a login see them: over HTTP, in `dev` and in test mode."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from otp_service.sms.providers.inbox_outcomes import LATE_ARRIVAL_SECONDS, NUMBER_BLOCKS
from tests.processes import (
    CODE_PATTERN,
    HttpResponse,
    RunningService,
    run_dev,
    run_service,
    send_request,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

TEST_MODE: dict[str, Any] = {
    "MODE": "test",
    "PROVIDERS__GATEWAY": '{type = "inbox"}',
    "POLICY__COOLDOWN": "1",
}
COOLDOWN_SECONDS = 1.1
BLOCKS = dict(zip(("british", "american"), NUMBER_BLOCKS, strict=True))
WAIT_SECONDS = 20.0

CLOCK_FILE = "milliseconds_later"
MOVED_CLOCK = f"""
from pathlib import Path
from otp_service.store.message_inbox import RedisInbox

clock, create = Path(__file__).with_name("{CLOCK_FILE}"), RedisInbox.__init__

def create_with_moved_clock(self, store, now):
    create(self, store, lambda: now() + int(clock.read_text()))

RedisInbox.__init__ = create_with_moved_clock
"""
"""Code that each process of the service runs first: its inbox lists what has arrived by a later clock."""


class Login(NamedTuple):
    """A login back end with one number, which it tries to send a code to."""

    service: RunningService
    number: str

    @property
    def key(self) -> str:
        return "dev" if "dev" in self.service.keys else "shop"

    def issue(self) -> HttpResponse:
        return self.service.issue(self.number, by=self.key)

    def list_codes(self, wait: int = 0) -> list[str]:
        """Return the codes that arrived, newest first."""
        path = f"/inbox.json?to=%2B{self.number[1:]}&wait={wait}"
        messages = send_request(self.service.admin_port, "GET", path).json
        return [CODE_PATTERN.findall(message["text"])[0] for message in messages]

    def verify(self, issued: HttpResponse, code: str) -> HttpResponse:
        return self.service.verify(issued, code, by=self.key)

    def resend(self, issued: HttpResponse) -> HttpResponse:
        return self.service.resend(issued, by=self.key)

    def view(self, issued: HttpResponse) -> Any:
        return self.service.view(issued, by=self.key).json

    def wait_for(self, issued: HttpResponse, has_happened: Callable[[Any], bool]) -> Any:
        """Return the challenge as soon as it shows what is waited for, or after WAIT_SECONDS."""
        until = time.monotonic() + WAIT_SECONDS
        while not has_happened(view := self.view(issued)) and time.monotonic() < until:
            time.sleep(0.1)  # the service does not report a change
        return view

    def list_event_types(self, challenge: str) -> list[str]:
        path = f"/v1/audit/events?challenge={challenge}"
        by = "dev" if "dev" in self.service.keys else "security"
        events = self.service.send_request("GET", path, by=by).json["events"]
        return [event["type"] for event in reversed(events)]


@pytest.fixture(scope="module", params=["dev", "serve"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """The service in development, and in test mode with two workers; its cooldown is a second."""
    folder = tmp_path_factory.mktemp("outcomes")
    (folder / CLOCK_FILE).write_text("0")
    if request.param == "dev":
        with run_dev(folder / "data", "--cooldown", "1", sitecustomize=MOVED_CLOCK) as service:
            yield service
        return
    with (
        redis_servers.start_server(folder / "redis") as redis,
        run_service(
            folder, redis, ["http://127.0.0.1:9/"], sitecustomize=MOVED_CLOCK, **TEST_MODE
        ) as service,
    ):
        yield service


class EarlyAnswer(NamedTuple):
    """The answer to an issue, and the seconds that it took."""

    issued: HttpResponse
    seconds: float


@pytest.fixture(scope="module")
def early(service: RunningService) -> Mapping[str, EarlyAnswer]:
    """Codes that were asked for at once, by number, so that the tests share the waits for outcomes.

    The slowest answer takes longer than the cooldown of the others.
    """

    def issue(number: str) -> EarlyAnswer:
        began = time.monotonic()
        issued = Login(service, number).issue()
        return EarlyAnswer(issued, time.monotonic() - began)

    numbers = [f"{block}{digit}" for block in BLOCKS.values() for digit in "05679"]
    with ThreadPoolExecutor(len(numbers)) as pool:
        return dict(zip(numbers, pool.map(issue, numbers), strict=True))


@pytest.fixture(params=[*BLOCKS])
def country(request: pytest.FixtureRequest) -> str:
    """Each country in turn."""
    return str(request.param)


@pytest.fixture
def start_login(service: RunningService, country: str) -> Callable[[str], Login]:
    """Returns the login with the number of this last digit."""
    return lambda digit: Login(service, f"{BLOCKS[country]}{digit}")


def test_0_is_delivered(
    start_login: Callable[[str], Login], early: Mapping[str, EarlyAnswer]
) -> None:
    """A receipt reports it, as for most real messages."""
    login = start_login("0")
    issued, _ = early[login.number]
    assert (201, "submitted") == (issued.status, issued.json["delivery"]["status"])

    view = login.wait_for(issued, lambda view: view["delivery"]["status"] != "submitted")

    assert "delivered" == view["delivery"]["status"]
    assert 200 == login.verify(issued, login.list_codes()[0]).status


def test_1_is_a_number_that_does_not_exist(start_login: Callable[[str], Login]) -> None:
    """The login asks for another number."""
    login = start_login("1")

    refused = login.issue()

    assert (422, "/problems/undeliverable") == (refused.status, refused.json["type"])
    assert "unknown-subscriber" == refused.json["reason"]
    assert [] == login.list_codes()


@pytest.mark.parametrize(("digit", "reason"), [("2", "unavailable"), ("3", "throttled")])
def test_2_and_3_are_failures_of_the_provider(
    start_login: Callable[[str], Login], digit: str, reason: str
) -> None:
    """No provider took the message: the login offers to try again, or another factor."""
    login = start_login(digit)

    failed = login.issue()

    assert (502, "/problems/delivery-failed") == (failed.status, failed.json["type"])
    view = login.view(failed)
    (submission,) = view["delivery"]["submissions"]
    assert ("refused", "provider", reason) == tuple(
        submission[name] for name in ("outcome", "fault", "reason")
    )
    assert "canceled" == view["status"]
    assert [] == login.list_codes()


def test_4_may_have_been_sent(start_login: Callable[[str], Login]) -> None:
    """The provider did not answer, and the message arrives."""
    login = start_login("4")

    issued = login.issue()

    assert (201, "pending") == (issued.status, issued.json["delivery"]["status"])
    assert "unknown" == issued.json["delivery"]["submissions"][0]["outcome"]
    assert 200 == login.verify(issued, login.list_codes()[0]).status


def test_5_takes_five_seconds(
    start_login: Callable[[str], Login], early: Mapping[str, EarlyAnswer]
) -> None:
    """A login with a shorter timeout fails here, and its user waits."""
    login = start_login("5")

    issued, seconds = early[login.number]

    assert (201, "submitted") == (issued.status, issued.json["delivery"]["status"])
    assert seconds >= 5
    assert 200 == login.verify(issued, login.list_codes(wait=5)[0]).status


def test_6_is_reported_as_undeliverable(
    start_login: Callable[[str], Login], early: Mapping[str, EarlyAnswer]
) -> None:
    """The number is the reason, so that nothing is sent again until the user asks."""
    login = start_login("6")
    issued, _ = early[login.number]
    assert (201, "submitted") == (issued.status, issued.json["delivery"]["status"])

    view = login.wait_for(issued, lambda view: view["delivery"]["status"] != "submitted")

    assert "permanent-failure" == view["delivery"]["status"]
    assert ("pending", 2) == (view["status"], view["sends_left"])
    assert [] == login.list_codes()
    assert ["otp.issued", "otp.sent", "otp.delivery"] == login.list_event_types(view["id"])


def test_7_is_lost_and_sent_again_by_the_service(
    start_login: Callable[[str], Login], early: Mapping[str, EarlyAnswer]
) -> None:
    """The provider is the reason, so that the service sends another code, which arrives."""
    login = start_login("7")
    issued, _ = early[login.number]

    view = login.wait_for(issued, lambda view: view["delivery"]["status"] == "delivered")

    assert ("delivered", 1) == (view["delivery"]["status"], view["sends_left"])
    (code,) = login.list_codes()
    assert 200 == login.verify(issued, code).status
    assert [
        *("otp.issued", "otp.sent", "otp.delivery"),
        *("otp.resent", "otp.sent", "otp.delivery"),
    ] == login.list_event_types(view["id"])[:6]


def test_8_arrives_after_the_code_of_a_resend_and_is_still_accepted(
    service: RunningService, start_login: Callable[[str], Login]
) -> None:
    """35 seconds are longer than the cooldown of production. The clock of the inbox is moved by them."""
    login, clock = start_login("8"), service.log.with_name(CLOCK_FILE)
    issued = login.issue()
    assert [] == login.list_codes()
    time.sleep(COOLDOWN_SECONDS)  # of the number, by Redis's clock
    assert 200 == login.resend(issued).status
    (second,) = login.list_codes()

    clock.write_text(str(LATE_ARRIVAL_SECONDS * 1000))
    first, *others = login.list_codes()
    clock.write_text("0")

    assert [second] == others
    assert 200 == login.verify(issued, first).status


def test_9_fails_at_each_resend(
    start_login: Callable[[str], Login], early: Mapping[str, EarlyAnswer]
) -> None:
    """The first code stays valid."""
    login = start_login("9")
    issued, _ = early[login.number]
    (code,) = login.list_codes()

    failed = login.resend(issued)

    assert (502, "/problems/delivery-failed") == (failed.status, failed.json["type"])
    assert [code] == login.list_codes()
    assert 200 == login.verify(issued, code).status


@pytest.fixture(scope="module")
def deliveries(
    service: RunningService, early: Mapping[str, EarlyAnswer]
) -> dict[str, HttpResponse]:
    """Codes of another product, which were sent at once, by the last digit of the number."""
    assert early
    time.sleep(COOLDOWN_SECONDS)  # of the number, which the tests before have used

    def deliver(digit: str) -> HttpResponse:
        return service.deliver(f"{BLOCKS['american']}{digit}", "246810", by="dev")

    with ThreadPoolExecutor() as pool:
        return dict(zip("012467", pool.map(deliver, "012467"), strict=True))


@pytest.mark.parametrize("service", ["dev"], indirect=True)
@pytest.mark.parametrize(
    ("digit", "status", "reported"),
    [
        ("0", 201, "delivered"),
        ("1", 422, None),
        ("2", 502, None),
        ("4", 201, "pending"),
        ("6", 201, "permanent-failure"),
        ("7", 201, "technical-failure"),
    ],
)
def test_a_delivered_code_has_the_outcome_of_a_first_message(
    service: RunningService,
    deliveries: dict[str, HttpResponse],
    digit: str,
    status: int,
    reported: str | None,
) -> None:
    """And no automatic resend: the service has not kept the code of the other product."""
    sent = deliveries[digit]
    assert status == sent.status
    if reported is None:
        return
    path = f"/v1/deliveries/{sent.json['id']}"
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        delivery = service.send_request("GET", path, by="dev").json["delivery"]
        if delivery["status"] == reported:
            break
        time.sleep(0.1)  # the service does not report a change

    assert reported == delivery["status"]
    assert 1 == len(delivery["submissions"])


def test_nothing_secret_is_logged(service: RunningService) -> None:
    """Neither the numbers nor the codes of the tests before; instants and ids have such digits by chance."""
    messages = send_request(service.admin_port, "GET", "/inbox.json").json
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "", service.log.read_text())

    assert messages
    for message in messages:
        code = CODE_PATTERN.findall(message["text"])[0]
        assert message["to"][1:] not in text
        assert not re.search(rf"(?<![0-9a-f]){code}(?![0-9a-f])", text)

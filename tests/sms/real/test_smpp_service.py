"""The npm package `smpp` as a centre with the whole service: STOP and START of a phone, as it brings them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.attacks.attacker import copy_redis
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    HttpResponse,
    RunningService,
    delete_cooldowns,
    run_service,
)
from tests.sms.real.smpp.node_smsc import (
    PASSWORD,
    SYSTEM_ID,
    NodeSmsc,
    PackageNotInstalled,
    install_package,
)
from tests.sms.real.smpp.reply_forms import REPLY_FORMS, build_reply
from tests.store import redis_servers


pytestmark = pytest.mark.slow

RECEIVER = "12025550123"
CANARY = "canary-864209"
NUMBERS = {form: f"+4474001231{index}" for index, form in enumerate(REPLY_FORMS, start=20)}
"""Their last two digits have no meaning for the centre."""


class SmppDeployment(NamedTuple):
    """A service, the centre as its only provider, and Redis."""

    centre: NodeSmsc
    service: RunningService
    redis: EmbeddedServer

    def issue(self, number: str) -> HttpResponse:
        """Request a code, which no cooldown of an earlier one refuses."""
        delete_cooldowns(self.redis)
        return self.service.issue(number)

    def reply(self, number: str, *parts: dict) -> list[int]:
        """Reply from a phone, and return the status that the centre got for each part."""
        sent = [build_reply(number.removeprefix("+"), RECEIVER, fields) for fields in parts]
        return [self.centre.deliver_message(**fields) for fields in sent]

    def list_events(self, event_type: str) -> list[tuple[str, ...]]:
        """Return provider, own number and keyword of the events of this type."""
        events = self.service.fetch_events(type=event_type)
        names = ("provider", "own_number", "keyword")
        return [tuple(event[name] for name in names) for event in events]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppDeployment]:
    """Return a service that sends through the centre alone; its tests use different numbers."""
    folder = tmp_path_factory.mktemp("smpp")
    with tempfile.TemporaryDirectory() as package:
        try:
            install_package(Path(package))
        except PackageNotInstalled as error:
            pytest.skip(str(error))
        with (
            redis_servers.start_server(folder / "redis") as redis,
            NodeSmsc(Path(package), folder) as centre,
            run_service(
                folder / "service",
                redis,
                ["http://127.0.0.1:9/unused"],
                workers=2,  # a reply may come over the session of the other one
                PROVIDERS__CENTRE__TYPE="smpp",
                PROVIDERS__CENTRE__HOST="127.0.0.1",
                PROVIDERS__CENTRE__PORT=str(centre.port),
                PROVIDERS__CENTRE__SYSTEM_ID=SYSTEM_ID,
                PROVIDERS__CENTRE__PASSWORD=PASSWORD,
                PROVIDERS__CENTRE__SENDER=RECEIVER,
                ROUTING__PROVIDERS='["centre"]',
                **CHEAPEST_HASH_SETTINGS,
            ) as service,
        ):
            yield SmppDeployment(centre, service, redis)


@pytest.mark.parametrize("form", REPLY_FORMS)
def test_a_stop_in_every_form_ends_the_messages(form: str, deployment: SmppDeployment) -> None:
    """The next issue is refused for the person's wish, and nothing is submitted."""
    number = NUMBERS[form]
    assert 201 == deployment.issue(number).status

    statuses = deployment.reply(number, *REPLY_FORMS[form])
    submitted = len(deployment.centre.list_events("submit"))
    refused = deployment.issue(number)

    assert {0} == {*statuses}
    assert (422, "number-not-allowed", "opted_out") == (
        refused.status,
        refused.problem_type,
        refused.json["reason"],
    )
    assert submitted == len(deployment.centre.list_events("submit"))
    assert ("centre", RECEIVER, "stop") == deployment.list_events("number.opted_out")[0]


def test_a_start_lets_messages_through_again(deployment: SmppDeployment) -> None:
    """A STOP that the centre brings twice, as after a lost answer, is one change and one event."""
    number = "+447400124001"
    deployment.issue(number)
    before = len(deployment.list_events("number.opted_out"))

    assert [0, 0] == deployment.reply(number, {"text": "Stop."}, {"text": "Stop."})
    assert 422 == deployment.issue(number).status
    assert [0] == deployment.reply(number, {"text": "start", "data_coding": 8})

    assert 201 == deployment.issue(number).status
    assert before + 1 == len(deployment.list_events("number.opted_out"))
    assert ("centre", RECEIVER, "start") == deployment.list_events("number.opted_in")[0]


def test_a_stop_of_another_number_changes_nothing(deployment: SmppDeployment) -> None:
    """A forged sender to which nothing was sent; and a national number, which is no person here."""
    number = "+447400124002"
    before = deployment.list_events("number.opted_out")
    assert [0] == deployment.reply(number, {"text": "STOP"})
    assert 201 == deployment.issue(number).status

    national = {"text": "STOP", "source_addr": number[3:], "source_addr_ton": 2}
    assert [0] == deployment.reply(number, national)

    assert 201 == deployment.issue(number).status
    assert before == deployment.list_events("number.opted_out")
    for result in ("unexpected", "invalid_sender"):
        assert 1 <= deployment.service.count_samples(
            "otp_inbound_messages_total", provider="centre", result=result
        )


def test_an_ordinary_message_leaves_nothing_behind(deployment: SmppDeployment) -> None:
    """A person typed the code to the wrong place: it is in no log, event, metric or record (R68)."""
    number = "+447400124003"
    deployment.issue(number)
    text = f"my code is {CANARY}"
    half = {"text": CANARY, "data_coding": 0}

    statuses = deployment.reply(
        number,
        {"text": text},
        {"text": text, "data_coding": 8},
        {"text": f"STOP {CANARY}"},
        {"text": text, "esm_class": 8},
        half | {"udh": "0500030a0201"},
        half | {"udh": "0500030a0202"},
        half | {"udh": "0500030b0201"},
    )

    assert {0} == {*statuses}
    assert 4 <= deployment.service.count_samples(
        "otp_inbound_messages_total", provider="centre", result="other"
    )
    assert 201 == deployment.issue(number).status
    written = [
        deployment.service.log.read_text(),
        deployment.service.fetch_metrics(),
        str(deployment.service.fetch_events()),
        str(copy_redis(deployment.redis)),
    ]
    for each in written:
        assert CANARY not in each

"""A10: an attacker who can write to Redis can delete and roll back, but verifies and sends nothing."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from otp_service.core.keys import Key
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.key_names import KeyNames
from tests.processes import GatewayServer, HttpResponse, RunningService, delete_cooldowns
from tests.store import redis_servers


pytestmark = pytest.mark.slow

KEY_NAMES = KeyNames(Key("", b""))  # only for names that need no key


class RecordNames(NamedTuple):
    """The key names of a challenge's two records."""

    challenge: str
    secret: str


def get_record_names(issued: HttpResponse, tenant: str = "shop") -> RecordNames:
    """Return the key names of a challenge's records."""
    id_ = issued.json["id"]
    partition = int(id_[1:3])
    return RecordNames(
        KEY_NAMES.challenge_record_key(partition, tenant, id_),
        KEY_NAMES.secret_record_key(partition, tenant, id_),
    )


class TamperingScenario:
    """A challenge of an attacker, and a challenge of a victim."""

    def __init__(
        self, service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, client: Any
    ) -> None:
        self.service, self.gateway, self.client = service, gateway, client
        self._redis = redis

    def issue_both(self, attackers: str, victims: str) -> None:
        """Issue both challenges."""
        self.attackers, self.victims = self.service.issue(attackers), self.service.issue(victims)
        self.attackers_code = self.gateway.find_code(attackers)
        self.victims_code = self.gateway.find_code(victims)
        self.messages = len(self.gateway.messages)

    def copy(self, source: str, target: str) -> None:
        """Copy the value of one key to another key."""
        self.client.copy(source, target, replace=True)

    def assert_victim_is_protected(self, *, is_recorded: bool = True) -> None:
        """Assert that calls for the victim's challenge are refused and recorded, and send nothing."""
        delete_cooldowns(self._redis)
        answers = [
            self.service.verify(self.victims, self.attackers_code),
            self.service.verify(self.victims, self.victims_code),
            self.service.resend(self.victims),
            self.service.view(self.victims),
        ]

        assert [(503, "store-unavailable")] * 4 == [(a.status, a.problem_type) for a in answers]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert self.messages == len(self.gateway.messages)
        events = self.service.fetch_events(challenge=self.victims.json["id"], type="store.tampered")
        expected = {("shop", "failure", "ok")} if is_recorded else set()
        assert expected == {
            (event["tenant"], event["outcome"], event["integrity"]) for event in events
        }
        assert {event["record"] for event in events} <= set(get_record_names(self.victims))


@pytest.fixture
def scenario(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, generate_number
) -> Iterator[TamperingScenario]:
    """Return two live challenges, and a client of their Redis."""
    with redis_servers.open_client(redis) as client:
        scenario = TamperingScenario(service, gateway, redis, client)
        scenario.issue_both(generate_number(), generate_number())
        yield scenario


def test_a_copied_challenge_does_not_verify_with_the_attackers_code(
    scenario: TamperingScenario,
) -> None:
    """Both records of the attacker are copied to the victim's keys."""
    for source, target in zip(
        get_record_names(scenario.attackers), get_record_names(scenario.victims), strict=True
    ):
        scenario.copy(source, target)

    scenario.assert_victim_is_protected()


def test_a_copied_verified_challenge_verifies_no_other(scenario: TamperingScenario) -> None:
    """A back end would take the copy for a success."""
    assert 200 == scenario.service.verify(scenario.attackers, scenario.attackers_code).status
    scenario.copy(
        get_record_names(scenario.attackers).challenge, get_record_names(scenario.victims).challenge
    )

    scenario.assert_victim_is_protected()


def test_a_restored_challenge_gives_few_guesses_back(scenario: TamperingScenario) -> None:
    """R17, R72: each of the two workers compares at most the attempts of one challenge."""
    names = get_record_names(scenario.attackers)
    records = {name: scenario.client.get(name) for name in names}
    compared = 0
    for _ in range(15):
        for name, value in records.items():
            scenario.client.set(name, value)
        for name in scenario.client.scan_iter("*:limit:*Failures*"):
            scenario.client.delete(name)
        answers = [scenario.service.verify(scenario.attackers, "000000") for _ in range(4)]
        compared += sum(answer.problem_type == "incorrect-code" for answer in answers)

    assert 4 <= compared <= 2 * 5
    challenge = scenario.attackers.json["id"]
    assert scenario.service.fetch_events(challenge=challenge, type="store.tampered")


def test_swapped_secrets_neither_send_nor_verify(scenario: TamperingScenario) -> None:
    """The secret contains the number and the hashes, so a resend would go to the other phone."""
    attackers, victims = (
        get_record_names(scenario.attackers).secret,
        get_record_names(scenario.victims).secret,
    )
    original = scenario.client.get(victims)
    scenario.copy(attackers, victims)
    scenario.client.set(attackers, original)

    scenario.assert_victim_is_protected()
    assert 503 == scenario.service.verify(scenario.attackers, scenario.victims_code).status
    assert 503 == scenario.service.resend(scenario.attackers).status


def test_a_secret_in_place_of_a_challenge_is_refused(scenario: TamperingScenario) -> None:
    """And the reverse; both are encrypted with the same keys."""
    challenge, secret = get_record_names(scenario.victims)
    original = scenario.client.get(challenge)
    scenario.copy(secret, challenge)
    scenario.client.set(secret, original)

    scenario.assert_victim_is_protected()


PLACES_OF_STATE_KEY_ID = {8, 13}


@pytest.mark.parametrize("record", ["challenge", "secret"])
@pytest.mark.parametrize("place", [0, 7, 8, 9, 11, 13, 20, 30, 60, -40, -32, -1])
def test_a_record_with_one_changed_bit_is_refused(
    scenario: TamperingScenario, record: str, place: int
) -> None:
    """In the version, key ids, nonce, body (with the attempts left) or MAC.

    A record that names an unknown state key may be one of a rotation: it is refused without an alarm.
    """
    name = getattr(get_record_names(scenario.victims), record)
    value = bytearray(scenario.client.get(name))
    value[place] ^= 1
    scenario.client.set(name, bytes(value))

    scenario.assert_victim_is_protected(is_recorded=place not in PLACES_OF_STATE_KEY_ID)


@pytest.mark.parametrize("value", [b"", b"0", b"00000001", b"\x00" * 200, b"{}" * 60])
def test_a_value_that_was_never_a_record_is_refused(
    scenario: TamperingScenario, value: bytes
) -> None:
    """Empty, short, zeros, and JSON."""
    scenario.client.set(get_record_names(scenario.victims).challenge, value)

    scenario.assert_victim_is_protected()


def test_a_value_of_another_type_is_refused(scenario: TamperingScenario) -> None:
    """R77: Redis itself refuses to read it."""
    name = get_record_names(scenario.victims).challenge
    scenario.client.delete(name)
    scenario.client.rpush(name, "1")

    answers = [
        scenario.service.verify(scenario.victims, scenario.victims_code),
        scenario.service.resend(scenario.victims),
        scenario.service.view(scenario.victims),
    ]

    assert [(503, "store-unavailable")] * 3 == [(a.status, a.problem_type) for a in answers]
    assert scenario.messages == len(scenario.gateway.messages)


def test_a_challenge_copied_to_another_tenant_is_refused(scenario: TamperingScenario) -> None:
    """R5: the API key determines the tenant, whatever the record contains."""
    for source, target in zip(
        get_record_names(scenario.victims), get_record_names(scenario.victims, "bank"), strict=True
    ):
        scenario.copy(source, target)

    answers = [
        scenario.service.view(scenario.victims, by="bank"),
        scenario.service.verify(scenario.victims, scenario.victims_code, by="bank"),
        scenario.service.resend(scenario.victims, by="bank"),
    ]

    assert [503] * 3 == [answer.status for answer in answers]
    assert scenario.messages == len(scenario.gateway.messages)
    events = scenario.service.fetch_events(
        challenge=scenario.victims.json["id"], type="store.tampered"
    )
    assert {"bank"} == {event["tenant"] for event in events}


def issue_with_key(scenario: TamperingScenario, number: str, key: str) -> str:
    """Issue with an Idempotency-Key, and return the key name of its record."""
    before = set(scenario.client.scan_iter("*:idempotency:*"))
    assert 201 == scenario.service.issue(number, key=key).status
    (name,) = set(scenario.client.scan_iter("*:idempotency:*")) - before
    return str(name.decode())


def test_a_forged_idempotency_record_is_refused(
    scenario: TamperingScenario, generate_number
) -> None:
    """Otherwise the response to a key could be a challenge that another caller has verified."""
    attackers, victims = generate_number(), generate_number()
    forged = issue_with_key(scenario, attackers, "attacker")
    model = issue_with_key(scenario, victims, "victim")
    scenario.copy(model, forged)
    messages = len(scenario.gateway.messages)

    answers = [
        scenario.service.issue(attackers, key="attacker"),
        scenario.service.issue(victims, key="attacker"),
        scenario.service.resend(scenario.attackers, key="attacker"),
    ]

    assert [(503, "store-unavailable")] * 3 == [(a.status, a.problem_type) for a in answers]
    assert messages == len(scenario.gateway.messages)
    events = scenario.service.fetch_events(type="store.tampered")[:3]
    assert [("shop", forged)] * 3 == [(event["tenant"], event["record"]) for event in events]


@pytest.mark.parametrize("value", [b"", b"00000001", b"\x00" * 120])
def test_a_value_that_was_never_an_idempotency_record_is_refused(
    scenario: TamperingScenario, number: str, value: bytes
) -> None:
    """And it does not free the key."""
    key = f"key-{number[1:]}"
    name = issue_with_key(scenario, number, key)
    scenario.client.set(name, value)
    delete_cooldowns(scenario._redis)

    answer = scenario.service.issue(number, key=key)

    assert (503, "store-unavailable") == (answer.status, answer.problem_type)
    assert 1 == len(scenario.gateway.list_texts_to(number))


def test_an_idempotency_record_does_not_validate_a_tampered_challenge(
    scenario: TamperingScenario, number: str
) -> None:
    """A repeated call reads the created challenge, which was replaced."""
    issued = scenario.service.issue(number, key=f"key-{number[1:]}")
    scenario.copy(get_record_names(scenario.victims).challenge, get_record_names(issued).challenge)

    answer = scenario.service.issue(number, key=f"key-{number[1:]}")

    assert (503, "store-unavailable") == (answer.status, answer.problem_type)
    last, *_ = scenario.service.fetch_events(type="store.tampered")
    assert get_record_names(issued).challenge == last["record"]


def test_an_event_written_by_an_attacker_fails_its_integrity_check(
    scenario: TamperingScenario,
) -> None:
    """R72: the log shows the event, and that no worker signed it."""
    partition = int(scenario.victims.json["id"][1:3])
    _, events, *_ = KEY_NAMES.event_log_keys(partition)
    (last, fields), *_ = scenario.client.xrevrange(events, count=1)
    forged = {**fields, b"event": fields[b"event"].replace(b'"shop"', b'"bank"')}
    at, sequence = map(int, last.split(b"-"))
    scenario.client.xadd(events, forged, id=f"{at}-{sequence + 1}")

    events_read = scenario.service.fetch_events(challenge=scenario.victims.json["id"])

    assert "failed" == events_read[0]["integrity"]
    assert {"ok"} == {event["integrity"] for event in events_read[1:]}


def test_a_copied_event_is_shown_as_a_copy(scenario: TamperingScenario) -> None:
    """R72: its MAC is valid, but its id occurs twice."""
    partition = int(scenario.victims.json["id"][1:3])
    _, events, *_ = KEY_NAMES.event_log_keys(partition)
    (last, fields), *_ = scenario.client.xrevrange(events, count=1)
    at, sequence = map(int, last.split(b"-"))
    scenario.client.xadd(events, fields, id=f"{at}-{sequence + 1}")

    newest, original, *others = scenario.service.fetch_events(challenge=scenario.victims.json["id"])

    assert ("ok", original["event_id"]) == (newest["integrity"], newest["copy_of"])
    assert not any("copy_of" in event for event in [original, *others])

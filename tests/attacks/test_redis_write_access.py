"""A10: who can write to Redis can delete and roll back, and neither gets in nor sends anything."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from otp_service.core.keys import Key
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.key_names import KeyNames
from tests.processes import GatewayServer, HttpResponse, RunningService, delete_cooldowns
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NAMES = KeyNames(Key("", b""))  # for names that are made without a key


class Records(NamedTuple):
    """The names of a challenge's two records."""

    challenge: str
    secret: str


def records(issued: HttpResponse, tenant: str = "shop") -> Records:
    """Return where a challenge is kept."""
    id_ = issued.json["id"]
    partition = int(id_[1:3])
    return Records(
        NAMES.challenge_record_key(partition, tenant, id_),
        NAMES.secret_record_key(partition, tenant, id_),
    )


class Scene:
    """A thief with a challenge of his own, and a victim with another."""

    def __init__(
        self, service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, client: Any
    ) -> None:
        self.service, self.gateway, self.client = service, gateway, client
        self._redis = redis

    def begin(self, thiefs: str, victims: str) -> None:
        """Issue both."""
        self.thiefs, self.victims = self.service.issue(thiefs), self.service.issue(victims)
        self.thiefs_code = self.gateway.find_code(thiefs)
        self.victims_code = self.gateway.find_code(victims)
        self.messages = len(self.gateway.messages)

    def copy(self, source: str, target: str) -> None:
        """Put what is under one key under another too."""
        self.client.copy(source, target, replace=True)

    def assert_nothing_works(self) -> None:
        """Every call about the victim's challenge is refused, sends nothing, and is told."""
        delete_cooldowns(self._redis)
        answers = [
            self.service.verify(self.victims, self.thiefs_code),
            self.service.verify(self.victims, self.victims_code),
            self.service.resend(self.victims),
            self.service.view(self.victims),
        ]

        assert [(503, "store-unavailable")] * 4 == [(a.status, a.problem_type) for a in answers]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert self.messages == len(self.gateway.messages)
        told = self.service.fetch_events(challenge=self.victims.json["id"], type="store.tampered")
        assert {("shop", "failure", "ok")} == {
            (event["tenant"], event["outcome"], event["integrity"]) for event in told
        }
        assert {event["record"] for event in told} <= set(records(self.victims))


@pytest.fixture
def scene(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, generate_number
) -> Iterator[Scene]:
    """Two challenges that live, and a way into Redis."""
    with redis_servers.open_client(redis) as client:
        scene = Scene(service, gateway, redis, client)
        scene.begin(generate_number(), generate_number())
        yield scene


def test_a_copied_challenge_lets_nobody_in_with_his_own_code(scene: Scene) -> None:
    """Both records of the thief's, under the victim's keys."""
    for source, target in zip(records(scene.thiefs), records(scene.victims), strict=True):
        scene.copy(source, target)

    scene.assert_nothing_works()


def test_a_verified_challenge_that_is_copied_verifies_no_other(scene: Scene) -> None:
    """What a back end would take for a success."""
    assert 200 == scene.service.verify(scene.thiefs, scene.thiefs_code).status
    scene.copy(records(scene.thiefs).challenge, records(scene.victims).challenge)

    scene.assert_nothing_works()


def test_swapped_secrets_send_and_let_in_nobody(scene: Scene) -> None:
    """The sealed number and the hashes: a resend would go to the other phone."""
    thiefs, victims = records(scene.thiefs).secret, records(scene.victims).secret
    kept = scene.client.get(victims)
    scene.copy(thiefs, victims)
    scene.client.set(thiefs, kept)

    scene.assert_nothing_works()
    assert 503 == scene.service.verify(scene.thiefs, scene.victims_code).status
    assert 503 == scene.service.resend(scene.thiefs).status


def test_a_secret_in_the_place_of_a_challenge_is_none(scene: Scene) -> None:
    """And the other way round; both are closed with the same keys."""
    challenge, secret = records(scene.victims)
    kept = scene.client.get(challenge)
    scene.copy(secret, challenge)
    scene.client.set(secret, kept)

    scene.assert_nothing_works()


@pytest.mark.parametrize("record", ["challenge", "secret"])
@pytest.mark.parametrize("place", [0, 7, 8, 9, 11, 13, 20, 30, 60, -40, -32, -1])
def test_a_record_with_one_bit_changed_is_none(scene: Scene, record: str, place: int) -> None:
    """Version, ids of keys, nonce, body, MAC: attempts that were left, say."""
    name = getattr(records(scene.victims), record)
    value = bytearray(scene.client.get(name))
    value[place] ^= 1
    scene.client.set(name, bytes(value))

    scene.assert_nothing_works()


@pytest.mark.parametrize("value", [b"", b"0", b"00000001", b"\x00" * 200, b"{}" * 60])
def test_what_never_was_a_record_is_none(scene: Scene, value: bytes) -> None:
    """Empty, short, zeros, and somebody else's."""
    scene.client.set(records(scene.victims).challenge, value)

    scene.assert_nothing_works()


def test_a_value_of_another_type_is_none(scene: Scene) -> None:
    """R77: Redis itself refuses to read it."""
    name = records(scene.victims).challenge
    scene.client.delete(name)
    scene.client.rpush(name, "1")

    answers = [
        scene.service.verify(scene.victims, scene.victims_code),
        scene.service.resend(scene.victims),
        scene.service.view(scene.victims),
    ]

    assert [(503, "store-unavailable")] * 3 == [(a.status, a.problem_type) for a in answers]
    assert scene.messages == len(scene.gateway.messages)


def test_a_challenge_of_one_tenant_is_none_of_another(scene: Scene) -> None:
    """R5: the tenant is the API key's, whatever the record says."""
    for source, target in zip(records(scene.victims), records(scene.victims, "bank"), strict=True):
        scene.copy(source, target)

    answers = [
        scene.service.view(scene.victims, by="bank"),
        scene.service.verify(scene.victims, scene.victims_code, by="bank"),
        scene.service.resend(scene.victims, by="bank"),
    ]

    assert [503] * 3 == [answer.status for answer in answers]
    assert scene.messages == len(scene.gateway.messages)
    told = scene.service.fetch_events(challenge=scene.victims.json["id"], type="store.tampered")
    assert {"bank"} == {event["tenant"] for event in told}


def idempotency_record(scene: Scene, number: str, key: str) -> str:
    """Issue with an Idempotency-Key, and return where Redis keeps it."""
    before = set(scene.client.scan_iter("*:idempotency:*"))
    assert 201 == scene.service.issue(number, key=key).status
    (name,) = set(scene.client.scan_iter("*:idempotency:*")) - before
    return str(name.decode())


def test_a_forged_idempotency_record_is_no_answer(scene: Scene, generate_number) -> None:
    """The answer to a key would be a challenge that somebody else has verified."""
    thiefs, victims = generate_number(), generate_number()
    forged = idempotency_record(scene, thiefs, "thief")
    model = idempotency_record(scene, victims, "victim")
    scene.copy(model, forged)
    messages = len(scene.gateway.messages)

    answers = [
        scene.service.issue(thiefs, key="thief"),
        scene.service.issue(victims, key="thief"),
        scene.service.resend(scene.thiefs, key="thief"),
    ]

    assert [(503, "store-unavailable")] * 3 == [(a.status, a.problem_type) for a in answers]
    assert messages == len(scene.gateway.messages)
    told = scene.service.fetch_events(type="store.tampered")[:3]
    assert [("shop", forged)] * 3 == [(event["tenant"], event["record"]) for event in told]


@pytest.mark.parametrize("value", [b"", b"00000001", b"\x00" * 120])
def test_what_never_was_an_idempotency_record_is_no_answer(
    scene: Scene, number: str, value: bytes
) -> None:
    """Nor does it free the key."""
    key = f"key-{number[1:]}"
    name = idempotency_record(scene, number, key)
    scene.client.set(name, value)
    delete_cooldowns(scene._redis)

    answer = scene.service.issue(number, key=key)

    assert (503, "store-unavailable") == (answer.status, answer.problem_type)
    assert 1 == len(scene.gateway.list_texts_to(number))


def test_an_idempotency_record_does_not_make_a_tampered_challenge_good(
    scene: Scene, number: str
) -> None:
    """A repeat reads the challenge that was made, and that one was replaced."""
    issued = scene.service.issue(number, key=f"key-{number[1:]}")
    scene.copy(records(scene.victims).challenge, records(issued).challenge)

    answer = scene.service.issue(number, key=f"key-{number[1:]}")

    assert (503, "store-unavailable") == (answer.status, answer.problem_type)
    last, *_ = scene.service.fetch_events(type="store.tampered")
    assert records(issued).challenge == last["record"]


def test_an_event_that_somebody_wrote_is_told_as_such(scene: Scene) -> None:
    """R72: the log shows it, and says that no worker has signed it."""
    partition = int(scene.victims.json["id"][1:3])
    _, events, *_ = NAMES.event_log_keys(partition)
    (last, fields), *_ = scene.client.xrevrange(events, count=1)
    forged = {**fields, b"event": fields[b"event"].replace(b'"shop"', b'"bank"')}
    at, sequence = map(int, last.split(b"-"))
    scene.client.xadd(events, forged, id=f"{at}-{sequence + 1}")

    told = scene.service.fetch_events(challenge=scene.victims.json["id"])

    assert "failed" == told[0]["integrity"]
    assert {"ok"} == {event["integrity"] for event in told[1:]}

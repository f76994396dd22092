"""A9: a copy of Redis while codes live, with what it wrote and said, is worth nothing."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otp_service.core import codes
from otp_service.core.argon2_profile import TEST_PROFILE
from otp_service.hashing import compute_argon2id
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.record_cipher import RecordCipher
from tests import installation as worlds
from tests.attacks import attacker
from tests.attacks.attacker import (
    FAST_HASH_METHODS,
    MonitorRecorder,
    RedisCopy,
    copy_redis,
    find_matching_hashes,
    start_verbose_redis,
)
from tests.installation import CountingHasher, Installation, make_wrong_code
from tests.processes import CHEAPEST_HASH_SETTINGS as CHEAP
from tests.processes import (
    CODE_PATTERN,
    GatewayServer,
    RunningService,
    delete_cooldowns,
    run_service,
)


pytestmark = pytest.mark.slow

NUMBERS = [f"+44740071829{i}" for i in range(4)]


class Stolen(NamedTuple):
    """A theft, and what the thief would like to know."""

    loot: RedisCopy
    live: list[str]
    sent: list[str]
    typed: list[str]


@pytest.fixture(scope="module")
def stolen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stolen]:
    """Everything that Redis gives away of a service that is in use.

    With the cheapest argon2, which changes nothing about what is stored, and lets more be tried.
    """
    folder = tmp_path_factory.mktemp("dump")
    with (
        start_verbose_redis(folder / "redis") as redis,
        GatewayServer() as gateway,
        run_service(folder, redis, [gateway.url], workers=1, **CHEAP) as service,
        MonitorRecorder(redis) as monitor,
    ):
        typed = use(service, gateway, redis)
        sent = [CODE_PATTERN.findall(message["text"])[0] for message in gateway.messages]
        live = [code for code in sent if code != gateway.find_code(NUMBERS[1])]
        yield Stolen(copy_redis(redis, monitor), live, sent, typed)


def use(service: RunningService, gateway: GatewayServer, redis: EmbeddedServer) -> list[str]:
    """Issue, guess with idempotency keys, verify and resend; return the wrong codes."""
    plain, won, twice, named = (service.issue(n, key=f"i{n}") for n in NUMBERS)
    typed = [make_wrong_code(gateway.find_code(n), by) for n in NUMBERS for by in (7, 77_777)]
    delete_cooldowns(redis)
    service.resend(twice, key="r")
    for i, issued in enumerate((plain, won, twice, named)):
        for code in typed[2 * i : 2 * i + 2]:
            refusal = service.verify(issued, code, key=f"v{code}", client_ip="203.0.113.9")
            assert "incorrect-code" == refusal.problem_type
    assert 200 == service.verify(won, gateway.find_code(NUMBERS[1]), key="w").status
    assert 429 == service.issue(NUMBERS[2], account="u-81").status
    assert 5 == len(gateway.messages)
    return typed


def test_no_code_is_written_anywhere(stolen: Stolen) -> None:
    """R10, R68, R86: neither what was sent nor what was typed, in no form."""
    for code in {*stolen.sent, *stolen.typed}:
        for name, text in stolen.loot.texts.items():
            assert not attacker.has_standalone_code(code, text), name
            assert [] == [
                form for form, known in attacker.encode_digits(code).items() if known in text
            ]


def test_no_number_is_written_in_any_form(stolen: Stolen) -> None:
    """R69, R86: values are sealed, names and events hold keyed pseudonyms."""
    for number in NUMBERS:
        for name, text in stolen.loot.texts.items():
            readable = attacker.encode_number(number)
            assert [] == [form for form, known in readable.items() if known in text], name


def test_no_number_is_found_by_a_fast_hash(stolen: Stolen) -> None:
    """R69: a pseudonym without a key would be one of 10^10."""
    spelled = [s for n in NUMBERS for s in (n, n[1:], n[3:])]

    assert set() == find_matching_hashes(
        stolen.loot, spelled, attacker.find_salts(stolen.loot), FAST_HASH_METHODS
    )


def test_none_of_all_codes_is_found_by_a_fast_hash(stolen: Stolen) -> None:
    """R10: SHA-256, SHA-1, MD5, of all that a code can be."""
    everything = [f"{i:06d}" for i in range(10**6)]
    plain = [hash_ for hash_ in FAST_HASH_METHODS if "salt + code" in hash_.name]

    assert set() == find_matching_hashes(stolen.loot, everything, [b""], plain)


def test_no_code_is_found_by_a_fast_hash_with_what_looks_like_salts(stolen: Stolen) -> None:
    """R10: also as keys of HMAC, and before and behind the code."""
    tried = sample(stolen.live)[:500]

    assert set() == find_matching_hashes(
        stolen.loot, tried, attacker.find_salts(stolen.loot), FAST_HASH_METHODS
    )


def test_the_right_codes_are_found_by_no_fast_hash_with_anything(stolen: Stolen) -> None:
    """R10: every 16 and 32 bytes in a row that Redis holds, as salt and as key."""
    assert set() == find_matching_hashes(
        stolen.loot, stolen.live, attacker.list_byte_windows(stolen.loot, 16, 32), FAST_HASH_METHODS
    )


def test_no_code_is_found_by_argon2(stolen: Stolen) -> None:
    """R10: what is stored is keyed over argon2, so its parameters and salts are not enough."""
    slow = [attacker.build_argon2id_method(TEST_PROFILE)]
    long_enough = {salt for salt in attacker.find_salts(stolen.loot) if len(salt) >= 8}

    assert set() == find_matching_hashes(stolen.loot, sample(stolen.live), long_enough, slow)
    assert set() == find_matching_hashes(
        stolen.loot, stolen.live, attacker.list_byte_windows(stolen.loot, 16), slow
    )


def sample(live: list[str]) -> list[str]:
    """Return two thousand codes, with the right ones among them."""
    return [*live, *(f"{i:06d}" for i in range(31, 10**6, 501))][:2000]


# ---------------------------------------------------------------- these searches can find things


class Unsealed(RecordCipher):
    """Keeps records as they are."""

    def seal_record(self, _: str, version: int, body: bytes) -> bytes:
        return self.format_version(version).encode() + body

    def open_record(self, _: str, record: bytes) -> tuple[int, bytes]:
        return int(record[:8]), record[8:]


class Careless(CountingHasher):
    """Keeps of a code what some other service would."""

    def __init__(self, kept: Callable[[bytes, bytes], bytes]) -> None:
        super().__init__()
        self._kept = kept

    async def compute_argon2id(self, code: str, salt: bytes) -> bytes:
        return self._kept(code.encode(), salt)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A Redis with nothing else in its files."""
    with start_verbose_redis(tmp_path) as server:
        yield server


@pytest.fixture
async def link(alone: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """A link to it."""
    async with ScriptClient(create_redis_client(url=alone.url, timeout_ms=5000)) as link:
        yield link


@pytest.fixture
def careless(alone: EmbeddedServer, link: ScriptClient, monkeypatch) -> Callable[..., Any]:
    """Return what makes a thief's haul of a service that keeps its codes in this way."""
    monkeypatch.setattr(worlds, "RecordCipher", Unsealed)
    monkeypatch.setattr(codes, "hash_code", lambda _, slow, **__: slow)

    async def haul(kept: Callable[[bytes, bytes], bytes]) -> Stolen:
        world = Installation(link, hasher=Careless(kept))
        with MonitorRecorder(alone) as monitor:
            await world.issue(NUMBERS[0])
            code = world.router.extract_code()
            return Stolen(copy_redis(alone, monitor), [code], [code], [])

    return haul


async def test_a_code_in_the_clear_would_be_found_wherever_it_was(careless) -> None:
    """In what Redis holds, in both its files, in MONITOR and in SLOWLOG."""
    stolen = await careless(lambda code, _: b"the code is " + code)

    with pytest.raises(AssertionError):
        test_no_code_is_written_anywhere(stolen)
    found = {
        n.split()[0]
        for n, t in stolen.loot.texts.items()
        if attacker.has_standalone_code(stolen.live[0], t)
    }
    assert {"VALUES", "RDB", "AOF", "MONITOR", "SLOWLOG"} == found


async def test_a_number_that_is_not_sealed_would_be_found(careless) -> None:
    """The secret of a challenge holds it, for resends."""
    stolen = await careless(lambda *_: b"")

    with pytest.raises(AssertionError):
        test_no_number_is_written_in_any_form(stolen)


@pytest.mark.parametrize("form", attacker.encode_number(NUMBERS[0]))
def test_every_form_of_a_number_would_be_found(form: str) -> None:
    """In the middle of anything."""
    written = attacker.encode_number(NUMBERS[0])[form]
    stolen = Stolen(RedisCopy([b"\x01" + written + b"\xff"], {}), [], [], [])

    with pytest.raises(AssertionError):
        test_no_number_is_written_in_any_form(stolen)


async def test_a_bare_hash_would_be_found_among_all_codes(careless) -> None:
    """The 1.8 s of A9."""
    stolen = await careless(lambda code, _: hashlib.sha256(code).digest())

    with pytest.raises(AssertionError):
        test_none_of_all_codes_is_found_by_a_fast_hash(stolen)


@pytest.mark.parametrize("hash_", FAST_HASH_METHODS, ids=lambda hash_: hash_.name)
async def test_a_salted_hash_would_be_found(careless, hash_: attacker.HashMethod) -> None:
    """The salt lies beside it, whether it looks like one or not."""
    stolen = await careless(hash_.compute)

    with pytest.raises(AssertionError):
        test_no_code_is_found_by_a_fast_hash_with_what_looks_like_salts(stolen)
    with pytest.raises(AssertionError):
        test_the_right_codes_are_found_by_no_fast_hash_with_anything(stolen)


@pytest.mark.parametrize("hash_", FAST_HASH_METHODS, ids=lambda hash_: hash_.name)
def test_half_of_a_hash_would_be_found(hash_: attacker.HashMethod) -> None:
    """Cut to 16 bytes, as the names of keys are, and in hexadecimal."""
    cut = hash_.compute(NUMBERS[0].encode(), b"")[:16].hex().encode()
    stolen = Stolen(RedisCopy([b"{07}:limit:SendsPerNumber::" + cut], {}), [], [], [])

    with pytest.raises(AssertionError):
        test_no_number_is_found_by_a_fast_hash(stolen)


async def test_argon2_without_a_pepper_would_be_found(careless) -> None:
    """A9: an hour of one core, or minutes of a graphics card."""
    stolen = await careless(attacker.build_argon2id_method(TEST_PROFILE).compute)

    with pytest.raises(AssertionError):
        test_no_code_is_found_by_argon2(stolen)


async def test_with_the_pepper_exactly_one_of_the_codes_is_found(link: ScriptClient) -> None:
    """R10: what is stored is no accident, and only the keys open it."""
    world = Installation(link)
    issued = await world.issue(NUMBERS[0])
    stored = await world.store.fetch_challenge("shop", world.get_challenge_id(issued))
    challenge, secret = stored.challenge, stored.secret
    assert challenge
    assert secret

    def kept(code: str) -> bytes:
        return codes.hash_code(
            world.keys.pepper.current,
            compute_argon2id(TEST_PROFILE, code, secret.salt),
            tenant="shop",
            challenge=challenge.id,
            purpose="login",
            number=NUMBERS[0],
            deadline=challenge.deadline,
        )

    (live,) = secret.codes
    tried = set(sample([world.router.extract_code()]))
    assert [world.router.extract_code()] == [code for code in tried if live.code_hash == kept(code)]

"""A9: a copy of Redis during live challenges, with its files and logs, reveals no code or number."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otp_service.core import codes
from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.core.ports import HashPriority
from otp_service.hashing import compute_argon2id
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.record_cipher import RecordCipher
from tests import installation as installation_module
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
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    CODE_PATTERN,
    GatewayServer,
    RunningService,
    delete_cooldowns,
    run_service,
)


pytestmark = pytest.mark.slow

NUMBERS = [f"+44740071829{i}" for i in range(4)]
DELIVERED_NUMBER, DELIVERED_CODE = "+447400718295", "604831"
"""A code of another product, which has no record of its own."""


class RedisTheft(NamedTuple):
    """A copy of Redis, and the codes that an attacker searches for."""

    redis_copy: RedisCopy
    live: list[str]
    sent: list[str]
    typed: list[str]


@pytest.fixture(scope="module")
def theft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisTheft]:
    """Return a copy of everything in the Redis of a service in use.

    argon2 has its cheapest profile, which does not change what is stored and allows more searches.
    """
    folder = tmp_path_factory.mktemp("dump")
    with (
        start_verbose_redis(folder / "redis") as redis,
        GatewayServer() as gateway,
        run_service(folder, redis, [gateway.url], workers=1, **CHEAPEST_HASH_SETTINGS) as service,
        MonitorRecorder(redis) as monitor,
    ):
        typed = use_service(service, gateway, redis)
        sent = [CODE_PATTERN.findall(message["text"])[0] for message in gateway.messages]
        live = [code for code in sent if code != gateway.find_code(NUMBERS[1])]
        yield RedisTheft(copy_redis(redis, monitor), live, sent, typed)


def use_service(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer
) -> list[str]:
    """Issue, guess with idempotency keys, verify, resend and deliver; return the wrong codes."""
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
    sent = service.deliver(DELIVERED_NUMBER, DELIVERED_CODE, key="d", account="u-81")
    assert 201 == service.deliver(DELIVERED_NUMBER, DELIVERED_CODE, key="d", account="u-81").status
    assert 200 == service.send_request("GET", sent.headers["location"], by="bank").status
    assert 6 == len(gateway.messages)
    return typed


def test_redis_contains_no_code(theft: RedisTheft) -> None:
    """R10, R68, R86: neither sent codes nor typed codes, in any encoding."""
    for code in {*theft.sent, *theft.typed}:
        for name, text in theft.redis_copy.texts.items():
            assert not attacker.has_standalone_code(code, text), name
            assert [] == [
                form for form, known in attacker.encode_digits(code).items() if known in text
            ]


def test_redis_contains_no_number(theft: RedisTheft) -> None:
    """R69, R86: values are encrypted, and key names and events contain keyed pseudonyms."""
    for number in (*NUMBERS, DELIVERED_NUMBER):
        for name, text in theft.redis_copy.texts.items():
            readable = attacker.encode_number(number)
            assert [] == [form for form, known in readable.items() if known in text], name


def test_no_number_is_found_by_a_fast_hash(theft: RedisTheft) -> None:
    """R69: an unkeyed pseudonym could be found among 10^10 numbers."""
    spelled = [s for n in NUMBERS for s in (n, n[1:], n[3:])]

    assert set() == find_matching_hashes(
        theft.redis_copy, spelled, attacker.find_salts(theft.redis_copy), FAST_HASH_METHODS
    )


def test_no_code_is_found_by_a_fast_hash_with_probable_salts(theft: RedisTheft) -> None:
    """R10: without a salt, with one before and after the code, and as HMAC keys."""
    assert set() == find_matching_hashes(
        theft.redis_copy,
        sample_codes(theft.live),
        attacker.find_salts(theft.redis_copy),
        FAST_HASH_METHODS,
    )


def test_no_fast_hash_with_any_stored_bytes_finds_the_right_codes(theft: RedisTheft) -> None:
    """R10: every sequence of 16 and 32 bytes in Redis is tried as a salt and as a key."""
    assert set() == find_matching_hashes(
        theft.redis_copy,
        theft.live,
        attacker.list_byte_windows(theft.redis_copy, 16, 32),
        FAST_HASH_METHODS,
    )


def test_no_code_is_found_by_argon2(theft: RedisTheft) -> None:
    """R10: the stored hash is keyed over argon2, so its parameters and salts are not enough."""
    slow = [attacker.build_argon2id_method(TEST_PROFILE)]
    long_enough = {salt for salt in attacker.find_salts(theft.redis_copy) if len(salt) >= 8}

    assert set() == find_matching_hashes(
        theft.redis_copy, sample_codes(theft.live), long_enough, slow
    )
    assert set() == find_matching_hashes(
        theft.redis_copy, theft.live, attacker.list_byte_windows(theft.redis_copy, 16), slow
    )


def sample_codes(live: list[str]) -> list[str]:
    """Return two hundred codes, including the right ones: a code that was never sent has no hash."""
    return [*live, *(f"{i:06d}" for i in range(31, 10**6, 5001))][:200]


# ------------------------------------------------------------ checks that these searches find leaks


class PlaintextCipher(RecordCipher):
    """Stores records without encryption."""

    def seal_record(self, _: str, version: int, body: bytes) -> bytes:
        return self.format_version(version).encode() + body

    def open_record(self, _: str, record: bytes) -> tuple[int, bytes]:
        return int(record[:8]), record[8:]


class InsecureHasher(CountingHasher):
    """Stores codes as an insecure service would."""

    def __init__(self, store_code: Callable[[bytes, bytes], bytes]) -> None:
        super().__init__()
        self._store_code = store_code

    async def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        _profile: Argon2Profile | None = None,
        *,
        priority: HashPriority = HashPriority.ISSUE,  # noqa: ARG002
    ) -> bytes:
        return self._store_code(code.encode(), salt)


@pytest.fixture
def isolated_redis(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Return a Redis with no other data in its files."""
    with start_verbose_redis(tmp_path) as server:
        yield server


@pytest.fixture
async def isolated_client(isolated_redis: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of the isolated Redis."""
    async with ScriptClient(
        create_redis_lines(url=isolated_redis.url, timeout_ms=5000)
    ) as isolated_client:
        yield isolated_client


@pytest.fixture
def steal_insecure(
    isolated_redis: EmbeddedServer, isolated_client: ScriptClient, monkeypatch
) -> Callable[..., Any]:
    """Return a function that returns the theft from a service that stores its codes insecurely."""
    monkeypatch.setattr(installation_module, "RecordCipher", PlaintextCipher)
    monkeypatch.setattr(codes, "hash_code", lambda _, slow, **__: slow)

    async def steal(store_code: Callable[[bytes, bytes], bytes]) -> RedisTheft:
        installation = Installation(isolated_client, hasher=InsecureHasher(store_code))
        with MonitorRecorder(isolated_redis) as monitor:
            await installation.issue(NUMBERS[0])
            code = installation.router.extract_code()
            return RedisTheft(copy_redis(isolated_redis, monitor), [code], [code], [])

    return steal


async def test_a_plaintext_code_would_be_found_in_every_output(steal_insecure) -> None:
    """In the values of Redis, in both its files, in MONITOR and in SLOWLOG."""
    theft = await steal_insecure(lambda code, _: b"the code is " + code)

    with pytest.raises(AssertionError):
        test_redis_contains_no_code(theft)
    sources = {
        n.split()[0]
        for n, t in theft.redis_copy.texts.items()
        if attacker.has_standalone_code(theft.live[0], t)
    }
    assert {"VALUES", "RDB", "AOF", "MONITOR", "SLOWLOG"} == sources


async def test_an_unencrypted_number_would_be_found(steal_insecure) -> None:
    """The secret record of a challenge contains it, for resends."""
    theft = await steal_insecure(lambda *_: b"")

    with pytest.raises(AssertionError):
        test_redis_contains_no_number(theft)


@pytest.mark.parametrize("form", attacker.encode_number(NUMBERS[0]))
def test_every_form_of_a_number_would_be_found(form: str) -> None:
    """In the middle of other bytes."""
    encoded = attacker.encode_number(NUMBERS[0])[form]
    theft = RedisTheft(RedisCopy([b"\x01" + encoded + b"\xff"], {}), [], [], [])

    with pytest.raises(AssertionError):
        test_redis_contains_no_number(theft)


async def test_a_bare_hash_would_be_found(steal_insecure) -> None:
    """A9 measured 1.8 s for a search of all codes."""
    theft = await steal_insecure(lambda code, _: hashlib.sha256(code).digest())

    with pytest.raises(AssertionError):
        test_no_code_is_found_by_a_fast_hash_with_probable_salts(theft)


@pytest.mark.parametrize("hash_", FAST_HASH_METHODS, ids=lambda hash_: hash_.name)
async def test_a_salted_hash_would_be_found(steal_insecure, hash_: attacker.HashMethod) -> None:
    """The salt is stored with the hash, whether it looks like a salt or not."""
    theft = await steal_insecure(hash_.compute)

    with pytest.raises(AssertionError):
        test_no_code_is_found_by_a_fast_hash_with_probable_salts(theft)
    with pytest.raises(AssertionError):
        test_no_fast_hash_with_any_stored_bytes_finds_the_right_codes(theft)


@pytest.mark.parametrize("hash_", FAST_HASH_METHODS, ids=lambda hash_: hash_.name)
def test_half_of_a_hash_would_be_found(hash_: attacker.HashMethod) -> None:
    """Cut to 16 bytes, as in key names, and in hexadecimal."""
    cut = hash_.compute(NUMBERS[0].encode(), b"")[:16].hex().encode()
    theft = RedisTheft(RedisCopy([b"{07}:limit:SendsPerNumber::" + cut], {}), [], [], [])

    with pytest.raises(AssertionError):
        test_no_number_is_found_by_a_fast_hash(theft)


async def test_argon2_without_a_pepper_would_be_found(steal_insecure) -> None:
    """A9: an hour on one core, or minutes on a graphics card."""
    theft = await steal_insecure(attacker.build_argon2id_method(TEST_PROFILE).compute)

    with pytest.raises(AssertionError):
        test_no_code_is_found_by_argon2(theft)


async def test_with_the_pepper_exactly_one_of_the_codes_is_found(
    isolated_client: ScriptClient,
) -> None:
    """R10: the stored hash matches the sent code, and only with the keys."""
    installation = Installation(isolated_client)
    issued = await installation.issue(NUMBERS[0])
    stored = await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    challenge, secret = stored.challenge, stored.secret
    assert challenge
    assert secret

    def hash_sent_code(code: str) -> bytes:
        return codes.hash_code(
            installation.keys.pepper.current,
            compute_argon2id(TEST_PROFILE, code, secret.salt),
            tenant="shop",
            challenge=challenge.id,
            purpose="login",
            number=NUMBERS[0],
            deadline=challenge.deadline,
        )

    (live,) = secret.codes
    candidates = set(sample_codes([installation.router.extract_code()]))
    assert [installation.router.extract_code()] == [
        code for code in candidates if live.code_hash == hash_sent_code(code)
    ]

"""What no call through the API shows: pointers under rotated keys, lost, forged and replaced ones."""

import pytest
from msgspec.structs import replace

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.commit import Pointer
from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.core.keys import KeyRing
from otp_service.core.phone_number import parse_number
from otp_service.core.verify_service import VerifyService
from otp_service.schemas import IssueRequest, VerifyRequest
from otp_service.service.verification_service import Verification
from otp_service.store.key_scan import ignore_progress
from tests.installation import Installation, generate_keys


NUMBER = "+447400123456"
SERVICE = VerifyService(f"VA{'1' * 32}", "Shop")


async def start(installation: Installation, tenant: str = "shop") -> Verification:
    """Start a verification of NUMBER, after the cooldown of an earlier one."""
    installation.advance_clock(31_000)
    caller, request = installation.build_caller(tenant), IssueRequest(NUMBER)
    return await installation.service.verifications.start(caller, SERVICE, request)


async def check(installation: Installation, code: str, tenant: str = "shop") -> Verification:
    """Check a code of NUMBER by the number."""
    caller, verifications = installation.build_caller(tenant), installation.service.verifications
    challenge_id = await verifications.find(caller, SERVICE, NUMBER)
    return await verifications.check(caller, SERVICE, challenge_id, VerifyRequest(code))


async def test_a_verification_is_found_and_continued_on_each_kind_of_redis(
    installation: Installation,
) -> None:
    """Also on a cluster: the pointer is in the partition of its number."""
    first = await start(installation)
    second = await start(installation)

    checked = await check(installation, installation.router.extract_code())

    assert first.challenge.id == second.challenge.id
    assert ChallengeStatus.VERIFIED is checked.status


async def test_two_tenants_may_have_the_same_verify_service(installation: Installation) -> None:
    """A company that divides its account keeps its ids; each tenant finds its own verification."""
    await start(installation)
    code = installation.router.extract_code()
    await start(installation, "bank")

    checked = await check(installation, code)
    other = await check(installation, installation.router.extract_code(), "bank")

    assert ("verified", "verified") == (checked.status, other.status)
    assert checked.challenge.id != other.challenge.id


async def test_a_start_that_read_an_older_pointer_replaces_none(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two starts at once may both find no verification: only one of them has the number."""
    await start(installation)
    code = installation.router.extract_code()

    async def find_nothing(*_: object) -> Pointer:
        return Pointer()

    with monkeypatch.context() as patch:
        patch.setattr(installation.store, "get_pointer", find_nothing)
        with pytest.raises(StoreUnavailable):
            await start(installation)
    await installation.dependencies.refunds.drain(5)
    checked = await check(installation, code)

    assert 1 == len(installation.router.messages)
    assert ChallengeStatus.VERIFIED is checked.status


async def test_a_verification_is_found_while_the_limit_key_is_rotated(
    installation: Installation,
) -> None:
    """The limit key names the pointer and its partition; a new one comes before the old one."""
    first = await start(installation)
    new_ring = KeyRing((generate_keys("2").limit.current, *installation.keys.limit))
    rotated = installation.restart(keys=replace(installation.keys, limit=new_ring))

    second = await start(rotated)
    checked = await check(rotated, rotated.router.extract_code())
    third = await start(rotated)

    assert first.challenge.id == second.challenge.id == checked.challenge.id
    assert third.challenge.id != first.challenge.id
    assert ChallengeStatus.VERIFIED is checked.status


async def test_a_forged_pointer_is_an_error_and_an_event(installation: Installation) -> None:
    """An attacker with write access to Redis cannot lead a check to another challenge."""
    await start(installation)
    (key,) = await installation.list_keys("*:pointer:*")
    record = (await installation.script_client.read_each([key.decode()], "GET"))[0]
    forged = record[:-1] + bytes((record[-1] ^ 1,))
    await installation.script_client.run_pipeline(key.decode(), [("SET", key, forged, "KEEPTTL")])

    with pytest.raises(StoreTampered):
        await check(installation, installation.router.extract_code())
    with pytest.raises(StoreTampered):
        await start(installation)

    assert 2 == (await installation.list_event_types()).count("store.tampered")


async def test_a_pointer_expires_with_its_verification(installation: Installation) -> None:
    """It is of no use later, and names a challenge of a person."""
    await start(installation)
    (key,) = await installation.list_keys("*:pointer:*")

    (milliseconds,) = await installation.script_client.read_each([key.decode()], "PTTL")

    assert 595_000 < milliseconds <= 600_000


async def test_an_erased_number_has_no_pointer(installation: Installation) -> None:
    """`numbers forget` deletes it with the challenge, and a start is then a new verification."""
    first = await start(installation)

    erased = await installation.service.numbers.forget_number(
        installation.build_caller(), parse_number(NUMBER), ignore_progress
    )
    left = await installation.list_keys("*:pointer:*")
    second = await start(installation)

    assert 1 == erased.challenges
    assert [] == left
    assert first.challenge.id != second.challenge.id


async def test_a_verification_does_not_print_its_number(installation: Installation) -> None:
    """A log line of an exception may contain it."""
    started = await start(installation)

    assert NUMBER == started.number
    assert NUMBER not in repr(started)

"""Numbers with a fixed code: only the draw of the code is different."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from otp_service.core.codes import SALT_BYTES, generate_code
from otp_service.core.errors import IncorrectCode, NumberNotAllowed, OtpError, StoreUnavailable
from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import KEY_RING_NAMES, KeyRing, ServiceKeys
from otp_service.core.prepared_codes import HashedCode
from otp_service.store.client import MAX_LOST_REPLIES, ScriptClient
from tests.installation import (
    PROVIDER_REFUSAL,
    SECOND_MS,
    Installation,
    generate_keys,
    make_wrong_code,
)
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


NUMBER, OTHER_NUMBER = "+447700900555", "+447700900556"
CODE = "012345"
FIXED_CODES = FixedCodes({NUMBER: CODE})


@pytest.fixture
def fixed(installation: Installation) -> Installation:
    """An installation with one fixed code."""
    return installation.restart(fixed_codes=FIXED_CODES)


async def prepare_code(installation: Installation) -> str:
    """Add a code to the prepared ones, and return it."""
    dependencies = installation.dependencies
    code = generate_code(dependencies.random.randbelow, dependencies.policy.digits)
    salt = dependencies.random.token_bytes(SALT_BYTES)
    argon2_hash = await installation.hasher.compute_argon2id(code, salt)
    dependencies.prepared_codes.add(HashedCode(code, salt, argon2_hash))
    return code


async def test_a_listed_number_gets_its_code_and_verifies_it_once(fixed: Installation) -> None:
    """Sent, compared and refused as any other code."""
    issued = await fixed.issue(NUMBER)

    assert CODE == fixed.router.extract_code()
    with pytest.raises(IncorrectCode):
        await fixed.verify(issued, make_wrong_code(CODE))
    await fixed.verify(issued, CODE)


async def test_every_challenge_and_every_resend_has_the_same_code(fixed: Installation) -> None:
    """A recorded test types it without an inbox."""
    issued = await fixed.issue(NUMBER)
    for _ in range(2):
        fixed.advance_clock(31 * SECOND_MS)
        await fixed.resend(issued)
    await fixed.verify(issued, CODE)
    fixed.advance_clock(31 * SECOND_MS)
    again = await fixed.issue(NUMBER, tenant="bank")
    await fixed.verify(again, CODE, tenant="bank")

    assert {CODE} == {fixed.router.extract_code(i) for i in range(4)}


async def test_the_prepared_codes_are_for_other_numbers(fixed: Installation) -> None:
    """One would be sent in place of the fixed code."""
    prepared = await prepare_code(fixed)

    await fixed.issue(NUMBER)
    assert CODE == fixed.router.extract_code()
    assert 1 == len(fixed.dependencies.prepared_codes)

    other = await fixed.issue(OTHER_NUMBER)
    assert prepared == fixed.router.extract_code()
    await fixed.verify(other, prepared)


async def test_no_other_number_verifies_a_fixed_code(fixed: Installation) -> None:
    """The code of a number that is not listed is drawn, and one of a real number always is."""
    for number in (OTHER_NUMBER, "+447400123456"):
        issued = await fixed.issue(number)
        if fixed.router.extract_code() != CODE:
            with pytest.raises(IncorrectCode):
                await fixed.verify(issued, CODE)


async def test_a_real_number_has_no_fixed_code(installation: Installation) -> None:
    """R38: also where the rules did not refuse it. `dev` accepts real numbers."""
    number = "+447400123456"
    other = installation.restart(fixed_codes=FixedCodes({number: CODE}))
    sent = []
    for _ in range(3):
        await other.issue(number)
        sent.append(other.router.extract_code())
        other.advance_clock(31 * SECOND_MS)

    assert [CODE] * 3 != sent


async def test_live_mode_refuses_the_number_before_anything_else(fixed: Installation) -> None:
    """R38: a live service sends nothing to it, so it has no challenge."""
    live = fixed.restart(fixed_codes=FIXED_CODES, allow_fictitious=False)

    with pytest.raises(NumberNotAllowed):
        await live.issue(NUMBER)

    assert [] == live.router.messages


async def test_a_resend_that_no_provider_took_keeps_the_first_code(fixed: Installation) -> None:
    """Both have the same hash."""
    issued = await fixed.issue(NUMBER)
    fixed.advance_clock(31 * SECOND_MS)
    fixed.router.queue_replies(PROVIDER_REFUSAL)

    with pytest.raises(Exception, match="No provider took the message"):
        await fixed.resend(issued)

    await fixed.verify(issued, CODE)


async def test_a_live_service_reads_no_challenge_of_a_key_for_tests(
    script_client: ScriptClient,
) -> None:
    """A25: also in one Redis and with the same secrets, because their ids are never the same."""
    test_keys = generate_keys("test-1")
    rings = {name: getattr(test_keys, name) for name in KEY_RING_NAMES}
    live_keys = ServiceKeys(
        **{
            name: KeyRing((msgspec.structs.replace(ring.current, id="1"),))
            for name, ring in rings.items()
        }
    )
    tests = Installation(script_client, test_keys, fixed_codes=FIXED_CODES)
    live = Installation(script_client, live_keys, allow_fictitious=False)
    issued = await tests.issue(NUMBER)

    with pytest.raises(OtpError) as refusal:
        await live.verify(issued, CODE)

    assert isinstance(refusal.value, StoreUnavailable)
    await tests.verify(issued, CODE)


@pytest.fixture
async def remote_fixed(remote: Installation) -> AsyncIterator[Installation]:
    """The same behind a bad network."""
    other = remote.restart(fixed_codes=FIXED_CODES)
    yield other
    await other.dependencies.refunds.drain(0)


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
async def test_a_resend_that_is_withdrawn_leaves_the_code_of_the_first_send(
    remote_fixed: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """The hash alone does not say of which send a code is."""
    issued = await remote_fixed.issue(NUMBER)
    remote_fixed.advance_clock(31 * SECOND_MS)
    proxy.fail_next(fate, b"otp.resent", times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote_fixed.resend(issued)
    assert 0 == await remote_fixed.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    await remote_fixed.verify(issued, CODE)

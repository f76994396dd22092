"""Codes that are live while the service changes its argon2 engine: workers of both serve them."""

import pytest

from otp_service.core.errors import IncorrectCode
from otp_service.hashing import ARGON2_CFFI, Engine
from otp_service.hashing.libsodium import LibsodiumEngine
from otp_service.schemas import CreateRecoveryCodesRequest, VerifyRecoveryCodeRequest
from tests.installation import SECOND_MS, CountingHasher, Installation, make_wrong_code


LIBSODIUM = LibsodiumEngine()
DIRECTIONS = pytest.mark.parametrize(
    ("before", "after"),
    [(ARGON2_CFFI, LIBSODIUM), (LIBSODIUM, ARGON2_CFFI)],
    ids=["to libsodium", "to argon2-cffi"],
)


def restart_with(installation: Installation, engine: Engine) -> Installation:
    return installation.restart(hasher=CountingHasher(engine))


@DIRECTIONS
async def test_a_code_of_one_engine_is_verified_with_the_other(
    installation: Installation, before: Engine, after: Engine
) -> None:
    """Also if each engine has made one of the two live codes; a wrong code is refused by both."""
    old, new = restart_with(installation, before), restart_with(installation, after)
    for sent in (0, 1):
        number = f"+44740012345{sent}"
        issued = await old.issue(number)
        old.advance_clock(31 * SECOND_MS)
        new.advance_clock(31 * SECOND_MS)
        await new.resend(issued)
        codes = [installation.router.extract_code(index) for index in (-2, -1)]
        for one in (old, new):
            with pytest.raises(IncorrectCode):
                await one.verify(issued, make_wrong_code(codes[0], 1 + (codes[1] > codes[0])))

        verified = await (new, old)[sent].verify(issued, codes[sent])

        assert verified.challenge
        assert verified.challenge.verified_at


@DIRECTIONS
async def test_recovery_codes_of_one_engine_are_verified_with_the_other(
    installation: Installation, before: Engine, after: Engine
) -> None:
    """They are kept for a year, so every change of the machine meets some."""
    old, new = restart_with(installation, before), restart_with(installation, after)
    caller = installation.build_caller()
    request = CreateRecoveryCodesRequest("u-81")
    created = await old.service.recovery_sets.create_set(caller, request)

    answer = await new.service.recovery_sets.verify_code(
        caller, VerifyRecoveryCodeRequest(created.token, "u-81", created.codes[3], None), None
    )

    assert len(created.codes) - 1 == answer.codes_left

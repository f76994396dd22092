"""Authenticators of another system after an import, and all of them after a rotation of the key."""

import json

import pytest
from msgspec.structs import replace

from otp_service.core import errors
from otp_service.core.authenticator_transfer import (
    export_line,
    import_authenticator,
    parse_import_line,
    reseal_line,
)
from otp_service.core.keys import Key, KeyRing
from otp_service.core.sealed_token import TokenCipher
from tests.installation import SECOND_MS, Installation
from tests.service.app_user import PERIOD_MS, AppUser, pass_time


SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def create_cipher(installation: Installation) -> TokenCipher:
    random = installation.dependencies.random
    return TokenCipher(installation.keys.authenticator, random.token_bytes)


async def import_user(installation: Installation, **members: object) -> AppUser:
    """Return a user of the other system, imported one second after the begin of a step."""
    user = AppUser(installation)
    await user.enroll()  # this Redis has an epoch since then; in service, each minute begins it
    user.secret = SECRET
    await user.start_step()
    line = json.dumps({"account": user.account, "secret": SECRET, **members})
    account, parameters = parse_import_line(line, user.tenant, is_hex=False)
    imported = import_authenticator(
        installation.dependencies.random.token_bytes,
        user.tenant,
        account,
        parameters,
        await user.read_time(),
    )
    user.token = imported.seal(create_cipher(installation))
    return user


async def test_no_code_that_the_other_system_has_seen_is_accepted(
    installation: Installation,
) -> None:
    """It accepts one step either way, like this service; the code of the step after those works."""
    user = await import_user(installation)
    seen = [await user.read_code(offset) for offset in (-1, 0, 1)]

    for wait_ms in (0, PERIOD_MS):
        installation.advance_clock(wait_ms)
        for code in seen:
            with pytest.raises((errors.CodeAlreadyUsed, errors.IncorrectCode)):
                await user.verify(code)
        await installation.service.accounts.unlock_account(
            installation.build_caller("shop"), "shop", user.account
        )

    installation.advance_clock(PERIOD_MS)
    await user.verify(await user.read_code())


async def test_an_imported_authenticator_logs_in_with_the_code_after_the_next(
    installation: Installation,
) -> None:
    user = await import_user(installation)
    code = await user.read_code(2)

    with pytest.raises(errors.IncorrectCode):
        await user.verify(code)
    await user.start_step()

    assert user.token == (await user.verify(code)).token
    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)


async def test_a_repeated_import_accepts_no_code_twice(installation: Installation) -> None:
    """Both tokens have the same secret: a row may have either of them."""
    user = await import_user(installation)
    first, second = user.token, (await import_user(installation)).token
    assert first != second
    await user.start_step(2)
    code = await user.read_code()
    await user.verify(code, token=second)

    for token in (first, second):
        with pytest.raises(errors.CodeAlreadyUsed):
            await user.verify(code, token=token)


async def test_a_secret_that_is_imported_twice_over_http_accepts_no_code_twice(
    installation: Installation,
) -> None:
    user = AppUser(installation)
    await user.enroll(secret=SECRET)
    first = user.token
    code = await user.read_new_code()
    await user.verify(code)

    await user.create(secret=SECRET)
    with pytest.raises(errors.CodeAlreadyUsed):
        await user.confirm(code)
    user.token = (await user.confirm(await user.read_new_code())).token
    code = await user.read_new_code()
    await user.verify(code, token=first)
    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)


async def test_an_exported_authenticator_and_its_import_accept_no_code_twice(
    installation: Installation,
) -> None:
    """It was created over HTTP, and the key was rotated before the export and the import."""
    user = AppUser(installation)
    await user.enroll()
    old_token, old_ring = user.token, installation.keys.authenticator
    new_ring = KeyRing((Key("new", b"n" * 32), *old_ring.keys))
    keys = replace(installation.keys, authenticator=new_ring)
    user.installation = rotated = installation.restart(keys=keys)
    cipher = create_cipher(rotated)
    exported = export_line(cipher, json.dumps({"authenticator": old_token}))
    account, parameters = parse_import_line(json.dumps(exported), user.tenant, is_hex=False)
    random, now = rotated.dependencies.random.token_bytes, await user.read_time()
    imported = import_authenticator(random, user.tenant, account, parameters, now)

    await user.start_step(2)
    code = await user.read_code()
    await user.verify(code, token=old_token)

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code, token=imported.seal(cipher))


@pytest.mark.parametrize("period", [10, 30, 120])
async def test_a_used_code_is_refused_for_as_long_as_its_step_matches(
    installation: Installation, period: int
) -> None:
    """RFC 6238 §5.2. It is used when it matches first, by a phone that is ahead, and sent again last."""
    user = await import_user(installation, period=period)
    period_ms = period * SECOND_MS
    begin = (await user.read_time() // period_ms + 4) * period_ms
    code = user.compute_code(begin // period_ms + 1)
    installation.advance_clock(begin + SECOND_MS - await user.read_time())
    await user.verify(code)
    last_match = begin + 3 * period_ms - 5 * SECOND_MS
    await pass_time(installation, last_match - await user.read_time())

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)


async def test_an_import_of_eight_digits_takes_codes_of_eight(installation: Installation) -> None:
    user = await import_user(installation, digits=8, period=60)
    await user.start_step(10)

    with pytest.raises(errors.MalformedCode):
        await user.verify("123456")
    with pytest.raises(errors.IncorrectCode):
        await user.verify("12345678")


async def test_a_resealed_token_keeps_the_steps_of_its_authenticator(
    installation: Installation,
) -> None:
    """Tokens under two keys are in use at once; a used code is used under both."""
    user = AppUser(installation)
    await user.enroll()
    old_token, old_ring = user.token, installation.keys.authenticator
    new_ring = KeyRing((Key("new", b"n" * 32), *old_ring.keys))
    keys = replace(installation.keys, authenticator=new_ring)
    user.installation = rotated = installation.restart(keys=keys)
    line = json.dumps({"row": 1, "authenticator": old_token})
    members, resealed = reseal_line(create_cipher(rotated), line)
    new_token = members["authenticator"]

    code = await user.read_new_code()
    verified = await user.verify(code, token=old_token)

    assert (1, 1) == (members["row"], resealed)
    assert len({old_token, new_token, verified.token}) == 3
    for token in (old_token, new_token, verified.token):
        with pytest.raises(errors.CodeAlreadyUsed):
            await user.verify(code, token=token)
    rotated.advance_clock(SECOND_MS)
    assert new_token == (await user.verify(await user.read_new_code(), token=new_token)).token

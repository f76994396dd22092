"""What a type checker sees of the methods, which are made of functions: `make check` reads this file.

It is never run. Where a method lost its type, `assert_type` is an error, and so is an ignored error that does not
occur.
"""

from datetime import datetime
from typing import assert_type

from otp_service_client import (
    AsyncOtpClient,
    Challenge,
    IncorrectCode,
    InvalidRequest,
    NewRecoverySet,
    OtpClient,
    RateLimited,
    VerifiedChallenge,
    VerifiedRecoverySet,
)


def use_blocking_client(client: OtpClient) -> None:
    """Names, types and the number of arguments are checked."""
    with client as entered:
        assert_type(entered, OtpClient)
    assert_type(client.issue_challenge("+447700900123", account="u-81"), Challenge)
    assert_type(client.verify_challenge("c00-0", "123456"), VerifiedChallenge)
    assert_type(client.verify_challenge("c00-0", code="123456").verified_at, datetime)
    assert_type(client.create_recovery_codes("u-81"), NewRecoverySet)
    client.cancel_challenge("c00-0")
    client.issue_challenge(447700900123)  # type: ignore[arg-type]
    client.issue_challenge("+447700900123", number="x")  # type: ignore[call-arg]
    client.issue_challenge("+447700900123", "login")  # type: ignore[call-arg]
    client.verify_challenge("c00-0")  # type: ignore[call-arg]


async def use_async_client(client: AsyncOtpClient) -> None:
    """The same methods are coroutines."""
    async with client as entered:
        assert_type(entered, AsyncOtpClient)
    assert_type(await client.issue_challenge("+447700900123"), Challenge)
    assert_type(
        await client.verify_recovery_code("r1.x", "u-81", "7KQM-2D4X-9TRA-HVN5"),
        VerifiedRecoverySet,
    )
    await client.verify_challenge("c00-0", 123456)  # type: ignore[arg-type]


def read_errors(wrong: IncorrectCode, limit: RateLimited, invalid: InvalidRequest) -> None:
    """Each exception has its own members."""
    assert_type(wrong.attempts_left, int | None)
    assert_type(limit.retry_after, int)
    assert_type([error.path for error in invalid.errors], list[str])
    print(limit.attempts_left)  # type: ignore[attr-defined]

"""What a caller learns from an error: the problem of the HTTP contract."""

import traceback
from pathlib import Path

from otp_service.core.errors import OtpError, Overloaded, TemporarilyUnavailable
from tests.simulation.history import Failed, Outcome, PlainValue, Refused, Unavailable


DETAIL_NAMES = {"attempts_left": "attempts_left", "reason_code": "reason", "challenge_id": "id"}
"""The attributes of errors that problems have as members, and the names of these."""


def describe_error(error: Exception) -> Outcome:
    """Return the outcome of a call that has raised this error."""
    if isinstance(error, TemporarilyUnavailable):
        if isinstance(error, Overloaded):
            return Unavailable("overloaded", error.retry_after)
        return Unavailable("store-unavailable", error.retry_after)
    limit = getattr(error, "limit", None)
    if isinstance(error, OtpError):
        return Refused(
            reason=error.problem_type,
            retry_after=getattr(error, "retry_after", None),
            limit=str(limit) if limit else None,
            details=_list_details(error),
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Failed(
        f"{type(error).__name__} in {frame.name} of {Path(frame.filename).name}:{frame.lineno}"
    )


def _list_details(error: OtpError) -> dict[str, PlainValue]:
    found = {name: getattr(error, key, None) for key, name in DETAIL_NAMES.items()}
    return {
        name: str(value) if isinstance(value, str) else value  # that of an enum is a text
        for name, value in found.items()
        if value is not None
    }

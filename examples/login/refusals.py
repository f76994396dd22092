"""What a person reads when something does not work, and what raises it.

A guesser learns from a precise reason. So every refusal of the service has one text and one status, and
the reason is in the log. Only a wait is shown: without it a person cannot know when to go on.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from otp_service_client import (
    AccountLocked,
    CodeRefused,
    NumberLocked,
    NumberRefused,
    OtpServiceError,
    RateLimited,
    SendsExhausted,
)


logger = logging.getLogger(__name__)

REFUSAL_TEXT: Final = "That did not work. Check the code, ask for a new one, or choose another way."
OUTAGE_TEXT: Final = "This does not work at the moment. Try again later, or choose another way."
PASSWORD_TEXT: Final = "The name or the password is wrong."  # noqa: S105  # a message

OLD_FORM_TEXT: Final = "This form was too old, and nothing was done. Try again."

REFUSAL_CLASSES: Final = (
    CodeRefused,
    NumberRefused,
    SendsExhausted,
    NumberLocked,
    AccountLocked,
)
"""What a person can cause. Everything else is an outage, or a defect here."""


class LoginRequired(Exception):
    """The session has not proved what the page needs: go to /login."""


class Refused(Exception):
    """Show `page` again, with this text."""

    def __init__(
        self, page: str, text: str = REFUSAL_TEXT, *, status: int = 422, wait_seconds: int = 0
    ) -> None:
        super().__init__(text)
        self.page, self.text, self.status = page, text, status
        self.wait_seconds = wait_seconds
        """Seconds until it can be tried again, if that is known."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.wait_seconds)} if self.wait_seconds else {}


@contextmanager
def refuse_on_error(page: str) -> Iterator[None]:
    """Raise Refused for an error of the client. No log line has a code or a phone number."""
    try:
        yield
    except RateLimited as error:
        logger.info("otp-service refused: %s", error.limit)
        raise Refused(page, status=429, wait_seconds=error.retry_after) from error
    except REFUSAL_CLASSES as error:
        logger.info("otp-service refused: %s", error.slug)
        raise Refused(page) from error
    except OtpServiceError as error:
        logger.error("otp-service failed: %s", error)  # noqa: TRY400  # the error has no secret
        raise Refused(page, OUTAGE_TEXT, status=503, wait_seconds=error.retry_after or 0) from error

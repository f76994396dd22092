"""The parts of a site, and what its pages show: the same for each framework."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from examples.login.account_settings import AccountSettings
from examples.login.login_flow import LoginFlow
from examples.login.refusals import LoginRequired, Refused
from examples.login.session import Session
from examples.login.stub_users import StubUsers
from otp_service_client import OtpClient


T = TypeVar("T")


@dataclass(frozen=True)
class PendingView:
    """What the pages of the second factor show."""

    sent_to: str
    """The last two digits of the number; empty if no code was sent."""
    resend_seconds: int
    has_app: bool
    has_recovery_codes: bool


class LoginSite:
    """One site. It is made once, at the start, and serves all threads."""

    def __init__(self, otp: OtpClient, get_time: Callable[[], float] = time.time) -> None:
        users = StubUsers()
        self.flow = LoginFlow(otp, users, get_time)
        self.account = AccountSettings(otp, users, self.flow, get_time)
        self._get_time = get_time

    def describe(self, session: Session, refusal: Refused | None = None) -> dict[str, Any]:
        """Return the values that the templates show; None for what the session has not proved."""
        return {
            "refusal": refusal,
            "pending": find_proved(self._view_pending_login, session),
            "user": find_proved(self.flow.get_user, session),
            "is_fresh": find_proved(self.account.get_proved_user, session) is not None,
            "enrollment": find_proved(self.account.get_enrollment, session),
            "used_recovery_code": session.get("used_recovery_code"),
        }

    def _view_pending_login(self, session: Session) -> PendingView:
        pending, user = self.flow.get_pending_login(session)
        return PendingView(
            sent_to=pending.sent_to,
            resend_seconds=max(0, math.ceil(pending.resend_at - self._get_time())),
            has_app=user.authenticator is not None,
            has_recovery_codes=user.recovery_set is not None,
        )


def find_proved(get: Callable[[Session], T], session: Session) -> T | None:
    """Return what `get` returns, or None where it requires a login."""
    try:
        return get(session)
    except LoginRequired:
        return None

"""What a user sets up after the login: an authenticator app and recovery codes.

Each change needs a second factor that was proved within the last minutes. A session that was left open,
or was stolen later, changes nothing.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from examples.login.login_flow import MAX_CODE_CHARS, LoginFlow
from examples.login.refusals import LoginRequired, refuse_on_error
from examples.login.session import Session
from examples.login.stub_users import StubUsers, User
from otp_service_client import OtpClient


FRESH_SECONDS: Final = 600
"""How long a second factor is fresh."""


@dataclass(frozen=True)
class Enrollment:
    """An authenticator that is not confirmed. It is in the session until a code has confirmed it."""

    authenticator: str
    secret: str
    uri: str
    qr_image: str
    """A data: URI. In an image nothing of an SVG runs, so the page trusts no markup."""


class AccountSettings:
    """Every change of a user's factors."""

    def __init__(
        self,
        otp: OtpClient,
        users: StubUsers,
        flow: LoginFlow,
        get_time: Callable[[], float] = time.time,
    ) -> None:
        self._otp, self._users, self._flow, self._get_time = otp, users, flow, get_time

    def begin_enrollment(self, session: Session) -> None:
        """Create an authenticator. The present one works until the new one is confirmed."""
        user = self.get_proved_user(session)
        # Apps replace an entry of the same name without asking, also if the set-up is given up.
        name = f"{user.name} {time.strftime('%Y-%m-%d %H:%M')}" if user.authenticator else user.name
        with refuse_on_error("account.html"):
            new = self._otp.create_authenticator(user.account, name=name)
        image = base64.b64encode(new.qr_svg.encode()).decode()
        enrollment = Enrollment(
            new.authenticator, new.secret, new.uri, f"data:image/svg+xml;base64,{image}"
        )
        session.put("enrollment", asdict(enrollment))

    def get_enrollment(self, session: Session) -> Enrollment:
        """Return the authenticator to confirm. Raises LoginRequired without one."""
        self.get_proved_user(session)
        values = session.get("enrollment")
        if values is None:
            raise LoginRequired
        return Enrollment(**values)

    def confirm_enrollment(self, session: Session, code: str) -> None:
        """Replace the user's authenticator, once its app has shown a right code."""
        user, enrollment = self.get_proved_user(session), self.get_enrollment(session)
        with refuse_on_error("enrollment.html"):
            active = self._otp.confirm_authenticator(
                enrollment.authenticator, user.account, code[:MAX_CODE_CHARS]
            )
        self._users.store_authenticator(user.account, active.authenticator)
        session.put("enrollment", None)

    def remove_authenticator(self, session: Session) -> None:
        """Delete the token: another person may have the phone. Its codes verify nothing then."""
        self._users.store_authenticator(self.get_proved_user(session).account, None)

    def create_recovery_codes(self, session: Session) -> tuple[str, ...]:
        """Return ten codes, to be shown once. They replace those from before."""
        user = self.get_proved_user(session)
        with refuse_on_error("account.html"):
            new = self._otp.create_recovery_codes(user.account)
        self._users.store_recovery_set(user.account, new.recovery_set, len(new.codes))
        return new.codes

    def get_proved_user(self, session: Session) -> User:
        """Return the user whose second factor is fresh. Raises LoginRequired otherwise."""
        user = self._flow.get_user(session)
        if session.get("proved_at") + FRESH_SECONDS < self._get_time():
            raise LoginRequired
        return user

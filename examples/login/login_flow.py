"""The login, without a web framework: what is asked of the service, and what a session has proved.

    password ──► pending ──► one code: SMS, app or recovery ──► logged in

Each method returns if the step has succeeded, and raises `Refused` or `LoginRequired` otherwise.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

from examples.login.refusals import PASSWORD_TEXT, LoginRequired, Refused, refuse_on_error
from examples.login.session import Session
from examples.login.stub_users import StubUsers, User
from otp_service_client import (
    Challenge,
    ChallengeEnded,
    OtpClient,
    SendsExhausted,
)


PENDING_SECONDS: Final = 600
"""How long a right password may wait for its code."""

LOGIN_PURPOSE: Final = "login"
"""A code that was sent for another purpose, like a payment, does not log in."""

MAX_CODE_CHARS: Final = 64
"""A recovery code has 19, and people type spaces. What is longer is cut, and so is no code."""


@dataclass(frozen=True)
class PendingLogin:
    """A right password. It is stored in the session, and nowhere else."""

    account: str
    until: float
    """When the password is needed again; seconds since the epoch."""
    challenge: str | None = None
    """The id of the challenge. It never leaves the server, so no other session can use it."""
    sent_to: str = ""
    """The last two digits of the number."""
    resend_at: float = 0


class LoginFlow:
    """Every step of the login."""

    def __init__(
        self, otp: OtpClient, users: StubUsers, get_time: Callable[[], float] = time.time
    ) -> None:
        self._otp, self._users, self._get_time = otp, users, get_time

    # ------------------------------------------------------------------------------- the password

    def start(self, session: Session, name: str, password: str, client_ip: str) -> str:
        """Check the password and return the path of the second factor.

        A message is sent only after a right password: others could let us pay for messages.
        """
        user = self._users.check_password(name, password)
        if user is None:
            raise Refused("login.html", PASSWORD_TEXT)
        pending = PendingLogin(user.account, until=self._get_time() + PENDING_SECONDS)
        session.renew(pending=asdict(pending))
        if user.authenticator:
            return "/login/app"
        self.send_code(session, client_ip)
        return "/login/sms"

    # -------------------------------------------------------------------------- the second factor

    def send_code(self, session: Session, client_ip: str) -> None:
        """Send a code by SMS, or send a new one."""
        pending, user = self._get_sms_login(session)
        with refuse_on_error("sms.html"):
            challenge = self._send(pending, user, client_ip)
        sent = replace(
            pending,
            challenge=challenge.id,
            sent_to=challenge.phone_number[-2:],
            resend_at=challenge.resend_at.timestamp(),
        )
        session.put("pending", asdict(sent))

    def check_sms_code(self, session: Session, code: str, client_ip: str) -> None:
        """Log in with a code that was sent to this session."""
        pending, user = self._get_sms_login(session)
        if pending.challenge is None:
            raise Refused("sms.html")
        with refuse_on_error("sms.html"):
            self._otp.verify_challenge(
                pending.challenge,
                code[:MAX_CODE_CHARS],
                account=user.account,
                phone_number=user.phone_number,  # not the one that it was before a change
                purpose=LOGIN_PURPOSE,
                client_ip=client_ip,
            )
        self._complete(session, user)

    def check_app_code(self, session: Session, code: str, client_ip: str) -> None:
        """Log in with a code of the authenticator app."""
        _, user = self.get_pending_login(session)
        if user.authenticator is None:
            raise Refused("app.html")
        with refuse_on_error("app.html"):
            verified = self._otp.verify_authenticator(
                user.authenticator,
                user.account,
                code[:MAX_CODE_CHARS],
                purpose=LOGIN_PURPOSE,
                client_ip=client_ip,
            )
        if not self._users.store_verified(user, authenticator=verified.authenticator):
            raise Refused("app.html")
        self._complete(session, user)

    def check_recovery_code(self, session: Session, code: str, client_ip: str) -> None:
        """Log in with a recovery code, which is then used."""
        _, user = self.get_pending_login(session)
        if user.recovery_set is None:
            raise Refused("recovery.html")
        with refuse_on_error("recovery.html"):
            verified = self._otp.verify_recovery_code(
                user.recovery_set,
                user.account,
                code[:MAX_CODE_CHARS],
                client_ip=client_ip,
            )
        token, codes_left = verified.recovery_set, verified.codes_left
        if not self._users.store_verified(user, recovery_set=token, recovery_codes_left=codes_left):
            raise Refused("recovery.html")
        # Here a real site informs the user by e-mail: an account was recovered.
        self._complete(session, user, used_recovery_code=True)

    def _get_sms_login(self, session: Session) -> tuple[PendingLogin, User]:
        """Return the login of a user without an app.

        SMS is the weaker factor (NIST SP 800-63B-4, 3.2.9): an account that left it does not fall back
        to it. A user who has lost the app takes a recovery code.
        """
        pending, user = self.get_pending_login(session)
        if user.authenticator:
            raise Refused("app.html")
        return pending, user

    def _send(self, pending: PendingLogin, user: User, client_ip: str) -> Challenge:
        """Resend the code of a challenge: the earlier one stays valid, as messages may arrive late."""
        if pending.challenge:
            try:
                return self._otp.resend_code(pending.challenge)
            except (ChallengeEnded, SendsExhausted):
                pass  # this challenge sends nothing more
        return self._otp.issue_challenge(
            user.phone_number, account=user.account, purpose=LOGIN_PURPOSE, client_ip=client_ip
        )

    def _complete(self, session: Session, user: User, *, used_recovery_code: bool = False) -> None:
        session.renew(
            account=user.account,
            proved_at=self._get_time(),
            used_recovery_code=used_recovery_code,
        )

    # ---------------------------------------------------------------------- what a session proves

    def get_pending_login(self, session: Session) -> tuple[PendingLogin, User]:
        """Return the login whose password was right. Raises LoginRequired without one."""
        values = session.get("pending")
        pending = PendingLogin(**values) if values else None
        user = self._users.find_user(pending.account) if pending else None
        if pending is None or user is None or pending.until < self._get_time():
            raise LoginRequired
        return pending, user

    def get_user(self, session: Session) -> User:
        """Return the user who is logged in. Raises LoginRequired without one."""
        account = session.get("account")
        user = self._users.find_user(account) if account else None
        if user is None:
            raise LoginRequired
        return user

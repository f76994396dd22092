"""Authenticator apps."""

from otp_service_client.calls.call import Call, omit_none
from otp_service_client.results import ActiveAuthenticator, NewAuthenticator, VerifiedAuthenticator


def create_authenticator(
    account: str, *, name: str | None = None, secret: str | None = None
) -> Call[NewAuthenticator]:
    """Create the secret of a user's authenticator app, as text, link and QR code.

    `name` is shown in the app, and is the account by default. `secret` imports one (base32).
    """
    return Call(
        operation="create_authenticator",
        method="POST",
        path="/v1/authenticators",
        success_status=201,
        result_type=NewAuthenticator,
        body=omit_none(account=account, name=name, secret=secret),
    )


def confirm_authenticator(
    authenticator: str, account: str, code: str, *, idempotency_key: str | None = None
) -> Call[ActiveAuthenticator]:
    """Confirm an authenticator with a code of the app. Store the token that it returns."""
    return Call(
        operation="confirm_authenticator",
        method="POST",
        path="/v1/authenticators/confirm",
        result_type=ActiveAuthenticator,
        body=omit_none(authenticator=authenticator, account=account, code=code),
        takes_key=True,
        idempotency_key=idempotency_key,
    )


def verify_authenticator(
    authenticator: str,
    account: str,
    code: str,
    *,
    purpose: str | None = None,
    client_ip: str | None = None,
    idempotency_key: str | None = None,
) -> Call[VerifiedAuthenticator]:
    """Verify a code of the app. It is right if, and only if, the call returns, and once.

    Store the token that it returns. Raises CodeRefused where the code does not work.
    """
    return Call(
        operation="verify_authenticator",
        method="POST",
        path="/v1/authenticators/verify",
        result_type=VerifiedAuthenticator,
        body=omit_none(
            authenticator=authenticator,
            account=account,
            code=code,
            purpose=purpose,
            client_ip=client_ip,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
    )

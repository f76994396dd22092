"""Recovery codes."""

from otp_service_client.calls.call import Call, omit_none
from otp_service_client.results import NewRecoverySet, VerifiedRecoverySet


def create_recovery_codes(account: str) -> Call[NewRecoverySet]:
    """Create ten recovery codes. Ask for a fresh second factor before."""
    return Call(
        operation="create_recovery_codes",
        method="POST",
        path="/v1/recovery-codes",
        success_status=201,
        result_type=NewRecoverySet,
        body=omit_none(account=account),
    )


def verify_recovery_code(
    recovery_set: str,
    account: str,
    code: str,
    *,
    client_ip: str | None = None,
    idempotency_key: str | None = None,
) -> Call[VerifiedRecoverySet]:
    """Verify a recovery code. It is right if, and only if, the call returns, and once.

    Store the token that it returns. Raises CodeRefused where the code does not work.
    """
    return Call(
        operation="verify_recovery_code",
        method="POST",
        path="/v1/recovery-codes/verify",
        result_type=VerifiedRecoverySet,
        body=omit_none(recovery_set=recovery_set, account=account, code=code, client_ip=client_ip),
        takes_key=True,
        idempotency_key=idempotency_key,
    )

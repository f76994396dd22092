"""The errors that refuse a call.

    OtpError
    ├── InvalidRequest                the request breaks the HTTP contract                   400
    │   └── MalformedCode             wrong length or characters: costs no attempt           400
    ├── Unauthenticated               the API key is missing, unknown or expired             401
    ├── Forbidden                     the key lacks the scope, or the purpose is refused     403
    ├── ChallengeNotFound             unknown to this tenant, or ended over an hour ago      404
    ├── DeliveryNotFound              the same for a delivery                                404
    ├── ChallengeEnded                no longer verified, sent again or canceled             410
    │   ├── ChallengeExpired          the deadline has passed, or is too near to send
    │   ├── ChallengeLocked           no attempts are left
    │   ├── ChallengeCanceled         by the tenant, or no provider took the message
    │   └── ChallengeAlreadyVerified
    ├── SendsExhausted                                                                       409
    ├── IdempotencyKeyInUse, IdempotencyKeyReused                                            409, 422
    ├── InvalidPhoneNumber            not strict E.164, or unknown; nothing is repaired      422
    ├── NumberNotAllowed              by the policy                                          422
    ├── NumberLocked, AccountLocked                                                          403
    ├── InvalidAuthenticator, InvalidRecoverySet   a token that this account cannot use     422
    ├── AuthenticatorNotConfirmed, AuthenticatorAlreadyConfirmed                             409
    ├── IncorrectCode                 costs an attempt                                       422
    ├── CodeAlreadyUsed               a right code, but a second time: costs an attempt too  422
    ├── Undeliverable                 a provider refused the number, as all would            422
    ├── DeliveryFailed                no provider took or may have sent the message          502
    ├── RateLimited                   a limit refused                                        429
    └── TemporarilyUnavailable        nothing was compared and nothing was sent              503
        ├── Overloaded                nothing was charged
        └── StoreUnavailable          Redis fails or lacks replicas; the outcome is unknown
            ├── NotReplicated         applied, but too few replicas have it
            ├── EventLogFull          nothing is granted until the archive is written
            ├── ResultNotStored       a message may have been sent
            ├── StoreTampered         a wrong MAC: another program wrote a record
            └── StoreKeyUnknown       a record under a key that this process does not have

`api/problems.py` converts each into its problem document. The text of an error is a sentence for
the caller's developer: it names a remedy, and never holds a code or a number.

Errors of the audit package have roots of their own, because no caller of the API gets them:

    KeyFileError                      a file holds no usable signing key               command line
    ArchiveDamagedError               an archive cannot be continued                   status of the sealer
    FencedOffError                    another sealer holds a higher fencing token      the lease is lost
    SinkError                         a sink has not stored the lines                  delivered again
"""

from collections.abc import Mapping
from typing import ClassVar


class OtpError(Exception):
    problem_type: ClassVar[str] = "internal-error"
    audit_reason: ClassVar[str] = ""
    """The reason in events, if it is not the problem type."""
    detail: ClassVar[str] = ""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.detail)

    @property
    def reason(self) -> str:
        """The reason that events record."""
        return self.audit_reason or self.problem_type


class InvalidRequest(OtpError):
    """The request breaks the HTTP contract; `errors` holds (path, message) pairs."""

    problem_type = "invalid-request"
    detail = "The request is not valid. See errors, correct it and send it again."

    def __init__(self, *errors: tuple[str, str], detail: str = "") -> None:
        super().__init__(detail)
        self.errors = errors


class MalformedCode(InvalidRequest):
    problem_type = "malformed-code"
    audit_reason = "malformed"
    detail = "The code must be a string of ASCII digits. No attempt was charged."


class Unauthenticated(OtpError):
    problem_type = "unauthenticated"
    detail = "Send a valid API key as 'Authorization: Bearer <key>'."


class InboundUnauthenticated(Unauthenticated):
    """Neither the token of the address /v1/inbound is right, nor is the request signed."""

    detail = (
        "Send the inbound_token as the parameter 'token', or as a password of Basic authentication."
    )


class Forbidden(OtpError):
    problem_type = "forbidden"
    detail = "This API key may not do that. Use a key with the scope that the endpoint needs."


class ChallengeNotFound(OtpError):
    problem_type = "challenge-not-found"
    audit_reason = "not_found"
    detail = "There is no such challenge. Issue a new one."


class DeliveryNotFound(OtpError):
    problem_type = "not-found"
    audit_reason = "not_found"
    detail = "There is no such delivery. It is known for an hour after its code has expired."


class ChallengeEnded(OtpError):
    """The challenge can no longer be verified, sent again or canceled."""


class ChallengeExpired(ChallengeEnded):
    problem_type = "challenge-expired"
    audit_reason = "expired"
    detail = "The challenge has expired. Issue a new one."


class ChallengeLocked(ChallengeEnded):
    problem_type = "challenge-locked"
    audit_reason = "attempts_exhausted"
    detail = "All attempts have been used. Issue a new challenge."


class ChallengeCanceled(ChallengeEnded):
    problem_type = "challenge-canceled"
    audit_reason = "canceled"
    detail = "The challenge was canceled. Issue a new one."


class ChallengeAlreadyVerified(ChallengeEnded):
    problem_type = "challenge-already-verified"
    audit_reason = "replay"
    detail = "The challenge was already verified. A code is accepted once."


class SendsExhausted(OtpError):
    problem_type = "sends-exhausted"
    audit_reason = "sends_exhausted"
    detail = "No sends are left in this challenge. Wait for a message, or issue a new challenge."


class IdempotencyKeyInUse(OtpError):
    problem_type = "idempotency-key-in-use"
    detail = "A call with this Idempotency-Key is still running. Repeat the call in a few seconds."


class IdempotencyKeyReused(OtpError):
    problem_type = "idempotency-key-reused"
    audit_reason = "idempotency_key_reused"
    detail = "This Idempotency-Key was used for another request. Use a fresh key for every try."


class InvalidPhoneNumber(OtpError):
    """It is not strict E.164, or does not exist; `problem` is a sentence without the number."""

    problem_type = "invalid-phone-number"
    detail = "phone_number must be a valid number in strict E.164 form, like +447400123456."

    def __init__(self, problem: str = "") -> None:
        super().__init__(f"{self.detail} {problem}" if problem else "")
        self.problem = problem


class NumberNotAllowed(OtpError):
    """It may not be sent to.

    `reason_code` is country, type, fictitious, blocked, opted_out, risk or bot_check.
    """

    problem_type = "number-not-allowed"
    detail = "Codes are not sent to this number. See reason."
    details: ClassVar[Mapping[str, str]] = {
        "country": "Its country is not one that this tenant may send to.",
        "type": "A number of its type, such as a landline, receives no SMS.",
        "fictitious": "It is a fictitious number, which no phone has: only a service for tests accepts it.",
        "blocked": "It is on the do-not-send list.",
        "opted_out": "The person has answered STOP. START to the same number ends that, or an operator.",
        "bot_check": "This call says in bot_check that its client has failed a check for bots.",
        "risk": "The operator's risk service refused it, or did not answer. The event has its reason.",
    }
    """By reason; the general sentence is for every other reason."""

    def __init__(self, reason_code: str, detail: str = "") -> None:
        super().__init__(detail or self.details.get(reason_code, ""))
        self.reason_code = reason_code

    @property
    def reason(self) -> str:
        return self.reason_code


class NumberLocked(OtpError):
    problem_type = "number-locked"
    audit_reason = "number_locked"
    detail = "This number is locked after too many failures in a row. An operator can unlock it."


class AccountLocked(OtpError):
    problem_type = "account-locked"
    audit_reason = "account_locked"
    detail = "This account is locked after too many failures in a row. An operator can unlock it."


class InvalidAuthenticator(OtpError):
    """The token is not ours, altered, expired, or of another tenant, account or kind.

    One error for every reason: a caller cannot learn which part of a token it guessed.
    """

    problem_type = "invalid-authenticator"
    audit_reason = "invalid_authenticator"
    detail = (
        "This authenticator cannot be used for this account. Send the token that the last call"
        " returned for it, unchanged. One that was not confirmed within 30 minutes has expired."
    )


class InvalidRecoverySet(OtpError):
    """As InvalidAuthenticator, for a recovery set."""

    problem_type = "invalid-recovery-set"
    audit_reason = "invalid_recovery_set"
    detail = (
        "This recovery set cannot be used for this account. Send the token that the last call"
        " returned for it, unchanged. A set expires 400 days after its last use."
    )


class AuthenticatorNotConfirmed(OtpError):
    problem_type = "authenticator-not-confirmed"
    audit_reason = "not_confirmed"
    detail = "Confirm the authenticator with a code from the app first."


class AuthenticatorAlreadyConfirmed(OtpError):
    problem_type = "authenticator-already-confirmed"
    audit_reason = "already_confirmed"
    detail = "This authenticator is active. Verify its codes, or create a new one."


class IncorrectCode(OtpError):
    """The code, purpose, account or number does not match; an attempt was charged."""

    problem_type = "incorrect-code"
    audit_reason = "mismatch"
    detail = "The code is not right."

    def __init__(self, attempts_left: int | None = None) -> None:
        super().__init__()
        self.attempts_left = attempts_left
        """Of the challenge; None where an account has no number of attempts, only limits."""


class CodeAlreadyUsed(OtpError):
    """The code is right, and was accepted before, or a newer one was; an attempt was charged."""

    problem_type = "code-already-used"
    audit_reason = "used"
    detail = (
        "This code was used before. Ask for the next code of the app, or for another recovery code."
    )


class Undeliverable(OtpError):
    problem_type = "undeliverable"
    detail = "No provider can reach this number. Offer another way."

    def __init__(self, reason_code: str) -> None:
        super().__init__()
        self.reason_code = reason_code


class DeliveryFailed(OtpError):
    problem_type = "delivery-failed"
    detail = "No provider took the message. Try again after the cooldown."

    def __init__(self, challenge_id: str) -> None:
        super().__init__()
        self.challenge_id = challenge_id
        """The id of the challenge or the delivery."""


class RateLimited(OtpError):
    """A limit refused; in `retry_after` seconds it allows the same call."""

    problem_type = "rate-limited"
    audit_reason = "rate_limited"
    detail = "Too many requests for this limit. Wait for the seconds in Retry-After."

    def __init__(
        self, limit: str, *, retry_after: int, quota: int, period_seconds: int, detail: str = ""
    ) -> None:
        super().__init__(detail)
        self.limit = limit
        self.retry_after = retry_after
        self.quota = quota
        self.period_seconds = period_seconds


class DebtLimited(RateLimited):
    """A budget of unverified messages is used up; `quota` is in messages of this price, or in countries.

    `unverified` and `allowance` are in millionths of the currency or in countries, for the event.
    """

    detail = "Too many messages were not verified. Wait for the seconds in Retry-After."

    def __init__(  # noqa: PLR0913  # the figures of the refusal
        self,
        limit: str,
        *,
        retry_after: int,
        quota: int,
        period_seconds: int,
        unverified: int,
        allowance: int,
        detail: str = "",
    ) -> None:
        super().__init__(
            limit,
            retry_after=retry_after,
            quota=quota,
            period_seconds=period_seconds,
            detail=detail,
        )
        self.unverified = unverified
        self.allowance = allowance


class TemporarilyUnavailable(OtpError):
    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Overloaded(TemporarilyUnavailable):
    """The queue in front of argon2 or of the providers is full; nothing was charged."""

    problem_type = "overloaded"
    detail = "The service is at its capacity. Wait for the seconds in Retry-After."


class StoreUnavailable(TemporarilyUnavailable):
    """Redis is unreachable, full, read-only, loading, or has too few replicas."""

    problem_type = "store-unavailable"
    audit_reason = "store_unavailable"
    detail = "The store is not available. Wait for the seconds in Retry-After."
    is_reachable: ClassVar[bool] = False
    """Whether the store answered and can apply refunds."""

    def __init__(
        self, detail: str = "", *, retry_after: int = 1, cause: str = "", kind: str = ""
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.cause = cause
        """What Redis answered, for logs and commands; never part of a response."""
        self.kind = kind
        """The code of the answer, such as READONLY; empty without one."""


class NotReplicated(StoreUnavailable):
    """The change was applied, and too few replicas have it; `reply` is that of the script."""

    detail = "Too few replicas have the change. Wait for the seconds in Retry-After."
    is_reachable = True

    def __init__(self, reply: object, *, cause: str = "") -> None:
        super().__init__(cause=cause)
        self.reply = reply


class EventLogFull(StoreUnavailable):
    """Nothing was applied: the event of the change might never be archived (R73)."""

    detail = "The event log is full until its entries are archived."
    is_reachable = True


class ResultNotStored(StoreUnavailable):
    """A message may have been sent, and what the providers answered could not be stored."""


class StoreTampered(StoreUnavailable):
    def __init__(self, record_key: str = "") -> None:
        super().__init__()
        self.record_key = record_key


class StoreKeyUnknown(StoreUnavailable):
    """A record names a key that this process does not have, so nothing can be said about it.

    While a key is rotated, processes with the new key and processes without it run side by side.
    """

    def __init__(self, ring: str, key_id: str) -> None:
        cause = f"a record is under {ring} key {key_id!r}, which this configuration does not have"
        super().__init__(cause=cause, kind="StoreKeyUnknown")

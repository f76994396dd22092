"""Every exception of this package.

    OtpServiceError
    ├── ServiceUnreachable        no reply: the outcome may be unknown
    ├── UnexpectedReply           a reply that is not the service's
    └── ProblemError              a problem of the service: one class for each problem type
        ├── RequestRefused        4xx
        │   ├── CodeRefused       "This code does not work"
        │   │   └── ChallengeEnded
        │   └── NumberRefused     "We cannot send a code to this number"
        └── ServiceFailed         5xx

No text of an exception has a phone number, a code, a token or a key. Decide by the class, show users one
message for each group, and log the rest: docs/api-guide.md, "What to show to the person".
"""

from typing import Any, Final

from otp_service_client.results import FieldError


class OtpServiceError(Exception):
    """A call that did not succeed."""

    retry_after: int | None = None
    """Seconds to wait, of `Retry-After`; None if the service has not said."""

    def __init__(
        self, detail: str = "", *, operation: str = "", idempotency_key: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.operation = operation
        """The name of the method."""
        self.idempotency_key = idempotency_key
        """The key that was sent: the same call with it runs once."""


class ServiceUnreachable(OtpServiceError):
    """No reply, also after a repetition where one is safe."""

    def __init__(self, detail: str = "", *, outcome_unknown: bool = True, **more: Any) -> None:
        super().__init__(detail, **more)
        self.outcome_unknown = outcome_unknown
        """Whether the service may have run the call. If not, nothing was sent."""


class UnexpectedReply(OtpServiceError):
    """A reply that openapi.yaml does not describe, such as a redirect or the page of a proxy.

    A call that got it did not succeed; what it changed is unknown.
    """

    def __init__(self, detail: str = "", *, status: int = 0, **more: Any) -> None:
        super().__init__(detail, **more)
        self.status = status


class ProblemError(OtpServiceError):
    """A problem document of the service (RFC 9457)."""

    slug: str = ""
    """The end of its `type`; a class of a group has that of the reply."""
    status: int = 0
    """The HTTP status."""

    def __init_subclass__(cls, *, slug: str = "", status: int = 0, **more: Any) -> None:
        super().__init_subclass__(**more)
        if slug:
            cls.slug, cls.status = slug, status
            PROBLEM_CLASSES[slug] = cls

    def __init__(
        self,
        detail: str = "",
        *,
        operation: str = "",
        idempotency_key: str | None = None,
        **members: Any,
    ) -> None:
        """Create one; members that its class does not have are ignored."""
        super().__init__(detail, operation=operation, idempotency_key=idempotency_key)
        known = {name: value for name, value in members.items() if hasattr(type(self), name)}
        self.__dict__.update(known)

    def __str__(self) -> str:
        return f"{self.status} {self.slug}: {self.detail}"


PROBLEM_CLASSES: Final[dict[str, type[ProblemError]]] = {}
"""The class of each problem type, by its slug."""


class RequestRefused(ProblemError):
    """A problem with a status of 4xx, also of a type that this version does not know."""

    status = 400


class ServiceFailed(ProblemError):
    """A problem with a status of 5xx, also of a type that this version does not know.

    Wait for `retry_after`, and repeat the call with the same `idempotency_key`.
    """

    status = 500


class CodeRefused(RequestRefused):
    """The code does not work: ask for another one. Show one message for all of them."""


class NumberRefused(RequestRefused):
    """No code can be sent to this number: ask for another number, or offer another way."""


class ChallengeEnded(CodeRefused):
    """The challenge is over or unknown: forget its id, and issue a new one when the person asks for it."""


# ----------------------------------------------------------------------------------- a code


class MalformedCode(CodeRefused, slug="malformed-code", status=400):
    """The code cannot be one. No attempt was charged."""


class IncorrectCode(CodeRefused, slug="incorrect-code", status=422):
    """The code is not right."""

    attempts_left: int | None = None
    """Of the challenge; None for codes of apps and recovery codes."""


class CodeAlreadyUsed(CodeRefused, slug="code-already-used", status=422):
    """Ask for the next code of the app, or for another recovery code."""


class ChallengeNotFound(ChallengeEnded, slug="challenge-not-found", status=404):
    """The challenge is unknown: it ended more than an hour ago, or is of another tenant."""


class ChallengeExpired(ChallengeEnded, slug="challenge-expired", status=410):
    """Its deadline has passed."""


class ChallengeLocked(ChallengeEnded, slug="challenge-locked", status=410):
    """All its attempts have been used."""


class ChallengeCanceled(ChallengeEnded, slug="challenge-canceled", status=410):
    """It was canceled."""


class ChallengeAlreadyVerified(ChallengeEnded, slug="challenge-already-verified", status=410):
    """A code is accepted once."""


# ----------------------------------------------------------------------------------- a number


class InvalidPhoneNumber(NumberRefused, slug="invalid-phone-number", status=422):
    """Ask for the number again, with its country."""


class NumberNotAllowed(NumberRefused, slug="number-not-allowed", status=422):
    """Codes are not sent to this number. Offer another way, and do not repeat."""

    reason: str = ""


class Undeliverable(NumberRefused, slug="undeliverable", status=422):
    """No provider can reach this number. Offer another way, and do not repeat."""

    reason: str = ""


# ----------------------------------------------------------------------------------- a limit


class RateLimited(RequestRefused, slug="rate-limited", status=429):
    """Wait for `retry_after` seconds: then this limit admits the call."""

    retry_after: int = 1
    limit: str = ""


class SendsExhausted(RequestRefused, slug="sends-exhausted", status=409):
    """Its codes are valid until it ends. Wait for a message, or issue a new challenge."""


class NumberLocked(RequestRefused, slug="number-locked", status=403):
    """Too many failures in a row: an operator can unlock the number."""


class AccountLocked(RequestRefused, slug="account-locked", status=403):
    """Too many failures in a row: an operator can unlock the account."""


# ----------------------------------------------------------------------------------- a token


class InvalidAuthenticator(RequestRefused, slug="invalid-authenticator", status=422):
    """Send the token that you stored for this account; without one, let the user enroll again."""


class InvalidRecoverySet(RequestRefused, slug="invalid-recovery-set", status=422):
    """Send the token that you stored for this account; without one, create a new set."""


class AuthenticatorNotConfirmed(RequestRefused, slug="authenticator-not-confirmed", status=409):
    """Confirm the authenticator with a code of the app first."""


class AuthenticatorAlreadyConfirmed(
    RequestRefused, slug="authenticator-already-confirmed", status=409
):
    """Verify its codes, or create a new one."""


# ----------------------------------------------------------------------------------- a repetition


class IdempotencyKeyInUse(RequestRefused, slug="idempotency-key-in-use", status=409):
    """The first call still runs: repeat it in a few seconds with the same `idempotency_key`."""


class IdempotencyKeyReused(RequestRefused, slug="idempotency-key-reused", status=422):
    """The key was used for another request: use a fresh one for each try."""


# ----------------------------------------------------------------------------------- a defect


class InvalidRequest(RequestRefused, slug="invalid-request", status=400):
    """The request is not valid: `errors` has every reason."""

    errors: tuple[FieldError, ...] = ()

    def __str__(self) -> str:
        reasons = "; ".join(f"{error.path}: {error.message}" for error in self.errors)
        return f"{super().__str__()} {reasons}".rstrip()


class Unauthenticated(RequestRefused, slug="unauthenticated", status=401):
    """The API key is invalid."""


class Forbidden(RequestRefused, slug="forbidden", status=403):
    """The API key lacks the scope, or the tenant may not use this purpose."""


class NotFound(RequestRefused, slug="not-found", status=404):
    """The path does not exist: `base_url` may be wrong."""


class MethodNotAllowed(RequestRefused, slug="method-not-allowed", status=405):
    """The service is older than this client, or `base_url` is wrong."""


class RequestTimeout(RequestRefused, slug="request-timeout", status=408):
    """The body arrived too slowly."""


class ContentTooLarge(RequestRefused, slug="content-too-large", status=413):
    """The body has more than 16 KiB."""


class UriTooLong(RequestRefused, slug="uri-too-long", status=414):
    """Path and query have more than 8192 bytes."""


class UnsupportedMediaType(RequestRefused, slug="unsupported-media-type", status=415):
    """A proxy has changed the content type."""


# ----------------------------------------------------------------------------------- the service


class InternalError(ServiceFailed, slug="internal-error", status=500):
    """Repeat the call with the same `idempotency_key`, and report it to the operator."""


class DeliveryFailed(ServiceFailed, slug="delivery-failed", status=502):
    """No provider took the message: try again after the cooldown."""

    id: str = ""
    """The id of the challenge or the delivery; a challenge that is new is canceled."""


class Overloaded(ServiceFailed, slug="overloaded", status=503):
    """The service is at its capacity."""


class StoreUnavailable(ServiceFailed, slug="store-unavailable", status=503):
    """The service cannot reach its store."""

"""Bodies of Twilio's API. Every member is present, and instants have whole seconds.

Twilio's client for Python parses no other form of an instant: with milliseconds its attribute is a string.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.timestamps import SECOND_MS, format_rfc3339
from otp_service.core.verification_sid import derive_attempt_sid, to_verification_sid
from otp_service.core.verify_service import VerifyAccount, VerifyService
from otp_service.service.verification_service import Verification, VerificationStatus


STATUS_WORDS: Final[Mapping[VerificationStatus, str]] = {
    ChallengeStatus.PENDING: "pending",
    ChallengeStatus.VERIFIED: "approved",
    ChallengeStatus.CANCELED: "canceled",
}
"""Verifications that have ended otherwise are unknown, so there is no word for them."""


class SendAttempt(msgspec.Struct, frozen=True):
    """One message of a verification."""

    time: str
    channel: str
    attempt_sid: str


class VerificationView(msgspec.Struct, frozen=True, kw_only=True):
    """What a start, a fetch and a cancel return."""

    sid: str
    service_sid: str
    account_sid: str
    to: str
    channel: str = "sms"
    status: str
    valid: bool
    date_created: str
    date_updated: str
    lookup: dict[str, Any] = {}
    amount: str | None = None
    payee: str | None = None
    send_code_attempts: list[SendAttempt]
    sna: dict[str, Any] | None = None
    url: str


class VerificationCheckView(msgspec.Struct, frozen=True, kw_only=True):
    """What a check returns: `valid` is true only with the status `approved`."""

    sid: str
    service_sid: str
    account_sid: str
    to: str
    channel: str = "sms"
    status: str
    valid: bool
    amount: str | None = None
    payee: str | None = None
    sna_attempts_error_codes: list[dict[str, Any]] = []
    date_created: str
    date_updated: str


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """A Verify Service. What is null or false does not exist here."""

    sid: str
    account_sid: str
    friendly_name: str
    code_length: int
    lookup_enabled: bool = False
    psd2_enabled: bool = False
    skip_sms_to_landlines: bool = True
    dtmf_input_required: bool = False
    tts_name: str | None = None
    do_not_share_warning_enabled: bool = False
    custom_code_enabled: bool = False
    push: dict[str, Any] | None = None
    totp: dict[str, Any] | None = None
    default_template_sid: str | None = None
    whatsapp: dict[str, Any] | None = None
    passkeys: dict[str, Any] | None = None
    verify_event_subscription_enabled: bool = False
    date_created: str | None = None
    date_updated: str | None = None
    url: str
    links: dict[str, str]


class PageMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page is in its list; every URL is absolute."""

    page: int
    page_size: int
    first_page_url: str
    previous_page_url: str | None
    url: str
    next_page_url: str | None
    key: str = "services"


class ServicePage(msgspec.Struct, frozen=True):
    """One page of the Verify Services of a tenant."""

    services: list[ServiceView]
    meta: PageMeta


class ViewBuilder:
    """Builds the bodies for one tenant; `api_url` is the absolute URL of `/twilio/v2`.

    It is of the settings and never of the Host header, because clients follow it with their credentials.
    """

    def __init__(self, account: VerifyAccount, api_url: str, code_length: int) -> None:
        self._account = account
        self._services_url = f"{api_url}/Services"
        self._code_length = code_length

    def build_verification(
        self, service: VerifyService, verification: Verification
    ) -> VerificationView:
        sid = to_verification_sid(verification.challenge.id)
        return VerificationView(
            sid=sid,
            service_sid=service.sid,
            account_sid=self._account.sid,
            to=verification.number,
            status=STATUS_WORDS[verification.status],
            valid=verification.status is ChallengeStatus.VERIFIED,
            date_created=format_seconds(verification.challenge.created_at),
            date_updated=format_seconds(verification.updated_at),
            send_code_attempts=_list_sends(verification),
            url=f"{self._services_url}/{service.sid}/Verifications/{sid}",
        )

    def build_check(
        self, service: VerifyService, verification: Verification
    ) -> VerificationCheckView:
        return VerificationCheckView(
            sid=to_verification_sid(verification.challenge.id),
            service_sid=service.sid,
            account_sid=self._account.sid,
            to=verification.number,
            status=STATUS_WORDS[verification.status],
            valid=verification.status is ChallengeStatus.VERIFIED,
            date_created=format_seconds(verification.challenge.created_at),
            date_updated=format_seconds(verification.updated_at),
        )

    def build_service(self, service: VerifyService) -> ServiceView:
        url = f"{self._services_url}/{service.sid}"
        return ServiceView(
            sid=service.sid,
            account_sid=self._account.sid,
            friendly_name=service.friendly_name,
            code_length=self._code_length,
            url=url,
            links={
                "verifications": f"{url}/Verifications",
                "verification_checks": f"{url}/VerificationCheck",
            },
        )

    def build_page(self, page: int, page_size: int) -> ServicePage:
        """Return one page of the services, in the order of the settings; `page` is from 0."""
        services = list(self._account.services.values())
        end = (page + 1) * page_size
        shown = services[page * page_size : end]
        meta = PageMeta(
            page=page,
            page_size=page_size,
            first_page_url=self._build_page_url(0, page_size),
            previous_page_url=self._build_page_url(page - 1, page_size) if page else None,
            url=self._build_page_url(page, page_size),
            next_page_url=self._build_page_url(page + 1, page_size)
            if end < len(services)
            else None,
        )
        return ServicePage([self.build_service(service) for service in shown], meta)

    def _build_page_url(self, page: int, page_size: int) -> str:
        return f"{self._services_url}?PageSize={page_size}&Page={page}"


def format_seconds(epoch_ms: int) -> str:
    """Return `2026-11-28T10:00:00Z`."""
    whole_seconds = epoch_ms // SECOND_MS * SECOND_MS
    return format_rfc3339(whole_seconds).replace(".000Z", "Z")


def _list_sends(verification: Verification) -> list[SendAttempt]:
    """Return each send once, at the instant of its first submission."""
    challenge = verification.challenge
    sent_at: dict[int, int] = {}
    for submission in challenge.submissions:
        sent_at.setdefault(submission.send, submission.at)
    return [
        SendAttempt(format_seconds(at), "SMS", derive_attempt_sid(challenge.id, send))
        for send, at in sorted(sent_at.items())
    ]

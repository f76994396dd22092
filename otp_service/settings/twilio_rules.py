"""Rules for [tenants.NAME.twilio_verify], Twilio Verify's API."""

from collections import Counter
from collections.abc import Iterator

from otp_service.core.policy import MAX_LIFETIME_SECONDS, MIN_LIFETIME_SECONDS
from otp_service.core.tenant import Scope
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings
from otp_service.settings.tenant_tables import TenantSettings, TwilioVerifySettings


SCOPE_REMEDY = "has the scope 'twilio-verify', for which the tenant needs twilio_verify with account_sid and services"
PUBLIC_URL_REMEDY = (
    "is missing: Twilio's clients follow absolute URLs of the service, like https://otp.example.com"
)
REQUIRES_REMEDY = (
    "refuses every check of Twilio's API, which has no client_ip and no account: remove it, or use "
    "another tenant for twilio_verify"
)


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield what would refuse the calls of Twilio's clients, or confuse two tenants."""
    tables = {
        name: table.twilio_verify
        for name, table in settings.tenant_settings.items()
        if table.twilio_verify
    }
    owners = Counter(table.account_sid for table in tables.values())
    for name, table in settings.tenant_settings.items():
        yield from _check_tenant(f"tenants.{name}", table)
    for name, verify in tables.items():
        path = f"tenants.{name}.twilio_verify"
        if owners[verify.account_sid] > 1:
            yield ConfigIssue(
                f"{path}.account_sid", "is that of another tenant too: use another one"
            )
        yield from _check_services(path, verify, settings.tenant_settings[name])
    if tables and settings.mode != "development" and settings.service.public_url is None:
        yield ConfigIssue("service.public_url", PUBLIC_URL_REMEDY)


def _check_tenant(path: str, table: TenantSettings) -> Iterator[ConfigIssue]:
    if table.twilio_verify is None:
        for key in table.keys:
            if Scope.TWILIO_VERIFY in key.scopes:
                yield ConfigIssue(f"{path}.keys.{key.id}.scopes", SCOPE_REMEDY)
    elif table.requires:
        yield ConfigIssue(f"{path}.requires", REQUIRES_REMEDY)


def _check_services(
    path: str, verify: TwilioVerifySettings, table: TenantSettings
) -> Iterator[ConfigIssue]:
    if not verify.services:
        yield ConfigIssue(f"{path}.services", "needs a Verify Service: 'VA…' = { }")
    for sid, service in verify.services.items():
        if not MIN_LIFETIME_SECONDS <= service.lifetime <= MAX_LIFETIME_SECONDS:
            remedy = f"must be from {MIN_LIFETIME_SECONDS} to {MAX_LIFETIME_SECONDS} seconds"
            yield ConfigIssue(f"{path}.services.{sid}.lifetime", remedy)
        if table.purposes is not None and service.purpose not in table.purposes:
            yield ConfigIssue(
                f"{path}.services.{sid}.purpose", "is not among purposes of the tenant"
            )

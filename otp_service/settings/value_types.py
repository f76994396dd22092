"""The types of settings: their ranges and patterns, with the rule in words for the error."""

import re
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from otp_service.core.tenant import TENANT_NAME_PATTERN
from otp_service.core.value_rule import build_rule
from otp_service.core.verification_sid import ACCOUNT_SID_PATTERN, SERVICE_SID_PATTERN


KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Seconds = Annotated[int, Meta(ge=1, le=60)]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]


def _match(pattern: str, rule: str) -> Meta:
    """Return the constraint of a text, with the rule in words."""
    return Meta(pattern=rf"^{pattern}\Z", extra=build_rule(rule))


Name = Annotated[str, _match(TENANT_NAME_PATTERN, "must be lower-case, digits and hyphens")]
Language = Annotated[str, _match(r"[a-z]{2,3}", "must be a language like 'fr'")]
Purpose = Annotated[str, _match(r"[a-z0-9][a-z0-9._-]{0,63}", "must be a word like 'login'")]
HostPort = Annotated[str, _match(r"[^\s/@]+:\d{1,5}", "must be host and port: '10.0.0.5:6379'")]
Sha256 = Annotated[str, _match(r"[0-9a-f]{64}", "must be what 'otp-service key new' prints")]
HOST_NAME_REMEDY = "must be a name like 'otp.internal', or an address, without scheme and port"
HostName = Annotated[
    str, _match(r"([A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)", HOST_NAME_REMEDY)
]
PUBLIC_URL_REMEDY = "must be like 'https://otp.example.com', without a query"
PublicUrl = Annotated[str, _match(r"https?://[^\s/@?#]+(/[^\s?#]*)?", PUBLIC_URL_REMEDY)]
COLLECTOR_URL_REMEDY = (
    "must be like 'http://127.0.0.1:4318/v1/traces', without a query; keys are for "
    "telemetry.secret_headers"
)
CollectorUrl = Annotated[str, _match(r"https?://[^\s/@?#]+/[^\s?#]*", COLLECTOR_URL_REMEDY)]
REDIS_URL_REMEDY = (
    "must be like 'rediss://host:6379/0' or 'unix:///run/redis.sock'; user and "
    "password are settings of their own, redis.username and redis.password"
)
RedisUrl = Annotated[
    str, _match(r"(rediss?://[^\s/@?#]+(/\d{1,2})?|unix:///[^\s@?#]+)", REDIS_URL_REMEDY)
]
Currency = Annotated[str, _match(r"[A-Z]{3}", "must be a code of ISO 4217, like EUR")]
AccountSid = Annotated[
    str, _match(ACCOUNT_SID_PATTERN, "must be AC and 32 lower-case hexadecimal digits")
]
ServiceSid = Annotated[
    str, _match(SERVICE_SID_PATTERN, "must be VA and 32 lower-case hexadecimal digits")
]
INSTANT_REMEDY = "must be a time with its zone, like 2027-01-31T00:00:00Z"
Instant = Annotated[datetime, Meta(tz=True, extra=build_rule(INSTANT_REMEDY))]

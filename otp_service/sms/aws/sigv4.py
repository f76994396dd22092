"""Signature Version 4 of AWS, and the settings that all AWS services share.

The signer is our own and not botocore's, which is 31 MB of other services' descriptions, five
packages in the lock, and a configuration from files and the environment, for the six HMACs below.
Tests compare ours with it for the same instants. It signs what AWS requires and no more: the host,
the content type and every x-amz header.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from typing import ClassVar
from urllib.parse import quote

import httpx
import msgspec

from otp_service.core.secret import Secret
from otp_service.core.timestamps import to_datetime
from otp_service.sms.http_provider import HttpRequest
from otp_service.sms.provider_settings import VendorSettings


REGION_PATTERN = r"[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}"
_SIGV4_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsCredentials(msgspec.Struct, frozen=True):
    """The credentials of an AWS user; only temporary keys have a session token."""

    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None = None


class AwsSettings(VendorSettings, frozen=True, kw_only=True):
    """The settings of every AWS service.

    The keys are those of a user with one permission. Instance roles are not supported: they need a
    request to the metadata address, which providers must not reach.
    """

    service: ClassVar[str]
    """Its name in the host and in the signature."""

    region: str
    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None = None
    base_url: str = ""
    """For tests and private endpoints; empty for the region's endpoint."""

    @property
    def url(self) -> str:
        domain = get_aws_domain(self.region)
        base = self.base_url or f"https://{self.service}.{self.region}.{domain}"
        return base.rstrip("/") + "/"

    def sign_request(self, request: HttpRequest, now: int) -> HttpRequest:
        """Return the request with a signature, which AWS accepts for five minutes."""
        keys = AwsCredentials(self.access_key_id, self.secret_access_key, self.session_token)
        return sign_request(request, keys, service=self.service, region=self.region, now=now)

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors() if self.base_url else [*self.find_sender_errors()]
        if not re.fullmatch(REGION_PATTERN, self.region):
            found.append(("region", "write it like eu-west-1"))
        return found


def get_aws_domain(region: str) -> str:
    """Return the domain of a region's endpoints: China has one of its own."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def sign_request(
    request: HttpRequest, credentials: AwsCredentials, *, service: str, region: str, now: int
) -> HttpRequest:
    """Return the request with its signature; `now` in milliseconds since 1970."""
    instant = to_datetime(now).strftime("%Y%m%dT%H%M%SZ")
    added = [("x-amz-date", instant)]
    if credentials.session_token:
        added.append(("x-amz-security-token", credentials.session_token.reveal()))
    unsigned = msgspec.structs.replace(request, headers=(*request.headers, *added))
    names, canonical = _canonicalize_request(unsigned)
    scope = f"{instant[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_SIGV4_ALGORITHM, instant, scope, hashlib.sha256(canonical).hexdigest()))
    key = f"AWS4{credentials.secret_access_key.reveal()}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"{credentials.access_key_id.reveal()}/{scope}"
    authorization = (
        f"{_SIGV4_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={key.hex()}"
    )
    headers = (*unsigned.headers, ("authorization", authorization))
    return msgspec.structs.replace(unsigned, headers=headers)


def _canonicalize_request(request: HttpRequest) -> tuple[str, bytes]:
    """Return the names of the signed headers, and the canonical request."""
    url = httpx.URL(request.url)  # its netloc is the Host header that goes out
    headers = {"host": url.netloc.decode(), **dict(request.headers)}
    signed = {
        name: " ".join(value.split())
        for name, value in sorted(headers.items())
        if name in {"host", "content-type"} or name.startswith("x-amz-")
    }
    names = ";".join(signed)
    path, _, query = url.raw_path.decode().partition("?")
    lines = [request.method, quote(path, safe="/~"), query]
    lines += [f"{name}:{value}" for name, value in signed.items()]
    lines += ["", names, hashlib.sha256(request.body).hexdigest()]
    return names, "\n".join(lines).encode()

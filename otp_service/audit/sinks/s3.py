"""A store with the S3 API: one object for each delivery, which an object lock may protect.

The key of an object holds its first line's id and the hash of its content, so a repeated delivery
overwrites itself and never an object with other lines.
"""

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from typing import Any

from otp_service.audit.sinks import base
from otp_service.audit.sinks.line_ids import identify_line
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors


class S3SinkSettings(base.SinkSettings, frozen=True, tag="s3"):
    """Needs the extra `otp-service[s3]`. Without keys, botocore uses its default sources."""

    bucket: str
    prefix: str = "otp-audit/"
    endpoint_url: str | None = None
    """The address of a store other than Amazon's."""
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    tls_ca: str | None = None
    """A PEM file with the authority of the server's certificate; default: the usual authorities."""
    timeout: base.SinkTimeoutSeconds = 10.0

    def find_errors(self) -> FieldErrors:
        if importlib.util.find_spec("botocore") is None:
            yield "type", "needs botocore: pip install 'otp-service[s3]'"
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", self.bucket):
            yield "bucket", "must be the name of a bucket: 3 to 63 lower-case letters and digits"
        if not re.fullmatch(r"[A-Za-z0-9!_.*'()/-]{0,200}", self.prefix):
            yield "prefix", "must be letters, digits, '-', '_', '.' and '/'"
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            yield "secret_access_key", "has to be given with access_key_id, and only with it"
        if self.endpoint_url is not None:
            yield from base.find_sink_url_errors("endpoint_url", self.endpoint_url)

    def create_writer(self) -> base.LineWriter:
        return S3LineWriter(self).write_lines


class S3LineWriter:
    def __init__(self, settings: S3SinkSettings) -> None:
        self._settings = settings
        self._client: Any = None

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Put the lines into one object. Raises base.SinkError."""
        from botocore import exceptions  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra

        body = b"".join(line + b"\n" for line in lines)
        try:
            self._client = self._client or create_s3_client(self._settings)
            self._client.put_object(
                Bucket=self._settings.bucket,
                Key=self._settings.prefix + build_object_key(lines[0], body),
                Body=body,
                ContentType="application/x-ndjson",
            )
        except exceptions.ClientError as error:
            raise base.SinkError(f"it answers {error.response['Error'].get('Code')}") from error
        except exceptions.BotoCoreError as error:
            raise base.SinkError(type(error).__name__) from error


def build_object_key(first_line: bytes, body: bytes) -> str:
    """Return the key of an object: day, kind and id of the first line, hash of the content."""
    kind, name, at = identify_line(first_line)
    return f"{at[:10] or 'gaps'}/{kind}-{name}-{hashlib.sha256(body).hexdigest()[:16]}.jsonl"


def create_s3_client(settings: S3SinkSettings) -> Any:
    """Return a client of botocore without retries and proxies."""
    from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra
    from botocore.session import Session  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra

    secret = settings.secret_access_key
    return Session().create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=secret.reveal() if secret else None,
        verify=settings.tls_ca or True,
        config=Config(
            connect_timeout=settings.timeout,
            read_timeout=settings.timeout,
            retries={"total_max_attempts": 1},
            proxies={},
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path"} if settings.endpoint_url else None,
        ),
    )

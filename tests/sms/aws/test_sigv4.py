"""Our signature is botocore's, for the same request at the same instant."""

import re
from datetime import UTC, datetime

import botocore.auth  # type: ignore[import-untyped]
import pytest
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from otp_service.core.secret import Secret
from otp_service.sms.aws.sigv4 import AwsCredentials, sign_request
from otp_service.sms.http_provider import HttpProvider, HttpRequest
from otp_service.sms.providers.aws import Aws


KEYS = AwsCredentials(Secret("AKIDEXAMPLE"), Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
TEMPORARY = AwsCredentials(KEYS.access_key_id, KEYS.secret_access_key, Secret("tok en=="))
NOW = 1_440_938_160_123
JSON = (("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "Some.Thing"))


def botocore_signs(request, keys, service, region, now):
    """What botocore would put into Authorization."""
    token = keys.session_token.reveal() if keys.session_token else None
    credentials = Credentials(keys.access_key_id.reveal(), keys.secret_access_key.reveal(), token)
    theirs = AWSRequest(
        request.method, request.url, headers=dict(request.headers), data=request.body
    )
    with pytest.MonkeyPatch.context() as patch:
        instant = datetime.fromtimestamp(now // 1000, UTC)
        patch.setattr(botocore.auth, "get_current_datetime", lambda: instant)
        botocore.auth.SigV4Auth(credentials, service, region).add_auth(theirs)
    return theirs.headers["Authorization"]


@pytest.mark.parametrize("keys", [KEYS, TEMPORARY], ids=["lasting", "temporary"])
@pytest.mark.parametrize(
    ("url", "headers", "body"),
    [
        ("https://sms-voice.eu-west-1.amazonaws.com/", JSON, b'{"MessageBody": "864209"}'),
        ("https://sms-voice.eu-west-1.amazonaws.com/", JSON, "ключ €".encode()),
        ("https://sns.us-gov-west-1.amazonaws.com", JSON[:1], b""),
        ("https://SNS.us-east-1.amazonaws.com:443/", (), b"Action=Publish"),
        ("http://127.0.0.1:4566/a%20b/c~d/", JSON, b"{}"),
        ("http://127.0.0.1:80/", (("content-type", "text/plain;  charset=utf-8 "),), b"{}"),
    ],
)
@pytest.mark.parametrize("now", [NOW, 0, 1_798_761_599_999])
def test_signature_is_botocores(url, headers, body, keys, now):
    """Also with ports, paths, spaces and nothing, and at the last second of a year."""
    request = HttpRequest("POST", url, headers, body)

    ours = sign_request(request, keys, service="sms-voice", region="eu-west-1", now=now)

    expected = botocore_signs(request, keys, "sms-voice", "eu-west-1", now)
    assert expected == dict(ours.headers)["authorization"]
    assert (request.method, request.url, request.body) == (ours.method, ours.url, ours.body)


async def test_runner_signs_each_request_with_its_own_time(gateway, transport, message):
    """The dialect is given the time just before the request goes out."""
    times = iter([NOW, NOW + 60_000])
    aws = Aws(
        base_url=gateway.url,
        region="eu-west-1",
        access_key_id=KEYS.access_key_id,
        secret_access_key=KEYS.secret_access_key,
    )
    provider = HttpProvider("aws", aws, transport, now=lambda: next(times))

    await provider.send(message)
    await provider.send(message)

    first, second = gateway.requests
    assert ("20150830t123600z", "20150830t123700z") == (
        first.headers["x-amz-date"],
        second.headers["x-amz-date"],
    )
    assert first.headers["authorization"] != second.headers["authorization"]
    assert re.search("signature=[0-9a-f]{64}$", first.headers["authorization"])


def test_keys_do_not_show():
    """Neither of the three, in the settings, in the keys or in the signed request."""
    settings = Aws(
        region="eu-west-1",
        access_key_id=TEMPORARY.access_key_id,
        secret_access_key=TEMPORARY.secret_access_key,
        session_token=TEMPORARY.session_token,
    )
    request = settings.sign_request(HttpRequest("POST", settings.url, (), b""), NOW)

    shown = f"{settings!r} {TEMPORARY!r} {request!r}"

    assert not [part for part in ("AKID", "wJalr", "tok en") if part in shown]


@pytest.mark.parametrize(
    "region", ["", "eu-west", "EU-WEST-1", "eu-west-1.evil.example/", "eu-west-1\n", "x@eu-west-1"]
)
def test_region_is_a_region(region):
    """It becomes part of a host, so it cannot be anything."""
    settings = Aws(region=region, access_key_id=Secret("a"), secret_access_key=Secret("b"))

    assert ["region"] == [field for field, _ in settings.find_errors()]


def test_address_is_the_regions_own_unless_another_is_set():
    """And another one has to be as safe as any."""
    keys = {"access_key_id": Secret("a"), "secret_access_key": Secret("b")}
    own = Aws(region="ap-southeast-2", **keys)
    other = Aws(region="eu-west-1", base_url="http://sms.example", **keys)

    assert ("https://sms-voice.ap-southeast-2.amazonaws.com/", []) == (own.url, own.find_errors())
    assert ["base_url"] == [field for field, _ in other.find_errors()]

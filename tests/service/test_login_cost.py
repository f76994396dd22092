"""What a login costs Redis: commands and memory. tests/service/test_round_trips.py counts scripts."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from otp_service.core.limits import Bucket, Limit
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import MINUTE_MS, Installation
from tests.store import redis_servers


CLIENT_FIELDS: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}


@pytest.fixture
async def installation(server: EmbeddedServer) -> AsyncIterator[Installation]:
    """Return an installation on an empty Redis, after one login."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as script_client:
        installation = Installation(script_client)
        await log_in(installation, {})
        installation.advance_clock(MINUTE_MS)
        yield installation


async def log_in(installation: Installation, client_fields: dict[str, Any]) -> None:
    issued = await installation.issue(**client_fields)
    code, client_ip = installation.router.extract_code(), client_fields.get("client_ip")
    await installation.verify(issued, code, client_ip=client_ip)


@pytest.mark.parametrize(("client_fields", "most"), [({}, 90), (CLIENT_FIELDS, 110)])
async def test_a_login_runs_few_commands(
    installation: Installation, client_fields: dict[str, Any], most: int
) -> None:
    """Each bucket is read once, and the log is trimmed once in many entries: it was 140 and 169."""
    await installation.script_client.run_pipeline("", [("CONFIG", "RESETSTAT")])

    await log_in(installation, client_fields)

    (info,) = await installation.script_client.run_pipeline("", [("INFO", "commandstats")])
    counts = re.findall(
        r"^cmdstat_(?!evalsha|echo|config)\S+?:calls=(\d+)", info.decode(), re.MULTILINE
    )
    assert sum(map(int, counts)) <= most, info


async def test_a_live_challenge_takes_less_than_a_kibibyte(installation: Installation) -> None:
    """With the buckets of its number. The table of keys in Redis takes some 25 bytes more a key."""
    before = await installation.list_keys()
    number = "+447400123499"
    issued = await installation.issue(number)
    partition = f"{{{installation.store.get_number_partition(number):02d}}}"
    own = [
        key
        for key in set(await installation.list_keys()) - set(before)
        if key.split(b":")[1] in {b"challenge", b"secret", b"limit"}
        and key.startswith(partition.encode())
    ]

    reads = [("MEMORY", "USAGE", key, "SAMPLES", 0) for key in own]
    sizes = await installation.script_client.run_pipeline("", reads)

    assert issued.challenge is not None
    assert {b"challenge", b"secret", b"limit"} == {key.split(b":")[1] for key in own}
    assert 5 == len(own)
    assert sum(sizes) < 1024 - 5 * 25, dict(zip(own, sizes, strict=True))


async def test_countries_and_the_whole_service_share_a_partition(
    installation: Installation,
) -> None:
    """So one commit charges both, and each of them is found by its own name."""
    for limit, subject in ((Limit.SENDS_COUNTRY, "GB"), (Limit.SENDS_OVERALL, "")):
        bucket = Bucket(limit, "", subject)
        partition = installation.store.get_bucket_partition(bucket)
        key = installation.store.key_names.bucket_key(partition, bucket)
        assert [key.encode()] == await installation.list_keys(f"*:limit:{limit}:*")

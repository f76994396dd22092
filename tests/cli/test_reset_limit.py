"""`reset-limit`: an operator empties a wide bucket, and the log has who did it."""

import asyncio
import getpass

import msgspec
import pytest

from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.cli.common import read_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.commit import Commit
from otp_service.core.limits import WIDE_LIMITS, Bucket, Charge, Limit, LimitRefusal, Window
from otp_service.store.event_streams import RedisEventStreams


FULL = (Window(1, 86_400),)


@pytest.mark.parametrize(
    ("limit", "subject", "tenant"),
    [
        ("SendsOverall", "", ""),
        ("SendsPerTenant", "", "shop"),
        ("FailuresPerTenant", "", "shop"),
        ("SendsPerCountry", "GB", ""),
        ("SendsPerCountryAndTenant", "GB", "shop"),
        ("SendsPerPrefix", "+44740012", ""),
        ("SendsPerPrefixAndTenant", "+44740012", "shop"),
        ("AutoResendsPerPrefix", "+44740012", ""),
    ],
)
def test_a_full_bucket_admits_again(run_otp, config, limit, subject, tenant):
    """R81: a country was refused for a day after a fault of Redis's clock."""
    bucket = Bucket(Limit(limit), tenant, subject)
    spend = asyncio.run(_spend(config, bucket))
    assert (False, True) == (isinstance(spend[0], LimitRefusal), isinstance(spend[1], LimitRefusal))
    # A country may be written in small letters.
    arguments = [limit, *filter(None, [subject.lower()]), *(["--tenant", tenant] if tenant else [])]

    ended = run_otp("reset-limit", *arguments, "--config", config)

    assert (0, "") == (ended.exit_code, ended.err)
    assert "is empty" in ended.out
    assert not isinstance(asyncio.run(_spend(config, bucket))[0], LimitRefusal)


async def _spend(config, bucket):
    """Charge a bucket of one a day twice, and return the outcomes."""
    async with create_cli_app(read_settings(config)) as app:
        partition = app.service.numbers._get_wide_partition(bucket)
        return [
            await app.store.commit(
                Commit(
                    partition=partition,
                    operation_id=app.service.numbers._random.generate_operation_id(),
                    charges=(Charge(bucket, FULL),),
                )
            )
            for _ in range(2)
        ]


def test_every_wide_limit_has_an_example_above() -> None:
    """A new limit belongs to one person, or can be reset."""
    cases = test_a_full_bucket_admits_again.pytestmark[0].args[1]

    assert {name for name, _, _ in cases} == set(WIDE_LIMITS)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["FailuresPerNumber"], "otp-service unlock"),
        (["nonsense"], "The limits that can are AutoResendsPerPrefix"),
        (["SendsPerTenant"], "add --tenant"),
        (["SendsPerTenant", "--tenant", "absent"], "The tenants are shop"),
        (["SendsOverall", "--tenant", "shop"], "leave out --tenant"),
        (["SendsOverall", "GB"], "leave out 'GB'"),
        (["SendsPerCountry"], "like GB"),
        (["SendsPerCountry", "UK"], "like GB"),
        (["SendsPerPrefix", "+447400123456"], "without its last four digits"),
        (["SendsPerPrefix"], "without its last four digits"),
    ],
)
def test_wrong_arguments_are_refused_with_the_remedy(run_otp, config, arguments, remedy):
    """Nothing is reset, and the message says what to write."""
    ended = run_otp("reset-limit", *arguments, "--config", config)

    assert 1 == ended.exit_code
    assert remedy in ended.err


def test_the_event_names_limit_country_and_user(run_otp, config):
    """R72: a change of an operator is audited."""
    run_otp("reset-limit", "SendsPerCountry", "GB", "--config", config)

    (event,) = asyncio.run(_read_resets(config))

    assert ("cli", "SendsPerCountry", "GB", getpass.getuser(), "by_operator") == (
        event["key_id"],
        event["limit"],
        event["country"],
        event["by"],
        event["reason"],
    )


async def _read_resets(config):
    async with create_cli_app(read_settings(config)) as app:
        streams = RedisEventStreams(app.script_client, app.store.key_names)
        newest = await streams.fetch_newest(
            dict.fromkeys(range(PARTITION_COUNT), MAX_POSITION), since=0, count=100
        )
        events = [msgspec.json.decode(one.event) for entries in newest.values() for one in entries]
        return [event for event in events if event["type"] == "otp.limit_reset"]

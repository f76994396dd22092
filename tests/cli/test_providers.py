"""`providers`, on a real Redis."""

import asyncio
import json
import re

import pytest

from otp_service.app import RANDOM_SOURCE
from otp_service.cli.common import read_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.clock import now_ms
from otp_service.core.commit import Commit
from otp_service.core.events import Sent, Verified
from otp_service.core.timestamps import SECOND_MS
from otp_service.sms.provider_health import HealthEvent


@pytest.fixture
def learn(config):
    """Return a function that records health events and shares them."""

    def learn(*observations):
        async def run():
            async with create_cli_app(read_settings(config)) as app:
                app.provider_health.record_events(observations)
                assert await app.provider_health_sync.sync_health()

        asyncio.run(run())

    return learn


@pytest.fixture
def happened(config):
    """Return a function that appends events."""

    def append(*events):
        async def run():
            async with create_cli_app(read_settings(config)) as app:
                operation = RANDOM_SOURCE.generate_operation_id()
                await app.store.commit(Commit(partition=7, operation_id=operation, events=events))

        asyncio.run(run())

    return append


def sent(challenge, provider="gateway"):
    """Return the event of an accepted message."""
    return Sent(id="e", challenge=challenge, provider=provider, country="GB", milliseconds=5)


def test_healthy_providers_without_messages_are_reported(run_otp, config):
    """The table would be empty."""
    ended = run_otp("providers", "--config", config)

    assert (0, "") == (ended.exit_code, ended.err)
    assert "No provider has failed lately" in ended.out


def test_each_provider_is_listed_by_country(run_otp, config, learn):
    """A row has the breaker, until when it is open, recent failures and their reasons."""
    failed = HealthEvent("gateway", "GB", now_ms(), "failed", reason="read-timeout")
    learn(
        *[failed] * 5,
        HealthEvent("gateway", "IE", now_ms(), "failed", reason="http-500"),
        HealthEvent("gateway", "IE", now_ms(), "accepted"),
    )

    ended = run_otp("providers", "--config", config)

    head, british, irish = ended.out.splitlines()
    assert ["PROVIDER", "SHARE", "COUNTRY", "BREAKER", "FAILED"] == head.split()[:5]
    assert re.fullmatch(
        r"gateway +100% +GB +open until \d\d:\d\d:\d\dZ +5 of 5 +0 of 0 +read-timeout x5", british
    )
    assert re.fullmatch(r" +IE +closed +1 of 2 +0 of 0 +http-500", irish)


def test_a_rest_has_a_line_of_its_own(run_otp, config, learn):
    """A provider rests in every country."""
    learn(HealthEvent("gateway", "GB", now_ms(), "throttled", backoff_ms=60 * SECOND_MS))

    _, line = run_otp("providers", "--config", config).out.splitlines()

    assert re.fullmatch(r"gateway +100% +- +backoff until \d\d:\d\d:\d\dZ +- +-", line)


def test_a_success_counts_for_the_newest_message_of_its_challenge(run_otp, config, happened):
    """Two challenges have three messages in the last hour, and one code is verified."""
    verified = Verified(id="e", challenge="c1", country="GB")
    repeated = Verified(id="e", challenge="c1", country="GB", repeated=True)
    happened(sent("c1"), sent("c2"), sent("c1"), verified, repeated)

    ended = run_otp("providers", "--config", config, "--json")

    (one,) = json.loads(ended.out)["providers"]
    (there,) = one["countries"]
    assert ("gateway", 1.0, None) == (one["provider"], one["share"], one["backoff_until"])
    assert there == {
        "country": "GB",
        "state": "closed",
        "open_until": None,
        "outcomes": 0,
        "failures": 0,
        "reasons": [],
        "sent": 3,
        "verified": 1,
    }


def test_json_has_times_in_rfc_3339(run_otp, config, learn):
    """The output is JSON even without any stored health."""
    assert (
        []
        == json.loads(run_otp("providers", "--config", config, "--json").out)["providers"][0][
            "countries"
        ]
    )
    learn(*[HealthEvent("gateway", "GB", now_ms(), "failed", reason="x")] * 5)

    told = json.loads(run_otp("providers", "--config", config, "--json").out)

    until = told["providers"][0]["countries"][0]["open_until"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", until)
    assert told["at"] < until
    assert told["is_whole_hour"] is True

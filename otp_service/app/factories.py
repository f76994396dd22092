"""Create each dependency of an application from the settings."""

import os
import random
import secrets
import time
from typing import TYPE_CHECKING

import httpx
import msgspec

from otp_service import __version__, telemetry
from otp_service.app.brake_sync import BrakeSync
from otp_service.app.traffic_learner import TrafficLearner
from otp_service.clock import now_ms
from otp_service.core import events
from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.secret import Secret
from otp_service.core.timestamps import DAY_MS
from otp_service.risk import RiskClient
from otp_service.service import Brake, RandomSource
from otp_service.settings import Settings
from otp_service.sms import router
from otp_service.sms.provider_callbacks import CallbackUrls
from otp_service.sms.routes import get_first_provider
from otp_service.store.brake_records import BrakeRecords
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from otp_service.store.rotating_store import RotatingStore
from otp_service.store.traffic_totals import TrafficTotals


if TYPE_CHECKING:
    from otp_service.telemetry.tracing import Tracing

RANDOM_SOURCE = RandomSource(secrets.randbelow, os.urandom)
RANDOM_FRACTION = random.SystemRandom().random


def collect_versions(settings: Settings) -> dict[str, str]:
    """Return the configuration's hash and the ids of the current keys, which events carry."""
    rings = {name: getattr(settings.keys, name).current.id for name in KEY_RING_NAMES}
    return {"config": hash_settings(settings), **rings}


def hash_settings(settings: Settings) -> str:
    """Return 12 hexadecimal digits that change with every setting, secrets included.

    They are a MAC, so that guesses of a secret cannot be tested against them.
    """
    # msgspec sorts only names that are text, and some tables have numbers.
    values = msgspec.to_builtins(settings, enc_hook=_reveal_secret, str_keys=True)
    encoded = msgspec.json.encode(values, order="deterministic")
    return settings.keys.state.current.compute_mac("configuration", encoded).hex()[:12]


def _reveal_secret(value: object) -> str:
    assert isinstance(value, Secret), type(value)
    return value.reveal()


def create_metrics(settings: Settings) -> telemetry.Metrics:
    return telemetry.Metrics(
        __version__,
        tenants=settings.build_tenants(),
        providers=settings.providers,
        hooks=settings.hooks,
        token_keys=[key.id for key in settings.keys.authenticator],
    )


def create_client(settings: Settings) -> ScriptClient:
    redis = settings.redis
    lines = create_redis_lines(
        url=redis.url,
        sentinel=redis.sentinel,
        master=redis.master,
        cluster=redis.cluster,
        username=redis.username,
        password=redis.password.reveal() if redis.password else None,
        tls=redis.tls,
        tls_ca=redis.tls_ca,
        timeout_ms=redis.timeout_milliseconds,
    )
    return ScriptClient(lines, replicas=redis.replicas, wait_ms=redis.wait_milliseconds)


def create_store(settings: Settings, client: ScriptClient, versions: dict[str, str]) -> RedisStore:
    """Return the store; two limit keys make it one that also reads under the earlier names."""
    names, *earlier = map(KeyNames, settings.keys.limit)
    store_class = RotatingStore if earlier else RedisStore
    return store_class(
        client,
        names,
        RecordCipher(settings.keys, os.urandom),
        earlier_key_names=earlier,
        epoch_event=events.EpochStarted(id="epoch", versions=versions),
        retention_ms=settings.events.retention_days * DAY_MS,
        max_stream_entries=settings.events.maximum,
        has_archive=settings.audit.archive_folder is not None,
    )


def create_providers(
    settings: Settings, dependencies: router.ProviderDependencies
) -> dict[str, router.SmsProvider]:
    return {name: p.build_provider(name, dependencies) for name, p in settings.providers.items()}


def create_router(
    settings: Settings,
    providers: dict[str, router.SmsProvider],
    health: router.LocalProviderHealth,
    callback_urls: CallbackUrls | None = None,
) -> router.ProviderRouter:
    """Return the chain of providers; it requests receipts if there is a public URL."""
    has_callbacks = callback_urls is not None and callback_urls.public_url
    route_key = settings.keys.limit.current
    return router.ProviderRouter(
        [*providers.values()],
        settings.build_routes(),
        health,
        environment=router.RouterEnvironment(
            clock=time.monotonic,
            now=now_ms,
            random_float=RANDOM_FRACTION,
            pseudonymize=lambda number: route_key.compute_mac("route", number.encode())[:8].hex(),
            build_callback_url=callback_urls.build_url
            if callback_urls and has_callbacks
            else lambda *_: None,
        ),
        deadline_seconds=settings.routing.deadline_seconds,
        max_submissions=settings.routing.max_submissions,
    )


def create_brake(settings: Settings) -> Brake:
    """Return the brake on SMS pumping of every tenant, which has learned nothing yet."""
    return Brake(
        {tenant: settings.build_brake_settings(tenant) for tenant in settings.tenant_settings},
        settings.build_price_table(),
        now=now_ms,
        find_provider=settings.build_routes().find_first_provider,
    )


def create_brake_sync(
    settings: Settings,
    store: RedisStore,
    brake: Brake,
    health: router.LocalProviderHealth,
    versions: dict[str, str],
) -> BrakeSync:
    """Return the job that keeps a brake as the records in Redis are."""
    routes = settings.build_routes()

    def list_breakers(country: str) -> list[int]:
        breakers = health.health.breakers
        names = (f"{provider} {country}" for provider in routes.find_country_route(country))
        return [breakers[name].open_until if name in breakers else 0 for name in names]

    def find_price(country: str) -> int:
        provider = get_first_provider(routes.find_country_route(country))
        return brake.prices.find_price(country, provider)

    learner = TrafficLearner(TrafficTotals(store), brake.settings, find_price, list_breakers)
    return BrakeSync(
        BrakeRecords(store),
        learner,
        brake,
        random=RANDOM_SOURCE,
        draw_fraction=RANDOM_FRACTION,
        versions=versions,
    )


def create_risk_client(
    settings: Settings, transport: httpx.AsyncBaseTransport
) -> RiskClient | None:
    """Return the client of the risk service, or None without one in the settings."""
    if settings.risk is None:
        return None
    return RiskClient(
        settings.risk,
        transport,
        pseudonym_key=settings.keys.pseudonym.current,
        generate_id=RANDOM_SOURCE.generate_operation_id,
        now=now_ms,
    )


def create_tracing(settings: Settings) -> "Tracing | None":
    """Return the tracing, or None if no collector is configured."""
    if settings.telemetry.traces is None:
        return None
    from otp_service.telemetry import tracing  # noqa: PLC0415  # an extra, and 30 ms

    headers = {name: value.reveal() for name, value in settings.telemetry.secret_headers.items()}
    exporter = tracing.create_exporter(settings.telemetry.traces, headers)
    return tracing.Tracing(exporter, __version__, settings.telemetry.sample_percent)

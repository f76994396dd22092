"""The composition root: the only package that imports all others.

`factories` creates each dependency from the settings, `application` combines them for one
process, `asgi` adds the HTTP API, `system_events` appends the events that no request causes,
`provider_health_sync` shares provider health among processes, and `archive` and
`archive_monitor` run and observe the sealer.
"""

from otp_service.app.application import Application
from otp_service.app.archive import create_signer, run_sealer
from otp_service.app.asgi import create_admin_app, create_public_app
from otp_service.app.factories import (
    RANDOM_SOURCE,
    collect_versions,
    create_client,
    create_providers,
    create_router,
    create_store,
    hash_settings,
)


__all__ = [
    "RANDOM_SOURCE",
    "Application",
    "collect_versions",
    "create_admin_app",
    "create_client",
    "create_providers",
    "create_public_app",
    "create_router",
    "create_signer",
    "create_store",
    "hash_settings",
    "run_sealer",
]

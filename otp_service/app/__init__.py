"""Assembly: the only room that knows everybody.

`parts` makes each part out of the settings, `application` puts one process's worth of them
together and `doors` the HTTP in front of it, `telling` is what it tells the log of itself, and `sealing` is the archive's.
"""

from otp_service.app.application import Application
from otp_service.app.archive import create_signer, run_sealer
from otp_service.app.asgi import create_admin_app, create_public_app, create_worker_app
from otp_service.app.factories import RANDOM, create_client, create_providers, create_router


__all__ = [
    "RANDOM",
    "Application",
    "create_admin_app",
    "create_client",
    "create_providers",
    "create_public_app",
    "create_router",
    "create_signer",
    "create_worker_app",
    "run_sealer",
]

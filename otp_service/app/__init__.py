"""Assembly: the only room that knows everybody.

`parts` makes each part out of the settings, `application` puts one process's worth of them
together and `doors` the HTTP in front of it, `telling` is what it tells the log of itself, and `sealing` is the archive's.
"""

from otp_service.app.application import Application
from otp_service.app.archive import seal, signing_of
from otp_service.app.asgi import admin_door, public_door, worker_door
from otp_service.app.factories import RANDOM, link_of, now, router_of, senders_of


__all__ = [
    "RANDOM",
    "Application",
    "admin_door",
    "link_of",
    "now",
    "public_door",
    "router_of",
    "seal",
    "senders_of",
    "signing_of",
    "worker_door",
]

"""The service as commands use it: put together, and not started."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from otp_service.app import Application
from otp_service.cli.errors import CommandError
from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.settings import Settings
from otp_service.store.operators import Operators


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Application]:
    """Give the service without starting it; a Redis that does not answer ends in a sentence."""
    app = Application(settings)
    try:
        yield app
    except StoreTampered as error:
        raise CommandError(
            "a record in Redis was not closed with any of the keys in force. If a key was taken "
            "out too early, put it back (otp_service/ROTATION.md)."
        ) from error
    except StoreUnavailable as error:
        raise CommandError(
            f"Redis does not answer as it should: {error.__cause__ or error} "
            "'otp-service check' says more."
        ) from error
    finally:
        await app.stop()


def operators(app: Application) -> Operators:
    """Return what operators do to its store."""
    return Operators(app.store, app.settings.keys.pseudonym)

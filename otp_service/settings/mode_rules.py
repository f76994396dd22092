"""Rules for the mode: what belongs to tests is refused in live mode, and what is real outside of it.

A live service with an inbox, relaxed limits or fictitious numbers would accept codes that anyone can
read (A25), and a test service with a provider would send messages.
"""

from collections.abc import Iterator

from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import TestSettings
from otp_service.sms.providers.inbox import Inbox


DEVELOPMENT_REMEDY = (
    "is 'development', which only 'otp-service dev' runs: write \"live\", or \"test\" for tests"
)
TEST_WARNING = (
    "is 'test': only fictitious numbers, nothing is sent, and the admin listener shows every code"
)


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield each setting that does not belong to the mode."""
    if settings.mode == "development":
        yield ConfigIssue("mode", DEVELOPMENT_REMEDY)
    for name, provider in settings.providers.items():
        is_inbox = isinstance(provider, Inbox)
        if settings.mode == "live" and is_inbox:
            remedy = "is 'inbox', which sends nothing: it is only for tests"
            yield ConfigIssue(f"providers.{name}.type", remedy)
        if settings.mode != "live" and not is_inbox:
            remedy = (
                f"cannot be '{settings.mode}' together with providers.{name}: remove one of them"
            )
            yield ConfigIssue("mode", remedy)
    if settings.mode == "live":
        yield from _find_test_settings(settings.test)


def find_warnings(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield a warning outside of live mode, so that it is not mistaken for production."""
    if settings.mode != "live":
        yield ConfigIssue("mode", TEST_WARNING)
    if codes := settings.effective_fixed_codes:
        remedy = f"are {codes}: anyone who knows the code of a number can log in with it"
        yield ConfigIssue("test.fixed_codes", remedy)
    if settings.has_relaxed_limits:
        remedy = "is true: no limit but the cooldown stops a caller. A rehearsal needs false"
        yield ConfigIssue("test.relaxed_limits", remedy)


def _find_test_settings(test: TestSettings) -> Iterator[ConfigIssue]:
    """Yield each setting of [test] that is not its default."""
    default = TestSettings()
    for name in TestSettings.__struct_fields__:
        if getattr(test, name) != getattr(default, name):
            yield ConfigIssue(f"test.{name}", 'is only for mode = "test": remove it')

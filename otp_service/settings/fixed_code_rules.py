"""Rules for `test.fixed_codes`, which belong to tests alone: their entries, and the keys of the service.

A service with fixed codes may have no key of a live one. Nothing in a key shows where it is used, so its id
does: with fixed codes each id begins with `test-`, and in live mode none does. Records are sealed under keys
that they name, so neither service can read or write those of the other, even in one Redis.
"""

from collections.abc import Iterator
from typing import Final

from otp_service.core.keys import KEY_RING_NAMES
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings


TEST_KEY_PREFIX: Final = "test-"

LIVE_KEY_REMEDY = (
    f"must have an id that begins with '{TEST_KEY_PREFIX}' together with test.fixed_codes: generate a key "
    "that no live service has"
)
TEST_KEY_REMEDY = f"has an id that begins with '{TEST_KEY_PREFIX}', so it is a key for tests: generate another one"


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield invalid entries, and keys of the wrong kind. `mode_rules` refuses fixed codes in live mode."""
    fixed_codes = settings.test.fixed_codes
    for error in fixed_codes.find_errors(settings.policy.digits):
        yield ConfigIssue("test.fixed_codes", error)
    for setting, key_id in _list_key_ids(settings):
        is_test_key = key_id.startswith(TEST_KEY_PREFIX)
        if settings.mode == "live" and is_test_key:
            yield ConfigIssue(setting, TEST_KEY_REMEDY)
        if settings.mode == "test" and fixed_codes and not is_test_key:
            yield ConfigIssue(setting, LIVE_KEY_REMEDY)


def _list_key_ids(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the setting and the id of each key of the service and of its tenants."""
    for name in KEY_RING_NAMES:
        for key in getattr(settings.keys, name).keys:
            yield f"keys.{name}.{key.id}", key.id
    for name, table in settings.tenant_settings.items():
        for api_key in table.keys:
            yield f"tenants.{name}.keys.{api_key.id}", api_key.id

"""What is unsafe or unwise in how tenants are configured: where they send, as whom, by which keys."""

import re
from collections import Counter
from collections.abc import Iterator

from phonenumbers import SUPPORTED_REGIONS

from otp_service.core.message import check_messages
from otp_service.settings.model import ApiKeyTable, Messages, Settings, TenantTable
from otp_service.settings.reading import Fault


MONTH = 30 * 24 * 3600 * 1000
"""How long before an API key expires somebody is told, in milliseconds."""

SENDER = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}|\+[1-9]\d{6,14}", re.ASCII)


def faults(settings: Settings, now: int) -> Iterator[Fault]:
    """Tell what keeps a tenant from being served, or makes it unsafe to."""
    if not settings.tenant_tables:
        yield Fault("tenants", "needs at least one: nobody could call")
    owners = Counter(key.sha256 for key in settings.api_keys())
    for name, table in settings.tenant_tables.items():
        yield from _tenant_faults(f"tenants.{name}", table)
        if not settings.policy.faults():
            yield from _message_faults(settings, name)
        keys, path = table.keys, f"tenants.{name}.keys"
        if all(_expired(key, now) for key in keys):
            yield Fault(path, "needs a key that has not expired: 'otp-service key new' makes one")
        if len({key.id for key in keys}) < len(keys):
            yield Fault(path, "needs a different id for each key: events name the key by it")
        if any(owners[key.read(name).sha256] > 1 for key in keys):
            yield Fault(path, "has a key that stands here twice: make one for each use")


def warnings(settings: Settings, now: int) -> Iterator[Fault]:
    """Tell which tenants may send everywhere, and whose keys end."""
    for name, table in settings.tenant_tables.items():
        if "*" in table.countries:
            yield Fault(f"tenants.{name}.countries", "are all: SMS pumping looks for the dear ones")
        for key in table.keys:
            if _expired(key, now + MONTH):
                yield Fault(f"tenants.{name}.keys.{key.id}", "has expired, or will in 30 days")


def _tenant_faults(path: str, table: TenantTable) -> Iterator[Fault]:
    unknown = ", ".join(sorted(table.countries - SUPPORTED_REGIONS - {"*"}))
    if not table.countries:
        yield Fault(f"{path}.countries", 'needs the countries to send to, like ["GB", "IE"]')
    if unknown:
        yield Fault(f"{path}.countries", f"has {unknown}: write ISO 3166 codes like GB")
    if table.sender is not None and not SENDER.fullmatch(table.sender):
        yield Fault(f"{path}.sender", "must be 1 to 11 letters, digits or spaces, or a number")


def _message_faults(settings: Settings, tenant: str) -> Iterator[Fault]:
    try:
        messages = settings.messages_of(tenant)
        check_messages(messages, settings.policy.digits, settings.policy.lifetime // 60)
    except ValueError as error:
        field, _, text = str(error).partition(": ")
        if field in {"brand", "default_locale"}:
            yield Fault(f"tenants.{tenant}.{field}", text)
        elif field in Messages.__struct_fields__:
            yield Fault(f"messages.{field}", text)
        else:
            yield Fault(f"tenants.{tenant}.brand", str(error))


def _expired(key: ApiKeyTable, now: int) -> bool:
    return key.expires is not None and key.expires.timestamp() * 1000 <= now

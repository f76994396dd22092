"""Rules for [hooks]: their secrets, and the tenant for which each sends."""

from collections import Counter
from collections.abc import Iterator

from otp_service.hooks import HookSettings
from otp_service.settings.decode import ConfigIssue, build_issues
from otp_service.settings.model import Settings
from otp_service.settings.tenant_tables import TenantSettings


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    owners = Counter(key for hook in settings.hooks.values() for key in {*hook.list_keys()})
    for name, hook in settings.hooks.items():
        path = f"hooks.{name}"
        yield from build_issues(path, hook.find_errors())
        if any(owners[key] > 1 for key in hook.list_keys() if key):
            remedy = "has a secret of another hook: a request for one could be sent to the other"
            yield ConfigIssue(f"{path}.secrets", remedy)
        tenant = settings.tenant_settings.get(hook.tenant)
        if tenant is None:
            remedy = f"must be a tenant: there is no tenants.{hook.tenant}"
            yield ConfigIssue(f"{path}.tenant", remedy)
        else:
            yield from _check_tenant(path, hook, tenant)


def _check_tenant(path: str, hook: HookSettings, tenant: TenantSettings) -> Iterator[ConfigIssue]:
    """Yield what the tenant requires of each delivery and this hook does not have."""
    if tenant.purposes is not None and hook.purpose not in tenant.purposes:
        allowed = ", ".join(sorted(tenant.purposes))
        yield ConfigIssue(f"{path}.purpose", f"must be a purpose of the tenant: {allowed}")
    for member in sorted(tenant.requires - hook.provided_members):
        remedy = f"has requires = [{member}], and requests to {path} have none"
        yield ConfigIssue(f"tenants.{hook.tenant}.requires", remedy)

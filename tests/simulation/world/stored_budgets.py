"""What is charged to the budgets of the persons of a run, as the store has it at the end."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from otp_service.core.commit import Commit, Inspection
from otp_service.core.errors import OtpError
from otp_service.core.limits import NUMBER_LIMITS, Bucket, Charge, Limit
from otp_service.core.tenant import Tenant
from tests.simulation.history import CallRecord, StoredBudget
from tests.simulation.world.worker import Worker


SHARED_LIMITS: Final = frozenset({Limit.COOLDOWN, Limit.SENDS_NUMBER})
"""The limits on one number whose bucket counts all tenants."""

SEND_LIMITS: Final = (
    Limit.COOLDOWN,
    Limit.SENDS_NUMBER,
    Limit.SENDS_NUMBER_TENANT,
    Limit.FAILURES_NUMBER,
    Limit.SENDS_ACCOUNT,
    Limit.FAILURES_ACCOUNT,
)
READ_LIMITS: Final[dict[str, tuple[Limit, ...]]] = {
    "issue": SEND_LIMITS,
    "deliver": SEND_LIMITS,
    "verify": (Limit.FAILURES_ACCOUNT,),
    "confirm_authenticator": (Limit.AUTHENTICATOR_FAILURES,),
    "verify_authenticator": (Limit.AUTHENTICATOR_FAILURES,),
    "create_recovery_codes": (Limit.RECOVERY_SETS,),
    "verify_recovery_code": (Limit.RECOVERY_FAILURES,),
}
"""By the kind of a call: the limits of its number and its account. Those of networks, prefixes and tenants
count persons together, of which refusals and excesses tell enough."""


async def read_budgets(worker: Worker, calls: Iterable[CallRecord]) -> list[StoredBudget]:
    """Return the budgets of every number and account that the calls have named.

    Empty if the store does not answer.
    """
    buckets = dict.fromkeys(_list_buckets(calls))
    commits = [_build_question(worker, bucket) for bucket in buckets]
    asked_at = worker.site.read_true_ms()
    try:
        inspections = await worker.store.inspect(commits)
    except OtpError:
        return []
    read_at = worker.site.read_true_ms()
    return list(_build_budgets(inspections, asked_at, read_at))


def _list_buckets(calls: Iterable[CallRecord]) -> Iterator[Bucket]:
    for call in calls:
        for limit in READ_LIMITS.get(call.kind, ()):
            name = "phone_number" if limit in NUMBER_LIMITS else "account"
            subject = call.arguments.get(name)
            if isinstance(subject, str):
                yield Bucket(limit, "" if limit in SHARED_LIMITS else call.tenant, subject)


def _build_question(worker: Worker, bucket: Bucket) -> Commit:
    """Return a commit of one charge, to be inspected and not applied."""
    tenant = worker.configuration.tenants.get(bucket.tenant) or _pick_tenant(worker)
    store = worker.store
    partition = (
        store.get_number_partition(bucket.subject)
        if bucket.limit in NUMBER_LIMITS
        else store.get_bucket_partition(bucket)
    )
    charge = Charge(bucket, tenant.limits[bucket.limit])
    return Commit(partition=partition, operation_id="not-applied", charges=(charge,))


def _pick_tenant(worker: Worker) -> Tenant:
    """Return a tenant: the limits of buckets that count all of them are the same for each."""
    return next(iter(worker.configuration.tenants.values()))


def _build_budgets(
    inspections: Sequence[Inspection], asked_at: int, read_at: int
) -> Iterator[StoredBudget]:
    """Yield what is used, in the order in which `inspect` returns it."""
    for inspection in inspections:
        for state in inspection.charges:
            bucket = state.charge.bucket
            yield StoredBudget(
                limit=bucket.limit.value,
                subject=tuple(part for part in (bucket.tenant, bucket.subject) if part),
                used=state.used,
                asked_at=asked_at,
                read_at=read_at,
            )

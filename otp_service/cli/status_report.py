"""What /status and `otp-service status` show: each process with its configuration, and what is wrong."""

from collections.abc import Iterator

from otp_service import __version__
from otp_service.app import hash_settings
from otp_service.cli.helper_threads import HelperThreads
from otp_service.cli.supervisor import Supervisor
from otp_service.cli.worker_plan import WorkerState
from otp_service.cli.worker_process import WorkerProcess
from otp_service.clock import now_ms
from otp_service.core.timestamps import format_rfc3339
from otp_service.schemas import ProcessStatus, ServiceStatus
from otp_service.settings import find_expired_tenants


FIXED_SETTINGS = ("host", "port", "admin_host", "admin_port", "workers")
"""Of [service]: SIGHUP does not change them."""


def build_status(supervisor: Supervisor, helpers: HelperThreads) -> ServiceStatus:
    """Return the status of this moment. Any thread may call it."""
    in_force = supervisor.in_force
    processes = [*map(_describe_worker, list(supervisor.workers)), *helpers.list_processes()]
    return ServiceStatus(
        version=__version__,
        mode=in_force.settings.mode,
        configuration=hash_settings(in_force.settings),
        configuration_file=str(in_force.path),
        started_at=format_rfc3339(supervisor.started_at),
        reload_refused=bool(supervisor.refusal),
        processes=processes,
        problems=list(_find_problems(supervisor, processes)),
    )


def _describe_worker(worker: WorkerProcess) -> ProcessStatus:
    return ProcessStatus(
        role=f"worker-{worker.slot + 1}",
        pid=worker.pid,
        configuration=worker.configuration_hash,
        started_at=format_rfc3339(worker.started_at),
        state=worker.state.value,
        ready=worker.state is WorkerState.SERVING,
    )


def _join_reasons(refusal: str) -> str:
    """Return the refusal, which has a heading and a line for each reason, as one line."""
    heading, *reasons = refusal.strip().splitlines()
    return " ".join([heading, "; ".join(reason.strip() for reason in reasons)]).strip()


def _find_problems(supervisor: Supervisor, processes: list[ProcessStatus]) -> Iterator[str]:
    """Yield what is wrong, each in a sentence that says what to do where that is not obvious."""
    in_force = hash_settings(supervisor.in_force.settings)
    if supervisor.refusal:
        reason = _join_reasons(supervisor.refusal)
        yield f"the last reload was refused, and configuration {in_force} is kept: {reason}"
    ready = {process.role for process in processes if process.ready}
    for role in supervisor.list_roles():
        if role not in ready:
            yield f"{role} does not serve"
    if supervisor.is_reloading:
        yield "a reload is under way: until it is done, the previous configuration may be served"
    for process in processes:
        if process.ready and process.configuration != in_force:
            who = f"{process.role} (pid {process.pid})"
            yield f"{who} runs configuration {process.configuration}, and {in_force} is in force"
    yield from _find_fixed_settings(supervisor)
    for issue in find_expired_tenants(supervisor.in_force.settings, now_ms()):
        yield str(issue)


def _find_fixed_settings(supervisor: Supervisor) -> Iterator[str]:
    before, now = supervisor.first_settings.service, supervisor.in_force.settings.service
    for name in FIXED_SETTINGS:
        if getattr(before, name) != getattr(now, name):
            yield f"service.{name} takes effect at the next start, not on SIGHUP: restart the service"

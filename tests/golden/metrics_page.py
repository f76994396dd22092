"""The Prometheus page after every metric was updated once."""

import re

from otp_service.core.commit import Commit, Committed
from otp_service.core.delivery import Fault, RefusalScope, Refused, Submission
from otp_service.core.events import DeliveryUpdated, Issued
from otp_service.core.factor import Factor
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import DebtCommit, DebtOutcome, TrafficName
from otp_service.core.pumping.decision import DebtCharge, DebtRefusal
from otp_service.core.pumping.learned_traffic import LearnedTraffic, ScopeFigures
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, ScopeBucket
from otp_service.core.risk import RiskAnswer, RiskAssessment
from otp_service.core.tenant import ApiKey
from otp_service.telemetry.brake_metrics import BrakeMetrics
from otp_service.telemetry.labels import (
    ACCESS_REASONS,
    CALLBACK_REASONS,
    EVENT_REASONS,
    HOOK_RESULTS,
    HTTP_METHODS,
    INBOUND_RESULTS,
    OTHER_LABEL,
)
from otp_service.telemetry.metrics import ARCHIVE_METRICS, Metrics


def format_metrics_page() -> str:
    """Return name, type, help, labels and buckets of every metric."""
    metrics = Metrics(
        "1.2.3", tenants=["shop"], providers=["twilio"], hooks=["supabase"], token_keys=["a1"]
    )
    event = DeliveryUpdated(
        id="1",
        tenant="shop",
        country="GB",
        reason="blocked",
        provider="twilio",
        status="delivered",
        send=1,
        trusted=True,
    )
    refused = Refused(Fault.PROVIDER, "throttled", scope=RefusalScope.THROTTLED)
    metrics.slots("a gate").set(2)
    metrics.slots_in_use("a gate").set(1)
    metrics.set_breaker_state("twilio", "GB", "half-open")
    metrics.set_provider_share("twilio", 0.5)
    metrics.count_request("POST", "/v1/challenges", 201, 0.003)
    metrics.count_event(event)
    metrics.count_submission(Submission.from_reply("twilio", refused, at=0, milliseconds=40))
    metrics.count_receipt("twilio", "delivered")
    metrics.count_inbound_message("twilio", "opted_out")
    metrics.count_conversion("twilio", "GB")
    metrics.count_token_attempt(Factor.AUTHENTICATOR, "a1")
    metrics.set_archive_metrics(**dict.fromkeys(ARCHIVE_METRICS, 1.0))
    metrics.set_key_expiries([ApiKey("first", "shop", b"", frozenset(), 1_800_000_000_000)])
    metrics.set_redis_issue("appendonly", exists=True)
    metrics.count_unauthenticated("missing")
    metrics.count_rejected_callback("twilio", "signature")
    metrics.count_hook_request("supabase", "accepted")
    metrics.count_risk_check(RiskAssessment(RiskAnswer.FAILED, "timeout"))
    metrics.risk_seconds.observe(0.2)
    metrics.limit_refusals("SendsPerNumber").inc()
    update_brake_metrics(metrics.brake)
    metrics.store_failures("a kind").inc()
    metrics.store_seconds("a call").observe(0.003)
    metrics.argon2_seconds.observe(0.03)
    metrics.set_argon2_engine("libsodium", 7.6)
    page, content_type = metrics.render_metrics()
    return f"{content_type}\n\n{page.decode()}"


def update_brake_metrics(brake: BrakeMetrics) -> None:
    """Count a message, one that would have been refused, and what was learned."""
    sent = Issued(id="1", tenant="shop", country="GB", price=40_000, measure="unverified")
    charge = DebtCharge(ScopeBucket(DebtLimit.UNVERIFIED_RANGE), Terms((1, 1)), MESSAGE_UNITS)
    debts = DebtCommit(charges=(charge,), price=40_000, traffic=TrafficName("shop", "GB"))
    over = DebtOutcome(over=DebtRefusal(charge.bucket, MESSAGE_UNITS, MESSAGE_UNITS))
    brake.count_send(sent)
    brake.count_outcome(
        Commit(partition=0, operation_id="1", debts=debts), Committed(1, debts=over)
    )
    figures = ScopeFigures(
        is_strained=True, debt=(40_000, 50_000), allowance=(2_000_000, 9_000_000)
    )
    brake.set_learned_traffic(LearnedTraffic(1000, 0, {"shop GB": figures}))
    brake.set_day_spend(40_000, 200_000_000)


def find_missing_metrics(page: str) -> set[str]:
    """Return the metrics without a sample on the page."""
    declared = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    return {name for name in declared if not re.search(rf"^{name}(_sum)?[{{ ]", page, re.MULTILINE)}


def format_label_values() -> str:
    """Return the closed sets of label values; countries come from libphonenumber."""
    sets = {
        "method": HTTP_METHODS,
        "reason of an event": EVENT_REASONS,
        "reason of a call without access": ACCESS_REASONS,
        "reason of a callback": CALLBACK_REASONS,
        "result of a request to a hook": HOOK_RESULTS,
        "result of a message from a phone": INBOUND_RESULTS,
        "any other": {OTHER_LABEL},
    }
    return "".join(f"{name}: {' '.join(sorted(values))}\n" for name, values in sets.items())


def count_samples(page: str) -> str:
    """Return every counter and every number of observations with its labels, without seconds."""
    lines = [line for line in page.splitlines() if re.match(r"otp_\w+_(total|count)[{ ]", line)]
    return "\n".join(sorted(lines)) + "\n"

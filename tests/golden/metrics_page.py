"""The page for Prometheus after every metric was touched once."""

import re

from otp_service.core.delivery import About, Fault, Refused, Submission
from otp_service.core.events import Delivery
from otp_service.telemetry.labels import ACCESS_REASONS, CALLBACK_REASONS, METHODS, OTHER, REASONS
from otp_service.telemetry.metrics import ARCHIVE, Metrics


def format_metrics_page() -> str:
    """Return name, type, help, labels and buckets of every metric."""
    metrics = Metrics("1.2.3", tenants=["shop"], providers=["twilio"])
    event = Delivery(
        id="1",
        tenant="shop",
        country="GB",
        reason="blocked",
        provider="twilio",
        status="delivered",
        send=1,
        trusted=True,
    )
    refused = Refused(Fault.PROVIDER, "throttled", about=About.THROTTLED)
    metrics.places("a gate").set(2)
    metrics.places_taken("a gate").set(1)
    metrics.provider_state("twilio", "GB", "half-open")
    metrics.provider_share("twilio", 0.5)
    metrics.request("POST", "/v1/challenges", 201, 0.003)
    metrics.event(event)
    metrics.submission(Submission.of("twilio", refused, at=0, milliseconds=40))
    metrics.receipt("twilio", "delivered")
    metrics.conversion("twilio", "GB")
    metrics.archive(**dict.fromkeys(ARCHIVE, 1.0))
    metrics.unauthenticated("missing")
    metrics.callback_rejected("twilio", "signature")
    metrics.refusals("SendsPerNumber").inc()
    metrics.store_failures("a kind").inc()
    metrics.store_seconds("a call").observe(0.003)
    metrics.argon2_seconds.observe(0.03)
    page, content_type = metrics.render()
    return f"{content_type}\n\n{page.decode()}"


def find_untouched_metrics(page: str) -> set[str]:
    """Return the metrics of which the page has no sample."""
    declared = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    return {name for name in declared if not re.search(rf"^{name}(_sum)?[{{ ]", page, re.MULTILINE)}


def format_label_values() -> str:
    """Return the closed sets that labels are drawn from; countries come from libphonenumber."""
    sets = {
        "method": METHODS,
        "reason of an event": REASONS,
        "reason of a call without access": ACCESS_REASONS,
        "reason of a callback": CALLBACK_REASONS,
        "any other": {OTHER},
    }
    return "".join(f"{name}: {' '.join(sorted(values))}\n" for name, values in sets.items())


def count_samples(page: str) -> str:
    """Return every counter and every number of observations with its labels; no seconds."""
    lines = [line for line in page.splitlines() if re.match(r"otp_\w+_(total|count)[{ ]", line)]
    return "\n".join(sorted(lines)) + "\n"

"""deploy/alerts.yml and deploy/dashboard.json use only metrics that exist."""

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml

from otp_service import telemetry
from otp_service.core import events
from otp_service.core.delivery import DeliveryStatus, Fault, RefusalScope, Submission
from otp_service.core.limits import Limit
from otp_service.core.pumping.learned_traffic import LearnedTraffic
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.core.pumping.send_debts import Measure
from otp_service.core.risk import RiskAnswer, RiskFault
from otp_service.telemetry.labels import (
    ACCESS_REASONS,
    CALLBACK_REASONS,
    EVENT_REASONS,
    INBOUND_RESULTS,
)
from otp_service.telemetry.process_metrics import PROCESS_METRICS


REPOSITORY_ROOT = Path(__file__).parents[1]
DEPLOY = REPOSITORY_ROOT / "deploy"
RULE_TESTS = [REPOSITORY_ROOT / "tests" / name for name in ("alerts.yml", "alerts_of_days.yml")]
DASHBOARD = json.loads((DEPLOY / "dashboard.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    },
}

EXTERNAL_METRICS = {"up", "redis_memory_used_bytes", "redis_memory_max_bytes"}
"""Metrics of Prometheus and of redis_exporter."""
RECORDED_METRICS = {
    "otp:conversion:ratio1h": {"provider", "country"},
    "otp:rejected_per_verified:ratio1d": {"tenant"},
    "otp:factor_rejected_per_verified:ratio1d": {"tenant"},
    "otp:opted_out_per_sent:ratio1d": {"provider"},
}
"""Recording rules of alerts.yml, and their labels."""
TARGET_LABELS = {"instance", "job"}
"""Labels that Prometheus adds to every series."""


def list_metrics():
    """Return the names that each metric's series can have, and its labels."""
    instance = telemetry.Metrics("1", tenants=["shop"], providers=["p1"])
    # These are created by their first value.
    instance.brake.set_learned_traffic(LearnedTraffic())
    instance.brake.set_day_spend(0, 0)
    registries = (instance._registry, instance._own_registry)
    registered = [pair for each in registries for pair in each._collector_to_names.items()]
    # The archive's metrics are created with an archive, from a table of the sealer.
    archive = getattr(telemetry.metrics, "ARCHIVE_METRICS", {})
    return [
        *((names, set(collector._labelnames)) for collector, names in registered),
        *(([f"otp_audit_{name}"], set()) for name in archive),
        *(([name], set(labels)) for name, (_, labels) in PROCESS_METRICS.items()),
    ]


def map_exposed_labels():
    """Return the labels of every series that /metrics can have, by its name."""
    return {
        name: labels | ({"le"} if name.endswith("_bucket") else set())
        for names, labels in list_metrics()
        for name in names
    }


def generate_event_types(kind=events.Event):
    """Yield the type of every event, from the subclasses of Event."""
    for subclass in kind.__subclasses__():
        yield subclass.__struct_config__.tag
        yield from generate_event_types(subclass)


LOGIN_ROUTES = {
    *("/v1/challenges", "/v1/challenges/{challenge_id}/verify"),
    *("/v1/authenticators", "/v1/authenticators/confirm", "/v1/authenticators/verify"),
    *("/v1/recovery-codes", "/v1/recovery-codes/verify", "/v1/deliveries", "/v1/hooks/{hook}"),
    *("/twilio/v2/Services", "/twilio/v2/Services/{service_sid}/Verifications"),
}

LABEL_VALUES = {
    ("otp_events_total", "type"): {*generate_event_types()},
    ("otp_events_total", "reason"): EVENT_REASONS,
    ("otp_unauthenticated_total", "reason"): ACCESS_REASONS,
    ("otp_callbacks_rejected_total", "reason"): CALLBACK_REASONS,
    ("otp_inbound_messages_total", "result"): INBOUND_RESULTS,
    ("otp_limit_refusals_total", "limit"): {*Limit},
    ("otp_pumping_refusals_total", "limit"): {*DebtLimit},
    ("otp_pumping_refusals_total", "mode"): {"record", "refuse"},
    ("otp_pumping_sends_total", "measure"): {*Measure},
    ("otp_risk_checks_total", "answer"): {*RiskAnswer},
    ("otp_risk_checks_total", "fault"): {*RiskFault},
    ("otp_receipts_total", "status"): {*get_args(DeliveryStatus)},
    ("otp_submissions_total", "scope"): {*RefusalScope},
    ("otp_submissions_total", "fault"): {*Fault},
    ("otp_submissions_total", "outcome"): {*get_args(Submission.__annotations__["outcome"])},
    ("otp_requests_total", "status"): {"200", "201", "422", "429", "500", "502", "503"},
    ("otp_requests_total", "route"): LOGIN_ROUTES,
    ("otp_request_seconds_bucket", "route"): LOGIN_ROUTES,
}
"""The closed sets of label values: another value never occurs."""

SELECTOR = re.compile(r"\b(?<![\"/:])([a-zA-Z_][\w:]*)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')


def parse_selectors(expression):
    """Return each series that an expression selects: its name and its matchers."""
    selectors = SELECTOR.findall(expression)
    return [
        (name, MATCHER.findall(matchers))
        for name, matchers in selectors
        if re.match(r"otp[_:]|redis_|up\b", name)
    ]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_expression_selects_exposed_metrics(where):
    """Names, labels and values of closed sets are checked, because Prometheus reports no typing error."""
    exposed = map_exposed_labels() | RECORDED_METRICS
    selectors = parse_selectors(EXPRESSIONS[where])

    assert selectors
    for name, matchers in selectors:
        assert name in exposed.keys() | EXTERNAL_METRICS
        for label, operator, value in matchers:
            assert label in exposed.get(name, set()) | TARGET_LABELS
            assert has_values(LABEL_VALUES.get((name, label)), operator, value), (
                name,
                label,
                value,
            )
    labels = set().union(*(exposed.get(name, set()) for name, _ in selectors)) | TARGET_LABELS
    grouped = {
        label.strip()
        for inside in re.findall(r"\bby \(([^)]*)\)", EXPRESSIONS[where])
        for label in inside.split(",")
    }
    assert grouped <= labels


def has_values(values, operator, text):
    """Return whether each alternative of a matcher matches a value of the set."""
    if values is None:
        return True
    pattern = text if "~" in operator else re.escape(text)
    return all(
        any(re.fullmatch(alternative, value) for value in map(str, values))
        for alternative in pattern.split("|")
    )


def test_every_metric_is_in_the_dashboard():
    """A new metric needs a panel."""
    queries = json.dumps([panel["targets"] for panel in PANELS])

    assert [] == [
        names
        for names, _ in list_metrics()
        if not any(re.search(rf"\b{name}\b", queries) for name in names)
    ]


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_every_alert_has_a_summary_and_a_first_step(rule):
    """The README lists it with its severity."""
    readme = (DEPLOY / "README.md").read_text()

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert 10 < len(rule["annotations"]["summary"]) < 120
    assert 80 < len(rule["annotations"]["description"])
    assert 1 == len(re.findall(rf"^\| `{rule['alert']}` \|", readme, re.MULTILINE))
    assert re.search(
        rf"^\| `{rule['alert']}` \| {rule['labels']['severity']} \|", readme, re.MULTILINE
    )


def test_names_of_alerts_are_unique():
    """Alerts that descriptions refer to exist."""
    names = [rule["alert"] for rule in ALERTS]
    texts = json.dumps([rule["annotations"] for rule in ALERTS]) + json.dumps(DASHBOARD)

    assert len(names) == len({*names})
    assert {*re.findall(r"\bOtp[A-Z]\w+", texts)} <= {*names}


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_every_panel_has_a_title_a_unit_and_a_sentence(panel):
    """It queries the Prometheus that is chosen at the top."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "${datasource}" == panel["datasource"]["uid"]
    assert "datasource" in {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_no_panel_covers_another():
    """All ids differ, and each cell belongs to one panel."""
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(cells) == len({*cells})
    assert max(x for x, _ in cells) < 24


# ------------------------------------------------------------------------------------ promtool


@pytest.fixture(scope="module")
def promtool():
    """Return a function that runs promtool."""
    path = shutil.which("promtool")
    if not path:
        pytest.skip("no promtool: it comes with Prometheus (apt install prometheus)")

    def run(*arguments):
        environ = os.environ | {
            "GOGC": "400"
        }  # a sixth of its time is collecting garbage otherwise
        result = subprocess.run(
            [path, *arguments], env=environ, capture_output=True, text=True, check=False
        )
        assert 0 == result.returncode, result.stdout + result.stderr

    return run


@pytest.mark.slow
@pytest.mark.timeout(300)  # ten seconds of computing
def test_alerts_fire_on_bad_days_and_not_on_a_quiet_one(promtool):
    """Prometheus evaluates the bad hours, and the quiet and bad days, of RULE_TESTS."""
    promtool("test", "rules", *map(str, RULE_TESTS))


def test_every_alert_fires_in_those_tests():
    """A new alert needs a bad hour in tests/alerts.yml, or a bad day in tests/alerts_of_days.yml."""
    rule_tests = "".join(file.read_text() for file in RULE_TESTS)

    assert [] == [r["alert"] for r in ALERTS if f'{{alertname="{r["alert"]}"}}' not in rule_tests]


@pytest.mark.slow
def test_expressions_of_the_dashboard_are_valid(promtool, tmp_path):
    """Each expression is checked as a recording rule, the only input of promtool."""
    rules = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for number, target in enumerate(target for panel in PANELS for target in panel["targets"])
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    promtool("check", "rules", str(file))

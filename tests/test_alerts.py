"""deploy/alerts.yml and deploy/dashboard.json use only metrics that exist."""

import itertools
import json
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
from otp_service.telemetry.labels import ACCESS_REASONS, EVENT_REASONS


TREE = Path(__file__).parents[1]
DEPLOY = TREE / "deploy"
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

OTHERS = {"up", "redis_memory_used_bytes", "redis_memory_max_bytes"}
"""Metrics of Prometheus and of redis_exporter."""
RECORDED = {"otp:conversion:ratio1h": {"provider", "country"}}
"""Recording rules of alerts.yml, and their labels."""
PLACE = {"instance", "job"}
"""Labels that Prometheus adds to every series."""


def metrics():
    """Return the names that each metric's series can have, and its labels."""
    made = telemetry.Metrics("1", tenants=["shop"], providers=["p1"])
    registered = made._registry._collector_to_names.items()
    # Those of the archive are made when there is one, from a table that comes with the sealer.
    archive = getattr(telemetry.metrics, "ARCHIVE_METRICS", {})
    return [
        *((names, set(collector._labelnames)) for collector, names in registered),
        *(([f"otp_audit_{name}"], set()) for name in archive),
    ]


def exposed():
    """Return the labels of every series that /metrics can have, by its name."""
    return {
        name: labels | ({"le"} if name.endswith("_bucket") else set())
        for names, labels in metrics()
        for name in names
    }


def tags(kind=events.Event):
    """Yield the type of every event, from the subclasses of Event."""
    for narrower in kind.__subclasses__():
        yield narrower.__struct_config__.tag
        yield from tags(narrower)


VALUES = {
    ("otp_events_total", "type"): {*tags()},
    ("otp_events_total", "reason"): EVENT_REASONS,
    ("otp_unauthenticated_total", "reason"): ACCESS_REASONS,
    ("otp_limit_refusals_total", "limit"): {*Limit},
    ("otp_receipts_total", "status"): {*get_args(DeliveryStatus)},
    ("otp_submissions_total", "scope"): {*RefusalScope},
    ("otp_submissions_total", "fault"): {*Fault},
    ("otp_submissions_total", "outcome"): {*get_args(Submission.__annotations__["outcome"])},
    ("otp_requests_total", "status"): {"200", "201", "422", "429", "500", "503"},
    ("otp_requests_total", "route"): {"/v1/challenges", "/v1/challenges/{challenge_id}/verify"},
    ("otp_request_seconds_bucket", "route"): {
        "/v1/challenges",
        "/v1/challenges/{challenge_id}/verify",
    },
}
"""The closed sets of label values: another value never occurs."""

SELECTOR = re.compile(r"\b(?<![\"/:])([a-zA-Z_][\w:]*)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')


def selected(expression):
    """Return each series that an expression selects: its name and its matchers."""
    found = SELECTOR.findall(expression)
    return [
        (name, MATCHER.findall(inside))
        for name, inside in found
        if re.match(r"otp[_:]|redis_|up\b", name)
    ]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_expression_selects_exposed_metrics(where):
    """Names, labels and values of closed sets are checked, because Prometheus reports no typing error."""
    known = exposed() | RECORDED
    asked = selected(EXPRESSIONS[where])

    assert asked
    for name, matchers in asked:
        assert name in known.keys() | OTHERS
        for label, operator, value in matchers:
            assert label in known.get(name, set()) | PLACE
            assert has(VALUES.get((name, label)), operator, value), (name, label, value)
    labels = set().union(*(known.get(name, set()) for name, _ in asked)) | PLACE
    grouped = {
        label.strip()
        for inside in re.findall(r"\bby \(([^)]*)\)", EXPRESSIONS[where])
        for label in inside.split(",")
    }
    assert grouped <= labels


def has(values, operator, text):
    """Return whether each alternative of a matcher matches a value of the set."""
    if values is None:
        return True
    pattern = text if "~" in operator else re.escape(text)
    return all(
        any(re.fullmatch(one, value) for value in map(str, values)) for one in pattern.split("|")
    )


def test_every_metric_is_in_the_dashboard():
    """A new metric needs a panel."""
    told = json.dumps([panel["targets"] for panel in PANELS])

    assert [] == [
        names
        for names, _ in metrics()
        if not any(re.search(rf"\b{name}\b", told) for name in names)
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
    told = json.dumps([rule["annotations"] for rule in ALERTS]) + json.dumps(DASHBOARD)

    assert len(names) == len({*names})
    assert {*re.findall(r"\bOtp[A-Z]\w+", told)} <= {*names}


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_every_panel_has_a_title_a_unit_and_a_sentence(panel):
    """It queries the Prometheus that is chosen at the top."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "${datasource}" == panel["datasource"]["uid"]
    assert "datasource" in {one["name"] for one in DASHBOARD["templating"]["list"]}


def test_no_panel_covers_another():
    """All ids differ, and each cell belongs to one panel."""
    panels = DASHBOARD["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(taken) == len({*taken})
    assert max(x for x, _ in taken) < 24


# ------------------------------------------------------------------------------------ promtool


@pytest.fixture(scope="module")
def promtool():
    """Return a function that runs promtool."""
    found = shutil.which("promtool")
    if not found:
        pytest.skip("no promtool: it comes with Prometheus (apt install prometheus)")

    def run(*arguments):
        done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_alerts_fire_on_bad_days_and_not_on_a_quiet_one(promtool):
    """Prometheus evaluates the quiet and bad days of tests/alerts.yml."""
    promtool("test", "rules", str(TREE / "tests" / "alerts.yml"))


def test_every_alert_fires_in_those_tests():
    """A new alert needs a bad day in tests/alerts.yml."""
    told = (TREE / "tests" / "alerts.yml").read_text()

    assert [] == [r["alert"] for r in ALERTS if f'{{alertname="{r["alert"]}"}}' not in told]


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

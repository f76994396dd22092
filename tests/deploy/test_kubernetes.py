"""deploy/kubernetes: the API accepts the objects, and they fit one another and the service."""

import ipaddress
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from otp_service.api.ops import READY_TIMEOUT_SECONDS
from otp_service.cli.supervisor import STOP_MARGIN_SECONDS
from otp_service.cli.worker_plan import SILENT_TICKS_UNTIL_HUNG
from otp_service.settings.service_tables import ServiceSettings
from tests.deploy.kubernetes_example import (
    KUBERNETES,
    Example,
    get_container,
    get_pod,
    get_variables,
)


DEPLOYMENTS = ["otp-service", "otp-sealer"]
IMAGE = (KUBERNETES.parents[1] / "Dockerfile").read_text()
OLDEST_KUBERNETES = "1.27"
NEWEST_KUBERNETES = ".".join(kubernetes_validate.latest_version().split(".")[:2])

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
SERVICE_MONITOR_SCHEMA = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "spec": {
            "type": "object",
            "required": ["endpoints", "selector"],
            "additionalProperties": False,
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchLabels": _TEXTS},
                },
                "endpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string"},
                            "interval": {"type": "string", "pattern": r"^\d+(ms|[smhd])$"},
                        },
                    },
                },
            },
        },
    },
}
"""The fields of the Prometheus Operator's API that are used here: fewer than it has, so stricter."""


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Example:
    """Return the example with made-up secrets."""
    return Example(tmp_path_factory.mktemp("example"))


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request, example):
    """Return each Deployment in turn."""
    return example.find("Deployment", request.param)


# ------------------------------------------------------------------------------------------ API


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
@pytest.mark.parametrize("has_shared_archive", [False, True], ids=["base", "shared archive"])
def test_the_api_accepts_every_object(version, has_shared_archive, tmp_path):
    """By the published schemas, in which an unknown field is an error."""
    example = Example(tmp_path)
    if has_shared_archive:
        example.add_component()

    kinds = set()
    for each in example.objects:
        kinds.add(each["kind"])
        if each["kind"] == "ServiceMonitor":
            jsonschema.validate(each, SERVICE_MONITOR_SCHEMA)
        else:
            kubernetes_validate.validate(each, version, strict=True)

    assert kinds == {
        *("Namespace", "ConfigMap", "Secret", "Service", "Deployment", "NetworkPolicy"),
        *("PersistentVolumeClaim", "PodDisruptionBudget", "ServiceMonitor"),
    }


def test_every_file_of_the_base_is_used():
    """A manifest that no kustomization names would never be applied."""
    text = (KUBERNETES / "base" / "kustomization.yaml").read_text()
    files = {path.name for path in (KUBERNETES / "base").glob("*.yaml")}

    assert files - {"kustomization.yaml"} == set(re.findall(r"^  - (.+)$", text, re.MULTILINE))


def test_a_selector_finds_the_pods_and_ports_that_it_means(example):
    """A Service, budget, policy or monitor with another label would select nothing, and nobody notices."""
    labels = {
        name: example.find("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        for name in DEPLOYMENTS
    }

    def list_selected(kind, name):
        spec = example.find(kind, name)["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        wanted = (selector.get("matchLabels") or selector).items()
        return [pod for pod, of_pod in labels.items() if wanted <= of_pod.items()]

    for kind, name in [
        *(("Service", "otp-service"), ("Service", "otp-admin")),
        *(("PodDisruptionBudget", "otp-service"), ("NetworkPolicy", "otp-listeners")),
        ("Deployment", "otp-service"),
    ]:
        assert ["otp-service"] == list_selected(kind, name), (kind, name)
    for kind in ("NetworkPolicy", "Deployment"):
        assert ["otp-sealer"] == list_selected(kind, "otp-sealer")
    monitor = example.find("ServiceMonitor", "otp-service")["spec"]
    admin = example.find("Service", "otp-admin")
    assert monitor["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    assert [port["name"] for port in admin["spec"]["ports"]] == [monitor["endpoints"][0]["port"]]


def test_the_monitor_names_the_job_as_the_alert_rules_do(example):
    """Every rule with another job would be silent, and OtpServiceDown would fire."""
    rules = (KUBERNETES.parent / "alerts.yml").read_text()
    label = example.find("ServiceMonitor", "otp-service")["spec"]["jobLabel"]

    job = example.find("Service", "otp-admin")["metadata"]["labels"][label]

    assert {job} == set(re.findall(r'job="([\w-]+)"', rules))


# ----------------------------------------------------------------------------------------- pods


def test_a_pod_gains_nothing_and_writes_nothing_else(deployment, example):
    """Pod Security "restricted", which the namespace enforces, and a read-only root besides."""
    pod, container = get_pod(deployment), get_container(deployment)
    user = re.search(r"^USER (\d+):(\d+)", IMAGE, re.MULTILINE)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert int(user[1]) == pod["securityContext"]["runAsUser"]
    assert int(user[2]) == pod["securityContext"]["fsGroup"]
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    written = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert written <= {"/tmp", "/var/lib/otp-service/archive"}  # noqa: S108  # in the container
    namespace = example.find("Namespace", "otp")["metadata"]["labels"]
    assert "restricted" == namespace["pod-security.kubernetes.io/enforce"]


def test_no_variable_of_a_service_reaches_a_pod(deployment):
    """A Service called otp sets OTP_SERVICE_PORT, which looks like a setting."""
    assert get_pod(deployment)["enableServiceLinks"] is False


def test_a_new_pod_is_ready_before_an_old_one_stops(example):
    """So an upgrade and a rotation refuse no request."""
    spec = example.find("Deployment", "otp-service")["spec"]

    assert {"maxUnavailable": 0, "maxSurge": 1} == spec["strategy"]["rollingUpdate"]
    assert spec["replicas"] > 1
    assert 1 == example.find("PodDisruptionBudget", "otp-service")["spec"]["maxUnavailable"]


def test_one_sealer_at_a_time_has_the_volume(example):
    """The next pod could not mount it while the one before has it."""
    spec = example.find("Deployment", "otp-sealer")["spec"]

    assert (1, "Recreate") == (spec["replicas"], spec["strategy"]["type"])


def test_the_grace_period_is_longer_than_the_listeners_take_to_stop(example):
    """Else the node kills them while requests are in flight."""
    listeners = example.find("Deployment", "otp-service")
    sleep, seconds = get_container(listeners)["lifecycle"]["preStop"]["exec"]["command"]
    drain = ServiceSettings().drain_seconds
    stop = 2 * drain + STOP_MARGIN_SECONDS + 1.5 * drain

    assert "sleep" == sleep
    assert int(seconds) + stop < get_pod(listeners)["terminationGracePeriodSeconds"]


def test_a_probe_gives_the_service_the_time_that_it_needs(example):
    """Readiness waits for Redis; liveness for the supervisor, which replaces a silent worker."""
    container = get_container(example.find("Deployment", "otp-service"))
    ready, live = container["readinessProbe"], container["livenessProbe"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert {"http": ServiceSettings().port, "admin": ServiceSettings().admin_port} == ports
    assert {"path": "/health/ready", "port": "http"} == ready["httpGet"]
    assert {"path": "/health/live", "port": "http"} == live["httpGet"]
    assert ready["timeoutSeconds"] > READY_TIMEOUT_SECONDS
    assert live["periodSeconds"] * live["failureThreshold"] > SILENT_TICKS_UNTIL_HUNG
    assert live["httpGet"] == container["startupProbe"]["httpGet"]


def test_workers_and_threads_are_as_many_as_the_cpus_that_are_requested(example):
    """By default they are as many as the cores of the node, which a pod may not use."""
    listeners = example.find("Deployment", "otp-service")
    resources, variables = get_container(listeners)["resources"], get_variables(listeners)
    cpus = int(resources["requests"]["cpu"])

    assert cpus == int(variables["OTP_SERVICE__WORKERS"]) * int(variables["OTP_HASH__WORKERS"])
    assert ["memory"] == list(resources["limits"])


# -------------------------------------------------------------------------------------- network


def list_ingress(example, policy):
    """Return each port with the labels that a caller needs."""
    return {
        port["port"]: [
            (peer["namespaceSelector"]["matchLabels"], peer["podSelector"]["matchLabels"])
            for peer in rule["from"]
        ]
        for rule in example.find("NetworkPolicy", policy)["spec"]["ingress"]
        for port in rule["ports"]
    }


def test_each_listener_is_reached_by_its_callers_only(example):
    """R63: metrics need no key, so the admin listener is for the monitoring alone."""
    ingress = list_ingress(example, "otp-listeners")

    assert {"http", "admin"} == set(ingress)
    ((namespace, pod),) = ingress["http"]
    assert namespace
    assert pod
    ((namespace, pod),) = ingress["admin"]
    assert {"kubernetes.io/metadata.name": "monitoring"} == namespace
    assert {"app.kubernetes.io/name": "prometheus"} == pod
    assert {} == list_ingress(example, "otp-sealer")


PRIVATE_ADDRESSES = [
    *("10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1", "100.64.0.1", "127.0.0.1"),
    *("169.254.169.254", "::1", "fd00::1", "fe80::1"),
]


@pytest.mark.parametrize("policy", ["otp-listeners", "otp-sealer"])
@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_no_address_inside_is_reached_but_redis_and_dns(example, policy, address):
    """A provider's URL, or its redirect, cannot reach the node's metadata or another service."""
    target = ipaddress.ip_address(address)
    rules = example.find("NetworkPolicy", policy)["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]

    for block in blocks:
        networks = [ipaddress.ip_network(each) for each in block["except"]]
        assert target not in ipaddress.ip_network(block["cidr"]) or any(
            target in network for network in networks
        )


@pytest.mark.parametrize(("policy", "ports"), [("otp-listeners", {53, 6379, 443}), ("otp-sealer", {53, 6379})])  # fmt: skip
def test_pods_reach_dns_redis_and_the_listeners_also_providers(example, policy, ports):
    """The sealer calls nothing on the Internet."""
    spec = example.find("NetworkPolicy", policy)["spec"]

    assert {"Ingress", "Egress"} == set(spec["policyTypes"])
    assert ports == {port["port"] for rule in spec["egress"] for port in rule["ports"]}


def test_the_image_has_the_folder_of_the_archive(example):
    """The volume of the sealer is mounted there, and the listeners name it."""
    (folder,) = re.findall(r"^RUN install -d .* (/\S+)$", IMAGE, re.MULTILINE)
    mounts = get_container(example.find("Deployment", "otp-sealer"))["volumeMounts"]

    assert folder in {mount["mountPath"] for mount in mounts}
    listeners = get_variables(example.find("Deployment", "otp-service"))
    assert Path(folder) == Path(listeners["OTP_AUDIT__ARCHIVE"])

"""R51, R58: whatever is sent, the answer is one that the API's own description has.

Schemathesis makes requests out of the committed `openapi.yaml`, valid ones and broken ones; half
of them get an id, a number or a code that exists, so that they come further than the first check.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.processes import CODE_PATTERN, RunningService, run_dev


pytestmark = pytest.mark.slow

COMMITTED = Path(__file__).parents[2] / "openapi.yaml"
SCHEMA = schemathesis.openapi.from_path(COMMITTED)
OPERATIONS = [SCHEMA[path][method] for path in SCHEMA for method in SCHEMA[path]]
EXAMPLES = 15
"""Of each operation and each kind; making one takes longer than answering it."""

Operation = APIOperation[Any, Any, Any, Any]

load_all_checks()
CHECKED: Any = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    ]
)

once = settings(
    max_examples=EXAMPLES,
    derandomize=True,  # The seed gives the same requests in each run.
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The real application in development mode, which accepts fictitious numbers."""
    with run_dev(tmp_path_factory.mktemp("fuzzed") / "data") as service:
        yield service


FRAMING_HEADERS = ("Connection", "Content-Length", "Expect", "Transfer-Encoding", "Upgrade")
"""What they may be is decided by the HTTP server, which refuses without a body: test_framing.py."""


class Known:
    """Challenges in every state that the fuzzer can meet, and how to reach them."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self.headers = {"Authorization": f"Bearer {service.keys['dev']}"}
        self.url = f"http://127.0.0.1:{service.port}"
        self._places = iter(range(10**6))
        self._issued = [service.issue(f"+4477009001{i:02d}", by="dev") for i in range(20)]
        codes = [
            CODE_PATTERN.findall(message["text"])[0] for message in reversed(service.fetch_inbox())
        ]
        self._codes = dict(zip((one.json["id"] for one in self._issued), codes, strict=True))
        for one in self._issued[:3]:
            service.send_request("DELETE", f"/v1/challenges/{one.json['id']}", by="dev")
        for one in self._issued[3:6]:
            service.verify(one, self._codes[one.json["id"]], by="dev")

    def put_into(self, case: Case) -> None:
        """Replace a generated value by one that exists."""
        place = next(self._places)
        id_ = self._issued[place % len(self._issued)].json["id"]
        if "challenge_id" in (case.path_parameters or {}):
            case.path_parameters["challenge_id"] = id_
        if "challenge" in (case.query or {}):
            case.query["challenge"] = id_
        if isinstance(case.body, dict):
            known = {"code": self._codes[id_], "phone_number": f"+4477009002{place % 100:02d}"}
            case.body |= {name: value for name, value in known.items() if name in case.body}


@pytest.fixture(scope="module")
def known(service: RunningService) -> Known:
    """Challenges that exist."""
    return Known(service)


def kinds(operation: Operation) -> list[GenerationMode]:
    """Return what can be generated for an operation: one without input has no invalid requests."""
    has_parts = [*operation.path_parameters, *operation.query, *operation.headers, *operation.body]
    return list(GenerationMode) if has_parts else [GenerationMode.POSITIVE]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        pytest.param(operation, kind, id=f"{operation.label} {kind.value}")
        for operation in OPERATIONS
        for kind in kinds(operation)
    ],
)
def test_no_answer_is_a_500_or_missing_in_the_document(
    operation: Operation, kind: GenerationMode, known: Known
) -> None:
    """R51: statuses, content types, headers and bodies are those of `openapi.yaml`."""

    @once
    @given(case=operation.as_strategy(generation_mode=kind), is_real=st.booleans())
    def fuzz(case: Case, is_real: bool) -> None:  # noqa: FBT001  # hypothesis passes it so
        if is_real:
            known.put_into(case)
        for name in FRAMING_HEADERS:
            case.headers.pop(name, None)
        response = case.call(known.url, headers=known.headers)
        if response.status_code == 431:
            return  # the server's own response to a request line and headers of over 16 KiB
        case.validate_response(response, headers=known.headers, checks=CHECKED)

    fuzz()

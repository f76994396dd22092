"""What log and metrics contain, and what they never contain."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import textwrap
import threading
import warnings
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ConnectionError as Disconnected

from otp_service import telemetry
from otp_service.core import events
from otp_service.core.argon2_profile import TEST_PROFILE
from otp_service.core.challenge import Challenge
from otp_service.core.commit import (
    Blocked,
    ChallengeSnapshot,
    Commit,
    Committed,
    CompareAndSwap,
    Conflict,
    Locked,
    RecordConflict,
    RecordName,
)
from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused, Submission
from otp_service.core.do_not_send import DoNotSendReason
from otp_service.core.errors import (
    ChallengeNotFound,
    Overloaded,
    StoreTampered,
    StoreUnavailable,
)
from otp_service.core.inbound import InboundResult
from otp_service.core.limits import Limit, LimitRefusal, Window
from otp_service.core.prepared_codes import HashedCode
from otp_service.telemetry.labels import EVENT_REASONS, HTTP_METHODS
from otp_service.telemetry.logs import JsonLineHandler


CANARY = "+447700900123 code 483920 https://sms.example/send?api_secret=S3CR3T"
"""Text that a library may put into an exception or a log entry."""

HOSTILE = [
    '\n{"event":"otp.verified"}',
    "\r\nHTTP/1.1 200 OK",
    "a\u2028b\u2029c\x85d",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe\u2066\u200f",
    "\x00\x07\x08\x0b\x0c\x7f\x9b",
    "\ud800 half a character \udfff",
    '"}, {"event": "otp.verified", "x": "',
    "\\",
    "x" * 100_000,
    "\U0001f600" * 10_000,
]
"""R70, CWE-117."""


@pytest.fixture
def log():
    """The stream of the log at the level debug."""
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    level, stream = root.level, io.StringIO()
    telemetry.configure_logging("debug", stream)
    yield stream
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    root.setLevel(level)
    root.handlers = [one for one in root.handlers if not isinstance(one, JsonLineHandler)]


@pytest.fixture
def metrics():
    """Metrics of an installation with two tenants and one provider."""
    return telemetry.Metrics("1.2.3", tenants=["shop", "bank"], providers=["p1"])


def without_pytest(stream):
    """Remove pytest's handlers, which raise on errors and capture entries."""
    telemetry.configure_logging("debug", stream)


def entries(stream):
    """Return the entries of the log; each is a line of JSON in ASCII that is not too long."""
    text = stream.getvalue()
    assert text.isascii()
    assert not set(map(chr, range(32))) & set(text.replace("\n", "")) | set(text) & {"\x7f"}
    lines = text.split("\n")
    assert lines.pop() == ""
    assert all(len(line) < 4096 for line in lines)
    return [json.loads(line) for line in lines]


def series(metrics, name):
    """Return labels and value of each sample of a name, parsed as Prometheus does."""
    text = metrics.render_metrics()[0].decode()
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples]
    return [(sample.labels, sample.value) for sample in found if sample.name == name]


def value(metrics, name, **labels):
    """Return the value of one sample, or None."""
    values = [value for found, value in series(metrics, name) if found == labels]
    assert len(values) <= 1
    return values[0] if values else None


def raised(error, cause=None):
    """Return the exception with a traceback, after raising it."""
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001  # it is what was asked for
        return caught


# ---------------------------------------------------------------------- lines


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_is_logged_can_end_its_line(log, metrics, text):
    """Line separators in values, names, messages or callers' data are escaped (R70)."""
    without_pytest(log)
    logging.getLogger("otp_service.sms").warning("provider %s", text)
    logging.getLogger(text).warning(text)
    telemetry.RequestLog(metrics).log_request(text, text, 200, 0.1, request=text)

    warned, foreign, requested = entries(log)
    assert f"provider {text}"[:100] == warned["event"][:100]
    assert "test_nothing_that_is_logged_can_end_its_line" in foreign["event"]
    assert "request" == requested["event"]


@given(st.text())
def test_every_entry_is_one_line_of_json(text):
    """This is true for any text."""
    line = written(text)

    assert line.isascii()
    assert line.isprintable()
    assert text[:256] == json.loads(line)["value"][:256]


def written(value):
    """Return the line of an entry with this value."""
    record = logging.LogRecord("otp_service", logging.INFO, "", 1, "said", (), None)
    record.fields = {"value": value}
    return JsonLineHandler(io.StringIO()).format(record)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("short", "short"),
        ("x" * 2000, "x" * 256 + "…"),
        (b"482913", "<bytes>"),
        (ValueError(CANARY), "<ValueError>"),
        (Limit.CONSECUTIVE_FAILURES, "ConsecutiveFailuresPerNumber"),
    ],
    ids=["text", "long", "bytes", "error", "enum"],
)
def test_plain_values_are_logged_and_others_as_their_type(value, told):
    """A `repr` may contain a code, a number or a key."""
    assert told == json.loads(written(value))["value"]


def test_timestamps_are_in_utc(log):
    """The time zone of the machine is ignored (R67)."""
    logging.getLogger("otp_service").info("ours")

    (entry,) = entries(log)
    instant = datetime.fromisoformat(entry["timestamp"])
    assert entry["timestamp"].endswith("Z")
    assert abs(datetime.now(UTC) - instant) < timedelta(minutes=1)


def test_a_log_that_cannot_be_written_stops_no_request(metrics, log):
    """A full disk must not refuse logins."""
    log.close()

    telemetry.RequestLog(metrics).log_request("GET", "/health/live", 200, 0.1)
    logging.getLogger("otp_service").error("nobody hears")


def test_the_level_is_that_of_the_settings(log):
    """It applies to our entries and to those of libraries."""
    telemetry.configure_logging("warning", log)

    for name in ("otp_service.x", "some.library"):
        logging.getLogger(name).info("too quiet")
        logging.getLogger(name).warning("loud")

    assert ["otp_service.x", "some.library"] == [entry["logger"] for entry in entries(log)]


# -------------------------------------------------------------------- entries of libraries


def test_the_text_of_an_exception_is_not_logged(log):
    """Its text, the texts of its causes and the locals of its frames are omitted (R68)."""
    secret = CANARY
    error = raised(RuntimeError(secret), raised(ValueError(secret), raised(KeyError(secret))))

    logging.getLogger("otp_service").error("failed", exc_info=error)
    try:
        raise error
    except RuntimeError:
        logging.getLogger("some.library").exception(secret)

    told = entries(log)
    assert secret not in log.getvalue()
    for part in ("7700900123", "483920", "S3CR3T"):
        assert part not in log.getvalue()
    for entry in told:
        kinds = [one["type"] for one in entry["exception"]]
        assert ["builtins.RuntimeError", "builtins.ValueError", "builtins.KeyError"] == kinds
        assert entry["exception"][1]["stack"] == [f"{__name__}:{_line_of(raised)}:raised"]


def _line_of(function):
    return function.__code__.co_firstlineno + 3


def test_the_text_of_our_own_errors_is_logged(log):
    """These texts are fixed sentences without numbers and codes."""
    error = raised(StoreUnavailable(), raised(Disconnected(CANARY)))

    logging.getLogger("otp_service").error("failed", exc_info=error)

    ours, cause = entries(log)[0]["exception"]
    assert str(error) == ours["text"]
    assert {"type", "stack"} == cause.keys()


def test_groups_and_cycles_of_exceptions_are_logged(log):
    """The first failure of a task group is logged, and a cycle ends."""
    first, second = ValueError(CANARY), KeyError(CANARY)
    first.__context__, second.__context__ = second, first
    group = raised(ExceptionGroup(CANARY, [first]))

    logging.getLogger("otp_service").error("failed", exc_info=group)

    kinds = [one["type"] for one in entries(log)[0]["exception"]]
    assert ["builtins.ExceptionGroup", "builtins.ValueError", "builtins.KeyError"] == kinds[:3]
    assert 4 == len(kinds)
    assert "S3CR3T" not in log.getvalue()


def test_the_innermost_frames_of_a_long_stack_are_logged(log):
    """An endless recursion fits one line."""

    def endless():
        endless()

    with pytest.raises(RecursionError) as caught:
        endless()
    logging.getLogger("otp_service").error("failed", exc_info=caught.value)

    (told,) = entries(log)[0]["exception"]
    assert 10 == len(told["stack"])
    assert "endless" in told["stack"][-1]


@pytest.mark.parametrize(
    "say",
    [
        lambda logger: logger.error("Uncaught (path=%s): %r", CANARY, CANARY),
        lambda logger: logger.error(CANARY),
        lambda logger: logger.warning(f"{CANARY} was late"),  # noqa: G004
        lambda logger: logger.debug(ValueError(CANARY)),
    ],
    ids=["template", "variable", "f-string", "exception"],
)
@pytest.mark.parametrize("name", ["some.library", "_granian.asgi", "otp_service_of_others"])
def test_an_entry_of_a_library_is_logged_as_its_place(log, name, say, monkeypatch):
    """Its text may contain a URL, a number or a reply (R43, R68)."""
    # A server that another test has run in this process may have silenced its own.
    monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    say(logging.getLogger(name))

    (entry,) = entries(log)
    assert {"timestamp", "level", "logger", "event"} == entry.keys()
    assert f"test_telemetry:{say.__code__.co_firstlineno}:<lambda>" == entry["event"]
    assert name == entry["logger"]


def test_libraries_are_quiet_below_warning(log):
    """They log each call at INFO; a request must be one line."""
    telemetry.configure_logging("info", log)
    for name in ("httpx", "httpcore.http11", "aiohttp.client", "redis", "_granian"):
        logging.getLogger(name).info("HTTP Request: %s", CANARY)

    assert [] == entries(log)


def test_httpx_does_not_log_urls(log):
    """At INFO it logs whole URLs with codes and passwords (R43)."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with httpx.Client(transport=transport) as client:
        client.get("https://sms.example/send", params={"text": "483920", "secret": "S3CR3T"})

    assert "httpx" in {entry["logger"] for entry in entries(log)}
    for part in ("sms.example", "483920", "S3CR3T"):
        assert part not in log.getvalue()


async def test_a_task_that_is_not_awaited_is_logged_without_its_text(log):
    """asyncio puts the exception's repr into its own entry."""

    async def fail():
        raise ValueError(CANARY)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    loop.call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": task.exception()}
    )

    (entry,) = [one for one in entries(log) if one["level"] == "error"]
    assert entry["event"].startswith("base_events:")
    assert "builtins.ValueError" == entry["exception"][0]["type"]
    assert "483920" not in log.getvalue()


def test_an_entry_that_cannot_be_formatted_is_logged_without_its_values(log, capsys):
    """`logging` itself would print message and arguments to stderr."""
    without_pytest(log)
    logging.getLogger("otp_service").error("%d attempts", CANARY)

    (entry,) = entries(log)
    assert "builtins.TypeError" == entry["exception"][0]["type"]
    assert "S3CR3T" not in log.getvalue() + "".join(capsys.readouterr())


def test_warnings_are_logged_as_their_place(log):
    """Their texts may contain anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, RuntimeWarning, stacklevel=1)

    (entry,) = entries(log)
    assert entry["event"].startswith(f"RuntimeWarning at {__file__}:")


def test_uncaught_exceptions_are_logged_without_their_text():
    """In the main thread, in another, and where Python itself can only print it (R92)."""
    program = f"""
        import sys, threading
        from otp_service import telemetry
        telemetry.configure_logging("info", sys.stderr)
        def fail():
            raise ValueError({CANARY!r})
        class Ends:
            def __del__(self):
                fail()
        thread = threading.Thread(target=fail)
        thread.start(); thread.join()
        Ends()
        fail()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )

    told = entries(io.StringIO(done.stderr))
    assert 1 == done.returncode
    assert 3 == len(told)
    assert {"builtins.ValueError"} == {entry["exception"][0]["type"] for entry in told}


# ---------------------------------------------------------------------- requests


def test_request_is_one_line_and_a_few_samples(log, metrics):
    """It has the template of the route; unknown fields are omitted."""
    seen = telemetry.RequestLog(metrics)
    route = "/v1/challenges/{challenge_id:str}/verify"

    more = {"request": "r-1", "tenant": "shop", "trace": "t-1", "problem": "incorrect-code"}
    seen.log_request("POST", route, 422, 0.0304, **more)
    seen.log_request("GET", "", 503, 0.001, request="r-2", tenant=None)

    first, second = entries(log)
    del first["timestamp"], second["timestamp"]
    assert first == {
        "level": "info",
        "logger": "otp_service.telemetry.request_log",
        "event": "request",
        "method": "POST",
        "route": route,
        "status": 422,
        "milliseconds": 30.4,
        **more,
    }
    assert ("warning", "other") == (second["level"], second["route"])
    assert {"tenant", "trace", "problem"}.isdisjoint(second)
    labels = {"method": "POST", "route": route, "status": "422"}
    assert 1 == value(metrics, "otp_requests_total", **labels)
    assert 0.0304 == pytest.approx(value(metrics, "otp_request_seconds_sum", route=route))


@pytest.mark.parametrize(
    "route",
    [
        "/v1/challenges/c07abcdefghijklmnopqrstuvwxyz",
        "/v1/numbers/+447700900123",
        "/v1/challenges?code=483920",
        "/v1/123456",
        "relative",
        "/" + "a" * 100,
        "/v1/challenges/{challenge_id}\n",
    ],
)
def test_path_is_never_taken_for_a_template(log, metrics, route):
    """A path may contain an id or a number, so neither log nor metric has it."""
    telemetry.RequestLog(metrics).log_request("GET", route, 404, 0.1)

    assert "other" == entries(log)[0]["route"]
    labels = {"method": "GET", "route": "other", "status": "404"}
    assert [(labels, 1)] == series(metrics, "otp_requests_total")


def test_calls_without_a_key_are_counted_until_they_are_drained(metrics):
    """There is one event for each reason and minute, so a caller without a key cannot fill the log."""
    access = telemetry.DeniedAccessCounter(metrics)
    for reason in ("unknown", "missing", "unknown", CANARY):
        access.count_call(reason)

    assert {"unknown": 2, "missing": 1, "other": 1} == access.drain_calls()
    assert {} == access.drain_calls()
    assert 2 == value(metrics, "otp_unauthenticated_total", reason="unknown")


def test_refused_callbacks_are_counted_by_provider_until_they_are_drained(metrics):
    """R64, R66: forged receipts do not fill the log, and the claimed provider is recorded."""
    access = telemetry.DeniedAccessCounter(metrics)
    for provider in ("p1", "p1", CANARY):
        access.count_callback(provider, "signature")

    assert {("p1", "signature"): 2, ("other", "signature"): 1} == access.drain_callbacks()
    assert {} == access.drain_callbacks()
    labels = {"provider": "p1", "reason": "signature"}
    assert 2 == value(metrics, "otp_callbacks_rejected_total", **labels)


def test_messages_from_phones_are_counted_and_only_what_may_be_forged_becomes_an_event(metrics):
    """A flood of forged senders is one number a minute, and an ordinary message is none."""
    access = telemetry.DeniedAccessCounter(metrics)
    for result in (*InboundResult, InboundResult.UNEXPECTED):
        access.count_inbound_message("p1", result)

    counted = {
        result: value(metrics, "otp_inbound_messages_total", provider="p1", result=result)
        for result in InboundResult
    }
    assert dict.fromkeys(InboundResult, 1) | {InboundResult.UNEXPECTED: 2} == counted
    assert {("p1", "unexpected"): 2, ("p1", "invalid_sender"): 1} == access.drain_callbacks()


@pytest.mark.parametrize("reason", ["other", "incomplete"])
def test_what_any_phone_can_cause_is_a_metric_alone(metrics, reason):
    """A person can write to us without end, and fills no log with it."""
    access = telemetry.DeniedAccessCounter(metrics)
    access.count_callback("p1", reason)

    assert {} == access.drain_callbacks()
    assert 1 == value(metrics, "otp_callbacks_rejected_total", provider="p1", reason=reason)


# ---------------------------------------------------------------------- metrics


def test_labels_are_drawn_from_closed_sets(metrics):
    """No label contains what events, providers and callers contain (R68)."""
    hostile = {"tenant": CANARY, "country": CANARY, "reason": CANARY, "id": "e", "number": CANARY}
    metrics.count_event(events.Sent(**hostile, provider=CANARY, milliseconds=3))
    metrics.count_submission(
        Submission.from_reply(CANARY, Refused(Fault.UNKNOWN, CANARY), at=1, milliseconds=9)
    )
    metrics.count_request(CANARY, CANARY, 200, 0.1)
    metrics.count_unauthenticated(CANARY)

    told = {
        found
        for name in ("otp_events", "otp_submissions", "otp_requests", "otp_unauthenticated")
        for labels, _ in series(metrics, f"{name}_total")
        for found in labels.values()
    }
    assert {"otp.sent", "success", "unknown", "message", "200", "other"} == told
    assert "900123" not in metrics.render_metrics()[0].decode()


def test_reasons_of_events_are_those_of_our_errors():
    """A new refusal is a label value without a change of the labels."""
    assert {
        "expired",
        "rate_limited",
        "replay",
        "overloaded",
        "country",
        "deadline",
    } <= EVENT_REASONS
    assert not [reason for reason in EVENT_REASONS | HTTP_METHODS if len(reason) > 32]


def test_the_page_is_valid_for_prometheus(metrics):
    """No series occurs twice, and the version is a series."""
    body, kind = metrics.render_metrics()

    assert kind.startswith("text/plain; version=")
    assert b"_created" not in body
    assert 1 == value(metrics, "otp_build_info", version="1.2.3")


def test_two_instances_of_metrics_are_independent():
    """Two applications in one process have their own registries."""
    one, other = (telemetry.Metrics("1", tenants=[], providers=[]) for _ in range(2))

    one.count_unauthenticated("missing")

    assert [({"reason": "missing"}, 1)] == series(one, "otp_unauthenticated_total")
    assert [] == series(other, "otp_unauthenticated_total")


WORKER = """
    import sys
    from otp_service import telemetry
    metric_buffer = telemetry.MetricBuffer.install()
    metrics = telemetry.Metrics("1.2.3", tenants=["shop"], providers=[])
    gate = telemetry.InstrumentedAdmission.create_named("argon2", metrics, slots=10, tenants=1)
    held = [gate.acquire("shop") for _ in range(3)]
    for _ in range(1000):
        metrics.count_request("GET", "/health/live", 200, 0.01)
    print("counted", flush=True)
    for line in sys.stdin:
        metric_buffer.write()
        print("written", flush=True)
    held[0].close()
    metric_buffer.write()
"""


def worker(*, writes=True):
    """Start a worker process and wait until it has counted, and has written its metrics."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert "counted\n" == process.stdout.readline()
    if writes:
        write_metrics(process)
    return process


def write_metrics(process):
    """Let a worker write its metrics."""
    process.stdin.write("\n")
    process.stdin.flush()
    assert "written\n" == process.stdout.readline()


@pytest.mark.slow
def test_one_page_has_the_metrics_of_all_workers(metrics):
    """Counters are added up and outlive their worker; gauges are those of running workers."""

    def requests():
        return value(
            metrics, "otp_requests_total", method="GET", route="/health/live", status="200"
        )

    def places():
        return value(metrics, "otp_admission_slots_in_use", gate="argon2")

    with telemetry.share_metrics_folder() as folder:
        first, second = worker(), worker()
        assert 2000 == requests()
        assert 6 == places()
        assert 2000 == value(metrics, "otp_request_seconds_count", route="/health/live")
        assert 1 == value(metrics, "otp_build_info", version="1.2.3")

        first.kill()
        first.communicate()
        assert 2000 == requests()
        assert 3 == places()

        third = worker()
        for process in (second, third):
            process.communicate("")
        assert 3000 == requests()
        assert places() is None
    assert not folder.exists()
    assert requests() is None


@pytest.mark.slow
def test_a_worker_counts_in_memory_and_writes_all_that_changed(metrics):
    """Counters, histograms and gauges; what was written is never counted twice."""

    def samples():
        route = "/health/live"
        return (
            value(metrics, "otp_requests_total", method="GET", route=route, status="200"),
            value(metrics, "otp_request_seconds_count", route=route),
            value(metrics, "otp_request_seconds_bucket", route=route, le="0.01"),
            value(metrics, "otp_request_seconds_bucket", route=route, le="0.005"),
            value(metrics, "otp_admission_slots_in_use", gate="argon2"),
            value(metrics, "otp_admission_slots", gate="argon2"),
        )

    with telemetry.share_metrics_folder():
        process = worker(writes=False)
        assert (0, 0, 0, 0, 0, 0) == samples()

        write_metrics(process)
        assert (1000, 1000, 1000, 0, 3, 10) == samples()
        assert 10 == pytest.approx(value(metrics, "otp_request_seconds_sum", route="/health/live"))

        write_metrics(process)
        assert (1000, 1000, 1000, 0, 3, 10) == samples()
        process.communicate("")


def test_a_value_that_changes_while_it_is_written_is_written_again():
    """The next write has the newer value, whatever the order of the two."""
    written = []

    class FileValue:
        def get(self):
            return 5.0

        def set(self, number):
            written.append(number)
            if len(written) == 1:
                counted.start()

    buffer = telemetry.MetricBuffer()
    counter = buffer.create_value(FileValue)
    counted = threading.Thread(target=lambda: counter.inc(1))

    counter.inc(2)
    buffer.write()
    counted.join()
    buffer.write()
    buffer.write()

    assert [7.0, 8.0] == written
    assert 8.0 == counter.get()


# ---------------------------------------------------------------------- instrumented ports


class Fake:
    """A store, router and hasher that returns or raises what it was given."""

    limit_key_id = "limit-1"

    def __init__(self, answer):
        self._answer = answer

    def get_number_partition(self, _):
        return 7

    def get_bucket_partition(self, _):
        return 8

    def get_account_partition(self, *_):
        return 9

    async def _say(self, *_, **__):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    fetch_challenge = commit = get_record = get_idempotency_record = _say
    swap_idempotency_record = send = compute_argon2id = _say


ISSUED = events.Issued(id="e", tenant="shop", country="GB", number="p:1")
DENIED = events.IssueDenied(id="e", tenant="shop", country="GB", reason="refused")
SAID = ("shop", "GB", "")


def committed(metrics, answer, **commit):
    """Return the events counted for a commit with this outcome, by type and reason."""
    store = telemetry.InstrumentedStore(Fake(answer), metrics)
    assert answer == asyncio.run(store.commit(Commit(partition=1, operation_id="o", **commit)))
    told = ("type", "outcome", "reason", "tenant", "country", "provider")
    found = series(metrics, "otp_events_total")
    return {tuple(labels[label] for label in told) for labels, _ in found}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Committed(1), {("otp.issued", "success", "", *SAID)}),
        (
            LimitRefusal(Limit.COOLDOWN, Window(1, 30), 500),
            {("otp.issue_denied", "failure", "rate_limited", *SAID)},
        ),
        (
            Locked(Limit.CONSECUTIVE_FAILURES),
            {("otp.issue_denied", "failure", "number_locked", *SAID)},
        ),
        (
            Locked(Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES),
            {("otp.issue_denied", "failure", "account_locked", *SAID)},
        ),
        *(
            (Blocked(reason), {("otp.issue_denied", "failure", reason.value, *SAID)})
            for reason in DoNotSendReason
        ),
        (RecordConflict(1, (None,)), set()),
        (Conflict(ChallengeSnapshot(1, None, None)), set()),
    ],
)
def test_events_are_counted_as_they_are_appended(metrics, answer, told):
    """Events count if committed, the refusal's event if refused, none on a conflict."""
    assert told == committed(metrics, answer, events=(ISSUED,), event_if_refused=DENIED)


def test_denial_is_counted_with_its_reason(metrics):
    """The denial was decided before the commit."""
    denial = events.IssueDenied(id="e", tenant="bank", country="GB", reason="country")

    told = committed(metrics, Committed(1), foldable_event=denial)

    assert {("otp.issue_denied", "failure", "country", "bank", "GB", "")} == told


def test_limits_that_refuse_are_counted_by_name(metrics):
    """This includes buckets without an event."""
    told = committed(metrics, LimitRefusal(Limit.SENDS_TENANT, Window(1, 30), 500))

    assert set() == told
    assert [({"limit": "SendsPerTenant"}, 1)] == series(metrics, "otp_limit_refusals_total")


def test_attempts_with_a_token_are_counted_by_the_key_that_sealed_it():
    """An operator removes an old key when its count no longer grows; so a zero is shown too."""
    metrics = telemetry.Metrics("1", tenants=["shop"], providers=[], token_keys=["a2", "a1"])

    def read_counts():
        found = series(metrics, "otp_token_attempts_total")
        return {(labels["factor"], labels["key"]): count for labels, count in found}

    factors = ("authenticator", "recovery")
    assert dict.fromkeys([(f, k) for f in factors for k in ("a1", "a2")], 0) == read_counts()

    attempts = [
        events.AuthenticatorAttempted(id="e", sealed_under="a1"),
        events.AuthenticatorAttempted(id="e", sealed_under="a1"),
        events.RecoveryAttempted(id="e", sealed_under="a2"),
        events.RecoveryAttempted(id="e", sealed_under="no key of ours"),
        events.AuthenticatorVerified(id="e", sealed_under="a2"),
    ]
    for event in attempts:
        committed(metrics, Committed(1), events=(event,))
    committed(metrics, RecordConflict(1, (None,)), events=(attempts[0],))
    refusal = LimitRefusal(Limit.AUTHENTICATOR_FAILURES, Window(5, 600), 500)
    committed(metrics, refusal, events=(attempts[0],), event_if_refused=DENIED)

    assert read_counts() == {
        ("authenticator", "a1"): 2,
        ("authenticator", "a2"): 0,
        ("recovery", "a1"): 0,
        ("recovery", "a2"): 1,
        ("recovery", "other"): 1,
    }


def won(*submissions, **more):
    """Return the parts of a commit that verifies a challenge with these submissions."""
    challenge = Challenge(
        tenant="shop",
        id="c01-1",
        version=2,
        purpose="login",
        account=None,
        masked_number="+44…56",
        number_pseudonym="1:00",
        country="GB",
        created_at=1,
        deadline=9,
        ends_at=9,
        resend_at=5,
        attempts_left=4,
        sends_left=2,
        submissions=submissions,
    )
    event = events.Verified(id="e", tenant="shop", country="GB", **more)
    return {"events": (event,), "swap": CompareAndSwap(challenge, challenge)}


def test_a_success_counts_for_the_provider_of_the_newest_message(metrics):
    """Conversion is verified of sent; a repeated answer does not count."""
    took, perhaps = Accepted("m"), Refused(Fault.UNKNOWN, "read-timeout")
    first = Submission.from_reply("p1", took, at=0, milliseconds=1)
    second = Submission.from_reply("p9", perhaps, at=0, milliseconds=1)
    refused = Submission.from_reply("p1", Refused(Fault.PROVIDER, "x"), at=0, milliseconds=1)
    second, third = (
        msgspec.structs.replace(one, send=2, ordinal=place)
        for place, one in enumerate((second, refused), start=1)
    )

    committed(metrics, Committed(1), **won(first))
    committed(metrics, Committed(1), **won(first, second, third))
    committed(metrics, Committed(1), **won(first, repeated=True))
    committed(metrics, Committed(1), **won(refused))
    committed(metrics, Conflict(ChallengeSnapshot(1, None, None)), **won(first))

    assert [
        ({"provider": "p1", "country": "GB"}, 1),
        ({"provider": "other", "country": "GB"}, 1),
    ] == series(metrics, "otp_conversions_total")


def test_gauges_of_providers_have_closed_sets_of_labels(metrics):
    """An unknown provider and an unknown country are `other`."""
    for provider, country in (("p1", "GB"), ("gone", "xx")):
        metrics.set_breaker_state(provider, country, "half-open")
        metrics.set_provider_share(provider, 0.25)

    assert 1 == value(metrics, "otp_provider_state", provider="p1", country="GB")
    assert 1 == value(metrics, "otp_provider_state", provider="other", country="other")
    assert 0.25 == value(metrics, "otp_provider_share", provider="other")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised(StoreTampered(), ValueError(CANARY)), "StoreTampered"),
        (StoreUnavailable(), "StoreUnavailable"),
        (raised(StoreUnavailable(), Disconnected(CANARY)), "ConnectionError"),
        (raised(StoreUnavailable(kind="READONLY"), Disconnected(CANARY)), "READONLY"),
        (RuntimeError(CANARY), "RuntimeError"),
    ],
)
async def test_failures_of_the_store_are_counted_by_kind(metrics, error, kind):
    """They are measured, and raised unchanged."""
    with pytest.raises(type(error)) as caught:
        await telemetry.InstrumentedStore(Fake(error), metrics).get_idempotency_record(
            "shop", "key"
        )

    assert error is caught.value
    assert [({"kind": kind}, 1)] == series(metrics, "otp_store_failures_total")
    assert 1 == value(metrics, "otp_store_seconds_count", call="recall")


async def test_a_missing_challenge_is_not_a_failure(metrics):
    """It is an answer of the store."""
    with pytest.raises(ChallengeNotFound):
        await telemetry.InstrumentedStore(Fake(ChallengeNotFound()), metrics).fetch_challenge(
            "shop", "x"
        )

    assert [] == series(metrics, "otp_store_failures_total")


async def test_the_instrumented_store_returns_what_the_store_returns(metrics):
    """It implements the same port."""
    store = telemetry.InstrumentedStore(Fake((5, None)), metrics)

    assert 7 == store.get_number_partition("+447700900123")
    assert 9 == store.get_account_partition("shop", "u-81")
    assert (5, None) == await store.get_record(9, RecordName("answer", "shop", "key"))
    assert (5, None) == await store.get_idempotency_record("shop", "key")
    assert (5, None) == await store.swap_idempotency_record("shop", "key", None, None, "o")
    assert (5, None) == await store.fetch_challenge("shop", "id")
    told = {labels["call"] for labels, _ in series(metrics, "otp_store_seconds_count")}
    assert {"recall", "remember", "fetch"} == told


async def test_argon2_is_measured(metrics):
    """The duration includes the wait for a free thread, which a person waits for."""
    hasher = telemetry.InstrumentedHasher(Fake(b"hash"), metrics)

    assert b"hash" == await hasher.compute_argon2id("123456", b"salt")
    assert 1 == value(metrics, "otp_argon2_seconds_count")
    assert 0 < value(metrics, "otp_argon2_seconds_sum") < 1


async def test_submissions_are_counted_by_provider_and_fault(metrics):
    """Each submission of a send counts, with its duration, fault and scope."""
    account = RefusalScope.ACCOUNT
    made = (
        Submission.from_reply(
            "p1", Refused(Fault.PROVIDER, "20003", scope=account), at=0, milliseconds=250
        ),
        Submission.from_reply("p1", Accepted("m"), at=1, milliseconds=750),
    )

    assert made == await telemetry.InstrumentedRouter(Fake(made), metrics).send(None)
    assert [
        ({"provider": "p1", "outcome": "refused", "fault": "provider", "scope": "account"}, 1),
        ({"provider": "p1", "outcome": "accepted", "fault": "", "scope": ""}, 1),
    ] == series(metrics, "otp_submissions_total")
    assert 1.0 == value(metrics, "otp_submission_seconds_sum", provider="p1")


def test_prepared_codes_are_reported_as_they_are_added_taken_and_missed(metrics):
    """A reservation that is given up counts neither; a closed stock is empty."""
    stock = telemetry.InstrumentedPreparedCodes(2, 6, TEST_PROFILE, metrics)

    def read():
        return (
            value(metrics, "otp_prepared_codes"),
            value(metrics, "otp_prepared_code_requests_total", outcome="taken"),
            value(metrics, "otp_prepared_code_requests_total", outcome="missing"),
        )

    for code in ("123456", "234567"):
        stock.add(HashedCode(code, b"salt", b"hash"))
    with stock.reserve(6, TEST_PROFILE):
        assert (2, 0, 0) == read()
    assert stock.reserve(6, TEST_PROFILE).take()
    with stock.reserve(6, TEST_PROFILE):
        assert stock.reserve(6, TEST_PROFILE) is None
    assert (1, 1, 1) == read()

    late = stock.reserve(6, TEST_PROFILE)
    stock.close()
    assert late.take() is None
    assert (0, 1, 2) == read()


def test_admission_control_reports_its_slots(metrics):
    """The gauge is set at the start and at each change; a refusal changes nothing."""
    gate = telemetry.InstrumentedAdmission.create_named("sending", metrics, slots=4, tenants=2)

    def taken():
        return value(metrics, "otp_admission_slots_in_use", gate="sending")

    assert 0 == taken()

    first, second = gate.acquire("shop"), gate.acquire("shop")
    with pytest.raises(Overloaded):
        gate.acquire("shop")
    assert 2 == taken()

    first.close()
    first.close()
    assert 1 == taken()
    second.close()
    assert 0 == taken()

    with gate.acquire("shop", 10):
        assert 2 == taken()
    assert 0 == taken()

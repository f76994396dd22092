"""A request is refused by its head before it is routed, and HEAD is answered wherever GET is."""

from urllib.parse import unquote

import pytest
from litestar.exceptions import HTTPException, NotFoundException

from otp_service.api.request_head import (
    LOOPBACK_ONLY,
    MAX_TARGET_BYTES,
    HostAllowlist,
    find_head_error,
)
from otp_service.core.errors import InvalidRequest
from tests.api.fakes import CHALLENGE_ID, ApiHarness, build_auth_header, build_scope, run_asgi_call


# ------------------------------------------------------------------------------------------- Host


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "otp.example.com", "OTP.example.com:8000", "otp_service", "127.0.0.1:80"),
        *("[::1]", "[2001:db8::1]:8000", "xn--bcher-kva.example", "otp.example.com."),
    ],
)
def test_the_public_listener_serves_every_valid_host(host: str) -> None:
    """The proxy in front of it chooses by name."""
    assert find_head_error(scope_of_hosts(host), None) is None


@pytest.mark.parametrize(
    "hosts",
    [
        *([], [""], ["localhost", "localhost"], ["localhost", "otp.example.com"], ["", ""]),
        *(["", "localhost"], ["localhost", ""]),
        *(["a b"], ["user@localhost"], ["localhost/path"], ["localhost, localhost"]),
        *(["::1"], ["[::1"], ["[example.com]"], ["localhost:8000:1"], ["localhost:http"], ["ö"]),
        *(["localhost#"], ["localhost?"], ["localhost\\"], ["http://localhost"], ["localhost\t"]),
    ],
)
@pytest.mark.parametrize("allowlist", [None, LOOPBACK_ONLY], ids=["public", "loopback"])
def test_http_1_1_needs_exactly_one_valid_host(
    hosts: list[str], allowlist: HostAllowlist | None
) -> None:
    """RFC 9112 §3.2. Granian adds an empty field where there is none."""
    error = find_head_error(scope_of_hosts(*hosts), allowlist)

    assert isinstance(error, InvalidRequest)
    assert "Host" == error.errors[0][0]


@pytest.mark.parametrize("version", ["1", "1.0"])
def test_http_1_0_may_have_no_host(version: str) -> None:
    """Health checks of load balancers send it so; two of them are refused all the same."""
    assert find_head_error(scope_of_hosts(version=version), None) is None
    assert find_head_error(scope_of_hosts("", version=version), None) is None
    assert find_head_error(scope_of_hosts("a", "a", version=version), None)
    assert find_head_error(scope_of_hosts(version=version), LOOPBACK_ONLY)


LISTED = HostAllowlist.from_hosts(
    {"10.0.0.5", "OTP.internal", "2001:db8::5"}, allows_addresses=False
)
EVERY_ADDRESS = HostAllowlist.from_hosts({"0.0.0.0"}, allows_addresses=True)  # noqa: S104  # a value


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        *(("localhost", True), ("127.0.0.1:8001", True), ("[::1]:8001", True)),
        *(("10.0.0.5:8001", True), ("otp.INTERNAL", True), ("[2001:DB8::5]:8001", True)),
        *(("rebound.example", False), ("rebound.example:8001", False), ("10.0.0.6:8001", False)),
        *(("otp.internal.example", False), ("localhost.example", False), ("127.0.0.2", False)),
        *(("10.0.0.5.nip.io", False), ("[::2]", False), ("localhost.", False)),
    ],
)
def test_a_listener_serves_loopback_and_its_own_names(host: str, *, is_served: bool) -> None:
    """Its configured address, and the names in `admin_hosts`."""
    assert is_served is (find_head_error(scope_of_hosts(host), LISTED) is None)


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        *(("10.9.8.7:8001", True), ("[2001:db8::9]", True), ("localhost", True)),
        *(("rebound.example", False), ("10.9.8.7.nip.io", False), ("0x7f000001", False)),
    ],
)
def test_a_listener_at_every_address_serves_addresses_and_no_names(
    host: str, *, is_served: bool
) -> None:
    """An address in Host is no name that could be rebound; Prometheus reads pods by address."""
    assert is_served is (find_head_error(scope_of_hosts(host), EVERY_ADDRESS) is None)


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.yaml", "/audit", "/nothing"])
async def test_a_page_of_another_name_reads_nothing_of_the_admin_listener(path: str) -> None:
    """A name that resolves to this listener could otherwise read the metrics (DNS rebinding)."""
    api = ApiHarness(host_allowlist=LISTED)
    scope = scope_of_hosts("rebound.example:8001", path=path)

    status, headers, body = await run_asgi_call(api.admin, scope)

    assert (400, "close") == (status, headers["connection"])
    assert b"add it to service.admin_hosts" in body


# ------------------------------------------------------------------------------ framing and target


@pytest.mark.parametrize(
    "codings",
    [
        *(["gzip, chunked"], ["gzip", "chunked"], ["chunked, chunked"], ["chunked", "chunked"]),
        *(["identity"], ["xchunked"], [""], ["chunked,"], ["chunked;q=1"], ["identity, chunked"]),
    ],
)
def test_an_unknown_transfer_coding_is_not_served(codings: list[str]) -> None:
    """RFC 9112 §6.1. Its body would be passed on as if it were plain."""
    fields = [(b"transfer-encoding", coding.encode()) for coding in codings]

    error = find_head_error(build_scope("POST", "/v1/challenges", *fields), None)

    assert isinstance(error, HTTPException)
    assert 501 == error.status_code


async def test_an_unknown_transfer_coding_closes_the_connection(api: ApiHarness) -> None:
    """Where its body ends is uncertain."""
    scope = build_scope("POST", "/v1/challenges", (b"transfer-encoding", b"gzip, chunked"))

    status, headers, body = await run_asgi_call(api.public, scope)

    assert (501, "close") == (status, headers["connection"])
    assert "application/problem+json" == headers["content-type"]
    assert b"/problems/not-implemented" in body


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
def test_chunked_alone_is_served(coding: bytes) -> None:
    """Names of codings have no case."""
    scope = build_scope("GET", "/health/live", (b"transfer-encoding", coding))

    assert find_head_error(scope, None) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("CONNECT", ""), ("CONNECT", "*"), ("CONNECT", "/health/live")),
        *(("BREW", "/health/live"), ("get", "/health/live"), ("PRI", "*"), ("", "/health/live")),
    ],
)
async def test_a_method_that_is_not_of_http_is_refused_and_closes(
    api: ApiHarness, method: str, path: str
) -> None:
    """Programs disagree on whether CONNECT has a body, and do not know that of others."""
    status, headers, body = await run_asgi_call(api.public, build_scope(method, path))

    assert (400, "close") == (status, headers["connection"])
    assert b"/problems/invalid-request" in body


@pytest.mark.parametrize(
    "path",
    [
        *("//v1//challenges", "//v1/challenges", "/v1//challenges", "/v1/challenges/", "/v1/"),
        *("/v1%2fchallenges", "/v1%2Fchallenges", "/v1/./challenges", "/v1/../v1/challenges"),
        *("/./v1/challenges", "/v1/challenges/.", "/v1/challenges/..", "/%761/challenges"),
        *("/v1/%63hallenges", "/v1/challenge%73", "/v1/%2e/challenges", "/v1/%2E%2e/challenges"),
        *("/v1/challenges%2f", "/v1%5cchallenges", "", "v1/challenges", "//", "/health//live"),
        *(f"/v1/challenges/%63{CHALLENGE_ID[1:]}", "/audit/", "/%6detrics"),
    ],
)
def test_another_spelling_of_a_path_is_refused(path: str) -> None:
    """A proxy may compare the path as it is, and allow or deny by it."""
    scope = build_scope("POST", path) | {"path": "/v1/challenges"}  # as a server may decode it

    assert isinstance(find_head_error(scope, None), NotFoundException)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1\\challenges", "/v1/challenges;a=b", "/v1;/challenges", "/V1/challenges", "*"),
        *("/v1/challenges%20", "/v1/challenges%00", "/v1/challenges/", "/v1%2fchallenges"),
    ],
)
async def test_no_other_spelling_is_a_route(api: ApiHarness, path: str) -> None:
    """The router has one spelling of each path; case matters."""
    scope = build_scope("POST", path, *auth()) | {"path": unquote(path)}

    status, _, body = await run_asgi_call(api.public, scope)

    assert 404 == status
    assert b"/problems/not-found" in body
    assert [] == api.service.calls


@pytest.mark.parametrize(
    "path", ["/", "/v1/challenges", "/.well-known/x", "/a..b", "/%2B44", "/%zz"]
)
def test_other_paths_are_left_to_the_router(path: str) -> None:
    """Escapes that only data needs keep their meaning."""
    assert find_head_error(build_scope("GET", path), None) is None


async def test_a_long_target_is_414(api: ApiHarness) -> None:
    """Path and query are counted together, on every route of both listeners."""
    for app, path in ((api.public, "/health/live"), (api.admin, "/metrics"), (api.public, "/none")):
        scope = build_scope("GET", path)
        scope["query_string"] = b"a" * (MAX_TARGET_BYTES - len(path))
        allowed = (await run_asgi_call(app, dict(scope)))[0]
        scope["query_string"] += b"a"
        status, headers, body = await run_asgi_call(app, scope)

        assert allowed in {200, 404}
        assert (414, "application/problem+json") == (status, headers["content-type"])
        assert b"/problems/uri-too-long" in body


def test_a_server_may_leave_out_the_raw_path() -> None:
    """ASGI allows it; the decoded path is then all there is."""
    scope = build_scope("GET", "/v1//challenges")
    del scope["raw_path"]

    assert find_head_error(scope, None)


# ----------------------------------------------------------------------------------- unread bodies


@pytest.mark.parametrize(
    ("headers", "is_last"),
    [
        ([(b"content-length", b"5")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"content-length", b"0")], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("path", ["/nothing", "/v1/challenges"])
async def test_a_body_that_nobody_read_ends_the_connection(
    api: ApiHarness, path: str, headers, *, is_last: bool
) -> None:
    """A server would close it without a word, while a proxy gives it to the next client."""
    status, answered, _ = await run_asgi_call(api.public, build_scope("POST", path, *headers))

    assert status in {401, 404}
    assert ("close" if is_last else None) == answered.get("connection")


@pytest.mark.parametrize(
    ("events", "is_last"),
    [
        ([{"type": "http.request", "body": b"{}", "more_body": False}], False),
        ([{"type": "http.request", "body": b"{}"}], False),
        ([{"type": "http.request", "body": b"{", "more_body": True}], True),
    ],
)
async def test_a_body_that_was_read_leaves_the_connection_open(
    api: ApiHarness, events, *, is_last: bool
) -> None:
    """Also after an error; a body that the client cut off is not read to its end."""
    headers = [(b"content-length", b"2"), (b"content-type", b"application/json"), *auth()]

    status, answered, _ = await run_asgi_call(
        api.public, build_scope("POST", "/v1/challenges", *headers), *events
    )

    assert 400 == status
    assert ("close" if is_last else None) == answered.get("connection")


# ------------------------------------------------------------------------------------------- HEAD


@pytest.mark.parametrize(
    ("listener", "path", "key"),
    [
        *(("public", "/health/live", ""), ("public", f"/v1/challenges/{CHALLENGE_ID}", "shop")),
        *(("public", "/v1/audit/events", "shop-audit"), ("admin", "/metrics", "")),
        *(("admin", "/openapi.yaml", ""), ("admin", "/docs", ""), ("admin", "/audit/login", "")),
        *(("admin", "/audit", ""), ("admin", "/audit/style.css", ""), ("public", "/nothing", "")),
        *(("public", f"/v1/challenges/{CHALLENGE_ID}", ""), ("public", "/v1/challenges", "shop")),
    ],
)
async def test_head_has_the_status_and_headers_of_get_and_no_body(
    api: ApiHarness, listener, path, key
) -> None:
    """RFC 9110 §9.3.2; errors too. Monitors of uptime send it."""
    answers = {}
    for method in ("GET", "HEAD"):
        scope = build_scope(method, path, *(auth(key) if key else ()))
        answers[method] = await run_asgi_call(getattr(api, listener), scope)

    (status, headers, body), (_, _, nothing) = answers["GET"], answers["HEAD"]
    assert (status, headers) == answers["HEAD"][:2]
    assert b"" == nothing
    assert str(len(body)) == headers["content-length"]
    assert "HEAD" == api.request_summaries[-1].method


@pytest.mark.parametrize("path", ["/v1/callbacks/acme", "/v1/inbound/acme"])
async def test_head_is_405_where_a_get_changes_something(api: ApiHarness, path) -> None:
    """RFC 9110 §9.2.1: HEAD is safe. A program that checks a link sends it, with the token in the link."""
    status, headers, body = await run_asgi_call(api.public, build_scope("HEAD", path))

    assert (405, b"") == (status, body)
    assert {"GET", "POST"} == set(headers["allow"].split(", "))
    assert ([], [], []) == (api.rejected, api.service.calls, api.inbound_messages)


def auth(key: str = "shop"):
    """Return the header of an API key as ASGI has it."""
    return [(b"authorization", build_auth_header(key)["Authorization"].encode())]


def scope_of_hosts(*hosts: str, path: str = "/health/live", version: str = "1.1"):
    """Return a request with these values of Host."""
    headers = [(b"host", host.encode()) for host in hosts]
    return build_scope("GET", path) | {"headers": headers, "http_version": version}

"""Every use of authenticators and recovery codes, and the secrets that no output may contain."""

import contextlib
import io
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyotp
import pytest

from otp_service.cli import main
from otp_service.store.embedded import EmbeddedServer
from tests.installation import make_wrong_code
from tests.processes import HttpResponse, RunningService
from tests.store import redis_servers


ACCOUNT, OTHER_ACCOUNT, BUG_ACCOUNT = "ada@example.com", "grace@example.com", "bug@example.com"
BUG_TOKEN = f"a1.{'B' * 8}{secrets.token_urlsafe(60)}"
BUG_CODE = "BUGB-7Q4W-9XKD-2MHT"
PERIOD_SECONDS = 30

FACTOR_PROBLEM_TYPES = {
    *("invalid-authenticator", "authenticator-not-confirmed", "authenticator-already-confirmed"),
    *("invalid-recovery-set", "code-already-used"),
}
"""Problem types of authenticators and recovery codes alone; `run_steps` causes each of them."""

INJECTED_BUGS = f"""
import os
from otp_service.api import qr_code
from otp_service.core import authenticator, recovery_codes, sealed_token

list_steps, normalize = authenticator.list_matching_steps, recovery_codes.normalize_recovery_code
open_token, render = sealed_token.TokenCipher.open, qr_code.render_qr_svg

def faulty_list_steps(opened, code, now):
    if opened.account == {BUG_ACCOUNT!r}:
        raise RuntimeError(f"{{opened.base32_secret}} {{opened.secret!r}} has not {{code}}: {{opened}}")
    return list_steps(opened, code, now)

def faulty_normalize(text):
    if text == {BUG_CODE!r}:
        raise RuntimeError(f"cannot read {{text}}")
    return normalize(text)

def faulty_open(self, kind, token):
    if token == {BUG_TOKEN!r}:
        raise RuntimeError(f"cannot open {{token}}")
    return open_token(self, kind, token)

def faulty_render(uri):
    if "broken" in uri:
        raise RuntimeError(f"cannot draw {{uri}}")
    return render(uri)

authenticator.list_matching_steps = faulty_list_steps
recovery_codes.normalize_recovery_code = faulty_normalize
sealed_token.TokenCipher.open = faulty_open
qr_code.render_qr_svg = faulty_render
os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "100"
"""
"""Injected bugs whose exceptions contain their input."""


class FactorSecrets(NamedTuple):
    """What no output may contain; each set grows during the scenario."""

    secrets: set[str]
    """In base32."""
    uris: set[str]
    tokens: set[str]
    codes: set[str]
    """Of apps: six digits, accepted, wrong, used or not typed yet."""
    recovery_codes: set[str]


class FactorScenario:
    """Uses both factors in every way, and causes each of their errors."""

    def __init__(self, service: RunningService, redis: EmbeddedServer, config: Path) -> None:
        self._service, self._redis, self._config = service, redis, config
        self.found = FactorSecrets(set(), set(), {BUG_TOKEN}, set(), {BUG_CODE})
        self.command_errors = ""

    def run_steps(self) -> None:
        """Run all steps."""
        created, active = self._enroll(ACCOUNT)
        self._use_app(created, active)
        self._send_bad_requests(active)
        self._lock_app()
        self._use_recovery_codes(active)
        self._trigger_bugs()
        self._run_commands(active)
        self._search_events(active)
        self._fill_redis(active)

    # ------------------------------------------------------------------------- authenticators

    def _create(self, account: str, status: int = 201, **fields: Any) -> Any:
        created = self._post("/v1/authenticators", status, account=account, **fields)
        if status == 201:
            self.found.secrets.add(created["secret"])
            self.found.uris.add(created["uri"])
            self.found.tokens.add(created["authenticator"])
        return created

    def _enroll(self, account: str) -> tuple[Any, str]:
        """Return what create has returned, and the active token."""
        created = self._create(account)
        confirm = {"authenticator": created["authenticator"], "account": account}
        code = self._compute_code(created, -1)
        active = self._post("/v1/authenticators/confirm", 200, key="c", **confirm, code=code)
        self._post("/v1/authenticators/confirm", 200, key="c", **confirm, code=code)
        self.found.tokens.add(active["authenticator"])
        return created, active["authenticator"]

    def _use_app(self, created: Any, active: str) -> None:
        """Confirm and verify with right, used, wrong, malformed and too many codes."""
        unconfirmed, fields = created["authenticator"], {"account": ACCOUNT}
        used, new = self._compute_code(created, -1), self._compute_code(created, 1)
        for token, path, code, status in (
            (unconfirmed, "verify", new, 409),
            (active, "confirm", new, 409),
            (active, "verify", used, 422),
            (active, "verify", f"{new}0", 400),
            (active, "verify", new, 200),
            (active, "verify", new, 200),
            (active, "verify", new, 422),
            (active, "verify", self._compute_code(created, 0), 422),
        ):
            body = fields | {"authenticator": token, "code": code}
            key = code if status == 200 else ""
            self._post(f"/v1/authenticators/{path}", status, key=key, **body)
        for shift in range(4):
            wrong = make_wrong_code(new, shift + 5)
            self.found.codes.add(wrong)
            self._post(
                "/v1/authenticators/verify", None, authenticator=active, code=wrong, **fields
            )

    def _send_bad_requests(self, active: str) -> None:
        """Send tokens, secrets and codes in every invalid place."""
        path, send = "/v1/authenticators/verify", self._service.send_request
        secret, code = pyotp.random_base32(), "493817"
        self.found.secrets.add(secret)
        self.found.codes.add(code)
        altered = f"{active[:-8]}AAAAAAAA"
        self.found.tokens.add(altered)
        uri = f"otpauth://totp/Shop:{ACCOUNT}?secret={secret}&issuer=Shop"
        self.found.uris.add(uri)
        whole = {"authenticator": active, "account": ACCOUNT, "code": code}
        send("POST", f"{path}?authenticator={active}&code={code}", body=whole)
        send("GET", f"/v1/authenticators/{active}")
        send("GET", f"/v1/authenticators/{secret}/{code}")
        send("POST", f"/v1/recovery-codes/{BUG_CODE}")
        for change in (
            {"authenticator": altered},
            {"authenticator": f"r1.{active[3:]}"},
            {"authenticator": active * 9},
            {"authenticator": [active]},
            {"account": OTHER_ACCOUNT},
            {"account": active},
            {"code": secret},
            {"code": uri},
            {"purpose": secret},
            {"client_ip": active},
            {f"secret {secret}": code, active: uri},
        ):
            send("POST", path, body=whole | change)
        for fields in (
            {"name": uri},
            {"name": f"{secret}\n"},
            {"secret": f"{secret}!"},
            {"secret": secret[:8]},
            {"secret": uri},
            {"secret": [secret]},
        ):
            send("POST", "/v1/authenticators", body={"account": ACCOUNT} | fields)
        self._create(OTHER_ACCOUNT, secret=secret)
        headers = {"Idempotency-Key": active, "User-Agent": uri, "Referer": uri}
        send("POST", path, body=whole, headers=headers | {"traceparent": f"00-{secret}-{code}-01"})
        send("POST", path, body=f'{{"authenticator": "{active}", "code": "{code}"'.encode())
        send("POST", path, body=uri.encode(), headers={"Content-Type": "text/plain"})
        send("GET", f"/v1/audit/events?type={active}&challenge={secret}", by="security")

    def _lock_app(self) -> None:
        """Lock the authenticators of an account, try a right code, and unlock it."""
        created, active = self._enroll(OTHER_ACCOUNT)
        wrong = make_wrong_code(self._compute_code(created, 0), 7)
        self.found.codes.add(wrong)
        body = {"authenticator": active, "account": OTHER_ACCOUNT}
        self._post("/v1/authenticators/verify", 422, **body, code=wrong)
        with redis_servers.open_client(self._redis) as client:
            names = "*:limit:ConsecutiveAuthenticatorFailuresPerAccount:*"
            for name in client.scan_iter(names):
                client.hset(name, mapping={"count": 99, "last": 0})
        self._post("/v1/authenticators/verify", 422, **body, code=wrong)
        self._post("/v1/authenticators/verify", 403, **body, code=self._compute_code(created, 1))
        account = {"account": OTHER_ACCOUNT, "tenant": "shop"}
        self._service.send_request("POST", "/v1/accounts/unlock", by="security", body=account)

    # ------------------------------------------------------------------------- recovery codes

    def _use_recovery_codes(self, active: str) -> None:
        """Use codes as they are typed, again, with an older token, until few are left."""
        first = self._post("/v1/recovery-codes", 201, account=ACCOUNT)
        codes, token = first["codes"], first["recovery_set"]
        self.found.recovery_codes.update(codes)
        self.found.tokens.add(token)
        path = "/v1/recovery-codes/verify"
        typed = (codes[0], codes[1].lower(), codes[2].replace("-", ""), *codes[3:8])
        for code in typed:
            used = self._post(path, 200, key=code, recovery_set=token, account=ACCOUNT, code=code)
            self._post(path, 200, key=code, recovery_set=token, account=ACCOUNT, code=code)
            token = used["recovery_set"]
            self.found.tokens.add(token)
        wrong = codes[9][::-1]
        self.found.recovery_codes.update((wrong, f"{codes[9]}0"))
        for recovery_set, account, code, status in (
            (first["recovery_set"], ACCOUNT, codes[0], 422),
            (token, ACCOUNT, wrong, 422),
            (token, ACCOUNT, f"{codes[9]}0", 400),
            (token, OTHER_ACCOUNT, codes[9], 422),
            (active, ACCOUNT, codes[9], 422),
            (codes[9], ACCOUNT, codes[9], 422),
        ):
            self._post(path, status, recovery_set=recovery_set, account=account, code=code)

    # -------------------------------------------------------------------- bugs and operation

    def _trigger_bugs(self) -> None:
        """Raise injected exceptions with secrets in their text and in their frames."""
        created = self._create(BUG_ACCOUNT)
        code = self._compute_code(created, 0)
        for path in ("confirm", "verify"):
            self._post(
                f"/v1/authenticators/{path}",
                None,
                authenticator=BUG_TOKEN,
                account=BUG_ACCOUNT,
                code=code,
            )
        body = {"authenticator": created["authenticator"], "account": BUG_ACCOUNT, "code": code}
        self._post("/v1/authenticators/confirm", 500, **body)
        self._post("/v1/authenticators", 500, account=BUG_ACCOUNT, name="broken")
        created_set = self._post("/v1/recovery-codes", 201, account=BUG_ACCOUNT)
        self.found.recovery_codes.update(created_set["codes"])
        self.found.tokens.add(created_set["recovery_set"])
        body = {"recovery_set": created_set["recovery_set"], "account": BUG_ACCOUNT}
        self._post("/v1/recovery-codes/verify", 500, **body, code=BUG_CODE)

    def _run_commands(self, active: str) -> None:
        """Import, export and reseal; what the commands write is for the operator alone."""
        secret = pyotp.random_base32()
        self.found.secrets.add(secret)
        lines = [
            {"account": "imported", "secret": secret},
            {"account": "x", "secret": f"{secret}!"},
        ]
        imported = self._run_command(lines, "import", "--tenant", "shop")
        token = imported[0]["authenticator"]
        self.found.tokens.add(token)
        stored = [{"account": "imported", "authenticator": token}]
        exported = self._run_command(stored, "export")
        assert secret in json.dumps(exported)
        broken = [{"account": ACCOUNT, "authenticator": f"{active[:-2]}__"}]
        self._run_command(stored + broken, "reseal")

    def _run_command(self, lines: list[dict[str, str]], *arguments: str) -> list[Any]:
        """Return the lines that the command writes; keep what it reports."""
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
            main(["authenticators", *arguments, "--config", str(self._config)])
        self.command_errors += err.getvalue()
        return [json.loads(line) for line in out.getvalue().splitlines()]

    def _search_events(self, active: str) -> None:
        """Search for an account, and for what is none."""
        for account in (ACCOUNT, active, next(iter(self.found.uris))):
            body = {"account": account}
            self._service.send_request("POST", "/v1/audit/search", by="security", body=body)

    def _fill_redis(self, active: str) -> None:
        """Let Redis refuse every write: the log has its answer."""
        body = {"authenticator": active, "account": ACCOUNT, "code": "581726"}
        self.found.codes.add("581726")
        with redis_servers.open_client(self._redis) as client:
            client.config_set("maxmemory", 1)
            self._post("/v1/authenticators/verify", 503, **body)
            client.config_set("maxmemory", "256mb")

    # --------------------------------------------------------------------------------- helpers

    def _post(self, path: str, status: int | None, *, key: str = "", **body: Any) -> Any:
        headers = {"Idempotency-Key": f'"{key}"'} if key else {}
        answer: HttpResponse = self._service.send_request("POST", path, body=body, headers=headers)
        assert status in {None, answer.status}, (path, answer.body)
        return answer.json

    def _compute_code(self, created: Any, offset: int) -> str:
        """Return the code of a step near the present one, none of which an output may contain."""
        steps = [int(time.time()) // PERIOD_SECONDS + shift for shift in (-1, 0, 1, 2)]
        codes = [pyotp.HOTP(created["secret"]).at(step) for step in steps]
        self.found.codes.update(codes)
        return codes[offset + 1]

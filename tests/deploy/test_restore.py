"""docs/backup-and-restore.md: what a restored copy of Redis, and an empty one, accept again."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    REPOSITORY_ROOT,
    WAIT_TIMEOUT_SECONDS,
    GatewayServer,
    HttpResponse,
    RunningService,
    run_command,
    run_service,
)


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NUMBER, BLOCKED_BEFORE, BLOCKED_AFTER = "+447400123460", "+447400123461", "+447400123462"
ACCOUNT = "u-1"


class Loss:
    """A service whose Redis loses its data, and what was used before that."""

    def __init__(self, folder: Path, service: RunningService, redis: EmbeddedServer) -> None:
        self._folder, self._service, self._redis = folder, service, redis
        self._data = folder / "redis" / "appendonlydir"

    def call(self, path: str, **body: str) -> HttpResponse:
        """Call the API for the account."""
        body["account"] = ACCOUNT
        return self._service.send_request("POST", f"/v1/{path}", by="shop", body=body)

    def block(self, number: str) -> None:
        """Add a number to the do-not-send list with the operators' command."""
        config = str(self._folder / "service" / "otp.toml")
        command = [sys.executable, "-m", "otp_service", "block", "--config", config]
        subprocess.run(command, cwd=REPOSITORY_ROOT, input=f"{number}\n", text=True, check=True)

    def use(self, gateway: GatewayServer) -> None:
        """Use a code of each factor once, with a copy of Redis from before."""
        self._issued = self._service.issue(NUMBER)
        self._code = gateway.find_code(NUMBER)
        secret = self.call("authenticators").json
        self._app = pyotp.TOTP(secret["secret"])
        earlier = self._app.at(time.time() - 30)
        confirmed = self.call(
            "authenticators/confirm", authenticator=secret["authenticator"], code=earlier
        )
        self._authenticator = confirmed.json["authenticator"]
        self._recovery = self.call("recovery-codes").json
        self.block(BLOCKED_BEFORE)
        time.sleep(1.2)  # appendfsync everysec
        shutil.copytree(self._data, self._folder / "copy")
        self.block(BLOCKED_AFTER)
        answers = [self.verify_challenge(), self.verify_app(), self.verify_recovery_code()]
        assert [200, 200, 200] == [answer.status for answer in answers]
        self._newer_set = answers[2].json["recovery_set"]

    def wait_for_archive(self) -> None:
        """Wait until the event that the code was accepted is archived, which takes a second."""
        deadline = time.monotonic() + WAIT_TIMEOUT_SECONDS
        while not any("otp.verified" in path.read_text() for path in self._list_segments()):
            assert time.monotonic() < deadline
            time.sleep(0.1)  # the sealer cannot notify the test

    def _list_segments(self) -> list[Path]:
        return list((self._folder / "archive").rglob("*.jsonl"))

    def lose(self, copy: str | None) -> None:
        """Start Redis again, empty or with the copy, and wait until the service is ready."""
        self.wait_for_archive()
        self._redis.stop()
        shutil.rmtree(self._data)
        if copy:
            shutil.copytree(self._folder / copy, self._data)
        self._redis.start()
        deadline = time.monotonic() + WAIT_TIMEOUT_SECONDS
        while not self._service.is_ready():
            assert time.monotonic() < deadline
            time.sleep(0.1)  # a proxy would ask it, too

    def verify_challenge(self) -> HttpResponse:
        """Enter the code of the message."""
        return self._service.verify(self._issued, self._code)

    def verify_app(self) -> HttpResponse:
        """Enter the current code of the app."""
        token = self._authenticator
        return self.call("authenticators/verify", authenticator=token, code=self._app.now())

    def verify_recovery_code(self, *, is_newer_token: bool = False) -> HttpResponse:
        """Enter the first recovery code, with the token from before or after its use."""
        token = self._newer_set if is_newer_token else self._recovery["recovery_set"]
        code = self._recovery["codes"][0]
        return self.call("recovery-codes/verify", recovery_set=token, code=code)

    def issue(self, number: str) -> int:
        """Return the status of an issue."""
        return self._service.issue(number).status

    def verify_archive(self) -> tuple[int, str]:
        """Return the exit code and the output of `audit verify`."""
        key = f"{self._folder / 'audit.pem'}.pub"
        return run_command("audit", "verify", str(self._folder / "archive"), "--public-key", key)


@pytest.fixture
def gateway() -> Iterator[GatewayServer]:
    """Return the only provider."""
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture
def loss(tmp_path: Path, gateway: GatewayServer) -> Iterator[Loss]:
    """Return a service with an archive of which each code was used."""
    key = tmp_path / "audit.pem"
    assert 0 == run_command("audit", "key", str(key))[0]
    settings = CHEAPEST_HASH_SETTINGS | {
        "AUDIT__ARCHIVE": str(tmp_path / "archive"),
        "AUDIT__SIGNING_KEY": str(key),
        "AUDIT__SEAL_SECONDS": "1",
    }
    with (
        EmbeddedServer(tmp_path / "redis") as redis,
        run_service(tmp_path / "service", redis, [gateway.url], workers=1, **settings) as service,
    ):
        loss = Loss(tmp_path, service, redis)
        loss.use(gateway)
        yield loss


def wait_for_finding(loss: Loss, finding: str) -> str:
    """Return the output of `audit verify` once it has this finding."""
    deadline = time.monotonic() + WAIT_TIMEOUT_SECONDS
    while finding not in (output := loss.verify_archive()[1]):
        assert time.monotonic() < deadline, output
        time.sleep(0.5)  # it is sealed once a second
    return output


def test_a_copy_that_is_younger_than_a_code_accepts_it_again_and_the_archive_names_it(
    loss: Loss,
) -> None:
    """So the page forbids it. An app's code is refused nevertheless, and so is a stored newer set."""
    loss.lose("copy")

    assert 200 == loss.verify_challenge().status
    app = loss.verify_app()
    assert (429, "CodesAfterDataLoss") == (app.status, app.json["limit"])
    assert 422 == loss.verify_recovery_code(is_newer_token=True).status
    assert 200 == loss.verify_recovery_code().status
    assert [422, 201] == [loss.issue(BLOCKED_BEFORE), loss.issue(BLOCKED_AFTER)]
    assert "was accepted before" in wait_for_finding(loss, "FOUND")


def test_an_empty_redis_accepts_no_code_again(loss: Loss) -> None:
    """It needs the list of blocked numbers, and nothing else. The archive is sound."""
    loss.lose(None)

    assert 404 == loss.verify_challenge().status
    app = loss.verify_app()
    assert (429, "CodesAfterDataLoss") == (app.status, app.json["limit"])
    assert 422 == loss.verify_recovery_code(is_newer_token=True).status
    assert 201 == loss.issue(BLOCKED_AFTER)
    loss.block(BLOCKED_BEFORE)
    assert 422 == loss.issue(BLOCKED_BEFORE)
    assert "sound" in wait_for_finding(loss, "begins epoch")

"""Twilio's own client for Node, unchanged, in a process that takes calls and answers as they end."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self


PROGRAM = Path(__file__).with_name("node_sdk.js")


class NodeError(Exception):
    """What the client has thrown: the name of its class, HTTP status, code, message and link."""

    def __init__(self, kind: str, status: int, code: int, message: str, more_info: str) -> None:
        super().__init__(message)
        self.kind, self.status, self.code, self.more_info = kind, status, code, more_info


class NodeSdk:
    """A client of one account at one URL, which ends with `/twilio`."""

    def __init__(self, npm_folder: Path) -> None:
        program = shutil.copy(PROGRAM, npm_folder)
        self._process = subprocess.Popen(
            ["node", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._target: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)

    def connect(self, url: str, account: str, token: str, service: str, **options: Any) -> None:
        """Use this service from now on; `options` are those of the client."""
        self._target = {"url": url, "account": account, "token": token, "service": service}
        self._target["options"] = options

    def call(self, call: str, sid: str = "", **fields: Any) -> Any:
        """Return the result of a call of node_sdk.js. Raises NodeError."""
        assert self._process.stdin
        assert self._process.stdout
        line = json.dumps({**self._target, "call": call, "sid": sid, "fields": fields})
        print(line, file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if thrown := answer.get("error"):
            raise NodeError(
                thrown["kind"],
                thrown["status"],
                thrown["code"],
                thrown["message"],
                thrown["moreInfo"],
            )
        return answer["result"]

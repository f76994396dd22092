"""`python -m examples.login`: run the example next to `otp-service dev`."""

import argparse
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from examples.login.stub_users import STUB_PASSWORD
from otp_service_client import (
    ChallengeNotFound,
    OtpClient,
    OtpServiceError,
    ServiceUnreachable,
    Unauthenticated,
)


KEY_FILE: Final = "keys.json"
"""Where `otp-service dev` stores its API key, in its data folder."""

UNKNOWN_CHALLENGE: Final = f"c00-{'0' * 32}"

GREETING_TEXT: Final = """\
The example login runs with {framework}. Its users are alice and bob, and the password of both is {password}.

  login    http://127.0.0.1:{port}/login
  inbox    {admin}/inbox     the messages, instead of a phone
  app      {admin}/authenticator     authenticator codes, instead of a phone

Stop this with Ctrl-C."""


def main() -> None:
    """Run one of the two sites on loopback, until SIGINT or SIGTERM."""
    arguments = parse_arguments()
    key = find_api_key(os.environ, arguments.data)
    check_service(arguments.otp, key)
    check_port(arguments.port)
    os.environ |= {
        "OTP_URL": arguments.otp,
        "OTP_API_KEY": key,
        "LOGIN_HOSTS": "127.0.0.1 localhost",
        "LOGIN_HTTPS": "0",  # on loopback alone
    }
    is_django = arguments.framework == "django"
    server = Granian(
        "examples.login.django_site.wsgi:application"
        if is_django
        else "examples.login.fastapi_app:create_app",
        factory=not is_django,
        interface=Interfaces.WSGI if is_django else Interfaces.ASGI,
        port=arguments.port,
        workers=1,  # sessions and users are in its memory
        blocking_threads=8 if is_django else 1,
        log_level=LogLevels.error,
    )
    print(GREETING_TEXT.format(password=STUB_PASSWORD, **vars(arguments)), flush=True)
    server.serve()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.login", description=main.__doc__)
    add = parser.add_argument
    add("--framework", choices=("fastapi", "django"), default="fastapi", help="(fastapi)")
    add("--port", type=int, default=8080, help="port of the login (8080)")
    add("--otp", default="http://127.0.0.1:8000", help="the service (http://127.0.0.1:8000)")
    add("--admin", default="http://127.0.0.1:8001", help="its inbox (http://127.0.0.1:8001)")
    data = Path(".otp")
    add("--data", type=Path, default=data, help="data folder of the service, with its key (.otp)")
    return parser.parse_args()


def find_api_key(environment: Mapping[str, str], data: Path) -> str:
    """Return OTP_DEV_API_KEY, or the key that `otp-service dev` has generated."""
    if key := environment.get("OTP_DEV_API_KEY"):
        return key
    try:
        stored = json.loads((data / KEY_FILE).read_text(encoding="utf-8"))
    except OSError:
        fail(f"There is no key in {data}: start the service first, in another terminal: make run")
    return str(stored["api_key"])


def check_service(url: str, key: str) -> None:
    """End the program unless the service answers and takes the key."""
    try:
        with OtpClient(url, key) as otp:
            otp.get_challenge(UNKNOWN_CHALLENGE)
    except ChallengeNotFound:
        return
    except ServiceUnreachable:
        fail(
            f"No service answers at {url}. Start it in another terminal: make run. If it has another "
            "port, name it: --otp URL --admin URL"
        )
    except Unauthenticated:
        fail(
            f"The service at {url} does not take this key. Set OTP_DEV_API_KEY to the one that it "
            "printed, or name its data folder: --data DIR"
        )
    except (OtpServiceError, ValueError) as error:
        fail(f"The service at {url} cannot be used: {error}")


def check_port(port: int) -> None:
    """End the program unless the port is free."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError):
        fail(f"Port {port} cannot be used. Choose another one with --port.")


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()

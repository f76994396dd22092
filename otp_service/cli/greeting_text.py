"""What `dev` prints when it serves: addresses, the API key, and the first calls to paste."""

import shlex
import socket
import sys
from pathlib import Path

from otp_service.audit.archive_format.key_files import derive_public_path
from otp_service.cli.listeners import format_address
from otp_service.settings import development


GREETING_TEXT = """\
otp-service is ready for development. Nothing leaves this machine.

  service  http://{public}
  inbox    http://{admin}/inbox     the messages, instead of a phone
  app      http://{admin}/authenticator     authenticator codes, instead of a phone
  audit    http://{admin}/audit     the events; log in with the API key
  docs     http://{admin}/docs
  data     {data}
  archive  {archive}     every event, signed
  API key  {key}

A first login, in three lines to paste into another terminal: issue, read the inbox, verify.

  issued=$(curl -s http://{public}/v1/challenges -H 'Authorization: Bearer {key}' \
-H 'Content-Type: application/json' -d '{{"phone_number": "+447700900123"}}'); printf '%s\\n' "$issued"

  id=$(printf %s "$issued" | sed 's/^{{"id":"\\([^"]*\\)".*/\\1/'); code=$(curl -s http://{admin}/inbox.json \
| sed 's/^[^}}]*"text":"[^0-9"]*\\([0-9]*\\).*/\\1/'); printf '%s\\n' "$id $code"

  curl -s http://{public}/v1/challenges/$id/verify -H 'Authorization: Bearer {key}' \
-H 'Content-Type: application/json' -d '{{"code": "'$code'"}}'; echo

Then read its events in the audit log:

  {program} audit stats --config {data}
  {program} audit verify {archive} --public-key {public_key}

It is also Twilio Verify for an application that uses it, in Python or JavaScript, with the Verify Service
{verify_service}:

  client = Client("{account_sid}", "{key}"); client.verify.base_url = "http://{public}/twilio"
  const client = twilio("{account_sid}", "{key}"); client.verify.baseUrl = "http://{public}/twilio";

Stop this with Ctrl-C. Challenges survive a restart."""


def format_greeting(folder: Path, public: socket.socket, admin: socket.socket, api_key: str) -> str:
    """Return what `dev` prints when it serves; `folder` has the data."""
    folder = folder.resolve()
    return GREETING_TEXT.format(
        public=format_address(public),
        admin=format_address(admin),
        data=folder,
        archive=folder / "archive",
        public_key=derive_public_path(development.get_dev_signing_key_path(folder)),
        program=_describe_program(),
        key=api_key,
        account_sid=development.DEV_ACCOUNT_SID,
        verify_service=development.DEV_SERVICE_SID,
    )


def _describe_program() -> str:
    """Return the words that run this program, for a shell."""
    program = Path(sys.argv[0])
    return f"{sys.executable} -m otp_service" if program.suffix else shlex.quote(str(program))

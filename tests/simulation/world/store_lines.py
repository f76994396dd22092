"""The connections of a worker to the store, under the name of its host."""

from redis.exceptions import ConnectionError as Disconnected

from otp_service.store.connector import Connector, Login
from otp_service.store.line import Line
from otp_service.store.reply_errors import ServerUnavailable
from otp_service.store.server_lines import ServerLines
from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.world.site import Site


class HostConnector(Connector):
    """Opens lines from one host, whichever task needs them first."""

    def __init__(self, host: str, site: Site) -> None:
        super().__init__(
            site.store_address,
            login=Login(),
            create_tls_context=None,
            timeout=site.timeout_ms / 1000,
        )
        self._host = host

    async def open(self, line: Line) -> dict[str, str]:
        CURRENT_HOST.set(self._host)  # this is the task of the opening alone
        return await super().open(line)


def cut_lines(lines: ServerLines) -> None:
    """Close every line at once, as the end of the process does: nothing more is sent or read."""
    lines._closed_by = ServerUnavailable("the process has ended")
    for opening in lines._openings:
        opening.cancel()
    for line in lines._lines.values():
        line.close(Disconnected("the process has ended"))

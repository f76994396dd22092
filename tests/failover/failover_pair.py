"""A master and a replica that change places, as behind one name."""

from typing import NamedTuple

from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


class FailoverPair(NamedTuple):
    """A master, and its replica that becomes the master."""

    old: EmbeddedServer
    new: EmbeddedServer

    def demote_old(self) -> None:
        """Promote the replica once it has everything; the old master stays, as its replica."""
        with (
            redis_servers.open_client(self.old) as demoted,
            redis_servers.open_client(self.new) as promoted,
        ):
            redis_servers.wait_until(
                lambda: (
                    demoted.info("replication")["master_repl_offset"]
                    == promoted.info("replication")["slave_repl_offset"]
                ),
                description="the replica has everything",
            )
            promoted.replicaof("NO", "ONE")
            demoted.replicaof("127.0.0.1", str(self.new.port))

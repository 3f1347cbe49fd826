"""Where conditional writes of a bucket are judged, and what a client is told that comes to another node with one.

A condition such as If-None-Match: * is only safe where all writers of a bucket meet: at its home. Away from home it is refused before the
body is read; the journal has the last word (`NotHome`). Nothing of it on a node without peers, nor with FS_CONDITIONAL=local.
"""

from fasterstore.metadata.index import IndexView
from fasterstore.replication.merge import home_of
from web.home_refusal import addresses_of_peers, not_home
from web.worker import Worker


def home_of_bucket(index: IndexView, bucket: str) -> bytes | None:
    """The node id of the bucket's home, None if there is no such bucket. Raises DamagedRow."""
    row = index.replication.registers(bucket)
    return None if row is None or row.gone_ms else home_of(row.registers)


def refuse_away_from_home(worker: Worker, bucket: str) -> None:
    """Raises S3Error ServiceUnavailable for a conditional write if the bucket's home is another node."""
    if worker.replication is None or worker.settings.conditional == "local":
        return
    home = home_of_bucket(worker.reader(), bucket)
    if home is not None and home != worker.node_id:
        raise not_home(worker.replication, home.hex())


def addresses_of_nodes(worker: Worker) -> dict[str, str]:
    """Addresses by node id in hex: this node's, and those of the peers that have answered since the start."""
    return {worker.node_id.hex(): worker.settings.advertise_addr, **addresses_of_peers(worker.replication)}

"""What a client is told that brings a conditional write to another node than the bucket's home: which node that is."""

from fasterstore.replication.board import ReplicationBoard
from fasterstore.s3.errors import S3Error, from_store


def not_home(board: ReplicationBoard | None, home: str) -> S3Error:
    """The refusal. `home` is the node id in hex, "" if it is not known; the peer's address is named as well once it has answered.

    In the answer they are the elements HomeNode and HomeAddress, behind the message that says the same to people.
    """
    if not home:
        return from_store("NotHome")
    address = addresses_of_peers(board).get(home, "")
    extra = {"HomeNode": home, "HomeAddress": address} if address else {"HomeNode": home}
    return S3Error(
        "ServiceUnavailable",
        f"Conditional writes of this bucket are judged at its home, node {home}{' at ' if address else ''}{address}; nothing was stored. "
        "Send the request there, or have an operator move the home with `fasterstore replication set-home`.",
        None,
        **extra,
    )


def addresses_of_peers(board: ReplicationBoard | None) -> dict[str, str]:
    """Addresses by node id in hex of the peers that have answered since the start."""
    return {} if board is None else {cell.node_id.hex(): peer for peer, cell in board.cells() if cell.node_id}

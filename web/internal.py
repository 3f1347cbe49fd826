"""`/_internal/*`: between nodes, behind FS_INTERNAL_TOKEN (`web/authenticate.py`). Replication's routes belong here."""

from fasterstore.s3.errors import S3Error
from web.context import Request
from web.reply import Reply
from web.worker import Worker


def unknown(worker: Worker, request: Request) -> Reply:
    """Every path below /_internal. Raises: S3Error NotImplemented."""
    raise S3Error("NotImplemented", "There is no such internal route.")

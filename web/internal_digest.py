"""POST /_internal/replicate/digest: digests of ranges of what this node holds, for a peer that compares.

The format is `fasterstore.replication.digest`'s.
"""

from fasterstore.replication.digest import MalformedDigest, digest_ranges, pack_answer, unpack_question
from web.context import Request
from web.index_leaves import leaves
from web.internal_body import receive, refuse_unreadable
from web.internal_status import packed_reply
from web.reply import Reply
from web.worker import Worker

QUESTION_MAX_BYTES = 1024 * 1024


def digest(worker: Worker, request: Request) -> Reply:
    """The handler. Raises: S3Error."""
    body = receive(worker, request, QUESTION_MAX_BYTES)
    try:
        ranges = unpack_question(body)
    except MalformedDigest as error:
        raise refuse_unreadable(worker, request, error) from None
    return packed_reply(pack_answer(digest_ranges(ranges, lambda asked: leaves(worker, asked))))

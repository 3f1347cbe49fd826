"""GetObjectAttributes: what is known of an object without its bytes. Source: S3 API page GetObjectAttributes."""

from fasterstore.model import ObjectRow
from fasterstore.s3.attributes_xml import PartsOfObject, render_attributes, wanted_attributes, wanted_parts
from fasterstore.s3.errors import S3Error
from web.authorise import authorise
from web.context import Request
from web.customer_key import key_of_object
from web.lookup import locate
from web.manifest import LOOKUPS, listed_parts
from web.object_version import need_object
from web.reply import Reply, http_date_of, xml_reply
from web.worker import Worker


def get_object_attributes(worker: Worker, request: Request) -> Reply:
    """GetObjectAttributes. Raises: S3Error."""
    wanted = wanted_attributes(request.headers)
    marker, max_parts = wanted_parts(request.headers)
    row = need_object(worker, request)
    key_of_object(worker, request, row)
    for _ in range(LOOKUPS):
        try:
            parts = _parts(worker, row, marker, max_parts) if "ObjectParts" in wanted else None
        except FileNotFoundError:
            # Its manifest went while it was looked at: the key has another object by now, perhaps with another ACL, or none.
            locate(worker, request, again=True)
            authorise(worker, request)
            row = need_object(worker, request)
            key_of_object(worker, request, row)
            continue
        reply = xml_reply(200, render_attributes(wanted, row, parts))
        reply.headers.append(("Last-Modified", http_date_of(row.modified_ms // 1000)))
        return reply
    raise S3Error("OperationAborted")


def _parts(worker: Worker, row: ObjectRow, marker: int, max_parts: int) -> PartsOfObject | None:
    """A page of the parts, None for an object that is not made of parts. Raises FileNotFoundError if they went meanwhile."""
    if not row.manifest:
        return None
    part_count, rows = listed_parts(worker, row, marker, max_parts + 1)
    return PartsOfObject(rows[:max_parts], marker, max_parts, part_count, 0 < max_parts < len(rows))


HANDLERS = {
    "GetObjectAttributes": get_object_attributes,
}
"""By S3 action."""

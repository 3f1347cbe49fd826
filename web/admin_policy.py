"""`/_admin/policy/:bucket`: the bucket's policy for the administrator, whom no policy can lock out.

The same record, checks and answers as `?policy` (`web/policy.py`); only the way in differs: FS_ADMIN_ACCESS_KEY, and no authorisation.
"""

from urllib.parse import unquote

from fasterstore.s3.errors import S3Error
from web import policy
from web.context import Request
from web.reply import Reply
from web.worker import Worker

PREFIX = "/_admin/policy/"


def admin_policy(worker: Worker, request: Request) -> Reply:
    """GET, PUT or DELETE of the policy. Raises: S3Error as `?policy` does; MethodNotAllowed."""
    request.bucket = unquote(request.raw_path.removeprefix(PREFIX), errors="replace")
    if request.method == "PUT":
        return policy.put(worker, request)
    if request.method in ("GET", "HEAD"):
        return policy.get(worker, request)
    if request.method == "DELETE":
        return policy.delete(worker, request)
    raise S3Error("MethodNotAllowed", headers={"Allow": "DELETE, GET, HEAD, PUT"}, Method=request.method, ResourceType="POLICY")

"""What a POST to `/_admin/scrub` or `/_admin/compaction` orders: `?action=pause`, or just `?pause`. Knows no actor."""

from collections.abc import Sequence

from fasterstore.s3.errors import S3Error
from web.context import Request

_OF_A_SIGNATURE = "x-amz-"


def order_of(request: Request, orders: Sequence[str]) -> str:
    """The one of `orders` that the query names in either spelling; without a query the first.

    Raises: S3Error InvalidArgument for another order, for two, and for whatever else stands in the query: none of it must begin a round.
    """
    given = {name: value for name, value in request.query.items() if not name.lower().startswith(_OF_A_SIGNATURE)}
    if not given:
        return orders[0]
    name, value = next(iter(given.items()))
    order = value if name == "action" else name
    if len(given) > 1 or order not in orders or (name != "action" and value):
        text = f"The action is one of {', '.join(orders)}."
        raise S3Error("InvalidArgument", text, ArgumentName="action", ArgumentValue=given.get("action", name))
    return order

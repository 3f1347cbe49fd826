"""What a policy must be to be set on a bucket: resources in it, actions that exist and apply to them, conditions that apply to both.

The order of the checks is the order in which AWS's refusals were seen; the first wrong thing is named. Source: S3 API page PutBucketPolicy;
IAM user guide, "IAM JSON policy element reference"; AWS's answers as quoted by versitygw, cloudserver and ceph/s3-tests.
"""

from fasterstore.policy.comparisons import parse_bytes, parse_network, parse_number
from fasterstore.policy.condition_keys import applies_to, is_known
from fasterstore.policy.dates import parse_date_ms
from fasterstore.policy.document import Condition, Document, Statement, malformed, parse_document
from fasterstore.policy.iam_actions import ALL_ACTIONS, BUCKET_ACTIONS, OBJECT_ACTIONS, matching_actions, union_of
from fasterstore.policy.question import BUCKET_ARN_PREFIX
from fasterstore.policy.variables import without_variables
from fasterstore.policy.wildcards import reaches

_TRUTHS = ("true", "false")


def read_policy(body: bytes, bucket: str) -> Document:
    """Read a policy that is to be set on `bucket`. Raises S3Error MalformedPolicy with AWS's text."""
    document = parse_document(body)
    for statement in document.statements:
        _check(statement, bucket, document.has_variables)
    return document


def _check(statement: Statement, bucket: str, has_variables: bool) -> None:
    if not statement.actions or not all(matching_actions(pattern) for pattern in statement.actions):
        raise malformed("Policy has invalid action")
    kinds = _applicable(statement, bucket, has_variables)
    groups = [ALL_ACTIONS - union_of(statement.actions)] if statement.not_actions else [matching_actions(one) for one in statement.actions]
    for group in groups:
        # A NotAction or NotResource leaves over whatever it leaves over.
        if not group & kinds and not statement.not_actions:
            raise malformed("Action does not apply to any resource(s) in statement")
    for condition in statement.conditions:
        if not is_known(condition.key):
            raise malformed("Policy has an invalid condition key")
        if not all(group & kinds & applies_to(condition.key) for group in groups):
            raise malformed("Conditions do not apply to combination of actions and resources in statement")
        _check_values(condition)


def _applicable(statement: Statement, bucket: str, has_variables: bool) -> frozenset[str]:
    """The actions that have a resource of their kind in the statement. Raises S3Error for a resource outside the bucket."""
    if not statement.resources:
        raise malformed("Policy has invalid resource")
    actions: frozenset[str] = frozenset()
    for text in statement.resources:
        pattern = without_variables(text, has_variables)
        if not text.startswith(BUCKET_ARN_PREFIX):
            raise malformed("Policy has invalid resource")
        is_bucket, is_inside = reaches(pattern, BUCKET_ARN_PREFIX + bucket)
        if not is_bucket and not is_inside:
            raise malformed("Policy has invalid resource")
        actions |= (BUCKET_ACTIONS if is_bucket else frozenset()) | (OBJECT_ACTIONS if is_inside else frozenset())
    return ALL_ACTIONS if statement.not_resources else actions


def _check_values(condition: Condition) -> None:
    """A value that its operator can never match would make a statement that looks as if it did something."""
    kind = condition.operator.comparison.partition(" ")[0]
    for value in condition.values:
        if kind == "address" and parse_network(value) is None:
            raise malformed("Invalid IP address in Conditions")
        wrong = (
            (kind == "number" and parse_number(value) is None)
            or (kind == "date" and parse_date_ms(value) is None)
            or (kind in ("truth", "null") and value.lower() not in _TRUTHS)
            or (kind == "bytes" and parse_bytes(value) is None)
        )
        if wrong:
            raise malformed("Invalid policy syntax.")

"""What proves an identity is compared in constant time: no `==`, `!=` or `in` on a signature, secret, token or password.

Judged by names, in every module that sees such values; what is not secret after all stands in NOT_SECRET with the reason.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["fasterstore", "web", "actors", "tools"]
_SECRET = re.compile(
    r"(^|_)(signature|sign|secret|secrets|token|password|mac|hmac|expected|provided|proof|credential|authorization)(_|$|s$)|_key$"
)
_PUBLIC = re.compile(
    r"access_key|object_key|new_key|blob_key_bytes|(^|_)(last|first|next|start|sort|cache|wanted|condition|max|bucket|resume|marker)_key"
    r"|has_|is_|needs_|expected_(bytes|lsn|size|offset|length)"
)
NOT_SECRET = {
    ("tools/dump.py", "wrapped_key"): "is there one at all?",
    ("tools/rekey.py", "encryption_key"): "are the operator's own two keys the same?",
    ("fasterstore/settings.py", "secret_key"): "is it the built-in one, which everybody can read? asked of the operator's own value",
    ("fasterstore/settings.py", "admin_secret_key"): "the same",
    ("fasterstore/settings.py", "internal_token"): "the same",
    ("fasterstore/s3/page_token.py", "token"): "a page token proves nothing: see its module",
    ("web/hidden_parts.py", "token"): "names a manifest of a peer's log; no request can reach such an upload by it",
    ("web/multipart.py", "token"): "part of an upload's name, of use only to whoever may sign for the bucket",
    ("fasterstore/s3/sigv4.py", "authorization"): "which parts does a malformed header lack?",
    ("web/object_headers.py", "expected"): "x-amz-expected-bucket-owner, an account number",
    ("web/object_copy.py", "expected"): "the same of the source",
}


def operands(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, name) of every operand of an equality or membership test that goes by a secret's name."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
            continue
        for operand in (node.left, *node.comparators):
            # len(), a membership test of names, and None are no comparison of the value.
            if name := _name(operand):
                found.append((node.lineno, name))
    return [(line, name) for line, name in found if _SECRET.search(name.lower()) and not _PUBLIC.search(name.lower())]


def _name(operand: ast.expr) -> str:
    if isinstance(operand, ast.Name):
        return "" if operand.id.isupper() else operand.id
    if isinstance(operand, ast.Attribute):
        return "" if operand.attr.isupper() else operand.attr
    if isinstance(operand, ast.Subscript) and isinstance(operand.slice, ast.Constant):
        return str(operand.slice.value).replace("-", "_")
    if isinstance(operand, ast.Call) and isinstance(operand.func, ast.Attribute):
        # signature.lower() is still the signature; headers.get("x-fs-signature") too.
        first = operand.args[0] if operand.args else None
        if operand.func.attr == "get" and isinstance(first, ast.Constant):
            return str(first.value).replace("-", "_")
        return _name(operand.func.value)
    return ""


def test_no_secret_is_compared_by_equality() -> None:
    found = []
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for line, name in operands(ast.parse(path.read_text())):
            if (place, name) not in NOT_SECRET:
                found.append(f"{place}:{line}: {name}")
    assert not found


def test_each_exception_is_still_needed() -> None:
    for (place, name), reason in NOT_SECRET.items():
        assert reason and name in [one for _, one in operands(ast.parse((ROOT / place).read_text()))], (place, name)


@pytest.mark.parametrize(
    "code",
    [
        "if signature == expected: pass",
        "if headers['x-fs-signature'] != made: pass",
        "if request.headers.get('x-fs-internal-token') == settings.internal_token: pass",
        "if made == provided.lower(): pass",
        "if token in tokens: pass",
        "if self.secret_key == given: pass",
        "ok = a == b and credential.secret != c",
    ],
)
def test_a_planted_comparison_is_seen(code: str) -> None:
    assert operands(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["compare_digest(signature, expected)", "if len(signature) == 64: pass", "if 'x-fs-signature' in headers: pass"]
)
def test_what_compares_no_secret_is_not_seen(code: str) -> None:
    assert not operands(ast.parse(code))

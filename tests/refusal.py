"""What every refusal must look like, checked in one place: S3's status, code and document, and the ids that logs are searched by."""

from typing import Any

from defusedxml.ElementTree import fromstring


def assert_refused(answer: Any, status: int, code: str) -> dict[str, str]:
    """Assert that `answer` (of requests or of RawConnection) is S3's error document; return its elements by name."""
    assert answer.status_code == status if hasattr(answer, "status_code") else answer.status == status, answer.content
    assert answer.headers["content-type"] == "application/xml"
    root = fromstring(answer.content)
    assert root.tag == "Error"
    found = {element.tag: element.text or "" for element in root}
    assert found["Code"] == code, answer.content
    assert found["Message"]
    assert found["RequestId"] == answer.headers["x-amz-request-id"]
    assert found["HostId"] == answer.headers["x-amz-id-2"]
    assert "Resource" in found
    return found


def assert_refused_head(answer: Any, status: int) -> None:
    """The same for HEAD, which has no body to say why."""
    assert answer.status_code == status
    assert not answer.content
    assert answer.headers["x-amz-request-id"]

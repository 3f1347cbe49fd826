"""Where the tools look for the node, and whom they trust."""

import pytest

from tests.certificates import make_certificate
from tools.endpoint import endpoint_of


def test_without_a_word_it_is_this_machine_in_the_clear():
    assert endpoint_of({}) == ("http://127.0.0.1:9000", None)
    assert endpoint_of({"FS_ENDPOINT": "", "FS_CA_CERT": "", "FS_TLS_CERT_PATH": ""}) == ("http://127.0.0.1:9000", None)


def test_a_given_endpoint_is_taken_and_trusted_as_given(tmp_path):
    pair = make_certificate(tmp_path)
    assert endpoint_of({"FS_ENDPOINT": "https://s3.example.org/"}) == ("https://s3.example.org", None)
    assert endpoint_of({"FS_ENDPOINT": "https://a:9", "FS_CA_CERT": pair.cert}) == ("https://a:9", pair.cert)
    assert endpoint_of({"FS_ENDPOINT": "http://a:9", "FS_TLS_CERT_PATH": pair.cert}) == ("http://a:9", None)


def test_the_settings_of_the_node_itself_say_whether_it_speaks_tls(tmp_path):
    pair, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    assert endpoint_of({"FS_TLS_CERT_PATH": pair.cert}) == ("https://127.0.0.1:9000", pair.cert)
    assert endpoint_of({"FS_TLS_CERT_PATH": pair.cert, "FS_CA_CERT": other.cert}) == ("https://127.0.0.1:9000", other.cert)


@pytest.mark.parametrize("content", [None, "nonsense", ""])
def test_a_file_that_proves_nothing_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError) as caught:
        endpoint_of({"FS_ENDPOINT": "https://a", "FS_CA_CERT": str(path)})
    assert str(caught.value).startswith(f"FS_CA_CERT='{path}'") and len(str(caught.value).splitlines()) == 1

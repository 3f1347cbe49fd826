"""The runner of ceph/s3-tests: what is left out has a reason, and what did not pass never counts."""

from configparser import RawConfigParser

import pytest

from scripts import s3_tests
from scripts.s3_tests import EXCLUDED, FILES, REASONS, Place, configuration, excluded, outcomes_of, share, summary, wanted

# As pytest prints it under xdist, with what may surprise: a reason that looks like a name, a teardown that failed, a parameter.
REPORT = """\
bringing up nodes...
.FE.                                                                     [100%]
=================================== FAILURES ===================================
______________________________ test_get ______________________________
E   AssertionError: PASSED s3tests/functional/test_s3.py::test_missing
=========================== short test summary info ============================
PASSED s3tests/functional/test_s3.py::test_put
PASSED s3tests/functional/test_headers.py::test_get
PASSED s3tests/functional/test_s3.py::test_torn_down
PASSED s3tests/functional/test_s3.py::test_many[1]
FAILED s3tests/functional/test_s3.py::test_get - AssertionError: assert 1 == 2
FAILED s3tests/functional/test_s3.py::test_many[2]
ERROR s3tests/functional/test_s3.py::test_torn_down - botocore.exceptions...
SKIPPED [1] s3tests/functional/test_s3.py:12: no api_name configured
2 failed, 4 passed, 1 skipped, 1 error in 1.23s
"""


def test_every_test_that_is_left_out_has_one_of_the_reasons() -> None:
    left_out = excluded(EXCLUDED.read_text())
    assert len(left_out) > 300
    assert set(left_out.values()) <= REASONS
    assert {name.partition("::")[0] for name in left_out} <= set(FILES)
    assert s3_tests.ALONE.isdisjoint(left_out)


@pytest.mark.parametrize(
    "line",
    [
        "test_s3.py::test_get",
        "test_s3.py::test_get\t",
        "test_s3.py::test_get\tit fails",
        "test_s3.py::test_get lifecycle",
        "test_sts.py::test_get\tIAM/STS",
        "test_s3.py::test_put\tlifecycle",
    ],
)
def test_a_line_without_a_reason_is_refused(line) -> None:
    with pytest.raises(ValueError, match="one of its reasons"):
        excluded(f"# a comment\n\ntest_s3.py::test_put\tversioning\n{line}\n")


def checkout(folder, names):
    functional = folder / "s3tests" / "functional"
    functional.mkdir(parents=True)
    for file in FILES:
        (functional / file).write_text("".join(f"def {name}():\n    pass\n\n" for name in names) + "def helper():\n    pass\n")
    return folder


def test_what_is_not_left_out_is_run(tmp_path) -> None:
    folder = checkout(tmp_path, ["test_put", "test_get", "test_put"])
    assert wanted(folder, {"test_s3.py::test_put": "versioning"}) == [
        "test_s3.py::test_get",
        "test_headers.py::test_put",
        "test_headers.py::test_get",
    ]


def test_a_name_that_is_not_there_may_not_be_left_out(tmp_path) -> None:
    with pytest.raises(ValueError, match="test_s3.py::test_gone"):
        wanted(checkout(tmp_path, ["test_put"]), {"test_s3.py::test_gone": "versioning"})


def test_only_what_passed_in_all_its_phases_has_passed() -> None:
    names = ["put", "get", "torn_down", "many", "missing"]
    told = outcomes_of(REPORT, [f"test_s3.py::test_{name}" for name in names] + ["test_headers.py::test_get"])
    assert list(told.values()) == ["PASSED", "FAILED", "ERROR", "FAILED", "NOT RUN", "PASSED"]
    assert share(told) == pytest.approx(100 / 3)
    assert share({}) == 0
    lines = summary(told, 7).splitlines()
    assert lines[0] == "FAILED\ttest_s3.py::test_get"
    assert lines[-1] == "2 of 6 passed (33.3 %); 7 left out"
    assert len(lines) == 5


def test_the_configuration_names_the_endpoint_for_every_user_that_the_setup_wants() -> None:
    parsed = RawConfigParser()
    parsed.read_string(configuration(Place("127.0.0.1", 9000, "eu-central-1", "an-access-key", "a-secret-key")))
    assert (parsed.defaults()["host"], parsed.defaults()["port"]) == ("127.0.0.1", "9000")
    assert parsed.get("s3 main", "api_name") == "eu-central-1"
    assert parsed.get("fixtures", "bucket prefix") == "s3tests-{random}-"
    for user in ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root"):
        assert (parsed.get(user, "access_key"), parsed.get(user, "secret_key")) == ("an-access-key", "a-secret-key")
        assert parsed.get(user, "user_id")

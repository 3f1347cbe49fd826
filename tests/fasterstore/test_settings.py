"""Settings: defaults, where values come from, and the one line that a wrong one gets."""

import dataclasses
from base64 import b64encode
from pathlib import Path

import pytest

from fasterstore import settings
from fasterstore.settings import SETTINGS, Settings, SettingsError, load

ROOT = Path(__file__).resolve().parents[2]
OWN_SECRET = "correct-horse-battery"


def error_of(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    loaded = load({}, cores=3)
    assert dataclasses.asdict(loaded) == {
        "bind_addr": ("0.0.0.0", 9000),
        "advertise_addr": "http://127.0.0.1:9000",
        "data_dir": "./data",
        "auth_enabled": True,
        "access_key": "faster",
        "secret_key": "faster-secret-key",
        "admin_access_key": "faster",
        "admin_secret_key": "faster-secret-key",
        "internal_token": "internal-replication-token",
        "replication_peers": (),
        "replication_ack": "async",
        "ack_degrade_secs": 0,
        "max_clock_skew_secs": 300,
        "tombstone_ttl_days": 30,
        "conditional": "home",
        "rate_limit_per_sec": 20_000,
        "max_connections_per_addr": 0,
        "min_body_rate_bytes_per_sec": 1024,
        "cache_capacity_bytes": 256 * 2**20,
        "cache_object_max_bytes": 2_097_152,
        "small_object_threshold_bytes": 262_144,
        "segment_target_bytes": 512 * 2**20,
        "metadata_compact_interval_secs": 60,
        "wal_retention_bytes": 1024 << 20,
        "snapshot_pin_max_bytes": 0,
        "storage_compact_interval_secs": 120,
        "storage_compact_disk_percent": 25,
        "multipart_ttl_secs": 86_400,
        "read_grace_secs": 600,
        "scrub_interval_days": 7,
        "scrub_max_disk_percent": 5,
        "max_request_bytes": 134_217_728,
        "request_timeout_secs": 60,
        "log_json": True,
        "workers": 3,
        "tls_cert_path": None,
        "tls_key_path": None,
        "ca_cert_path": None,
        "verify_reads": "true",
        "region": "us-east-1",
        "min_free_bytes": 256 * 2**20,
        "metrics_token": None,
        "buckets": (),
        "domain": None,
        "allow_sigv2": False,
        "trusted_proxies": (),
        "encryption_key": None,
        "region_was_set": False,
        "keys_origin": "built-in",
        "warnings": (),
    }


def test_workers_default_to_the_cores_there_are() -> None:
    assert load({}).workers >= 1
    assert load({"FS_WORKERS": "0"}).workers == 0


def test_an_empty_value_counts_as_unset() -> None:
    empty = dict.fromkeys((setting.name for setting in SETTINGS), "")
    assert load(empty, cores=2) == load({}, cores=2)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9000", "127.0.0.1", 9000),
        ("[::]:9000", "::", 9000),
        ("[::1]:0", "::1", 0),
        ("localhost:80", "localhost", 80),
        (":9000", "0.0.0.0", 9000),
    ],
)
def test_a_bind_address_is_taken_apart(text: str, host: str, port: int) -> None:
    bound = load({"FS_BIND_ADDR": text}).bind_addr
    assert (bound.host, bound.port, bound.is_ipv6) == (host, port, ":" in host)
    assert str(bound) == (f"0.0.0.0{text}" if text.startswith(":") else text)


WRONG = [
    ("FS_BIND_ADDR", ["9000", "::9000x", "[::]", "0.0.0.0", "1.2.3.4:70000", "300.1.1.1:1", "[1.2.3.4]:1", "::1:9000"]),
    ("FS_BIND_ADDR", ["a b:1", "h:-1", "h:+1"]),
    ("FS_ADVERTISE_ADDR", ["localhost:9000", "ftp://h", "http://", "http://h/path", "http://h:99999", "http://h?q", "http://[::1"]),
    ("FS_REPLICATION_PEERS", ["node-b:9000", "http://b/path", "http://b http://c", "http://b:0", "http://b,ftp://c"]),
    ("FS_REPLICATION_ACK", ["two", "sync", "true"]),
    ("FS_ACK_DEGRADE_SECS", ["-1", "86401"]),
    ("FS_MAX_CLOCK_SKEW_SECS", ["0", "86401"]),
    ("FS_TOMBSTONE_TTL_DAYS", ["0", "3651", "30d"]),
    ("FS_CONDITIONAL", ["away", "true"]),
    ("FS_DATA_DIR", [" ", "a\nb"]),
    ("FS_AUTH_ENABLED", ["maybe", "truee", "2"]),
    ("FS_ACCESS_KEY", ["a/b", "a b", "a,b", "a=b", "é", "x" * 129, "a\nb"]),
    ("FS_SECRET_KEY", ["short", "has a blank", "x" * 257, "line\nbreak1"]),
    ("FS_ENCRYPTION_KEY_BASE64", ["AAAAKEY", "c2hvcnQga2V5", "A" * 44, "not base64 at all!", "/" * 88]),
    ("FS_RATE_LIMIT_PER_SEC", ["-1", "1.5", "ten", "1e3", "0x10", "٣", "1_000"]),
    ("FS_MAX_CONNECTIONS_PER_ADDR", ["-1", "1000001", "many"]),
    ("FS_MIN_BODY_RATE_BYTES_PER_SEC", ["-1", "1K", "9999999999"]),
    ("FS_SEGMENT_TARGET_SIZE_MB", ["0", "65537"]),
    ("FS_MAX_REQUEST_BYTES", ["0", "5GB", "9999999999999999999999"]),
    ("FS_REQUEST_TIMEOUT_SECS", ["0", "86401"]),
    ("FS_WORKERS", ["-1", "257", "all"]),
    ("FS_VERIFY_READS", ["yes", "stric"]),
    ("FS_REGION", ["eu west", "a/b", "x" * 65]),
    ("FS_METRICS_TOKEN", ["a b", "a\tb"]),
    ("FS_BUCKETS", ["Upper", "ab", "a..b-c", "under_score", "good-one,-bad", "x" * 64, "metrics", "good-one,healthz", "192.168.0.1"]),
    ("FS_BUCKETS", ["a-b:private", "a-b:", ":public", "a-b,a-b:public"]),
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG for text in texts])
def test_a_wrong_value_is_one_line_with_name_value_and_what_is_allowed(name: str, text: str) -> None:
    line = error_of(**{name: text})
    row = next(setting for setting in SETTINGS if setting.name == name)
    assert line.splitlines() == [line]
    assert line.startswith(f"{name}=")
    assert row.allowed in line
    if row.secret:
        assert text not in line
    else:
        assert repr(text)[1:60].rstrip("'") in line


PEER = {"FS_INTERNAL_TOKEN": OWN_SECRET, "FS_ADVERTISE_ADDR": "http://a.example.org:9000", "FS_REPLICATION_PEERS": "http://b.example.org:9000"}


def test_peers_are_origins_in_one_form_so_that_they_can_be_compared() -> None:
    peers = " http://B.example.org:80/, https://c.example.org:443,http://[2001:DB8:0:0::1]:9000 ,,http://b.example.org"
    loaded = load({**PEER, "FS_ADVERTISE_ADDR": "HTTP://A.example.org:9000/", "FS_REPLICATION_PEERS": peers})
    assert loaded.advertise_addr == "http://a.example.org:9000"
    assert loaded.replication_peers == ("http://b.example.org", "https://c.example.org", "http://[2001:db8::1]:9000")


def test_the_settings_of_replication_are_read() -> None:
    given = {"FS_REPLICATION_ACK": "one", "FS_ACK_DEGRADE_SECS": "9", "FS_MAX_CLOCK_SKEW_SECS": "60", "FS_TOMBSTONE_TTL_DAYS": "7"}
    loaded = load({**PEER, **given, "FS_CONDITIONAL": "local"})
    assert (loaded.replication_ack, loaded.ack_degrade_secs, loaded.max_clock_skew_secs) == ("one", 9, 60)
    assert (loaded.tombstone_ttl_days, loaded.conditional) == (7, "local")


def test_peers_need_an_internal_token_of_ones_own() -> None:
    for token in ({}, {"FS_INTERNAL_TOKEN": "internal-replication-token"}):
        line = error_of(FS_REPLICATION_PEERS=PEER["FS_REPLICATION_PEERS"], FS_ADVERTISE_ADDR=PEER["FS_ADVERTISE_ADDR"], **token)
        assert line.startswith("FS_INTERNAL_TOKEN=***: ") and "internal-replication-token" not in line and len(line.splitlines()) == 1


def test_to_wait_for_a_peer_without_any_is_refused() -> None:
    line = error_of(FS_REPLICATION_ACK="one")
    assert line.startswith("FS_REPLICATION_ACK='one': ") and "FS_REPLICATION_PEERS" in line


def test_addresses_that_do_not_fit_each_other_stop_the_start() -> None:
    line = error_of(**{**PEER, "FS_ADVERTISE_ADDR": "http://127.0.0.1:9000"})
    assert line.startswith("FS_ADVERTISE_ADDR='http://127.0.0.1:9000': ")
    encrypted = {"FS_ENCRYPTION_KEY_BASE64": b64encode(bytes(range(32))).decode()}
    assert error_of(**PEER, **encrypted).startswith("FS_REPLICATION_PEERS='http://b.example.org:9000': ")
    # The advertised URL follows TLS, so a node that speaks it need not say so twice.
    tls = {"FS_TLS_CERT_PATH": "/cert.pem", "FS_TLS_KEY_PATH": "/key.pem"}
    local = {"FS_INTERNAL_TOKEN": OWN_SECRET, "FS_REPLICATION_PEERS": "https://127.0.0.1:9001"}
    assert load({**local, **tls, **encrypted}).advertise_addr == "https://127.0.0.1:9000"


@pytest.mark.parametrize("name", ["FS_ADVERTISE_ADDR", "FS_REPLICATION_PEERS"])
def test_a_password_in_an_address_is_refused_and_not_shown(name: str) -> None:
    line = error_of(**{name: "http://somebody:some-secret@h"})
    assert line.startswith(f"{name}='http://***@h': must be ") and "some-secret" not in line and "somebody" not in line


def test_the_master_key_is_32_bytes_and_shown_nowhere(tmp_path: Path) -> None:
    text = b64encode(bytes(range(32))).decode()
    (tmp_path / "key").write_text(text + "\n")
    for loaded in (load({"FS_ENCRYPTION_KEY_BASE64": text}), load({"FS_ENCRYPTION_KEY_BASE64_FILE": str(tmp_path / "key")})):
        assert loaded.encryption_key == bytes(range(32))
        assert text in loaded.secrets
        assert text not in repr(loaded) and "encryption_key=***" in repr(loaded) and repr(bytes(range(32))) not in repr(loaded)
    assert load({}).encryption_key is None


TEXT_SECRETS = [row for row in SETTINGS if row.secret and row.field != "encryption_key"]


@pytest.mark.parametrize("row", TEXT_SECRETS, ids=lambda row: row.name)
def test_each_secret_can_come_from_a_file(row: settings.Setting, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(OWN_SECRET + "\n")
    loaded = load({f"{row.name}_FILE": str(tmp_path / "secret")})
    assert getattr(loaded, row.field) == OWN_SECRET
    assert loaded.warnings == ()


def test_a_secret_file_that_is_missing_empty_or_binary_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "empty", "binary", "."):
        path = str(tmp_path / name)
        line = error_of(FS_SECRET_KEY_FILE=path)
        assert line.startswith("FS_SECRET_KEY_FILE=") and path.removesuffix("/.") in line and len(line.splitlines()) == 1


def test_a_secret_given_in_both_ways_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(OWN_SECRET)
    line = error_of(FS_SECRET_KEY="another-secret", FS_SECRET_KEY_FILE=str(tmp_path / "secret"))
    assert "only one" in line and "another-secret" not in line and OWN_SECRET not in line


def test_keys_come_from_aws_then_minio_names_when_the_pair_is_unset() -> None:
    aws = {"AWS_ACCESS_KEY_ID": "aws-key", "AWS_SECRET_ACCESS_KEY": "aws-secret-1"}
    minio = {"MINIO_ROOT_USER": "minio", "MINIO_ROOT_PASSWORD": "minio-secret-1"}
    both = load({**minio, **aws})
    assert (both.access_key, both.secret_key) == ("aws-key", "aws-secret-1")
    assert both.keys_origin == "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    only_minio = load(minio)
    assert (only_minio.access_key, only_minio.admin_access_key, only_minio.admin_secret_key) == ("minio", "minio", "minio-secret-1")
    own = load({**minio, **aws, "FS_ACCESS_KEY": "mine", "FS_SECRET_KEY": OWN_SECRET})
    assert (own.access_key, own.secret_key, own.keys_origin) == ("mine", OWN_SECRET, "FS_ACCESS_KEY and FS_SECRET_KEY")


def test_half_a_fallback_pair_is_not_taken_and_says_so() -> None:
    loaded = load({"AWS_ACCESS_KEY_ID": "aws-key"})
    assert loaded.access_key == "faster"
    assert any("AWS_SECRET_ACCESS_KEY" in line for line in loaded.warnings)


def test_a_wrong_fallback_is_named_by_the_variable_that_was_set() -> None:
    line = error_of(MINIO_ROOT_USER="minio", MINIO_ROOT_PASSWORD="short")
    assert line.startswith("MINIO_ROOT_PASSWORD=***") and "short" not in line


def test_an_access_key_without_its_secret_warns() -> None:
    loaded = load({"FS_ACCESS_KEY": "mine"})
    assert loaded.uses_built_in_secret
    assert any("FS_SECRET_KEY" in line for line in loaded.warnings)


def test_the_built_in_secret_is_judged_by_value() -> None:
    assert load({}).uses_built_in_secret
    assert load({"FS_ACCESS_KEY": "other", "FS_SECRET_KEY": "faster-secret-key"}).uses_built_in_secret
    own = load({"FS_SECRET_KEY": OWN_SECRET})
    assert not own.uses_built_in_secret and not own.admin_uses_built_in_secret
    assert load({"FS_SECRET_KEY": OWN_SECRET, "FS_ADMIN_SECRET_KEY": "faster-secret-key"}).admin_uses_built_in_secret
    assert own.uses_built_in_internal_token
    assert not load({"FS_INTERNAL_TOKEN": OWN_SECRET}).uses_built_in_internal_token


def test_region_was_set_tells_a_given_default_from_none() -> None:
    assert load({"FS_REGION": "us-east-1"}).region_was_set
    assert not load({}).region_was_set


@pytest.mark.parametrize(("name", "other"), [("FS_TLS_CERT_PATH", "FS_TLS_KEY_PATH"), ("FS_TLS_KEY_PATH", "FS_TLS_CERT_PATH")])
def test_tls_needs_both_of_its_files(name: str, other: str) -> None:
    line = error_of(**{name: "/etc/one.pem"})
    assert line.startswith(f"{name}='/etc/one.pem'") and other in line and len(line.splitlines()) == 1
    both = load({name: "/etc/one.pem", other: "/etc/two.pem"})
    assert both.speaks_tls and not load({}).speaks_tls


def test_the_advertised_url_follows_tls_and_one_that_does_not_fit_is_warned_about() -> None:
    tls = {"FS_TLS_CERT_PATH": "/cert.pem", "FS_TLS_KEY_PATH": "/key.pem"}
    assert load(tls).advertise_addr == "https://127.0.0.1:9000"
    assert load({**tls, "FS_ADVERTISE_ADDR": "https://s3.example.org"}).warnings == ()
    plain = load({**tls, "FS_ADVERTISE_ADDR": "http://s3.example.org:9000"})
    assert plain.advertise_addr == "http://s3.example.org:9000"
    assert [line for line in plain.warnings if "FS_ADVERTISE_ADDR" in line and "https://" in line] == list(plain.warnings) != []
    # A proxy in front may be what speaks TLS.
    assert load({"FS_ADVERTISE_ADDR": "https://s3.example.org"}).warnings == ()


def test_buckets_are_a_list_without_repeats() -> None:
    assert load({"FS_BUCKETS": " one-bucket, two.bucket:public ,,one-bucket"}).buckets == (("one-bucket", False), ("two.bucket", True))


def test_an_unknown_name_warns_and_names_what_was_meant() -> None:
    warnings = load({"FS_WORKER": "2", "FS_SOMETHING_ELSE": "secret-content", "PATH": "/bin", "FSX": "1"}).warnings
    assert len(warnings) == 2
    assert any("FS_WORKER " in line and "FS_WORKERS" in line for line in warnings)
    assert all("secret-content" not in line for line in warnings)


def test_the_names_of_scripts_and_load_generator_do_not_warn() -> None:
    names = ("FS_ENDPOINT", "FS_BUCKET", "FS_OBJECTS", "FS_SIZE_BYTES", "FS_CONCURRENCY", "FS_CA_CERT")
    assert load(dict.fromkeys(names, "1")).warnings == ()


def test_no_secret_is_in_the_repr() -> None:
    secrets = {row.name: f"{OWN_SECRET}-{row.field}" for row in SETTINGS if row.secret}
    secrets["FS_ENCRYPTION_KEY_BASE64"] = b64encode(b"a-master-key-of-thirty-two-bytes").decode()
    loaded = load(secrets)
    for value in secrets.values():
        assert value not in repr(loaded) and value not in str(loaded) and value not in f"{loaded}"
        assert value in loaded.secrets


def test_every_field_but_the_derived_ones_has_a_row_and_every_row_a_field() -> None:
    derived = {"region_was_set", "keys_origin", "warnings"}
    assert {row.field for row in SETTINGS} == {field.name for field in dataclasses.fields(Settings)} - derived
    assert all(row.meaning for row in SETTINGS)


def test_the_example_file_names_every_variable_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert values.pop("FS_ENDPOINT") == "http://127.0.0.1:9000"
    assert values.pop("FS_MAX_REQUEST_BYTES") == str(5 * 2**30)
    # Setting the region, even to its default, makes it binding.
    assert values.pop("FS_REGION") == ""
    expected = {row.name: row.default for row in SETTINGS if row.name not in ("FS_MAX_REQUEST_BYTES", "FS_REGION")}
    assert values == expected

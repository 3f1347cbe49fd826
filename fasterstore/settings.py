"""Every FS_ variable, in one table: default, meaning, trade-off, what is allowed, whether it is secret.

Owns the reading of settings from a mapping (normally the environment). Standard library only: the supervisor imports it before it
forks. Never prints or logs; never puts a secret into a `repr`, a warning or an error. An empty value counts as unset, so that
`FS_METRICS_TOKEN=` in an environment file means what it looks like.
"""

import os
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal, NamedTuple

from fasterstore import setting_values as values
from fasterstore.peer_addresses import refuse_peers
from fasterstore.setting_values import BindAddress, StartBucket

__all__ = ["BUILT_IN_SECRET_KEY", "SETTINGS", "BindAddress", "Setting", "Settings", "SettingsError", "load"]

BUILT_IN_ACCESS_KEY = "faster"
BUILT_IN_SECRET_KEY = "faster-secret-key"
BUILT_IN_INTERNAL_TOKEN = "internal-replication-token"

CLIENT_NAMES = frozenset(
    {"FS_ENDPOINT", "FS_BUCKET", "FS_OBJECTS", "FS_SIZE_BYTES", "FS_CONCURRENCY", "FS_ENCRYPTION_NEW_KEY_BASE64"}
)
"""Read by the scripts, the load generator and `rekey` from the same `.env`; the node knows them only so as not to warn."""

VerifyReads = Literal["true", "strict", "false"]
ReplicationAck = Literal["async", "one"]
Conditional = Literal["home", "local"]


class SettingsError(Exception):
    """A wrong value. Its text is one line: the variable, the value (masked if secret), and what is allowed."""


class Setting(NamedTuple):
    """One row of the table.

    `field` is the attribute of `Settings`; `default` is the text one would write into the variable; an empty default is computed
    (cores, another key) or means "unset". `parse` returns the value or raises ValueError.
    `secret` values are masked wherever they could be printed, and may come from the file named by `<name>_FILE`.
    """

    name: str
    field: str
    default: str
    parse: Callable[[str], Any]
    allowed: str
    meaning: str
    trade_off: str = ""
    secret: bool = False


def _whole(name: str, field: str, default: int, bounds: tuple[int, int], meaning: str, trade_off: str, unit_bytes: int = 1) -> Setting:
    low, high = bounds
    parse = values.whole_number(low, high, unit_bytes)
    return Setting(name, field, str(default), parse, f"a whole number from {low} to {high}", meaning, trade_off)


_MIB = values.MEBIBYTE
_DAY_SECS = 86_400
_TEBIBYTE = 1 << 40
_ACCESS_KEY_RULE = "1 to 128 visible ASCII characters without '/', ',' or '='"
_SECRET_RULE = "8 to 256 visible ASCII characters"

SETTINGS: tuple[Setting, ...] = (
    Setting("FS_BIND_ADDR", "bind_addr", "0.0.0.0:9000", values.bind_address, "HOST:PORT or [IPV6]:PORT, such as 0.0.0.0:9000 or [::]:9000",
            "Address and port to listen on.", "127.0.0.1:9000 keeps other machines out."),
    Setting("FS_ADVERTISE_ADDR", "advertise_addr", "http://127.0.0.1:9000", values.origin_url, "http://HOST[:PORT] or https://HOST[:PORT]",
            "URL under which clients and peers reach this node."),
    Setting("FS_DATA_DIR", "data_dir", "./data", values.path, "the path of a folder",
            "Folder of everything that is stored.", "One file system with a working fdatasync; one node per folder."),
    Setting("FS_AUTH_ENABLED", "auth_enabled", "true", values.boolean, "true or false",
            "Signatures are required.", "false opens the S3 routes to everybody who reaches the port."),
    Setting("FS_ACCESS_KEY", "access_key", BUILT_IN_ACCESS_KEY, values.access_key, _ACCESS_KEY_RULE,
            "Access key that owns all buckets."),
    Setting("FS_SECRET_KEY", "secret_key", BUILT_IN_SECRET_KEY, values.secret, _SECRET_RULE,
            "Its secret.", "The built-in secret is honoured only for clients on this machine.", secret=True),
    Setting("FS_ADMIN_ACCESS_KEY", "admin_access_key", "", values.access_key, _ACCESS_KEY_RULE,
            "Access key for /_admin/*; FS_ACCESS_KEY if unset."),
    Setting("FS_ADMIN_SECRET_KEY", "admin_secret_key", "", values.secret, _SECRET_RULE,
            "Its secret; FS_SECRET_KEY if unset.", secret=True),
    Setting("FS_INTERNAL_TOKEN", "internal_token", BUILT_IN_INTERNAL_TOKEN, values.secret, _SECRET_RULE,
            "Token between nodes.", "/_internal/* stays closed while it is the default.", secret=True),
    Setting("FS_REPLICATION_PEERS", "replication_peers", "", values.origin_list,
            "URLs separated by commas, each http://HOST[:PORT] or https://HOST[:PORT]",
            "The FS_ADVERTISE_ADDR of every other node that is to hold the same objects.", "Needs an FS_INTERNAL_TOKEN of your own."),
    Setting("FS_REPLICATION_ACK", "replication_ack", "async", values.one_of("async", "one"), "async or one",
            "A write is answered after the local commit (async), or only after a peer has it on stable storage too (one).",
            "one loses nothing with a whole node, and costs a round trip; without a peer writes are 503."),
    _whole("FS_ACK_DEGRADE_SECS", "ack_degrade_secs", 0, (0, _DAY_SECS),
           "After so long without a peer, FS_REPLICATION_ACK=one answers after the local commit until one is back; 0 = never.",
           "What is written meanwhile is on one node only."),
    _whole("FS_MAX_CLOCK_SKEW_SECS", "max_clock_skew_secs", 300, (1, _DAY_SECS),
           "How far ahead a peer's clock may be and still move this node's.", "Changes from further ahead are applied all the same."),
    _whole("FS_TOMBSTONE_TTL_DAYS", "tombstone_ttl_days", 30, (1, 3_650),
           "How long a delete is remembered for peers that are away.", "A peer that was away for longer must resync."),
    Setting("FS_CONDITIONAL", "conditional", "home", values.one_of("home", "local"), "home or local",
            "Where a write with a condition is judged: at the bucket's home node only, or on any (local).",
            "With local two nodes may both let the same If-None-Match: * pass."),
    _whole("FS_RATE_LIMIT_PER_SEC", "rate_limit_per_sec", 20_000, (0, 1_000_000_000),
           "Requests per second and access key, 0 = off; health and metrics are exempt.", "Over it a request is answered 503 SlowDown."),
    _whole("FS_MAX_CONNECTIONS_PER_ADDR", "max_connections_per_addr", 0, (0, 1_000_000),
           "Connections one address may have open with the node, an IPv6 /64 counting as one; 0 = off.",
           "Over it: 503 SlowDown and closed; the networks of FS_TRUSTED_PROXIES are exempt."),
    _whole("FS_MIN_BODY_RATE_BYTES_PER_SEC", "min_body_rate_bytes_per_sec", 1024, (0, 1 << 30),
           "What a client must send or take on average while it is waited for, 0 = off.",
           "Higher ends trickling connections sooner, and the slowest links too."),
    _whole("FS_CACHE_CAPACITY_MB", "cache_capacity_bytes", 256, (0, 1 << 20),
           "Memory for hot objects in total, divided by the workers; 0 = no cache.", "More memory, fewer disk reads.", _MIB),
    _whole("FS_CACHE_OBJECT_MAX_BYTES", "cache_object_max_bytes", 2_097_152, (0, 1 << 30),
           "Largest object that is cached.", "Larger lets one object push out many small ones."),
    _whole("FS_SMALL_OBJECT_THRESHOLD_BYTES", "small_object_threshold_bytes", 262_144, (0, 64 * _MIB),
           "Bodies up to this are collected in memory and written at once.", "Larger costs this much memory for each upload in flight."),
    _whole("FS_SEGMENT_TARGET_SIZE_MB", "segment_target_bytes", 512, (1, 1 << 16),
           "Size at which a segment file is closed; a larger object gets a file of its own.",
           "Smaller gives space back sooner and makes more files.", _MIB),
    _whole("FS_METADATA_COMPACT_INTERVAL_SECS", "metadata_compact_interval_secs", 60, (1, _DAY_SECS),
           "How often a copy of the index is brought up to date, and journal files that are no longer needed are removed.",
           "Longer keeps more journal on disk, and a damaged index takes longer to rebuild."),
    _whole("FS_WAL_RETENTION_MB", "wal_retention_bytes", 1024, (0, 1 << 24),
           "Newest part of the journal that is kept for snapshots (to restore to a later moment) and for peers that are behind.",
           "Nothing is kept for them without a snapshot or a peer; 0 = never.", _MIB),
    _whole("FS_SNAPSHOT_PIN_MAX_MB", "snapshot_pin_max_bytes", 0, (0, 1 << 30),
           "A new snapshot is refused once all of them hold so many bytes that the store itself no longer does; 0 = a quarter of the disk.",
           "Snapshots keep deleted objects on disk.", _MIB),
    _whole("FS_STORAGE_COMPACT_INTERVAL_SECS", "storage_compact_interval_secs", 120, (1, _DAY_SECS),
           "How often segments are looked at for dead space.", "Longer keeps deleted bytes on disk for longer."),
    _whole("FS_STORAGE_COMPACT_DISK_PERCENT", "storage_compact_disk_percent", 25, (1, 100),
           "Share of the disk's time that compaction takes at most.", "More gives space back sooner and slows requests meanwhile."),
    _whole("FS_MULTIPART_TTL_SECS", "multipart_ttl_secs", _DAY_SECS, (1, 3_650 * _DAY_SECS),
           "Age at which an unfinished multipart upload is dropped.", "Shorter than a slow upload loses that upload."),
    _whole("FS_READ_GRACE_SECS", "read_grace_secs", 600, (0, _DAY_SECS),
           "How long bytes that nothing names any more stay readable.", "Shorter than a slow download breaks that download off."),
    _whole("FS_SCRUB_INTERVAL_DAYS", "scrub_interval_days", 7, (0, 3_650),
           "Within so many days every stored byte is read and verified; 0 = only when asked for.",
           "Longer lets rot on the disk go unnoticed for longer."),
    _whole("FS_SCRUB_MAX_DISK_PERCENT", "scrub_max_disk_percent", 5, (1, 100),
           "Share of the disk's time that this may take.", "It takes more, up to half, if the days would not suffice."),
    _whole("FS_MAX_REQUEST_BYTES", "max_request_bytes", 134_217_728, (1, 5 * _TEBIBYTE),
           "Largest request body.", "S3's own limit for one PUT is 5368709120."),
    _whole("FS_REQUEST_TIMEOUT_SECS", "request_timeout_secs", 60, (1, _DAY_SECS),
           "A transfer without progress for this long is cut.", "It bounds silence, not the whole transfer."),
    Setting("FS_LOG_JSON", "log_json", "true", values.boolean, "true or false",
            "Log JSON, one object a line; false: one readable line each."),
    Setting("FS_ENCRYPTION_KEY_BASE64", "encryption_key", "", values.key_base64,
            "32 bytes in base64, such as `openssl rand -base64 32` prints",
            "Master key: what is stored is encrypted from the first start with it.", "Without it that data is lost: keep a copy elsewhere.",
            secret=True),
    Setting("FS_TLS_CERT_PATH", "tls_cert_path", "", values.path, "the path of a file",
            "PEM certificate chain, the node's own certificate first: the port then speaks TLS 1.2 and 1.3 only.",
            "Set together with FS_TLS_KEY_PATH; both are read again when they change."),
    Setting("FS_TLS_KEY_PATH", "tls_key_path", "", values.path, "the path of a file", "Its PEM private key, not encrypted."),
    Setting("FS_CA_CERT", "ca_cert_path", "", values.path, "the path of a file",
            "PEM certificates by which https:// peers, and this node for its scripts, are known in place of the system's authorities."),
    Setting("FS_WORKERS", "workers", "", values.whole_number(0, 256), "a whole number from 0 to 256",
            "Web worker processes; one for each core if unset.", "Each takes memory; 0 runs everything in one process."),
    Setting("FS_VERIFY_READS", "verify_reads", "true", values.one_of("true", "strict", "false"), "true, strict or false",
            "Check every read against its checksum.", "strict sends the very bytes that were checked, slower; false skips the check."),
    Setting("FS_REGION", "region", "us-east-1", values.region, "1 to 64 letters, digits, '-' or '_'",
            "Region that is reported.", "Once set, requests signed for another region are refused."),
    _whole("FS_MIN_FREE_MB", "min_free_bytes", 256, (0, 1 << 24),
           "Below this much free space a PUT is refused with 507.", "Deletes and the journal may use the reserve.", _MIB),
    Setting("FS_METRICS_TOKEN", "metrics_token", "", values.token, "1 to 256 visible ASCII characters",
            "Bearer token for /metrics; open if unset.", secret=True),
    Setting("FS_BUCKETS", "buckets", "", values.bucket_list, "bucket names separated by commas, such as a-bucket,another:public",
            "Buckets that are created at each start if missing.", "Everybody may list and read a new one with :public."),
    Setting("FS_DOMAIN", "domain", "", values.domain, "a host name such as s3.example.org",
            "Names below it are buckets: bucket.s3.example.org.", "Path style goes on working."),
    Setting("FS_ALLOW_SIGV2", "allow_sigv2", "false", values.boolean, "true or false",
            "Accept Signature Version 2 of old clients.", "It signs less, and its digest is SHA-1."),
    Setting("FS_TRUSTED_PROXIES", "trusted_proxies", "", values.networks, "networks separated by commas, such as 10.0.0.0/8,::1/128",
            "From these X-Forwarded-Host, -Proto and -For count.", "Whoever can connect from there can claim any address."),
)

KEY_FALLBACKS: tuple[tuple[str, str], ...] = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
)
"""Pairs taken, in this order and only whole, when neither FS_ACCESS_KEY nor FS_SECRET_KEY is set."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_FILE_NAMES = {f"{setting.name}_FILE": setting.name for setting in SETTINGS if setting.secret}
_SECRET_FIELDS = frozenset(setting.field for setting in SETTINGS if setting.secret and setting.field)
_LISTS = (values.bucket_list, values.networks, values.origin_list)
_SECRET_FILE_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What a node runs with. Sizes in bytes (the _MB variables times 2^20), times in seconds.

    `workers` 0 means one process. `tls_cert_path` and `tls_key_path` are both None or both set. `metrics_token` None means /metrics
    is open. `region_was_set`: FS_REGION was given, so a scope of another region is refused. `keys_origin` names the variables the
    access key came from, for people. `warnings` are whole lines.
    """

    bind_addr: BindAddress
    advertise_addr: str
    data_dir: str
    auth_enabled: bool
    access_key: str
    secret_key: str
    admin_access_key: str
    admin_secret_key: str
    internal_token: str
    replication_peers: tuple[str, ...]
    replication_ack: ReplicationAck
    ack_degrade_secs: int
    max_clock_skew_secs: int
    tombstone_ttl_days: int
    conditional: Conditional
    rate_limit_per_sec: int
    max_connections_per_addr: int
    min_body_rate_bytes_per_sec: int
    cache_capacity_bytes: int
    cache_object_max_bytes: int
    small_object_threshold_bytes: int
    segment_target_bytes: int
    metadata_compact_interval_secs: int
    wal_retention_bytes: int
    snapshot_pin_max_bytes: int
    storage_compact_interval_secs: int
    multipart_ttl_secs: int
    read_grace_secs: int
    storage_compact_disk_percent: int
    scrub_interval_days: int
    scrub_max_disk_percent: int
    max_request_bytes: int
    request_timeout_secs: int
    log_json: bool
    workers: int
    tls_cert_path: str | None
    tls_key_path: str | None
    ca_cert_path: str | None
    verify_reads: VerifyReads
    region: str
    min_free_bytes: int
    metrics_token: str | None
    buckets: tuple[StartBucket, ...]
    domain: str | None
    allow_sigv2: bool
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    encryption_key: bytes | None
    region_was_set: bool
    keys_origin: str
    warnings: tuple[str, ...]

    @property
    def uses_built_in_secret(self) -> bool:
        """Judged by value, however it was set: everybody can read that secret, so it is honoured only for loopback clients."""
        return self.secret_key == BUILT_IN_SECRET_KEY

    @property
    def admin_uses_built_in_secret(self) -> bool:
        """The same for the pair that opens /_admin/*."""
        return self.admin_secret_key == BUILT_IN_SECRET_KEY

    @property
    def uses_built_in_internal_token(self) -> bool:
        """While true, /_internal/* is closed."""
        return self.internal_token == BUILT_IN_INTERNAL_TOKEN

    @property
    def speaks_tls(self) -> bool:
        """The port speaks TLS, and nothing else."""
        return self.tls_cert_path is not None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the log to blank out."""
        values_set = (value for name in _SECRET_FIELDS if (value := getattr(self, name)))
        return tuple(sorted({b64encode(value).decode() if isinstance(value, bytes) else value for value in values_set}))

    def __repr__(self) -> str:
        shown = (f"{f.name}={'***' if f.name in _SECRET_FIELDS else repr(getattr(self, f.name))}" for f in fields(self))
        return f"Settings({', '.join(shown)})"


def load(environ: Mapping[str, str], cores: int | None = None) -> Settings:
    """Read and check all settings.

    Args:
        environ: names to values; what is not ours is ignored.
        cores: what FS_WORKERS falls back to; the cores this process may run on if None.

    Returns:
        The settings, with `warnings` for unknown FS_ names and half-given keys.

    Raises:
        SettingsError: the first wrong value, or a pair of values that cannot go together.
    """
    given = _given(environ)
    keys_origin, warnings = _choose_keys(environ, given)
    parsed: dict[str, Any] = {setting.field: _parse(setting, given.get(setting.name, setting.default)) for setting in SETTINGS}
    if "FS_WORKERS" not in given:
        parsed["workers"] = cores if cores is not None else len(os.sched_getaffinity(0))
    parsed["admin_access_key"] = parsed["admin_access_key"] or parsed["access_key"]
    parsed["admin_secret_key"] = parsed["admin_secret_key"] or parsed["secret_key"]
    warnings += _judge_tls(parsed, given) + _unknown_names(environ)
    loaded = Settings(**parsed, region_was_set="FS_REGION" in given, keys_origin=keys_origin, warnings=tuple(warnings))
    if (refusal := _judge_replication(loaded)) is not None:
        raise SettingsError(refusal)
    return loaded


def _judge_replication(loaded: Settings) -> str | None:
    if not loaded.replication_peers:
        if loaded.replication_ack == "async":
            return None
        # Answering before any peer has the write would be a weaker promise than the one that was asked for.
        return "FS_REPLICATION_ACK='one': FS_REPLICATION_PEERS is empty, so no peer could confirm a write"
    if loaded.uses_built_in_internal_token:
        return "FS_INTERNAL_TOKEN=***: is the built-in one, which everybody knows; FS_REPLICATION_PEERS needs one of your own on all nodes"
    return refuse_peers(loaded.advertise_addr, loaded.replication_peers, encrypted=loaded.encryption_key is not None)


def _judge_tls(parsed: dict[str, Any], given: dict[str, str]) -> list[str]:
    """Both files or none, and an advertised URL that fits: the default one follows, a given one gets a warning."""
    names = {"FS_TLS_CERT_PATH": parsed["tls_cert_path"], "FS_TLS_KEY_PATH": parsed["tls_key_path"]}
    missing = [name for name, path in names.items() if path is None]
    if len(missing) == len(names):
        return []
    if missing:
        (name, path), = ((name, path) for name, path in names.items() if path is not None)
        raise SettingsError(f"{name}={path!r}: {missing[0]} is not set; TLS needs both")
    if "FS_ADVERTISE_ADDR" not in given:
        parsed["advertise_addr"] = parsed["advertise_addr"].replace("http://", "https://", 1)
    elif parsed["advertise_addr"].startswith("http://"):
        return [f"FS_ADVERTISE_ADDR={parsed['advertise_addr']!r}: the port speaks TLS, so this URL reaches it only with https://"]
    return []


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    """The values that are set, by their plain names; `_FILE` contents stand in for the value."""
    given = {name: environ[name] for name in _BY_NAME if environ.get(name)}
    for file_name, name in _FILE_NAMES.items():
        path = environ.get(file_name)
        if not path:
            continue
        if name in given:
            raise SettingsError(f"{file_name}={path!r}: {name} is set too; set only one of the two")
        given[name] = _read_secret_file(file_name, path)
    return given


def _read_secret_file(file_name: str, path: str) -> str:
    allowed = "must name a readable text file that holds the secret"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_SECRET_FILE_MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"{file_name}={path!r}: {allowed} ({error.strerror})") from error
    except ValueError as error:
        raise SettingsError(f"{file_name}={path!r}: {allowed} (it is not text)") from error
    secret = text.rstrip("\r\n")
    if not secret:
        raise SettingsError(f"{file_name}={path!r}: {allowed} (it is empty)")
    return secret


def _choose_keys(environ: Mapping[str, str], given: dict[str, str]) -> tuple[str, list[str]]:
    """Put the access key pair into `given`; answers where it came from, and warnings."""
    have_access, have_secret = "FS_ACCESS_KEY" in given, "FS_SECRET_KEY" in given
    if have_access or have_secret:
        secret_name = "FS_SECRET_KEY_FILE" if environ.get("FS_SECRET_KEY_FILE") else "FS_SECRET_KEY"
        if have_access and have_secret:
            return f"FS_ACCESS_KEY and {secret_name}", []
        if have_access:
            return "FS_ACCESS_KEY, built-in secret", ["FS_ACCESS_KEY is set without FS_SECRET_KEY: the built-in secret is in use"]
        return f"built-in access key, {secret_name}", []
    warnings: list[str] = []
    for access_name, secret_name in KEY_FALLBACKS:
        access_key, secret_key = environ.get(access_name), environ.get(secret_name)
        if access_key and secret_key:
            # Checked here so that the error names the variable that was set, not the one it stands in for.
            given["FS_ACCESS_KEY"] = _parse(_BY_NAME["FS_ACCESS_KEY"]._replace(name=access_name), access_key)
            given["FS_SECRET_KEY"] = _parse(_BY_NAME["FS_SECRET_KEY"]._replace(name=secret_name), secret_key)
            return f"{access_name} and {secret_name}", warnings
        if access_key or secret_key:
            set_name, unset_name = (access_name, secret_name) if access_key else (secret_name, access_name)
            warnings.append(f"{set_name} is ignored: {unset_name} is not set")
    return "built-in", warnings


def _parse(setting: Setting, text: str) -> Any:
    if not text:
        return () if setting.parse in _LISTS else None
    try:
        return setting.parse(text)
    except ValueError as error:
        raise SettingsError(f"{_shown(setting, text)}: must be {setting.allowed}") from error


def _shown(setting: Setting, text: str) -> str:
    text = re.sub(r"//[^/,]*@", "//***@", text)  # a URL's user and password are refused, and not shown either
    shortened = text if len(text) <= 80 else f"{text[:80]}..."
    return f"{setting.name}={'***' if setting.secret else repr(shortened)}"


def _unknown_names(environ: Mapping[str, str]) -> list[str]:
    known = _BY_NAME.keys() | _FILE_NAMES.keys() | CLIENT_NAMES
    unknown = sorted(name for name in environ if name.startswith("FS_") and name not in known)
    if not unknown:
        return []
    from difflib import get_close_matches  # noqa: PLC0415  (only a mistyped name pays for it)

    warnings = []
    for name in unknown:
        near = get_close_matches(name, known, n=1, cutoff=0.8)
        printable = re.sub(r"[^!-~]", "?", name)
        warnings.append(f"{printable} is not a known setting{f' (did you mean {near[0]}?)' if near else ''}: ignored")
    return warnings

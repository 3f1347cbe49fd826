"""Prints docs/configuration.md from the table of settings: `python -m scripts.configuration_page > docs/configuration.md`.

A test fails when the file is not what this prints, so what the node reads and what the page says change in one commit.
"""

from fasterstore.settings import BUILT_IN_INTERNAL_TOKEN, KEY_FALLBACKS, SETTINGS, Setting

SECTIONS: dict[str, tuple[str, ...]] = {
    "Where it listens and stores": (
        "FS_BIND_ADDR", "FS_ADVERTISE_ADDR", "FS_DATA_DIR", "FS_BUCKETS", "FS_REGION", "FS_DOMAIN", "FS_TRUSTED_PROXIES", "FS_WORKERS",
        "FS_LOG_JSON",
    ),
    "Keys": (
        "FS_AUTH_ENABLED", "FS_ACCESS_KEY", "FS_SECRET_KEY", "FS_ADMIN_ACCESS_KEY", "FS_ADMIN_SECRET_KEY", "FS_METRICS_TOKEN",
        "FS_ALLOW_SIGV2",
    ),
    "TLS and encryption": ("FS_TLS_CERT_PATH", "FS_TLS_KEY_PATH", "FS_CA_CERT", "FS_ENCRYPTION_KEY_BASE64"),
    "What a client may take": (
        "FS_MAX_REQUEST_BYTES", "FS_REQUEST_TIMEOUT_SECS", "FS_RATE_LIMIT_PER_SEC", "FS_MAX_CONNECTIONS_PER_ADDR",
        "FS_MIN_BODY_RATE_BYTES_PER_SEC",
    ),
    "Memory and reads": ("FS_CACHE_CAPACITY_MB", "FS_CACHE_OBJECT_MAX_BYTES", "FS_SMALL_OBJECT_THRESHOLD_BYTES", "FS_VERIFY_READS"),
    "Disk space and upkeep": (
        "FS_MIN_FREE_MB", "FS_SEGMENT_TARGET_SIZE_MB", "FS_STORAGE_COMPACT_INTERVAL_SECS", "FS_STORAGE_COMPACT_DISK_PERCENT",
        "FS_READ_GRACE_SECS", "FS_MULTIPART_TTL_SECS", "FS_METADATA_COMPACT_INTERVAL_SECS", "FS_WAL_RETENTION_MB",
        "FS_SNAPSHOT_PIN_MAX_MB", "FS_SCRUB_INTERVAL_DAYS", "FS_SCRUB_MAX_DISK_PERCENT",
    ),
    "Replication": (
        "FS_REPLICATION_PEERS", "FS_INTERNAL_TOKEN", "FS_REPLICATION_ACK", "FS_ACK_DEGRADE_SECS", "FS_MAX_CLOCK_SKEW_SECS",
        "FS_TOMBSTONE_TTL_DAYS", "FS_CONDITIONAL",
    ),
}  # fmt: skip
"""Every setting stands in one of them."""
PAGES = {
    "TLS and encryption": "[tls.md](tls.md), [encryption.md](encryption.md)",
    "What a client may take": "[limits.md](limits.md)",
    "Disk space and upkeep": "[compaction.md](compaction.md), [check.md](check.md), [snapshots.md](snapshots.md)",
    "Replication": "[replication.md](replication.md)",
}
"""Where a section's subject is told in full."""
COMPUTED = {
    "FS_ADMIN_ACCESS_KEY": "that of FS_ACCESS_KEY",
    "FS_ADMIN_SECRET_KEY": "that of FS_SECRET_KEY",
    "FS_WORKERS": "the number of cores",
}
"""What an empty default stands for, where it is not "unset"."""
TOOL_VARIABLES: dict[str, tuple[str, str, str]] = {
    "FS_ENDPOINT": ("http://127.0.0.1:9000", "the scripts; `health`, `actors`, `bench`, `replication`",
                    "URL of the node; https:// by default where FS_TLS_CERT_PATH is set. Without it `health` takes FS_BIND_ADDR."),
    "FS_BUCKET": ("bench", "`bench`", "Bucket that is written to; made if missing."),
    "FS_OBJECTS": ("2000", "`bench`", "How many objects."),
    "FS_SIZE_BYTES": ("4096", "`bench`", "Bytes of each."),
    "FS_CONCURRENCY": ("128", "`bench`", "Requests at a time."),
    "FS_ENCRYPTION_NEW_KEY_BASE64": ("", "`rekey`", "The new master key; secret, or `FS_ENCRYPTION_NEW_KEY_BASE64_FILE`."),
}  # fmt: skip
"""(default, who reads it, meaning) of what the node itself does not read."""
INTRODUCTION = """# Configuration

Made by `python -m scripts.configuration_page` from the table by which the node reads its settings (`fasterstore/settings.py`); a test
compares this file with it.

Settings are variables of the environment. What is not set there is taken from the file `.env` in the folder the node is started in
(`--env-file` names another); nothing is expanded inside its values. An empty value means unset. A wrong one stops the start with one line
that says what is allowed, and exit code 2; an unknown name that begins with `FS_` is warned about and ignored. All are read at the start
only: a change takes a restart. The one exception is the content of the two TLS files, which are read again when they change.

**secret** marks what is shown nowhere: not in logs, errors or metrics. Each may instead be the content of a file, named by the same
variable with `_FILE` behind it (`FS_SECRET_KEY_FILE=/run/secrets/key`; a line's end at its end is dropped); both at once stop the start.

Sizes that end in `_MB` are in MiB (1048576 bytes).
"""


def cell(text: str) -> str:
    """A text as it can stand in a table."""
    return text.replace("|", "\\|").replace("*", "\\*")


def default_of(name: str, default: str) -> str:
    """What counts where the variable is not set."""
    return f"`{default}`" if default else COMPUTED.get(name, "unset")


def row_of(setting: Setting) -> str:
    """The table's line for a setting."""
    name = f"`{setting.name}`" + (f"<br>**secret**, or `{setting.name}_FILE`" if setting.secret else "")
    texts = map(cell, (setting.allowed, setting.meaning, setting.trade_off))
    return f"| {' | '.join((name, default_of(setting.name, setting.default), *texts))} |"


def page() -> str:
    """The whole document, with its last line's end."""
    by_name = {setting.name: setting for setting in SETTINGS}
    lines = [INTRODUCTION.rstrip()]
    for title, names in SECTIONS.items():
        lines += ["", f"## {title}", ""]
        if title in PAGES:
            lines += [f"More: {PAGES[title]}.", ""]
        lines += ["| variable | default | allowed | meaning | trade-off |", "|---|---|---|---|---|"]
        lines += [row_of(by_name[name]) for name in names]
        if title == "Keys":
            pairs = ", then ".join(f"`{access}` and `{secret}`" for access, secret in KEY_FALLBACKS)
            lines += ["", f"Where neither `FS_ACCESS_KEY` nor `FS_SECRET_KEY` is set, the first whole pair of these is taken: {pairs}."]
        if title == "Replication":
            lines += ["", f"`{BUILT_IN_INTERNAL_TOKEN}` is known to everybody: with peers, a node does not start with it."]
    lines += ["", "## What only scripts and verbs read", "", "The node knows these names only so as not to warn of them.", ""]
    lines += ["| variable | default | read by | meaning |", "|---|---|---|---|"]
    for name, (default, reader, meaning) in TOOL_VARIABLES.items():
        lines.append(f"| `{name}` | {default_of(name, default)} | {reader} | {meaning} |")
    lines += ["", "They read `FS_CA_CERT`, the keys and `FS_REGION` as the node does; verbs that work on a data dir read `FS_DATA_DIR`."]
    lines += ["What `make` takes besides (`FILE=`, `BUCKET=`, `FUZZ_SECS=` and others) is told by `make help`."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page."""
    print(page(), end="")


if __name__ == "__main__":
    main()

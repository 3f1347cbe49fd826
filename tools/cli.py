"""The command line: `python -m fasterstore VERB`. Parses arguments, merges `.env`, and hands over to the verb's own module.

Each verb imports its module only when it is called, so that one verb does not pay for another's dependencies.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from tools.environment import ENV_FILE, merged_environment

_NUMBER = click.IntRange(0, 2**63 - 1)
"""What the formats count with: a larger number is no one's."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--env-file", type=click.Path(path_type=Path), default=ENV_FILE, show_default=True, help="Its values yield to the environment's."
)
@click.pass_context
def cli(context: click.Context, env_file: Path) -> None:
    """A durable, S3-compatible object store."""
    context.obj = merged_environment(os.environ, env_file)


@cli.command()
@click.pass_obj
def serve(environ: dict[str, str]) -> None:
    """Run a node in the foreground, until SIGTERM or Ctrl-C."""
    from tools import serve as verb  # noqa: PLC0415

    verb.main(environ)


@cli.command()
@click.option("--alive", is_flag=True, help="Ask only whether the node is alive, not whether it is ready.")
@click.pass_obj
def health(environ: dict[str, str], alive: bool) -> None:
    """Ask the node at FS_ENDPOINT how it is; exit code 0 means well."""
    from tools import health as verb  # noqa: PLC0415

    sys.exit(verb.main(environ, only_alive=alive))


@cli.command()
@click.pass_obj
def bench(environ: dict[str, str]) -> None:
    """Put load on the node at FS_ENDPOINT (see FS_BUCKET, FS_OBJECTS, FS_SIZE_BYTES, FS_CONCURRENCY)."""
    from tools import bench as verb  # noqa: PLC0415

    sys.exit(verb.main(environ))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def actors(environ: dict[str, str], as_json: bool) -> None:
    """Show every actor of the node at FS_ENDPOINT: mailbox, current message, counts, last error."""
    from tools import inspect_actors as verb  # noqa: PLC0415

    sys.exit(verb.main(environ, as_json=as_json))


@cli.command()
@click.option("--new-key-file", type=click.Path(path_type=Path), help="File with the new master key in base64.")
@click.option("--finish", is_flag=True, help="Drop the old master key; FS_ENCRYPTION_KEY_BASE64 is the new one.")
@click.option("--new-epoch", is_flag=True, help="Make a new key for the records that are written from now on.")
@click.pass_obj
def rekey(environ: dict[str, str], new_key_file: Path | None, finish: bool, new_epoch: bool) -> None:
    """Change the master key of the stopped node at FS_DATA_DIR (new key by FS_ENCRYPTION_NEW_KEY_BASE64 or a file)."""
    from tools import rekey as verb  # noqa: PLC0415

    sys.exit(verb.main(environ, new_key_file=new_key_file, finish=finish, new_epoch=new_epoch))


@cli.command()
@click.option("--full", is_flag=True, help="Read every byte of every record, not only headers and chunk tables.")
@click.option("--repair", "mend", is_flag=True, help="Put right what is derivable, with a report; the node must be stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--data-dir", help="Instead of FS_DATA_DIR.")
@click.pass_obj
def check(environ: dict[str, str], full: bool, mend: bool, as_json: bool, data_dir: str | None) -> None:
    """Check the data dir: journal, index, references, usage, segments. Exit code 0: clean, 1: findings, 2: no check."""
    from tools import check as verb  # noqa: PLC0415

    sys.exit(verb.main(environ, full=full, mend=mend, as_json=as_json, data_dir=data_dir))


@cli.group()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--data-dir", help="Instead of FS_DATA_DIR.")
@click.pass_context
def dump(context: click.Context, as_json: bool, data_dir: str | None) -> None:
    """Show one record, frame, entry, blob or object of the data dir; no secret is shown, nothing is changed."""
    context.obj = context.obj, as_json, data_dir


def _dump(options: tuple[dict[str, str], bool, str | None], look: str, *arguments: Any) -> NoReturn:
    from tools import dump as verb  # noqa: PLC0415

    environ, as_json, data_dir = options
    sys.exit(verb.main(environ, partial(_looked_at, getattr(verb, look), arguments), as_json=as_json, data_dir=data_dir))


def _looked_at(look: Callable[..., dict[str, Any]], arguments: tuple[Any, ...], datadir: Any) -> dict[str, Any]:
    return look(datadir, *arguments)


@dump.command("record")
@click.argument("segment", type=_NUMBER)
@click.argument("offset", type=_NUMBER)
@click.pass_obj
def dump_record(options: Any, segment: int, offset: int) -> None:
    """The record whose header begins at OFFSET of segment number SEGMENT."""
    _dump(options, "record_at", segment, offset)


@dump.command("frame")
@click.argument("file_or_lsn")
@click.argument("offset", type=_NUMBER, required=False)
@click.pass_obj
def dump_frame(options: Any, file_or_lsn: str, offset: int | None) -> None:
    """The frame that begins at OFFSET of a journal file, or the one that holds an LSN."""
    if offset is not None:
        _dump(options, "frame_at", file_or_lsn, offset)
    if not file_or_lsn.isdecimal():
        raise click.UsageError("give a journal file and an offset, or an LSN")
    _dump(options, "frame_of", int(file_or_lsn))


@dump.command("entry")
@click.argument("lsn", type=_NUMBER)
@click.pass_obj
def dump_entry(options: Any, lsn: int) -> None:
    """The journal entry of that LSN."""
    _dump(options, "entry_of", lsn)


@dump.command("blob")
@click.argument("number", type=_NUMBER)
@click.pass_obj
def dump_blob(options: Any, number: int) -> None:
    """A blob's row and its record."""
    _dump(options, "blob_of", number)


@dump.command("object")
@click.argument("bucket")
@click.argument("key")
@click.pass_obj
def dump_object(options: Any, bucket: str, key: str) -> None:
    """An object's row, and the blob or the parts that hold its bytes."""
    _dump(options, "object_of", bucket, key)


@cli.group()
def replication() -> None:
    """Peers of the node at FS_ENDPOINT. Exit code 0: well, 1: behind or different, 2: a wrong argument, 3: no answer."""


def _replication(environ: dict[str, str], verb: str, *arguments: Any, **options: Any) -> NoReturn:
    from tools import replication as verbs  # noqa: PLC0415

    sys.exit(verbs.main(environ, lambda node: getattr(verbs, verb)(node, *arguments, **options)))


@replication.command("status")
@click.option("--wait", "wait_secs", type=click.FloatRange(0), default=0.0, metavar="SECS", help="Wait until every peer has everything.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def replication_status(environ: dict[str, str], wait_secs: float, as_json: bool) -> None:
    """How it stands with every peer: what it lacks, and since when."""
    _replication(environ, "status", as_json=as_json, wait_secs=wait_secs)


@replication.command("diff")
@click.argument("peer", default="")
@click.option("--heal", is_flag=True, help="Send and fetch what differs; the later change wins, on both sides the same.")
@click.option("--stop", is_flag=True, help="End the comparison that is under way.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def replication_diff(environ: dict[str, str], peer: str, heal: bool, stop: bool, as_json: bool) -> None:
    """Compare everything with PEER (the only one if left out), and list what differs."""
    if stop:
        _replication(environ, "stop_diff", peer, as_json=as_json)
    _replication(environ, "diff", peer, heal=heal, as_json=as_json)


@replication.command("resync")
@click.argument("peer", default="")
@click.option("--no-wait", is_flag=True, help="Only begin it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def replication_resync(environ: dict[str, str], peer: str, no_wait: bool, as_json: bool) -> None:
    """Send PEER (the only one if left out) everything again; nothing is deleted there."""
    _replication(environ, "resync", peer, as_json=as_json, follow=not no_wait)


@replication.command("set-home")
@click.argument("bucket")
@click.argument("node", default="here")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def replication_set_home(environ: dict[str, str], bucket: str, node: str, as_json: bool) -> None:
    """Judge conditional writes of BUCKET at NODE: "here", an address or a node id. "?" only tells where they are judged now."""
    _replication(environ, "set_home", bucket, node, as_json=as_json)


@cli.command()
@click.argument("name", required=False)
@click.option("--list", "list_pins", is_flag=True, help="Print what snapshots there are.")
@click.option("--drop", metavar="NAME", help="Let go of a snapshot.")
@click.option("--copy-to", metavar="FOLDER", help="Copy a snapshot (NAME, or a new one) to a folder that does not exist.")
@click.pass_obj
def snapshot(environ: dict[str, str], name: str | None, list_pins: bool, drop: str | None, copy_to: str | None) -> None:
    """Keep the store in FS_DATA_DIR as it is now, while its node runs; list, drop or copy out what was kept."""
    from tools import snapshot as verb  # noqa: PLC0415

    sys.exit(verb.main(environ, name=name, list_pins=list_pins, drop=drop, copy_to=copy_to))


@cli.command()
@click.argument("source")
@click.option("--lsn", type=_NUMBER, help="Go on from the snapshot to this entry of the journal.")
@click.option("--to", metavar="FOLDER", help="Make a new data dir there.")
@click.option("--in-place", is_flag=True, help="Replace what is in FS_DATA_DIR; it is moved to its quarantine folder.")
@click.pass_obj
def restore(environ: dict[str, str], source: str, lsn: int | None, to: str | None, in_place: bool) -> None:
    """Bring back a snapshot of FS_DATA_DIR (a name), or one that was copied out (a folder). No node may run."""
    from tools import restore as verb  # noqa: PLC0415

    sys.exit(verb.main(environ, source=source, lsn=lsn, to=to, in_place=in_place))


def main() -> None:
    """Entry point of `python -m fasterstore`."""
    cli(prog_name="fasterstore")

"""A server's own small-object rate: wrk replays presigned PUT and GET URLs at any S3 endpoint.

`python -m scripts.measure.presigned_load http://127.0.0.1:9000 ACCESS_KEY SECRET_KEY [--pid PID]`

The server checks a full SigV4 signature on each request, while the client costs next to nothing: the figure is the server's. Every
PUT body differs from all others, of earlier runs too, so that deduplication does not flatter. Needs boto3 and wrk. Prints one JSON
line: for put and get the requests per second, p50 and p99 in ms, and errors; with --pid also the CPU time a request and the
highest memory of that process and its descendants.
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from scripts.measure.process_tree import cpu_secs, watch_memory

MARK_BYTES = 32
URL_EXPIRES_SECS = 24 * 3600
_WRK_SCRIPT = """
local targets = {{}}
for line in io.lines("{targets}") do targets[#targets + 1] = line end
local headers = {{ ["Host"] = "{host}" }}
local filler = string.rep("x", {size_bytes} - {mark_bytes})
local sent = 0
request = function()
  sent = sent + 1
  local body = nil
  if "{method}" == "PUT" then body = string.format("{run}%016d", sent) .. filler end
  return wrk.format("{method}", targets[sent % #targets + 1], headers, body)
end
"""
_LATENCY = r"^\s+{}%\s+([\d.]+)(us|ms|s|m)\s*$"
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """What to send: `keys` objects of `size_bytes`, over `connections`, for `secs` of PUT and as long of GET."""

    size_bytes: int = 4096
    secs: int = 6
    connections: int = 32
    keys: int = 2000
    bucket: str = "presigned-load"


def run(endpoint: str, access_key: str, secret_key: str, load: Load, pid: int | None = None) -> dict[str, Any]:
    """Send the load and return the figures by name.

    Raises:
        ClientError: the bucket or the first objects could not be made.
        subprocess.CalledProcessError, FileNotFoundError: wrk failed or is not there.
    """
    if load.size_bytes < MARK_BYTES:
        raise ValueError(f"a body has at least {MARK_BYTES} bytes: the mark that makes it differ from the others")
    client = _client(endpoint, access_key, secret_key)
    _ensure_bucket(client, load.bucket)
    names = [f"dir{index % 50}/object-{index:06d}" for index in range(load.keys)]
    for name in names:
        client.put_object(Bucket=load.bucket, Key=name, Body=os.urandom(load.size_bytes))
    figures: dict[str, Any] = {"endpoint": endpoint, "size_bytes": load.size_bytes, "connections": load.connections}
    with tempfile.TemporaryDirectory() as folder:
        for method, action in (("PUT", "put_object"), ("GET", "get_object")):
            targets = Path(folder, method)
            targets.write_text("".join(f"{_presigned_target(client, action, load.bucket, name, endpoint)}\n" for name in names))
            figures |= _measure(endpoint, method, targets, load, pid)
    return figures


def _client(endpoint: str, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # A checksum in a presigned URL would have to be that of the body, which differs each time.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _ensure_bucket(client: Any, bucket: str) -> None:
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


def _presigned_target(client: Any, action: str, bucket: str, name: str, endpoint: str) -> str:
    url: str = client.generate_presigned_url(action, Params={"Bucket": bucket, "Key": name}, ExpiresIn=URL_EXPIRES_SECS)
    return url.removeprefix(endpoint)


def _measure(endpoint: str, method: str, targets: Path, load: Load, pid: int | None) -> dict[str, Any]:
    script = targets.with_suffix(".lua")
    script.write_text(
        _WRK_SCRIPT.format(
            targets=targets,
            host=endpoint.partition("://")[2],
            size_bytes=load.size_bytes,
            mark_bytes=MARK_BYTES,
            method=method,
            run=secrets.token_hex((MARK_BYTES - 16) // 2),
        )
    )
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{load.secs}s", "--timeout", "30s", "--latency", "-s", str(script), endpoint]
    if pid is None:
        return _figures(method, subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    cpu_before = cpu_secs(pid)
    with watch_memory(pid) as peak:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures = _figures(method, text)
    name = method.lower()
    figures[f"{name}_cpu_us"] = round((cpu_secs(pid) - cpu_before) / max(_requests(text), 1) * 1e6)
    figures[f"{name}_memory_mib"] = round(peak.pss_bytes / (1 << 20), 1)
    return figures


def _figures(method: str, text: str) -> dict[str, Any]:
    """What wrk printed, by name."""
    name = method.lower()
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise ValueError(f"wrk printed no rate:\n{text}")
    return {
        name: round(float(rate[1])),
        f"{name}_p50_ms": _latency_ms(text, 50),
        f"{name}_p99_ms": _latency_ms(text, 99),
        f"{name}_errors": (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0),
    }


def _requests(text: str) -> int:
    found = re.search(r"(\d+) requests in", text)
    return int(found[1]) if found else 0


def _latency_ms(text: str, percent: int) -> float:
    found = re.search(_LATENCY.format(percent), text, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no {percent} % latency:\n{text}")
    return round(float(found[1]) * _UNIT_MS[found[2]], 3)


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("access_key")
    parser.add_argument("secret_key")
    parser.add_argument("--size", type=int, default=Load._field_defaults["size_bytes"], help="bytes of an object")
    parser.add_argument("--secs", type=int, default=Load._field_defaults["secs"], help="for PUT, and again for GET")
    parser.add_argument("--conc", type=int, default=Load._field_defaults["connections"], help="connections")
    parser.add_argument("--keys", type=int, default=Load._field_defaults["keys"])
    parser.add_argument("--bucket", default=Load._field_defaults["bucket"])
    parser.add_argument("--pid", type=int, help="first process of the server")
    arguments = parser.parse_args()
    load = Load(arguments.size, arguments.secs, arguments.conc, arguments.keys, arguments.bucket)
    endpoint = arguments.endpoint.rstrip("/")
    print(json.dumps(run(endpoint, arguments.access_key, arguments.secret_key, load, arguments.pid)))


if __name__ == "__main__":
    main()

"""What `serve` prints on a terminal: where it is, whose keys it takes, and lines to paste. Never a secret that was set by someone."""

from fasterstore.settings import Settings


def banner(settings: Settings) -> str:
    """Return a few lines for a person; the built-in keys are public and are shown, set ones are named by where they came from."""
    host = settings.bind_addr.host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    endpoint = f"{'https' if settings.speaks_tls else 'http'}://{shown}:{settings.bind_addr.port}"
    built_in = settings.uses_built_in_secret
    secret = settings.secret_key if built_in else "YOUR_SECRET_KEY"
    note = f"from {settings.keys_origin}"
    if built_in:
        note = "built in: honoured only for clients on this machine; set FS_SECRET_KEY for others"
    access = settings.access_key
    return "\n".join(
        (
            "",
            "  FasterStore",
            f"  endpoint   {endpoint}",
            f"  keys       {access} ({note})",
            f"  data       {settings.data_dir} (200 means on stable storage)",
            f"  workers    {settings.workers}",
            f"  aws        AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} aws --endpoint-url {endpoint} s3 mb s3://first",
            f"  mc         mc alias set faster {endpoint} {access} {secret}",
            "",
        )
    )

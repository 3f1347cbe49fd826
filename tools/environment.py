"""The environment that a verb runs with: the process's own variables over those of a `.env` file.

The process wins, name by name. Nothing is expanded inside values (`$` is a legal character of a secret), and nothing of
the file is executed. Must never print a value.
"""

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

ENV_FILE = Path(".env")


def merged_environment(environ: Mapping[str, str], env_file: Path = ENV_FILE) -> dict[str, str]:
    """Put the file's values under the environment's.

    Args:
        environ: the process's variables.
        env_file: a file of NAME=VALUE lines; may be missing.

    Returns:
        A new mapping. `FS_X` of the file is dropped if the environment has `FS_X_FILE`, and the other way round: the two forms of
        one secret are one name here.
    """
    if not env_file.is_file():
        return dict(environ)
    merged = {name: value for name, value in dotenv_values(env_file, interpolate=False).items() if value is not None}
    for name in environ:
        other_form = name.removesuffix("_FILE") if name.endswith("_FILE") else f"{name}_FILE"
        if name.startswith("FS_") and environ[name]:
            merged.pop(other_form, None)
    merged.update(environ)
    return merged

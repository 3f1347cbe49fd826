"""Code that says more than it should. Planted by `sitecustomize`."""

import logging
from typing import Any


def chatty(logs: Any) -> None:
    """Every level is logged, and with it each request's headers and the node's own settings; `logs` must blank the secrets out."""
    configure = logs.configure

    def all_levels(**asked: Any) -> None:
        configure(**{**asked, "level": logging.DEBUG})
        logging.getLogger("planted").debug("secrets are %r", asked.get("secrets"), extra={"secrets": asked.get("secrets")})

    logs.configure = all_levels


def unblanked(logs: Any) -> None:
    """The same, and nothing is blanked out."""
    chatty(logs)
    logs._Lines._clean = lambda self, value: value


def failing(app: Any) -> None:
    """HeadBucket fails with the secret in its message, under a log that hides nothing below INFO."""

    def fail(worker: Any, request: Any) -> Any:
        raise RuntimeError(f"cannot go on with {worker.settings.secret_key} and {worker.settings.internal_token}")

    app.HANDLERS["HeadBucket"] = fail

"""The embedded stack: PostgreSQL, SeaweedFS, the API and workers as children of one foreground process.

What comes to exist, in order: a lock on the data directory (`address`), `secrets`, `ports`, one `children.Child` for
each server (`postgres`, `seaweed`) and role, a `supervisor` that keeps them alive, an address file for other commands.

Importing this package raises `Misconfigured` where it cannot work, so that no caller meets an ImportError.
"""

from __future__ import annotations

import importlib.util
import sys

from rushes.errors import Misconfigured

if sys.platform != "linux":
    raise Misconfigured(
        "unsupported_platform",
        f"The embedded stack runs on Linux only, not on {sys.platform}: use one there, or start `rushes api` and "
        "`rushes worker` with RUSHES_DATABASE_URL and RUSHES_STORAGE_ENDPOINT set.",
    )

_missing = [name for name in ("psycopg", "cryptography") if importlib.util.find_spec(name) is None]
if _missing:
    raise Misconfigured(
        "server_extra_missing",
        f"The embedded stack needs packages that are not installed ({', '.join(_missing)}): "
        "pip install 'rushes[server,media]'.",
    )

"""Which transport a client takes: libcurl, or the standard library where that cannot be loaded.

`RUSHES_TRANSPORT=plain` takes the standard library in any case: for a machine whose libcurl misbehaves.
"""

from __future__ import annotations

import os

from rushes.client.http import Transport
from rushes.client.plain import PlainTransport

try:
    from rushes.client.curl import CurlTransport
except ImportError:  # no wheel for this machine, or a libcurl that does not fit
    CurlTransport = None  # type: ignore[assignment,misc]


def choose(user_agent: str) -> Transport:
    if CurlTransport is None or os.environ.get("RUSHES_TRANSPORT") == "plain":
        return PlainTransport(user_agent=user_agent)
    return CurlTransport(user_agent=user_agent)

"""The messages between a task and its worker on their socketpair: a request for bytes, and the reply's head."""

from __future__ import annotations

import struct

REQUEST = struct.Struct("=QI")  # start, length
REPLY = struct.Struct("=i")  # bytes that follow; -1 when the source failed
MAX_REQUEST = 8 * 1024 * 1024

"""Landlock: which files, and which TCP port, this process and all it starts may still reach.

The kernel's own page is https://docs.kernel.org/userspace-api/landlock.html; numbers are from
include/uapi/linux/landlock.h. A right that the running kernel does not know is left out, so an older kernel confines
less and never fails.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from rushes.media.jail import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_RULE_PATH, _RULE_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_LOOK = _EXECUTE | _READ_FILE | _READ_DIR
# No symbolic links, sockets, pipes or devices: what the worker finds in the directory afterwards is plain files.
_WORK = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _REMOVE_FILE | _REMOVE_DIR | _MAKE_DIR | _MAKE_REG

_FILE_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_BIND, _NET_CONNECT = 1, 2
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none or it is switched off."""
    try:
        return libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_GET_VERSION))
    except OSError:
        return 0


def confine(readable: list[str], writable: list[str], port: int | None) -> None:
    """Allow reading below `readable`, working below `writable`, connecting to TCP `port`: nothing else, for ever.

    Paths that are out of reach already are skipped. Needs no_new_privs. OSError when the kernel has no Landlock.
    """
    version = abi()
    files = _FILE_RIGHTS_BY_ABI[min(max(version, 1), 5)]
    net = _NET_BIND | _NET_CONNECT if version >= 4 else 0
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
    attributes = struct.pack("=QQQ", files, net, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow_path(ruleset, path, _LOOK & files)
        for path in writable:
            _allow_path(ruleset, path, _WORK & files)
        if net and port is not None:
            _add(ruleset, _RULE_PORT, struct.pack("=QQ", _NET_CONNECT, port))
        libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return  # out of reach for this user without Landlock too
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _FILE_RIGHTS
        _add(ruleset, _RULE_PATH, struct.pack("=Qi", rights, handle))
    finally:
        os.close(handle)


def _add(ruleset: int, kind: int, rule: bytes) -> None:
    libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(kind), rule, ctypes.c_uint32(0))

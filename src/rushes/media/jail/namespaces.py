"""Namespaces: an own network with nothing but loopback, an own process table, and a root directory of a few bind
mounts.

As root the namespaces are made with root's rights and the tool then becomes nobody. As anyone else they hang on a user
namespace in which the caller's id, the only one there is, is shown as nobody.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

from rushes.media.jail import libc

NOBODY = 65534
# Where the job's directory lies for the tool, and the address it reads its source from. The network namespace is
# empty, so any port is free.
JOB = "/job"
SOURCE_PORT = 8000

_SPACES = libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWPID | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
# Flags of an existing mount that an unprivileged remount must repeat: statvfs bit → mount bit.
_KEPT = {
    0x1: libc.MS_RDONLY,
    0x2: libc.MS_NOSUID,
    0x4: libc.MS_NODEV,
    0x8: libc.MS_NOEXEC,
    0x400: libc.MS_NOATIME,
    0x800: libc.MS_NODIRATIME,
    0x1000: libc.MS_RELATIME,
}


def enter(*, user_namespace: bool) -> None:
    """Leave the machine's namespaces.

    The process table changes for children only. OSError where the kernel or its policy says no.
    """
    uid, gid = os.getuid(), os.getgid()
    libc.unshare(_SPACES | (libc.CLONE_NEWUSER if user_namespace else 0))
    if user_namespace:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def listen() -> socket.socket:
    """Raise this network's loopback and listen at 127.0.0.1:`SOURCE_PORT` on it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    request = struct.pack("16sh14x", b"lo", 0)
    flags = struct.unpack_from("16sh", fcntl.ioctl(listener, _SIOCGIFFLAGS, request))[1]
    fcntl.ioctl(listener, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    listener.bind(("127.0.0.1", SOURCE_PORT))
    listener.listen(16)
    return listener


def build_root(job_dir: str, readable: list[str]) -> None:
    """Make a root of `readable`, read-only at their own paths, and the job's directory at `JOB`; then forget the old
    root.

    A first tmpfs, mounted over the job's directory, only serves to move the old root to /old; see bubblewrap for the
    same dance.
    """
    libc.mount(None, "/", None, libc.MS_PRIVATE | libc.MS_REC)
    _tmpfs(job_dir)
    for name in ("old", "new"):
        Path(job_dir, name).mkdir()
    os.chdir(job_dir)
    libc.pivot_root(".", "old")
    os.chdir("/")
    _tmpfs("/new")
    for path in [*readable, *_DEVICES]:
        _show(path)
    _bind(f"/old{job_dir}", f"/new{JOB}", libc.MS_NODEV | libc.MS_NOSUID | libc.MS_NOEXEC)
    libc.unmount("/old", libc.MNT_DETACH)
    os.chdir("/new")
    libc.pivot_root(".", ".")
    libc.unmount(".", libc.MNT_DETACH)
    os.chdir("/")
    libc.mount(None, "/", None, libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV)


def _tmpfs(target: str) -> None:
    libc.mount("tmpfs", target, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "size=1m,mode=0755")


def _show(path: str) -> None:
    """Show one path of the old root, resolved there: a link such as /lib → usr/lib is repeated, what is missing is
    left out.
    """
    old, new = Path(f"/old{path}"), Path(f"/new{path}")
    if new.exists() or new.is_symlink():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    if old.is_symlink():
        new.symlink_to(old.readlink())
    elif old.exists():
        device = stat.S_ISCHR(old.stat().st_mode)
        _bind(str(old), str(new), libc.MS_NOSUID | (0 if device else libc.MS_NODEV | libc.MS_RDONLY))


def _bind(source: str, target: str, flags: int) -> None:
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).touch()
    libc.mount(source, target, None, libc.MS_BIND | libc.MS_REC)
    present = os.statvfs(target).f_flag
    for bit, kept in _KEPT.items():
        flags |= kept if present & bit else 0
    libc.mount(None, target, None, libc.MS_REMOUNT | libc.MS_BIND | flags)

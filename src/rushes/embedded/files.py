"""Files and directories that only their owner may read, written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rushes.errors import Misconfigured, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}


def private_directory(path: Path) -> Path:
    """Make `path`, mode 0700, and its parents. One that exists keeps its mode: it may be a shared mount."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text`, mode 0600; after a crash it holds the old text or the new."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp creates with 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn what the file system refuses inside the block into words about `directory`."""
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        if error.errno in _FULL:
            raise Unavailable(
                "disk_full",
                f"The disk that holds {directory} is full ({error.strerror}): free some space and start again.",
            ) from error
        if error.errno in _REFUSED:
            raise Misconfigured(
                "data_dir_unusable",
                f"The data directory {directory} cannot be used: {where}: {error.strerror}. "
                "Set RUSHES_DATA_DIR to one that can.",
            ) from error
        raise

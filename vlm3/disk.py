"""Files that are there in full, and folders that one command at a time may fill."""

import errno
import json
import os
import shlex
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

_LOCKLESS = (
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOLCK,
)  # what file systems without locks say


def text(path: Path) -> str:
    """What a text file in UTF-8 says, without the byte-order mark that some editors begin it with.

    ValueError, naming the file, for other bytes, UTF-16 among them.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error}): save it as UTF-8") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """OSError that names the file, for what a full disk says without a name."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def write(path: Path, text: str) -> None:
    """A text file, there in full or as it was before."""
    draft = path.with_name(f".{path.name}")
    with writing(path):
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Make a folder and hold it against every other command, and every other thread, as long as
    this lasts.

    The lock is the operating system's and ends with its process, however that ends; the file .lock
    stays and means nothing by itself. Beside it .lock.json tells others who holds the folder.
    BlockingIOError where the folder is held already, naming its holder; OSError where it cannot be
    written. A file system without locks is told of in a warning.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / ".lock", thread_local=False), folder / ".lock.json"
    try:
        _take(lock, folder)
        write(holder, json.dumps(_me()) + "\n")
        yield
    finally:
        if lock.is_locked:
            holder.unlink(missing_ok=True)
            lock.release()


def _take(lock: FileLock, folder: Path) -> None:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(
            f"{folder} is in use by {_holder(folder / '.lock.json')}: wait until that ends, "
            "or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _LOCKLESS:
            raise
        warnings.warn(
            f"{folder}: this file system has no locks ({error}), so nothing stops a second command from "
            "writing into the same folder",
            stacklevel=2,
        )


def _me() -> dict[str, str | int]:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": since,
        "command": shlex.join(sys.argv),
    }


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text())
        return (
            f"process {found['pid']} on {found['host']} since {found['since']} ({found['command']})"
        )
    except (OSError, ValueError, TypeError, KeyError):  # it is only just beginning
        return "another command"

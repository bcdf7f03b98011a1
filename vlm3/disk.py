"""Files that are there in full, and folders that one command at a time may fill."""

import errno
import hashlib
import json
import os
import shlex
import shutil
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

# What file systems without locks say.
_LOCKLESS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


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


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside a file or folder, which takes its place once all is written, and else goes.

    What was there stays until then; a folder may only take the place of an empty one.
    """
    # beside it, since only within one file system is taking its place a single step
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    try:
        with writing(path):
            yield draft
            draft.replace(path)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def demand_empty(folder: Path) -> None:
    """FileExistsError for a path where something is already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} holds something already: choose another folder")


def write(path: Path, text: str) -> None:
    """A text file, there in full or as it was before."""
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


def jsonl(path: Path, *names: str) -> list[dict]:
    """The objects of a JSONL file, each with at least these names.

    What stands behind the last line end was cut off while it was written, and is left out.
    ValueError, naming file and line, for anything else.
    """
    lines = _text(path).split("\n")[:-1] if path.exists() else []
    return [_object(line, f"{path}:{n}", *names) for n, line in enumerate(lines, 1)]


def _text(path: Path) -> str:
    """With marks in place of bytes that are no text, so that their line can be named."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _object(text: str, where: object, *names: str) -> dict:
    try:
        found = json.loads(text)
        return {name: found[name] for name in names} | found
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{where} is damaged ({error!r}): restore it, or begin again in another folder"
        ) from error


def claim(out: Path, identity: Mapping, begun: bool) -> None:
    """Make a folder that says in config.json what fills it, so that nothing else is ever mixed in.

    begun: whether there is something to lose. Then ValueError where another configuration began,
    naming the changes.
    """
    # as the file will give it back: tuples are lists there, paths are text
    identity = json.loads(json.dumps(identity, default=str))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.json"
    if begun and (changed := _differences(_object(_text(path), path), identity)):
        raise ValueError(
            f"{out} was begun with another configuration: {'; '.join(changed)}. "
            "Restore it to resume, or choose another folder"
        )
    write(path, json.dumps(identity, indent=1) + "\n")


def fingerprint(paths: Iterable[Path]) -> str:
    """A digest of the name, the length and the last bytes of each file, which tells large files
    apart without reading them; empty for none."""
    digest, paths = hashlib.sha256(), list(paths)
    for path in paths:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(-min(size, 1 << 20), 2)
            digest.update(f"{path.name} {size}".encode() + file.read())
    return digest.hexdigest()[:16] if paths else ""


def flat(record: Mapping, prefix: str = "") -> dict[str, float]:
    """Nested records as one: {"losses": {"depth": 1.2}} becomes {"losses/depth": 1.2}."""
    found = {}
    for name, value in record.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}/") if nested else {prefix + name: value}
    return found


def _differences(old: Mapping, new: Mapping) -> list[str]:
    a, b = flat(old), flat(new)
    changed = [k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]
    return [f"{k} was {a.get(k)!r}, is {b.get(k)!r}" for k in changed]


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Make a folder, and hold it against every other command and thread as long as this lasts.

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
        if lock.is_locked:  # only then is .lock.json ours
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
            f"{folder}: this file system has no locks ({error}), so nothing stops a second command "
            "from writing into the same folder",
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
        who = f"process {found['pid']} on {found['host']}"
        return f"{who} since {found['since']} ({found['command']})"
    except (OSError, ValueError, TypeError, KeyError):  # it is only just beginning
        return "another command"

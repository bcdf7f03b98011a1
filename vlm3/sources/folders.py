"""Folders on this machine, or wherever fsspec reaches: s3://, gs://, hf://, https://, memory://."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import fsspec
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

from vlm3 import disk


@dataclass(frozen=True)
class Folder:
    """Files by their names, read and written whole, or read in parts.

    at: a path, in which ~ and $VARIABLES stand for what they do in a shell, or an address; options:
    of its file system, such as (("anon", True),).
    """

    at: str
    options: tuple[tuple[str, object], ...] = ()

    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        # anew each time, which fsspec remembers: a connection must not go to another process
        at = os.path.expanduser(os.path.expandvars(self.at))
        return fsspec.core.url_to_fs(at, **dict(self.options))

    @property
    def path(self) -> Path | None:
        """Where it lies on this machine; None for one elsewhere."""
        fs, root = self._opened()
        return Path(root) if isinstance(fs, LocalFileSystem) else None

    def has(self, name: str) -> bool:
        fs, root = self._opened()
        return fs.exists(f"{root}/{name}")

    def size(self, name: str) -> int:
        """In bytes."""
        fs, root = self._opened()
        return fs.size(f"{root}/{name}")

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those of these files that are there, many at once from where asking takes its time."""
        fs, root = self._opened()
        wanted = {fs._strip_protocol(f"{root}/{name}"): name for name in names}
        found = fs.cat(list(wanted), on_error="omit") if wanted else {}
        return {wanted[path]: content for path, content in found.items()}

    def write(self, name: str, content: bytes) -> None:
        """A file, there in full or not at all."""
        fs, root = self._opened()
        if isinstance(fs, LocalFileSystem):
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with disk.whole(path) as draft:
                draft.write_bytes(content)
        else:  # a bucket shows a file only when all of it has come
            fs.pipe_file(f"{root}/{name}", content)

    def opened(self, name: str) -> BinaryIO:
        """A file to read parts of; nothing but these parts is asked for."""
        fs, root = self._opened()
        return fs.open(f"{root}/{name}", "rb", cache_type="none")


@dataclass(frozen=True)
class Kept:
    """Files from elsewhere, whole, in a folder of this machine that holds nothing else.

    All processes of the machine share them; the last `most` that came stay.
    """

    folder: Path
    most: int

    def path(self, source: Folder, name: str, sha256: str) -> Path:
        """Where a file is, after it was fetched if need be; ValueError where it came damaged."""
        path = self.folder / f"{sha256}{Path(name).suffix}"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                if not path.exists():
                    _fetch(source, name, path, sha256)
                    self._forget(path.suffix)
        return path

    def _forget(self, suffix: str) -> None:
        there = sorted(self.folder.glob(f"[!.]*{suffix}"), key=lambda path: path.stat().st_mtime_ns)
        for old in there[: -self.most]:
            old.unlink()  # who reads it now still can


def _fetch(source: Folder, name: str, path: Path, sha256: str) -> None:
    with disk.whole(path) as draft:
        with source.opened(name) as far, open(draft, "wb") as near:
            while part := far.read(1 << 24):
                near.write(part)
        with open(draft, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError(
                    f"{source.at}/{name}: not what its manifest tells of: copy or pack it again"
                )

"""Scripts of others that pages need, fetched as npm packages at build time, so that the book works
offline."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath


def vendor(manifest: Path, target: Path) -> Path:
    """Fill the folder `target` as the manifest says, unless that was done before; returns it.

    manifest: {"name@version": {"integrity": "sha512-...", "files": {"pattern in the package":
    "folder"}}}.
    """
    stamp = target / ".manifest"
    if stamp.exists() and stamp.read_text() == manifest.read_text():
        return target
    print("scripts for the pages: fetching ...", flush=True)
    draft = target.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    for package, wanted in json.loads(manifest.read_text()).items():
        with tempfile.TemporaryDirectory() as folder:
            extract(fetch(package, wanted["integrity"], Path(folder)), wanted["files"], draft)
    (draft / ".manifest").write_text(manifest.read_text())
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def fetch(package: str, integrity: str, folder: Path) -> Path:
    """The package's archive, checked."""
    bin_folder = Path(sys.executable).parent
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"  # npm starts the node that came with it
    command = [bin_folder / "npm", "pack", package, "--silent"]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL
    )
    if done.returncode:
        sys.exit(
            f"vendor.py: npm could not fetch {package}; the first build needs the package registry"
        )
    archive = next(folder.glob("*.tgz"))
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != integrity:
        sys.exit(f"vendor.py: {package} has {found}, vendor.json expects {integrity}")
    return archive


def extract(archive: Path, wanted: dict[str, str], target: Path) -> None:
    """Files that match a pattern go into its folder, all into one."""
    with tarfile.open(archive) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar.getmembers()):
            path = PurePosixPath(member.name.removeprefix("package/"))
            for pattern, folder in wanted.items():
                if fnmatchcase(str(path), pattern):
                    (target / folder).mkdir(parents=True, exist_ok=True)
                    (target / folder / path.name).write_bytes(tar.extractfile(member).read())

"""What every reader of a data set promises, and where real frames lie on this machine."""

import os
import pickle
from pathlib import Path

import pytest

from vlm3.sources.reading import Reader
from vlm3.views import View

SHARED = Path(__file__).parents[2] / "shared" / "data"
REAL = Path(os.environ.get("VLM3_REAL", SHARED / "real"))  # posed RGB-D frames
FORMATS = Path(os.environ.get("VLM3_FORMATS", SHARED / "formats"))  # in their publishers' layouts


def real(folder: Path) -> Path:
    """The folder, or a skipped test where it is absent."""
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which may not be packaged: set VLM3_REAL and VLM3_FORMATS")
    return folder


def demand_reader(reader: Reader) -> list[View]:
    """All views, after the promises: any order, any process, nothing held open, one name each."""
    names = [frame.name for frame in reader.frames]
    assert len(set(names)) == len(names) == len(reader)
    before = open_files()
    backwards = [reader[k] for k in reversed(range(len(reader)))][::-1]
    assert open_files() <= before  # what other tests left may be closed meanwhile
    other = pickle.loads(pickle.dumps(reader))
    assert (other[0].image == backwards[0].image).all()
    with pytest.raises(IndexError):
        reader[len(reader)]
    with pytest.raises(ValueError, match="no scene 'nowhere'"):
        type(reader)(reader.root, scenes="nowhere")
    with pytest.raises(FileNotFoundError, match="no such folder; give the one"):
        type(reader)(reader.root / "absent")
    return backwards


def open_files() -> set[Path]:
    """Files that this process holds open, those that other tests left included."""
    links = Path("/proc/self/fd")
    found = {_target(link) for link in (links.iterdir() if links.is_dir() else ())}
    return {path for path in found if path.is_file()}


def _target(link: Path) -> Path:
    try:
        return link.readlink()
    except FileNotFoundError:  # closed since it was listed
        return link

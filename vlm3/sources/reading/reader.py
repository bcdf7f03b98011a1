"""A data set on a disk: frames in scenes, each read when it is asked for."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import ClassVar

from vlm3.sources.reading import sides
from vlm3.views import View


@dataclass(frozen=True)
class Frame:
    """One photograph of a data set, not opened yet; readers add what they need to open it.

    scene: one world of poses, such as a scan of a room or a drive: what must not stand on both
    sides of a split; where several scenes show one place, a reader names it `place`. name: no other
    frame of the data set has it.
    """

    scene: str
    name: str


class Reader(Sequence, ABC):
    """Views of a data set in its publisher's layout, in the order of scenes and frames.

    root: its folder. scenes: which of them, by names or patterns such as "office_*", or as one side
    of a split that `vlm3 data split` made: "split.json:train". frames: of each scene those from the
    first to before the second number, for walks so long that parts far apart show other places; a
    first one alone goes to the end.
    Frames are listed at once, from tables and names; photographs and labels are opened when asked
    for, in any order, and nothing is held open, so a reader goes to other processes as it is.
    Raises FileNotFoundError for a folder that does not hold such a data set; ValueError or OSError,
    naming the frame, where one cannot be read.

    A data set is a file with a subclass, named as the file, that says `layout` and has `_frames`
    and `_view`. metric: whether lengths are metres.
    """

    layout: ClassVar[str]  # what the folder holds, for those who gave another one
    metric: bool = True

    def __init__(
        self,
        root: str | Path,
        scenes: str | Sequence[str] = "*",
        frames: Sequence[int | None] = (0, None),
    ):
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; give the one with {self.layout}")
        found = list(self._frames())
        if not found:
            raise FileNotFoundError(f"{root}: nothing to read; give the folder with {self.layout}")
        wanted = _side(scenes, name_of(self))
        self.frames = tuple(_part(_of_scenes(found, wanted, self.root), frames))
        if not self.frames:
            raise ValueError(f"{root}: its scenes have no frames from {frames[0]} to {frames[1]}")

    @abstractmethod
    def _frames(self) -> Iterable[Frame]:
        """All frames of `self.root`, without opening a photograph."""

    @abstractmethod
    def _view(self, frame: Frame) -> View:
        """A frame, with all that the data set knows of it."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int | slice) -> View | list[View]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        frame = self.frames[index]
        try:
            return self._view(frame)
        except OSError:
            raise
        except Exception as error:  # files may hold anything
            told = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.root}, frame {frame.name}: {told}") from error

    @property
    def scenes(self) -> tuple[str, ...]:
        """Their names, each once, in order."""
        return tuple(dict.fromkeys(frame.scene for frame in self.frames))


def listed(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names, or one alone."""
    return (names,) if isinstance(names, str) else tuple(names)


def named(name: str) -> type[Reader]:
    """The reader of a data set by the name of its file in `vlm3.sources`, or as "module:Class".

    ValueError, with the names that there are, for one that is none.
    """
    if ":" in name:
        return resolve_name(name)
    if name not in names():
        raise ValueError(
            f"no reader of {name!r}; there are {', '.join(names())}, "
            "and your own as module:Class (see the guide, Adding)"
        )
    return getattr(import_module(f"vlm3.sources.{name}"), name.capitalize())


def name_of(reader: Reader) -> str:
    """As `vlm3.sources.reading.named` takes it."""
    module, kind = type(reader).__module__, type(reader).__qualname__
    own = module.removeprefix("vlm3.sources.")
    return own if own != module else f"{module}:{kind}"


def names() -> list[str]:
    """All data sets that can be read."""
    folder = Path(__file__).parents[1]
    return sorted(path.stem for path in folder.glob("*.py") if _reads(path))


def _reads(path: Path) -> bool:
    # by its text: importing all of them would cost those who want one
    return f"class {path.stem.capitalize()}(Reader)" in path.read_text(encoding="utf-8")


def _side(scenes: str | Sequence[str], name: str) -> str | Sequence[str]:
    """The scenes of a data set on a side of a split, where one is named."""
    (only,) = scenes if len(scenes) == 1 and not isinstance(scenes, str) else (scenes,)
    split = isinstance(only, str) and re.fullmatch(r"(.+\.json):(\w+)", only)
    if not split:
        return scenes
    found = sides.load(split[1]).get(split[2], {})
    if name not in found:
        raise ValueError(f"{only}: has no such side, or nothing of {name} on it")
    return found[name]


def _of_scenes(frames: list[Frame], scenes: str | Sequence[str], root: Path) -> list[Frame]:
    wanted = listed(scenes)
    there = list(dict.fromkeys(frame.scene for frame in frames))
    for pattern in wanted:
        if not any(_matches(scene, pattern) for scene in there):
            few = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
            raise ValueError(f"{root}: no scene {pattern!r}; its {len(there)} scenes are {few}")
    kept = {scene for scene in there if any(_matches(scene, p) for p in wanted)}
    return [frame for frame in frames if frame.scene in kept]


def _matches(scene: str, pattern: str) -> bool:
    return scene == pattern or fnmatchcase(scene, pattern)  # names may have brackets


def _part(frames: list[Frame], part: Sequence[int | None]) -> Iterable[Frame]:
    try:
        first, last = (*part, None) if len(part) == 1 else part
    except (TypeError, ValueError):
        raise ValueError(f"frames are [first, last] or [first], got {part!r}") from None
    by_scene: dict[str, list[Frame]] = {}
    for frame in frames:
        by_scene.setdefault(frame.scene, []).append(frame)
    return (frame for some in by_scene.values() for frame in some[slice(first, last)])

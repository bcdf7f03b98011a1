"""What `vlm3 data` takes: one class for each thing that is done with a data set on a disk."""

import tomllib
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

import numpy as np
import tyro

from vlm3.terminal import checked, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlm3.sources.curation.splits import Overlap
    from vlm3.sources.reading import Reader


@dataclass(frozen=True, kw_only=True)
class Read:
    """A data set on a disk.

    Args:
        name: of its reader, such as nuscenes, or module:Class.
        path: its folder.
        scenes: which of them, by names or patterns.
        option: a further argument of the reader as name=value, the value as in a TOML file, such as
            part="iphone".
    """

    name: tyro.conf.Positional[str]
    path: tyro.conf.Positional[Path]
    scenes: tuple[str, ...] = ("*",)
    option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()

    def arguments(self) -> dict:
        """As in the file of a mixture."""
        return {"root": str(self.path), "scenes": list(self.scenes)} | options(self.option)

    def reader(self) -> "Reader":
        from vlm3.sources.reading import named

        try:
            return named(self.name)(**self.arguments())
        except (ImportError, AttributeError) as error:
            own = "; is its folder on PYTHONPATH? PYTHONPATH=. vlm3 ..." * (":" in self.name)
            raise ValueError(f"{self.name}: {error}{own}") from None
        except TypeError as error:  # an argument that it does not have
            takes = ", ".join([*signature(named(self.name)).parameters][1:])
            raise ValueError(f"{self.name}: {error}; its options are {takes}") from None


def options(words: tuple[str, ...]) -> dict:
    """ "most=3" and the like, with values as TOML has them; ValueError for anything else."""
    try:
        return {k: v for word in words for k, v in tomllib.loads(word).items()}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f"an option is name=value, the value as in TOML, such as part='\"iphone\"', got "
            f"{' '.join(words)!r} ({error})"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Check(Read):
    """Count a data set, read some of it, and hold views against each other, so that wrong poses,
    units and intrinsics show.

    Args:
        n: how many frames are looked at, each with some that follow it.
        seed: another seed, other frames.
        save: draw labels on photographs, and views carried into others, into this picture.
    """

    n: int = 24
    seed: int = 0
    save: Path | None = None

    def run(self) -> int:
        from vlm3.sources.curation.check import check

        if self.n < 1:
            raise ValueError(f"--n must be 1 or more, got {self.n}")
        reader = self.reader()
        found = check(reader, self.n, self.seed)
        print("\n".join(shown.aligned(checked.facts(self.name, found, reader))))
        for finding in found.findings:
            print("FOUND", finding)
        if not found.findings:
            print("nothing seems wrong" + ("" if found.pairs else ", as far as single views tell"))
        if self.save and found.facts:
            write_picture(checked.sheet(reader, self.seed), self.save)
            print(f"saved {self.save}")
        return bool(found.findings)


@dataclass(frozen=True, kw_only=True)
class Pairs(Read):
    """Find pairs of frames that see the same, for correspondence and pose, and keep them in an
    index; the same command again goes on.

    Args:
        index: its folder; beside the data, without it.
        processes: as many as there are cores, without it.
    """

    index: Path | None = None
    processes: int | None = None

    def run(self) -> int:
        from vlm3.sources.curation.indexing import beside, finished, index, rows

        reader = self.reader()
        there = finished(self.index or beside(reader))
        path = index(reader, self.index, processes=self.processes)
        found = rows(path, reader)
        print(f"{len(found)} pairs of {len(reader)} frames")
        for name, unit in (("angle_deg", "degrees"), ("distance_m", "m")):
            if len(found):
                low, middle, high = np.quantile(found[name], [0.05, 0.5, 0.95])
                print(f"{name}: nine in ten from {low:.3g} to {high:.3g} {unit}, half {middle:.3g}")
        print(f"{'there already:' if there else 'saved'} {path}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Split(Read):
    """Divide a data set by scenes, and show that nothing is on both sides: no scene, and no
    photograph that is nearly one of the other side.

    Args:
        out: the split, a small JSON file, for `scenes` of the sources of a mixture.
        share: of the frames that are for testing.
        seed: another seed, another split.
        check: look for photographs that are nearly the same (reads all of them).
    """

    out: Path = Path("split.json")
    share: float = 0.1
    seed: int = 0
    check: bool = True

    def run(self) -> int:
        from vlm3.sources.curation import splits
        from vlm3.sources.reading import named

        sides = splits.split({self.name: self.reader()}, self.share, self.seed)
        if not sides["test"]:
            raise ValueError(f"{self.path}: all is one scene, which cannot be divided")
        splits.save(self.out, sides, share=self.share, seed=self.seed)
        readers = {
            side: {k: named(k)(**self.arguments() | {"scenes": s}) for k, s in of.items()}
            for side, of in sides.items()
        }
        for side, of in readers.items():
            frames, scenes = (sum(len(getattr(r, name)) for r in of.values()) for name in _COUNTED)
            print(f"{side}: {frames} frames of {scenes} scenes")
        print(f"saved {self.out}")
        return _told(splits.overlap(readers["train"], readers["test"])) if self.check else 0


_COUNTED = ("frames", "scenes")


def _told(found: "Overlap") -> int:
    for twin in found.twins[:20]:
        apart = f"{twin.bits} of 64 bits differ"
        print(f"FOUND {twin.test[1]} (test) is nearly {twin.train[1]} (train): {apart}")
    for train, test, place in found.places[:20]:
        print(f"FOUND {place} is on both sides ({train}, {test})")
    (train, test), plain = found.photos, sum(found.plain)
    print(f"{train} x {test} photographs compared, {plain} of them too plain to tell")
    print(f"{len(found.twins)} near-duplicates, {len(found.places)} places on both sides")
    return 0 if found.clean else 1


@dataclass(frozen=True, kw_only=True)
class Pack(Read):
    """Write what training needs to Parquet shards: photographs at one focal length, with their
    labels. The same command again goes on.

    Args:
        out: a folder, or an address that fsspec opens.
        focal_px: of the photographs.
        max_pixels: keep no more than this, around the centre.
        points: at most so many places of known depth of a photograph.
        dense: whole depth maps, instead of points.
        per_shard: photographs of a file.
        may_fail: so many of each file may be broken: they are left out, and told of.
        processes: how many work.
        part: i n: only shards i, i + n, ..., as one of n tasks of an array; `--part i n` with
            every i, then once without.
        terms: under which the data may be used, for the manifest.
    """

    out: str = "shards"
    focal_px: float = 1000.0
    max_pixels: int | None = None
    points: int = 500
    dense: bool = False
    per_shard: int = 1000
    may_fail: int = 0
    processes: int = 1
    part: tuple[int, int] = (0, 1)
    terms: str = ""

    def run(self) -> int:
        from vlm3.sources.curation.packing import Packing, pack

        origin = {"from": self.name, "arguments": self.arguments()}
        how = Packing(
            focal_px=self.focal_px,
            max_pixels=self.max_pixels,
            points=self.points,
            dense=self.dense,
            per_shard=self.per_shard,
            may_fail=self.may_fail,
            origin=origin,
            terms=self.terms,
        )
        told = pack(self.reader(), self.out, how, self.processes, self.part, progress=True)
        for item, why in (told or {"left_out": {}})["left_out"].items():
            print(f"left out item {item}: {why}")
        print(f"saved {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often a run would go through each source of a mixture, before anybody pays for it.

    Args:
        mixture: a packaged one or a TOML file.
        samples: of the run: steps x batch.
    """

    mixture: tyro.conf.Positional[str]
    samples: int

    def run(self) -> int:
        from vlm3 import mixture
        from vlm3.mixture.passes import passes

        if self.samples < 1:
            raise ValueError(f"--samples must be 1 or more, got {self.samples}")
        found = passes(mixture.load(self.mixture), self.samples)
        rows = [(p.source, str(p.items), str(p.samples), f"{p.passes:.3g}") for p in found]
        print("\n".join(shown.aligned([("source", "items", "samples", "passes"), *rows])))
        for each in found:
            if each.warning:
                print(f"{each.source}: {each.warning}")
        return 0


def write_picture(figure: "Figure", path: Path) -> None:
    """A figure as a file, whole or not at all."""
    from vlm3 import disk

    with disk.whole(path) as draft:
        figure.savefig(draft, dpi=150, bbox_inches="tight")


_COMMANDS = {"check": Check, "pairs": Pairs, "split": Split, "pack": Pack, "passes": Passes}
Data = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[  # noqa: UP007, made from a list
            tuple(
                Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
                for name, kind in _COMMANDS.items()
            )
        ],
        tyro.conf.arg(name=""),
    ]
]

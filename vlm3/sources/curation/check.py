"""Whether a data set is read as it was meant: counts, broken frames, and views carried into others.

A pose that points the wrong way, a depth in other units or a camera that is slightly off is not
seen in numbers. It shows where one view is carried into another: the same points must look the
same. So the labels are held against what they would be had one of the usual mistakes been made;
where that fits better, it is named.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vlm3.sources.curation import warps
from vlm3.sources.curation.centre import Centre, Tracked, centre, derivative, together
from vlm3.sources.curation.mistakes import MISTAKES
from vlm3.sources.reading import Reader
from vlm3.views import View

STEPS = (
    1,
    2,
    3,
    5,
    6,
    8,
    12,
)  # frames from one to the next of a pair: 6 is the next of six cameras
BETTER = 0.1  # of likeness, by which a mistake must fit better to be named
ALIKE, FITS = 0.15, 0.25  # likeness below which nothing fits; from which a mistake may be named
APART = 0.01  # gap of depths above which a mistake is named that more than halves it
AWRY = 0.03  # gap of depths that no usual error of poses or depth leaves between views
FAR_PX = 4.0  # no principal point is further off
PLAUSIBLE_M = (0.15, 200.0)  # median depth
KNOWN = ("world_from_cam", "depth_m", "points", "boxes")


class Facts(NamedTuple):
    """Of one view: its size in words, focal length, which of KNOWN it has, names of its boxes, some
    of its depths."""

    size: str
    focal_px: float
    knows: tuple[str, ...]
    names: tuple[str, ...]
    depths_m: np.ndarray


class Compared(NamedTuple):
    """Of a pair of views: likeness and gap of depths, as a share, as read, "", and by mistake;
    inside, which share of the points falls into the second view; where points were found again, and
    the width of the picture."""

    likeness: dict[str, float]
    gap: dict[str, float]
    inside: float
    tracked: Tracked
    width: int

    @property
    def overlap(self) -> bool:
        """Whether both views show the same, as read or had a mistake been made."""
        return self.inside >= warps.LEAST or max(self.likeness.values()) > ALIKE


@dataclass(frozen=True)
class Checked:
    """What was found in a data set.

    frames, scenes: how many it has; broken: those of `facts` and of their neighbours that could not
    be read, and why; facts: of the views that were looked at; pairs: of those that show the same;
    centre: how far the principal point is off, where that can be known; metric: whether lengths are
    metres.
    """

    frames: int
    scenes: int
    broken: dict[str, str]
    facts: tuple[Facts, ...]
    pairs: tuple[Compared, ...]
    centre: Centre | None
    metric: bool = True

    def knowing(self, name: str) -> int:
        """How many views have this one of KNOWN."""
        return sum(name in each.knows for each in self.facts)

    @property
    def sizes(self) -> Counter:
        return Counter(each.size for each in self.facts)

    @property
    def names(self) -> Counter:
        """Of boxes."""
        return Counter(name for each in self.facts for name in each.names)

    @property
    def focal_px(self) -> np.ndarray:
        """(3,) least, median, most."""
        return np.quantile([each.focal_px for each in self.facts], [0, 0.5, 1])

    @property
    def depth_m(self) -> np.ndarray:
        """(3,) 1st, 50th and 99th percentile; NaN where none is known."""
        known = np.concatenate([each.depths_m for each in self.facts])
        return np.quantile(known, [0.01, 0.5, 0.99]) if len(known) else np.full(3, np.nan)

    @property
    def likeness(self) -> dict[str, float]:
        """Mean over pairs: as read, "", and had each mistake been made."""
        if not self.pairs:
            return {}
        alike = {name: [pair.likeness[name] for pair in self.pairs] for name in ("", *MISTAKES)}
        return {name: float(np.mean(each)) for name, each in alike.items()}

    @property
    def gap(self) -> dict[str, float]:
        """Median share by which depth that is carried over differs from the depth there: as read,
        "", and had each mistake been made; NaN where unknown."""
        gaps = {name: [pair.gap[name] for pair in self.pairs] for name in ("", *MISTAKES)}
        known = {name: [gap for gap in of if np.isfinite(gap)] for name, of in gaps.items()}
        return {name: float(np.median(of)) if of else np.nan for name, of in known.items()}

    @property
    def off(self) -> tuple[float, float]:
        """Median distance from where points should be to where they are: pixels, share of the
        width."""
        lengths = [np.linalg.norm(pair.tracked.off_px, axis=1) for pair in self.pairs]
        shares = [length / pair.width for length, pair in zip(lengths, self.pairs, strict=True)]
        if not sum(map(len, lengths)):
            return np.nan, np.nan
        return float(np.median(np.concatenate(lengths))), float(np.median(np.concatenate(shares)))

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong, or seems so, in words; none where all is well."""
        return tuple(_findings(self))


def check(reader: Reader, n: int = 24, seed: int = 0) -> Checked:
    """Read n frames of a reader, drawn with seed, and some after each of them; see `Checked`."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(reader), min(n, len(reader)), replace=False)).tolist()
    broken: dict[str, str] = {}
    facts, pairs, groups = [], [], []
    for first in chosen:
        if view := whole(reader, first, broken):
            facts.append(_facts(view))
            fine = warps.detail(view.image)
            others = following(reader, first, view, broken)
            compared = [_compared(view, fine, other, rng) for other in others]
            pairs += [pair for pair in compared if pair.overlap]
            groups.append(together([pair.tracked for pair in compared]))
    # pairs of one view share its errors, so they count as one
    found = centre([group for group in groups if len(group.off_px)], rng)
    counts = len(reader), len(reader.scenes)
    return Checked(*counts, broken, tuple(facts), tuple(pairs), found, reader.metric)


def whole(reader: Reader, index: int, broken: dict[str, str] | None = None) -> View | None:
    """A frame, None where it cannot be read; broken: to be told of it."""
    try:
        return reader[index]
    except (ValueError, OSError) as error:
        if broken is not None:
            broken[reader.frames[index].name] = " ".join(str(error).split())
        return None


def following(
    reader: Reader, first: int, view: View, broken: dict[str, str] | None = None
) -> Iterator[View]:
    """Views of the same scene some steps after one, where both know what carrying takes; broken:
    to be told of those that cannot be read."""
    if not _placed(view) or (view.points is None and view.depth_m is None):
        return
    for second in (first + step for step in STEPS):
        if second >= len(reader) or reader.frames[second].scene != reader.frames[first].scene:
            return
        other = whole(reader, second, broken)
        if other and _placed(other):
            yield other


def _placed(view: View) -> bool:
    return view.camera is not None and view.world_from_cam is not None


def _facts(view: View) -> Facts:
    knows = [name for name in KNOWN if getattr(view, name) is not None and len(getattr(view, name))]
    depths_m = np.zeros(0)
    if view.depth_m is not None:
        depths_m = view.depth_m[::8, ::8][np.isfinite(view.depth_m[::8, ::8])]
        if not len(depths_m):
            knows.remove("depth_m")
    if view.points is not None:
        depths_m = view.points[:, 2]
    size = "{}x{}".format(*view.size)
    focal_px = view.camera.fx if view.camera else np.nan
    return Facts(size, focal_px, tuple(knows), tuple(box.name for box in view.boxes), depths_m)


def _compared(view1: View, detail1: np.ndarray, view2: View, rng: np.random.Generator) -> Compared:
    some = warps.with_points(view1, rng)
    details = detail1, warps.detail(view2.image)
    likeness, gap = {}, {}
    for name, change in {"": lambda view: view, **MISTAKES}.items():
        changed = change(view2)
        found = warps.carried(change(some), changed)
        likeness[name] = warps.likeness(found, *details)
        gap[name] = warps.depth_gap(found, changed)
    tracked = together([]) if likeness[""] < ALIKE else _tracked(some, view2)
    return Compared(likeness, gap, warps.inside(some, view2), tracked, view1.size[0])


def _tracked(view1: View, view2: View) -> Tracked:
    found = warps.carried(view1, view2)
    again, off_px = warps.found_again(found, view1.image, view2.image)
    return Tracked(off_px, derivative(view1, view2)[found.kept][again])


def _findings(found: Checked) -> Iterator[str]:
    if found.broken:
        name, why = next(iter(found.broken.items()))
        yield f"{len(found.broken)} frames cannot be read, such as {name}: {why}"
    if not found.facts:
        return
    middle = found.depth_m[1]
    if found.metric and np.isfinite(middle) and not PLAUSIBLE_M[0] <= middle <= PLAUSIBLE_M[1]:
        yield f"the median depth is {middle:.4g} m: is its unit right?"
    if found.pairs:
        yield from _of_pairs(found)


def _of_pairs(found: Checked) -> Iterator[str]:
    likeness = dict(found.likeness)
    as_read = likeness.pop("")
    best = _best(likeness, found.depth_m[1])
    fits = likeness[best] > max(as_read + BETTER, FITS)
    # views from near by look alike without any motion, as in far too small positions: depths tell
    if fits and not found.gap[best] > AWRY:
        yield f"{best} (likeness {likeness[best]:.2f} instead of {as_read:.2f})"
    elif as_read < ALIKE:
        yield (
            f"views do not fit into each other (likeness {as_read:.2f}), nor would they after any "
            "of the usual mistakes: look at poses and intrinsics"
        )
    elif closer := _closer(found):
        gap, better = (100 * found.gap[name] for name in ("", closer))
        yield f"{closer} (depths then differ by {better:.2g} % instead of {gap:.2g} %)"
    elif found.gap[""] > AWRY:
        yield (
            "depths that are carried into other views differ from those there by "
            f"{100 * found.gap['']:.2g} % (by less than 1 where all is right), and would after any "
            "of the usual mistakes: look at poses and at which depth belongs to which photograph"
        )
    elif found.centre and found.centre.told:
        off, error = found.centre
        if np.abs(off).max() > FAR_PX:
            yield (
                f"points lie {found.off[0]:.1f} px from where they should, in no way that the "
                "principal point explains: depth may be that of another camera than the photograph"
            )
            return
        yield (
            f"the principal point is off by ({off[0]:+.2f}, {off[1]:+.2f}) px, give or take "
            f"({2 * error[0]:.2f}, {2 * error[1]:.2f}); half a pixel is what it costs to count it "
            "from the centre of the first pixel instead of its corner; another --seed looks at "
            "other frames"
        )


def _best(likeness: Mapping[str, float], middle_m: float) -> str:
    """The mistake that fits best; pairs do not tell a unit of depth from one of positions, but
    whether depths are plausible does."""
    most = max(likeness.values())
    near = [name for name, like in likeness.items() if like > most - BETTER / 2]
    plausible = PLAUSIBLE_M[0] <= middle_m <= PLAUSIBLE_M[1]
    return max(near, key=lambda name: (name.startswith("positions") == plausible, likeness[name]))


def _closer(found: Checked) -> str:
    """The mistake without which depths agree far better and views no worse, "" for none: pictures
    alone hardly tell distance from depth where the angle of view is small."""
    likeness, gap = found.likeness, found.gap
    as_read = gap.pop("")
    kept = {name: gap[name] for name in gap if likeness[name] >= likeness[""]}
    best = min(kept, key=lambda name: np.nan_to_num(kept[name], nan=np.inf), default="")
    fits = best and as_read > APART and kept[best] < min(as_read / 2, AWRY)
    return best if fits else ""

"""What `vlm3 data check` tells: lines, and a contact sheet."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm3.sources.curation.check import KNOWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlm3.sources.curation.check import Checked
    from vlm3.sources.reading import Reader

_WORDS = ("with poses", "with dense depth", "with points", "with boxes")


def facts(name: str, found: "Checked", reader: "Reader") -> list[tuple[str, str]]:
    """What was found, as rows of a word and what it stands for."""
    count = len(found.facts)
    rows = [(name, f"{found.frames} frames of {found.scenes} scenes; {count} looked at")]
    if not count:
        return rows
    known = (f"{found.knowing(of)} {word}" for of, word in zip(KNOWN, _WORDS, strict=True))
    rows.append(("labels", ", ".join(known)))
    rows.append(("sizes", _most(found.sizes)))
    rows.append(("focal", "{:.5g} to {:.5g} px".format(*found.focal_px[[0, 2]])))
    if np.isfinite(found.depth_m).all():
        unit = "m" if reader.metric else "units (no metres)"
        low, middle, high = found.depth_m
        rows.append(("depth", f"{low:.3g} to {high:.3g} {unit}, in the middle {middle:.3g}"))
    if found.names:
        rows.append(("boxes", _most(found.names)))
    return rows + _of_pairs(found)


def _most(counts: Mapping[str, int]) -> str:
    first = sorted(counts.items(), key=lambda item: -item[1])[:8]
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return ", ".join(f"{name} ({n})" for name, n in first) + more


def _of_pairs(found: "Checked") -> list[tuple[str, str]]:
    if not found.pairs:
        return [("views", "none that show the same and know their pose and depth")]
    pixels, share = found.off
    apart = [f"depths by {100 * found.gap['']:.2g} %"] if np.isfinite(found.gap[""]) else []
    if np.isfinite(pixels):
        apart.append(f"places by {pixels:.2g} px, {100 * share:.2g} % of the width")
    rows = [
        ("views", f"{len(found.pairs)} pairs: the same points look {found.likeness['']:.2f} alike"),
        ("apart", ", ".join(apart) or "not known"),
    ]
    if found.centre and found.centre.known:
        off, error = found.centre
        places = (f"{a:+.2f} (give or take {2 * b:.2f})" for a, b in zip(off, error, strict=True))
        rows.append(("centre", f"principal point off by {', '.join(places)} px"))
    return rows


def _titled(name: str, most: int = 40) -> str:
    """The end of a frame's name; of a drive, its folder is the camera."""
    name = "/".join(Path(name).parts[-2:])
    return name if len(name) <= most else f"...{name[-most:]}"


def sheet(reader: "Reader", seed: int, n: int = 9, pairs: int = 3) -> "Figure":
    from vlm3.pages import sheets
    from vlm3.sources.curation import warps
    from vlm3.sources.curation.check import following, whole

    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(reader), min(n, len(reader)), replace=False)).tolist()
    views = {k: view for k in chosen if (view := whole(reader, k))}
    names = [_titled(reader.frames[k].name) for k in views]
    beside = [
        (view, other)
        for k, view in views.items()
        for other in following(reader, k, view)
        if warps.inside(view, other) >= warps.LEAST
    ]
    step = max(1, len(beside) // pairs)
    return sheets.sheet([*views.values()], names, beside[::step][:pairs])

"""What readers look at where two views are compared: matches, their errors, and how two cameras
stand.

Truth is green and a ring or a full line, an answer is red and a cross or a dashed line: two signs
each, for all kinds of colour vision.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vlm3.geometry import Camera, rays, transform
from vlm3.pages.figures import mark, show
from vlm3.pages.palette import ANSWER, ANSWERS, BLUE, CAMERAS, RED, TRUTH, looks
from vlm3.tasks.correspondence import FRAME
from vlm3.tasks.pose import auc
from vlm3.views import View

_LINES = "-", "--", ":", "-."  # on short steps, dots are told from dashes where dash-dots are not
Place = tuple[float, float]


def matches(
    views: Sequence[View],
    uv1: np.ndarray,
    uv2: Sequence[Place | None],
    truth2: np.ndarray | None = None,
) -> list[Axes]:
    """Numbered pixels of view 1, and in view 2 a cross where the answer puts each and a ring where
    it truly is.

    uv1, truth2: (N, 2) pixels of their own view; uv2: the answers, None where there is none. What
    lies outside the image is drawn at its border. A line joins answer and truth; without truths,
    the crosses have the numbers.
    """
    sizes = [view.size[0] / view.size[1] for view in views]  # both as tall as each other
    axes = plt.subplots(1, 2, figsize=(8, 8 / sum(sizes) + 0.3), width_ratios=sizes)[1]
    for view, ax, title in zip(views, axes, ("image 1", "image 2"), strict=True):
        show(view.image, ax, title)
    truths = [None] * len(uv1) if truth2 is None else truth2
    for number, (a, b, t) in enumerate(zip(uv1, uv2, truths, strict=True), 1):
        _dot(axes[0], a, number, "o", BLUE)
        _answered(axes[1], b, t, number, views[1])
    return list(axes)


def beside(
    views: Sequence[View],
    uv1: np.ndarray,
    answers: Mapping[str, Sequence[Place | None]],
    truth2: np.ndarray,
    told_px: float = 10,
) -> list[Axes]:
    """Numbered pixels of view 1, and view 2 once for each of several who answer, as in `matches`.

    answers: by name, as uv2 there. The name stands above, with the mean error in pixels of the
    task's frame; an error above told_px stands beside its number.
    """
    axes = plt.subplots(1, 1 + len(answers), figsize=(9, 2.9))[1]
    show(views[0].image, axes[0], "image 1")
    for number, a in enumerate(uv1, 1):
        _dot(axes[0], a, number, "o", BLUE)
    for ax, (name, uv2) in zip(axes[1:], answers.items(), strict=True):
        places = np.array([(np.nan, np.nan) if b is None else b for b in uv2], float)
        errors = np.hypot(*((places - truth2) / views[1].size * FRAME).T)
        show(views[1].image, ax, f"image 2, {name}: off by {np.nanmean(errors):.0f} px")
        for number, (b, t, px) in enumerate(zip(uv2, truth2, errors, strict=True), 1):
            text = f"{number}: {px:.0f} px" if px > told_px else number
            _answered(ax, b, t, text, views[1])
    return list(axes)


def _answered(ax: Axes, b: Place | None, t: Place | None, text: object, view: View) -> None:
    """An answer and the truth, joined, as far as there are both."""
    b, t = (None if p is None else np.clip(p, 0, view.size) for p in (b, t))
    if b is not None:
        _joined(ax, b, b if t is None else t)
        _dot(ax, b, text if t is None else "", "x", ANSWER)
    if t is not None:
        _dot(ax, t, text, "o", TRUTH)


def _joined(ax: Axes, a: np.ndarray, b: np.ndarray) -> None:
    for color, width in (("white", 2.5), (ANSWER, 1)):
        ax.plot(*np.transpose([a, b]), color=color, lw=width)


def _dot(ax: Axes, uv: Place, text: object, marker: str, color: str) -> None:
    """A sign with a white rim, and a number beside it, that stay visible on any photo."""
    ax.plot(*uv, marker, ms=7, mfc="none", mec="white", mew=3.5)
    ax.plot(*uv, marker, ms=7, mfc="none", mec=color, mew=1.6)
    if text != "":
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
        words = {"fontsize": 7, "color": "black", "bbox": box}
        ax.annotate(str(text), uv, (5, 5), textcoords="offset points", **words)


def joined(
    views: Sequence[View],
    uv1: np.ndarray,
    uv2: np.ndarray,
    truth2: np.ndarray | None = None,
    right_px: float = 5,
) -> Axes:
    """Two views side by side and a line from each pixel of view 1 to its answer in view 2: judged
    at a glance, where `matches` shows each place.

    uv1, uv2, truth2: (N, 2) pixels of their own view. Within right_px of the truth, or without
    truths, a line is full and blue; else it is broken and orange-red, with its error in pixels and
    a thin line to the truth.
    """
    image, shift = sheet(views), [views[0].size[0], 0]
    on_white = np.where(image[..., 3:], image[..., :3], np.uint8(255))
    ax = show(on_white, plt.subplots(figsize=(8, 8 * image.shape[0] / image.shape[1]))[1])
    truths = uv2 if truth2 is None else truth2
    dots = {"lw": 1.2, "marker": "o", "ms": 4, "mec": "white"}
    for a, b, t in zip(*(np.asarray(uv, float) for uv in (uv1, uv2, truths)), strict=True):
        error = np.linalg.norm(b - t)
        color, line = (BLUE, "-") if error <= right_px else (RED, "--")
        ax.plot(*np.transpose([a, b + shift]), line, color=color, **dots)
        if error > right_px:
            ax.plot(*np.transpose([b + shift, t + shift]), color="white", lw=1)
            mark(ax, tuple(b + shift), f"{error:.0f} px")
    return ax


def sheet(views: Sequence[View], gap: int = 0) -> np.ndarray:
    """HxWx4 uint8: two views side by side, gap pixels apart, clear where neither is."""
    shift = views[0].size[0] + gap
    height, width = max(view.size[1] for view in views), shift + views[1].size[0]
    found = np.zeros((height, width, 4), np.uint8)
    for view, left in zip(views, (0, shift), strict=True):
        place = found[: view.size[1], left : left + view.size[0]]
        place[..., :3], place[..., 3] = view.image, 255
    return found


def belief(
    view: View, across: np.ndarray, down: np.ndarray, said: Place | None, truth: Place, ax: Axes
) -> Axes:
    """A view with, above it, the probabilities of x and, beside it, those of y; a cross for the
    answer, a ring for the truth.

    across, down: (S,) probabilities of S equal parts of the width and of the height. What lies
    outside the image is drawn at its border.
    """
    show(view.image, ax)
    above, beside = ax.inset_axes((0, 1.03, 1, 0.3)), ax.inset_axes((1.03, 0, 0.25, 1))
    width, height = view.size
    bars = {"fill": True, "color": ANSWER, "alpha": 0.7}
    above.stairs(across, np.linspace(0, width, len(across) + 1), **bars)
    beside.stairs(down, np.linspace(0, height, len(down) + 1), orientation="horizontal", **bars)
    u, v = np.clip(truth, 0, view.size)
    above.axvline(u, color=TRUTH, lw=1.5)
    beside.axhline(v, color=TRUTH, lw=1.5)
    above.set(xlim=(0, width), xticks=[], yticks=[])
    beside.set(ylim=(height, 0), xticks=[], yticks=[])
    _dot(ax, (u, v), "", "o", TRUTH)
    if said is not None:
        _dot(ax, np.clip(said, 0, view.size), "", "x", ANSWER)
    return ax


def error_histogram(
    errors_px: Mapping[str, np.ndarray], width_px: float = 560, ax: Axes | None = None
) -> Axes:
    """Shares of all answers by end-point error, a line for each model; below in pixels, above as
    share of the width.

    errors_px: by name, (N,) pixels of a frame width_px wide, NaN where nothing was answered: that
    share is missing. Errors below the first bin are counted in it.
    """
    ax = ax or plt.subplots(figsize=(7, 3.4))[1]
    edges = np.geomspace(1, 800, 28)
    for (name, errors), look in looks(errors_px.items(), ANSWERS, _LINES):
        counts, _ = np.histogram(np.maximum(errors, edges[0]), edges)
        ax.stairs(counts / len(errors), edges, color=look.color, ls=look.ls, lw=1.8, label=name)
    ax.set(xscale="log", ylabel="share of answers")
    ax.set_xlabel(f"end-point error (px of a frame {width_px:g} px wide)")
    ax.xaxis.set_major_formatter("{x:g}")
    there_and_back = (lambda px: px / width_px * 100, lambda part: part * width_px / 100)
    above = ax.secondary_xaxis("top", functions=there_and_back)
    above.set_xlabel("error (% of the width)")
    above.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="upper left")
    return ax


def recalls(errors: Mapping[str, np.ndarray], most: float, ax: Axes | None = None) -> Axes:
    """The share of all answers whose error is below t, for t up to `most`; NaN and infinite errors
    never are."""
    ax = ax or plt.subplots(figsize=(6.5, 3.2))[1]
    for (name, found), look in looks(errors.items(), ANSWERS, _LINES):
        steps = {"color": look.color, "ls": look.ls, "lw": 1.8, "drawstyle": "steps-post"}
        ax.plot(*_recall(found, most), label=name, **steps)
    ax.set(xlim=(0, most), ylim=(0, 1.02), ylabel="share below it")
    ax.legend(loc="upper left")
    return ax


def _recall(errors: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """(t, share of errors up to t) at every step, from 0 to most."""
    found = np.asarray(errors, float)
    steps = np.sort(found[found < most])
    shares = np.arange(1, len(steps) + 1) / len(found)
    return np.r_[0, steps, most], np.r_[0, shares, shares[-1:] if len(steps) else 0]


def areas(errors_deg: np.ndarray, threshold: int, ax: Axes | None = None) -> Axes:
    """Two areas under one recall curve: bars as high as recall is at the end of each degree, and
    the curve itself."""
    ax = ax or plt.subplots(figsize=(5, 3.2))[1]
    # The last bin is closed, as in `auc`.
    counts, edges = np.histogram(errors_deg, np.arange(threshold + 1))
    binned, exact = (f"{auc(errors_deg, threshold, b):.3f}" for b in (True, False))
    bars = {"fill": True, "color": BLUE, "alpha": 0.25, "label": f"binned: {binned}"}
    ax.stairs(counts.cumsum() / len(errors_deg), edges, **bars)
    t, recall = _recall(errors_deg, threshold)
    ax.fill_between(t, recall, step="post", fc="none", ec=ANSWER, hatch="///", lw=0, alpha=0.6)
    ax.plot(t, recall, color=ANSWER, lw=1.8, drawstyle="steps-post", label=f"exact: {exact}")
    ax.set(xlim=(0, threshold), ylim=(0, None))
    ax.set(xlabel="error (degrees)", ylabel="share of pairs below it")
    ax.legend(loc="upper left")
    return ax


def trend(
    x: np.ndarray, ys: Mapping[str, np.ndarray], bins: int = 6, ax: Axes | None = None
) -> Axes:
    """Median (line) and quartiles (band) of each y, in bins of x that hold equally many points;
    NaNs are left out."""
    ax = ax or plt.subplots(figsize=(6.5, 3.2))[1]
    for (name, y), look in looks(ys.items(), ANSWERS, _LINES):
        points = np.array([x, y], float)
        points = points[:, np.isfinite(points).all(0)]
        parts = np.array_split(points[:, points[0].argsort(kind="stable")], bins, axis=1)
        middle = [np.median(part[0]) for part in parts]
        low, half, high = np.array([np.percentile(part[1], (25, 50, 75)) for part in parts]).T
        ax.fill_between(middle, low, high, color=look.color, alpha=0.15, lw=0)
        ax.plot(middle, half, look.ls, marker="o", ms=4, color=look.color, label=name)
    ax.legend()
    return ax


def frustum(
    pose: np.ndarray, camera: Camera, size_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A camera as a pyramid: its apex (3,), its rim (4, 3) clockwise from the upper left, both in
    metres, size_m deep; and the tip (3,) of a roof on the rim, so that one sees which way is up.

    pose: 4x4, from the camera to where it is drawn.
    """
    w, h = camera.size
    *rim, roof = _cast([[0, 0], [w, 0], [w, h], [0, h], [w / 2, -0.35 * h]], pose, camera, size_m)
    return pose[:3, 3], np.array(rim), roof


def _cast(uv: Sequence, pose: np.ndarray, camera: Camera, depth_m: float) -> np.ndarray:
    """(N, 3) what pixels (N, 2) see at this depth, where pose leads to."""
    return transform(pose, rays(np.array(uv), camera) * depth_m)


def frusta(world_from_cams: Mapping[str, np.ndarray], camera: Camera, size_m: float = 0.3) -> Axes:
    """Cameras in space, seen from behind and above: pyramids of size_m with a name each; axes in
    metres."""
    ax = plt.subplots(figsize=(6, 5), subplot_kw={"projection": "3d"})[1]
    outlines = []
    for (name, pose), look in looks(world_from_cams.items(), CAMERAS):
        apex, rim, _ = frustum(pose, camera, size_m)
        outline = np.concatenate([rim[[0, 1, 2, 3, 0]], *([apex, corner, apex] for corner in rim)])
        ax.plot(*outline[:, [0, 2, 1]].T, color=look.color, lw=1.5)
        ax.text(*apex[[0, 2, 1]], f" {name}", color=look.color)
        outlines.append(outline)
    points = np.concatenate(outlines)
    # Matplotlib's third axis is up, so depth is drawn as its second and y, which is down, as its
    # third, turned over.
    ax.set(xlabel="x, right (m)", ylabel="z, forward (m)", zlabel="y, down (m)")
    ax.set_box_aspect(np.maximum(np.ptp(points, axis=0)[[0, 2, 1]], 0.1))
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.invert_zaxis()
    ax.view_init(elev=25, azim=-65)
    return ax


def floor_plan(
    truth: np.ndarray | None, answer: np.ndarray | None, camera: Camera, ax: Axes | None = None
) -> Axes:
    """Two cameras from above, camera 1 looking up the page: where camera 2 is, and where it is said
    to be.

    truth, answer: 4x4 cam1_from_cam2, None for one that is not known. Wedges show the viewing angle
    of the camera.
    """
    ax = ax or plt.subplots(figsize=(3.2, 3.4))[1]
    known = [pose for pose in (truth, answer) if pose is not None]
    size = 0.5 * max(0.3, *(float(np.linalg.norm(pose[[0, 2], 3])) for pose in known))
    named = {
        "camera 1": (np.eye(4), "black", "-"),
        "truth": (truth, TRUTH, "-"),
        "answer": (answer, ANSWER, "--"),
    }
    for name, (pose, color, style) in named.items():
        if pose is not None:
            ax.plot(*_wedge(pose, camera, size), style, color=color, lw=1.8, label=name)
            ax.plot(*pose[[0, 2], 3], "o", color=color, ms=5)
    ax.set(aspect="equal", xlabel="right (m)", ylabel="forward (m)")
    ax.set_adjustable("datalim")
    return ax


def _wedge(pose: np.ndarray, camera: Camera, size_m: float) -> np.ndarray:
    """(2, 4) x and z of what a camera sees on its middle row, from its centre and back."""
    middle_row = [[0, camera.cy], [camera.width, camera.cy]]
    left, right = _cast(middle_row, pose, camera, size_m)[:, [0, 2]]
    apex = pose[[0, 2], 3]
    return np.array([apex, left, right, apex]).T

"""What readers watch when a model is fine-tuned: a sample as tokens, who sees whom, losses while
they fall."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from transformers import PreTrainedTokenizerFast

from vlm3.pages.palette import BLUE, GREEN, GREY, ORANGE, RED, looks
from vlm3.qwen.architecture import PATCH
from vlm3.qwen.batching import visible
from vlm3.qwen.packing import SHARED, UNSUPERVISED, Packed

ROLES = {  # of a token: ground, edge, text
    "image": ("#b79f7c", GREY, "black"),
    "shared text": ("#e4e4e4", GREY, "black"),
    "question": ("#fbe3b0", ORANGE, "black"),
    "answer, supervised": (BLUE, "black", "white"),
    "after the answer": ("#ffffff", GREY, "black"),
}
_SEEN = {
    "what is shared": BLUE,
    "its own question and answer": ORANGE,
    "another question or answer": RED,
}
LOOKED = (  # whose losses: key of a record, label, line, colour
    ("shuffled", "about other images", "s--", RED),
    ("validation", "about their images", "o-", BLUE),
)
_TALL = 3  # lines of text that an image's token is high


def roles(packed: Packed, tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """(L,) what each token is to the model, one of ROLES."""
    supervised = np.append(False, packed.targets[:-1] != UNSUPERVISED)
    after = np.append(False, supervised[:-1]) & ~supervised
    shared = turns(packed, tokenizer) == SHARED
    image = packed.ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    _, text, question, answer, end = ROLES
    return np.select([image, supervised, after, shared], ["image", answer, end, text], question)


def turns(packed: Packed, tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """(L,) the question to which each token belongs, from 1; SHARED for the images, and for the
    note of a tree."""
    if packed.branches.any():
        return packed.branches
    begin, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|vision_end|>"])
    numbers = (np.cumsum(packed.ids == begin) + 1) // 2  # a user's turn and an assistant's
    numbers[: np.flatnonzero(packed.ids == end)[-1] + 1] = SHARED
    return numbers


def tokens(
    packed: Packed,
    tokenizer: PreTrainedTokenizerFast,
    images: Sequence[np.ndarray],
    wide: int = 116,
) -> Axes:
    """A sample as the model reads it: a cell for each token, an image's with its pixels, in the
    colours of ROLES.

    images: HxWx3 uint8, those of the sample; wide: characters in a line.
    """
    kinds, blocks = roles(packed, tokenizer), _blocks(images, PATCH * packed.merge)
    words = [tokenizer.decode(token).replace("\n", "↵") for token in packed.ids]
    widths = np.where(kinds == "image", 9, [len(word) + 1.3 for word in words])
    lines = list(_lines(packed.branches, kinds == "image", widths, wide))
    heights = [_TALL if kinds[line[0]] == "image" else 1.2 for line in lines]
    ax = plt.subplots(figsize=(7.8, 0.155 * sum(heights) + 0.35))[1]
    for line, top, height in zip(lines, np.cumsum(heights) - heights, heights, strict=True):
        left = 0
        for i in line:
            cell = (left + 0.15, top + 0.1, widths[i] - 0.3, height - 0.2)
            _draw(ax, cell, words[i], kinds[i], next(blocks) if kinds[i] == "image" else None)
            left += widths[i]
        if line[0] == 0 or packed.branches[line[0]] != packed.branches[line[0] - 1]:
            _name(ax, packed.branches[line[0]], top + height / 2)
    ax.set(xlim=(-11, wide), ylim=(sum(heights), 0), aspect="auto")
    ax.axis("off")
    drawn = {name: look for name, look in ROLES.items() if name in kinds}
    keys = [Patch(fc=ground, ec=edge, label=name) for name, (ground, edge, _) in drawn.items()]
    ax.figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=7.5)
    return ax


def _name(ax: Axes, branch: int, y: float) -> None:
    """What a line and those below it belong to, at the left of them."""
    name = f"branch {branch}" if branch else "shared"
    ax.text(-1, y, name, ha="right", va="center", fontsize=7.5, weight="bold")


def _lines(
    branches: np.ndarray, image: np.ndarray, widths: Sequence[float], wide: float
) -> Iterator[list[int]]:
    """Tokens line by line: a branch begins a line of its own, and so does an image."""
    line, used = [], 0.0
    for i, width in enumerate(widths):
        other = branches[i] != branches[i - 1] or image[i] != image[i - 1]
        if line and (other or used + width > wide):
            yield line
            line, used = [], 0.0
        line.append(i)
        used += width
    yield line


def _draw(
    ax: Axes,
    cell: tuple[float, float, float, float],
    word: str,
    role: str,
    block: np.ndarray | None,
) -> None:
    """A token in its cell (x, y, width, height): its block of pixels, where it has one, or its
    word."""
    x, y, width, height = cell
    if block is not None:
        ax.imshow(block, extent=(x, x + width, y + height, y), interpolation="antialiased")
        return
    ground, edge, color = ROLES[role]
    ax.add_patch(plt.Rectangle((x, y), width, height, fc=ground, ec=edge, lw=0.7))
    words = {"ha": "center", "va": "center", "fontsize": 6, "family": "monospace"}
    ax.text(x + width / 2, y + height / 2, word, color=color, **words)


def _blocks(images: Sequence[np.ndarray], side: int) -> Iterator[np.ndarray]:
    """What each image token stands for, in the order of the tokens."""
    for image in images:
        for top in range(0, image.shape[0], side):
            for left in range(0, image.shape[1], side):
                yield image[top : top + side, left : left + side]


def mask(packed: Packed, tokenizer: PreTrainedTokenizerFast, ax: Axes, title: str = "") -> None:
    """Who sees whom: a row for each token, coloured where it sees the token of the column."""
    number, branches = turns(packed, tokenizer), torch.from_numpy(packed.branches)
    seen = visible(torch.zeros_like(branches), branches)[0, 0].numpy()
    whose = np.where(number == SHARED, 1, np.where(number[:, None] == number, 2, 3))
    cells = {"cmap": ListedColormap(["white", *_SEEN.values()]), "interpolation": "nearest"}
    ax.imshow(seen * whose, vmin=0, vmax=3, **cells)
    for edge in np.flatnonzero(np.diff(number)) + 0.5:
        ax.axhline(edge, color=GREY, lw=0.5)
        ax.axvline(edge, color=GREY, lw=0.5)
    ax.set(title=title, xlabel="token that is seen", ylabel="token that looks")
    ax.grid(False)


def mask_key(ax: Axes) -> None:
    """The legend of `mask`, below the whole figure."""
    keys = [Patch(fc=color, label=f"sees {name}") for name, color in _SEEN.items()]
    ax.figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)


def losses(records: Sequence[Mapping], ax: Axes | None = None, over: int = 5) -> Axes:
    """The loss of each task, step by step: pale as it is, strong the mean of its last `over` steps.

    records: those of a run's log, see `vlm3.training.log.records`.
    """
    ax = ax or plt.subplots(figsize=(6.5, 3.2))[1]
    names = sorted({name for record in records for name in record["losses"]})
    for name, look in looks(names):
        seen = [(r["step"], r["losses"][name]) for r in records if name in r["losses"]]
        steps, values = np.array(seen).T
        means = [values[max(0, i - over) : i].mean() for i in range(1, len(values) + 1)]
        ax.plot(steps, values, color=look.color, lw=1, alpha=0.3)
        ax.plot(steps, means, look.ls, color=look.color, lw=2, label=name)
    ax.set(xlabel="step", ylabel="loss (nats per token)")
    ax.legend()
    return ax


def same(runs: Mapping[str, Sequence[Mapping]]) -> Axes:
    """Losses of runs that should be one: the first as a line, the others as marks on it; records by
    name of the run."""
    ax = plt.subplots(figsize=(6.5, 2.8))[1]
    for (name, records), look, color in zip(
        runs.items(), ("-", "o", "x", "+"), (GREY, BLUE, RED, GREEN), strict=False
    ):
        points = [(record["step"], record["loss"]) for record in records]
        ax.plot(*zip(*points, strict=True), look, color=color, ms=9, mew=2, mfc="none", label=name)
    ax.set(xlabel="step", ylabel="loss (nats per token)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


def shares(found: Mapping[str, Mapping[str, float]]) -> Axes:
    """Shares of one as stacked bars with their per cent: a row for each key, a colour for each
    part."""
    ax, left = plt.subplots(figsize=(7, 0.9 + 0.45 * len(found)))[1], np.zeros(len(found))
    plate = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none"}
    for name, look in looks(next(iter(found.values()))):
        percent = np.array([100 * row[name] for row in found.values()])
        bars = ax.barh(list(found), percent, left=left, color=look.color, ec="white", label=name)
        ax.bar_label(bars, fmt="%.0f", label_type="center", fontsize=8, bbox=plate)
        left += percent
    ax.set(xlabel="share of the loss (%)", xlim=(0, 100))
    ax.invert_yaxis()
    ax.figure.legend(loc="outside upper center", ncols=4)
    return ax


def looking(records: Sequence[Mapping]) -> Axes:
    """A panel for each task: the validation loss, and that of the same questions about other
    images.

    records: as of `losses`, of a run with a validation; a task parts the two lines when it looks.
    """
    seen = [r for r in records if "validation" in r]
    names = sorted({name for r in seen for name in r["validation"]["losses"]}) or [""]
    grid = {"sharex": True, "sharey": True, "squeeze": False}
    axes = plt.subplots(1, len(names), figsize=(8, 2.4), **grid)[1][0]
    for ax, name in zip(axes, names, strict=True):
        for key, label, style, color in LOOKED:
            points = [(r["step"], r[key]["losses"].get(name, np.nan)) for r in seen]
            ax.plot(*np.array(points).reshape(-1, 2).T, style, color=color, ms=4, label=label)
        ax.set(title=name, xlabel="step")
    first = axes[0]
    first.set_ylabel("loss (nats per token)")
    first.figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return first


class Live:
    """A picture of a run that is drawn anew while it goes on: `sft.train(config,
    on_step=Live(config.steps))`.

    What stays on the page is the last one. steps: of the run; drawings: how many over the whole
    run; draw: records to axes, `losses` or `looking`.
    """

    def __init__(
        self, steps: int, drawings: int = 20, draw: Callable[[Sequence[Mapping]], Axes] = losses
    ):
        self.steps, self.every, self.draw = steps, max(1, steps // drawings), draw
        self.records, self.handle = [], None

    def __call__(self, record: Mapping) -> None:
        self.records.append(record)
        if record["step"] % self.every and record["step"] != self.steps:
            return
        ax = self.draw(self.records)
        ax.set(xlim=(0, self.steps), ylim=(0, None))
        plt.close(ax.figure)  # or the notebook shows it once more at the end of the cell
        if self.handle is None:
            self.handle = display(ax.figure, display_id=True)
        else:
            self.handle.update(ax.figure)

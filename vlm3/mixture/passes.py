"""How often a run goes through each source of a mixture, and where that is too often.

A language model that reads the same text up to four times learns nearly what it would from as much
new text; what more passes bring decays to nothing (Muennighoff et al. 2023, "Scaling
Data-Constrained Language Models", NeurIPS, arXiv:2305.16264). Here a pass asks other questions
about the same photographs, so that more may do no harm yet: whether they were learnt by heart, the
loss on scenes held out tells.
"""

from typing import NamedTuple

from vlm3.mixture.stream import Mixture

MANY = 4.0


class Passes(NamedTuple):
    """What a source gives to a run. warning: "" where there is nothing to say."""

    source: str
    items: int
    samples: int
    passes: float
    warning: str


def passes(mixture: Mixture, samples: int, many: float = MANY) -> list[Passes]:
    """What each source gives to a run of so many samples, with a warning above `many` passes."""
    counts, often = mixture.counts(samples), mixture.passes(samples)
    sizes = dict(zip(mixture.names, mixture.sizes.tolist(), strict=True))
    return [
        Passes(name, sizes[name], counts[name], often[name], _warning(often[name], many))
        for name in mixture.names
    ]


def _warning(often: float, many: float) -> str:
    if often <= many:
        return ""
    return (
        f"each item comes {often:.3g} times, and above {many:g} passes repeating brings less and "
        "less: add items, lower its weight, or train for fewer samples"
    )

"""What `vlm3 exchange` takes: one class for each way between files of ours and those of others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Union

import tyro

WITH = "min_pixels={least},max_pixels={most}"  # so that lmms-eval leaves images as they are


@dataclass(frozen=True, kw_only=True)
class LmmsEval:
    """Write the questions of a mixture, with their views, as tasks of lmms-eval.

    Args:
        folder: for lmms-eval's --include_path; a new one.
        source: a mixture, packaged or a TOML file, with at most one source of each task.
        samples: at most so many of each task, the first ones.
        questions: per sample; 0 leaves it to the source.
        seed: of the questions.
    """

    folder: tyro.conf.Positional[Path]
    source: str = "homes-test"
    samples: int = 200
    questions: int = 0
    seed: int = 0

    def run(self) -> int:
        from vlm3.scoring.evaluate import Evaluation
        from vlm3.scoring.harness import lmms

        config = Evaluation(
            source=self.source, samples=self.samples, questions=self.questions, seed=self.seed
        )
        counts = lmms.write(lmms.sources(config), config, self.folder)
        for task, count in counts.items():
            print(f"vlm3_{task}: {count} questions")
        pixels = WITH.format(least=lmms.LEAST, most=lmms.MOST)
        print(f"saved {self.folder}; where lmms-eval is installed:")
        print("lmms-eval --model qwen3_vl --batch_size 1 --log_samples --output_path logs \\")
        print(f"  --model_args pretrained=Qwen/Qwen3-VL-4B-Instruct,{pixels} \\")
        print(f"  --include_path {self.folder} --tasks {','.join(f'vlm3_{t}' for t in counts)}")
        return 0


@dataclass(frozen=True, kw_only=True)
class FromLmmsEval:
    """Keep the answers of lmms-eval as predictions of ours.

    Args:
        folder: the one that its --include_path was.
        samples: the file ..._samples_vlm3_TASK.jsonl of its --log_samples.
        out: a new folder, for vlm3 compare.
        model: what the one who answered is called.
    """

    folder: tyro.conf.Positional[Path]
    samples: tyro.conf.Positional[Path]
    out: Path
    model: str = "lmms-eval"

    def run(self) -> int:
        from vlm3.scoring.harness import lmms

        lmms.read(self.folder, self.samples, self.out, self.model)
        print(f"saved {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class DepthVlm:
    """Write predictions of ours as a benchmark of DepthVLM-Bench, with its results.

    Args:
        folder: depth predictions, of vlm3 evaluate --out.
        out: a new folder.
    """

    folder: tyro.conf.Positional[Path]
    out: Path

    def run(self) -> int:
        from vlm3.scoring.harness import depthvlm

        print(f"{depthvlm.write(self.folder, self.out)} images\nsaved {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class FromDepthVlm:
    """Keep depth maps of DepthVLM's evaluation as predictions of ours, answering what others were
    asked.

    Args:
        maps: the folder depth_maps of its --save_depth_maps.
        like: predictions of ours about its label file, or those that were written for it.
        out: a new folder, for vlm3 compare.
        model: what the one who answered is called.
    """

    maps: tyro.conf.Positional[Path]
    like: Path
    out: Path
    model: str = "DepthVLM"

    def run(self) -> int:
        from vlm3.scoring.harness import depthvlm

        answers = depthvlm.read(self.maps, self.like, self.out, self.model)
        print(f"{answers} answers\nsaved {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Da3:
    """Write predictions of ours as results of DA3-BENCH, a scene of two frames for each pair.

    Args:
        folder: pose predictions, of vlm3 evaluate --out.
        out: a new folder.
    """

    folder: tyro.conf.Positional[Path]
    out: Path

    def run(self) -> int:
        from vlm3.scoring.harness import da3

        written, skipped = da3.write(self.folder, self.out)
        print(f"{written} pairs, {skipped} left out that no whole pose was answered to")
        print(f"saved {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class FromDa3:
    """Keep results of DA3-BENCH as predictions of ours, all pairs of frames of each scene.

    Args:
        root: a folder with DATA/SCENE/unposed/exports somewhere below.
        out: a new folder, for vlm3 compare.
        metric: its translations are metres, so distances count.
        model: what the one who answered is called.
    """

    root: tyro.conf.Positional[Path]
    out: Path
    metric: bool = False
    model: str = "DA3"

    def run(self) -> int:
        from vlm3.scoring.harness import da3

        print(f"{da3.read(self.root, self.out, self.model, self.metric)} pairs\nsaved {self.out}")
        return 0


_WAYS = {
    "lmms-eval": LmmsEval,
    "from-lmms-eval": FromLmmsEval,
    "depthvlm": DepthVlm,
    "from-depthvlm": FromDepthVlm,
    "da3": Da3,
    "from-da3": FromDa3,
}
Exchange = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[  # noqa: UP007, made from a list
            tuple(
                Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
                for name, kind in _WAYS.items()
            )
        ],
        tyro.conf.arg(name=""),
    ]
]


def exchange(what: Exchange) -> int:
    """Take questions and answers to the files of other harnesses and benchmarks, and back.

    Args:
        what: which way.
    """
    return what.run()

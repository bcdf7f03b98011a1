"""Real fine-tuning on real photos, in minutes: the tiny model learns depth from 80 photos of
iBims-1.

python book/record/ibims.py --root IBIMS [--steps 300] [--batch 16] [--lr 5e-4] [--seed 0] [--out
DIR] [--save FILE]

The first 80 photos in the order of the label file are learned from, the last 20 tested on; the file
goes from one kind of place to the next, so most kinds that are tested on were never seen. Scored
are the best constant and place alone, both in hindsight, the packaged model, the same after
fine-tuning, each of them also with other photos under the same questions, and, to see what
homes were good for, random weights after the same fine-tuning; all of them also on the photos that
were learned from, to tell a task that is too hard for the network from photos that are too few.
Runs and predictions go to DIR, so what was stopped goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from vlm3.mixture import Mixture, Source
from vlm3.pages import recorded
from vlm3.qwen import model
from vlm3.scoring import board
from vlm3.scoring.evaluate import Evaluation
from vlm3.sources.ibims import Ibims
from vlm3.training import log, sft
from vlm3.training.config import Config

RECORDED = Path(__file__).parents[2] / "book" / "recorded" / "ibims.json"
TRAINED_ON = 80  # photos
QUESTIONS = 12  # of a sample that is learned from
LABELS = 100  # of a photo


def sources(root: Path, name: str = "tiny") -> tuple[Source, Source]:
    """Photos to learn from and photos to test on, asked about as the model was taught."""
    lesson = model.load(name).lesson("depth")
    views = list(Ibims(root))
    learn = Source(views[:TRAINED_ON], "depth", QUESTIONS, lesson.focal_px, lesson.templates)
    return learn, replace(learn, items=views[TRAINED_ON:], questions=LABELS)


def tuned(config: Config, learn: Source) -> tuple[Path, float]:
    """The finished model's folder, and the seconds that its steps took."""
    folder = sft.train(config, Mixture({"ibims": learn}, seed=config.seed), on_step=shown)
    return folder, sum(record["seconds"] for record in log.records(config.out))


def shown(record: dict) -> None:
    if record["step"] % 50 == 0:
        print(
            f"step {record['step']}, loss {record['loss']:.3f}, "
            f"{record['samples_per_s']:.1f} samples/s",
            flush=True,
        )


def scored(source: Source, folders: dict[str, Path], out: Path) -> dict[str, dict]:
    """The rows of a table: who does not look, the model, and fine-tuned ones by their names."""
    config = Evaluation(
        "depth", "ibims", "tiny", out, len(source.items), LABELS, at_once=2, progress=False
    )
    named = {str(folder): name for name, folder in folders.items()}
    named |= {f"shuffled:{folder}": f"shuffled:{name}" for folder, name in named.items()}
    outs = board.ask(config, [*board.models("tiny", source), *named], source)
    found = board.table({named.get(model, model): place for model, place in outs.items()})
    for name, row in found.items():
        print(name, row["delta_1"], row["above_guessing"], flush=True)
    return found


def main() -> None:
    args = arguments()
    learn, test = sources(args.root)
    folders, seconds = {}, {}
    for name in ("tiny", "random:tiny"):
        config = Config(
            args.out / f"tuned-{name.replace(':', '-')}" / "run",
            name,
            steps=args.steps,
            batch=args.batch,
            lr=args.lr,
            seed=args.seed,
            optimizer="muon",
            progress=False,
        )
        folders[f"{name}, fine-tuned"], seconds[name] = tuned(config, learn)
    found = scored(test, folders, args.out / "scores")
    learned = scored(replace(learn, questions=LABELS), folders, args.out / "learned")
    if args.save:
        save(args, found, learned, seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("_build/ibims"))
    parser.add_argument("--save", type=Path)
    return parser.parse_args()


def save(args: argparse.Namespace, found: dict, learned: dict, seconds: dict) -> None:
    given = {name: getattr(args, name) for name in ("steps", "batch", "lr", "seed")}
    command = " ".join(
        ["python book/record/ibims.py --root IBIMS", *(f"--{k} {v:g}" for k, v in given.items())]
    )
    told = recorded.provenance(command, args.seed, sum(seconds.values()))
    how = {
        "photos": TRAINED_ON,
        "steps": args.steps,
        "batch": args.batch,
        "questions": QUESTIONS,
        "lr": args.lr,
    }
    results = {
        "samples": args.steps * args.batch,
        "scores": found,
        "scores_on_what_was_learned_from": learned,
        "fine_tuning": how,
        "seconds": {name: round(s) for name, s in seconds.items()},
    }
    recorded.write(
        args.save,
        "metric depth on 20 photos of iBims-1, before and after fine-tuning a toy",
        told,
        results,
    )


if __name__ == "__main__":
    main()

"""All that this project wants to know of a GPU, in order of worth, in a few minutes and without a
network.

python book/record/gpu.py [--minutes 9] [--out gpu] [--only STEP ...] [--after RUN] [--dry]

1. The tests that need CUDA. 2. Steps of fine-tuning the 4B model, depth and pairs, as one of eight
GPUs that hold it together: what the presets do, the whole recipe, then one thing changed at a time;
how long training waits for samples. 3. A hundred questions about one image, together and one by
one. 4. The tiny model taught for the rest, see `teach.py`.

Each step is a process with a time of its own, after which it is ended; one that crashes or is ended
loses what it was at and nothing else. Whatever is found is in gpu.json at once, in the form of
book/recorded/gpu.json; gpu.log has what the steps print, eyes.tar.gz and words.tar.gz the taught
model with its logs, which book/record/package.py takes, and stage-N.tar.gz what it was after N
samples. --dry does the same with small sizes on CPUs.
"""

import argparse
import multiprocessing
import os
import shlex
import signal
import sys
import tarfile
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a bare machine has no vlm3 installed
PACKING_S = 25  # for models to be written and packed
GRACE_S = 15  # between being asked to end and being ended
NINE_MINUTES_S = 540 - GRACE_S - 5  # of which steps have their budgets
PROCESSES = multiprocessing.get_context(
    "fork"
)  # imports are done once; only children touch the GPU


@dataclass(frozen=True)
class Sizes:
    """What is measured. tokens: at most so many at once, with which 4B weights, a share of the
    optimiser and all activations fit 80 GB; preset: as the presets have it, which needs
    checkpointing."""

    device: str = "cuda"
    model: str = "random:4b"
    image: tuple[int, int] = (1216, 928)
    questions: int = 10
    batches: dict[str, int] = field(default_factory=lambda: {"depth": 8, "correspondence": 4})
    tokens: int = 6144
    preset: dict[str, int] = field(default_factory=lambda: {"tokens": 16384, "checkpointing": 1})
    preset_batches: dict[str, int] = field(
        default_factory=lambda: {"depth": 11, "correspondence": 6}
    )
    share: int = 8
    peak_tflops: float = 0.0  # 0: looked up
    others: int = 99  # rungs after the first
    steps: int = 3
    waits: int = 5
    asked: int = 100
    teaching: dict[str, float] = field(default_factory=dict)  # what differs from teach.Amounts
    eyes_share: float = 0.45
    after: Path | None = None


SMALL = Sizes(
    device="cpu",
    model="random:tiny",
    image=(64, 32),
    questions=2,
    batches={"depth": 2, "correspondence": 1},
    tokens=512,
    preset_batches={"depth": 2},
    peak_tflops=1.0,
    others=1,
    steps=1,
    waits=1,
    asked=3,
    teaching={
        **{"scenes": 2, "eyes": 2, "samples": 4, "words": 3},
        **{"probe": 2, "validated": 4, "workers": 1, "peak_tflops": 1.0},
    },
)


@dataclass(frozen=True)
class Job:
    """What a step is given: sizes, the folder for files, how to tell a finding, and the time at
    which it is ended."""

    sizes: Sizes
    out: Path
    tell: Callable[[dict], None]
    until: float

    @property
    def left_s(self) -> float:
        return self.until - time.monotonic()


def tests(job: Job) -> None:
    """Those that need CUDA: each with its outcome, and what was wrong."""
    import pytest

    class Told:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or not report.passed:
                wrong = {"why": _brief(report.longreprtext)} if report.failed else {}
                job.tell(
                    {
                        "test": report.nodeid.split("::")[-1],
                        "outcome": report.outcome,
                        "seconds": round(report.duration, 2),
                    }
                    | wrong
                )

    os.chdir(ROOT)
    code = pytest.main(
        ["-m", "cuda", "-p", "no:cacheprovider", "tests/test_cuda.py"], plugins=[Told()]
    )
    if code:
        raise RuntimeError(f"pytest ended with {code}")


def train(job: Job) -> None:
    """What the presets do first, since it compiles nothing and so comes soon; then the most telling
    of both tasks."""
    import torch

    from vlm3.qwen import flops
    from vlm3.training import bench
    from vlm3.training.config import Config

    s = job.sizes
    device, cuda = torch.device(s.device), s.device == "cuda"
    if cuda:
        rate = flops.measured(device, torch.bfloat16, 8192)
        job.tell({"rung": "a product of matrices", "tflops": rate / 1e12})
    vlm = bench.start(Config(model=s.model), s.device, s.share)

    def measure(task: str, config: Config, rungs: list) -> None:
        rungs = rungs if cuda else [replace(rung, compiled=False) for rung in rungs]
        for found in bench.train(vlm, config, task, s.image, s.questions, s.steps, s.share, rungs):
            job.tell({"task": task} | found)

    whole, *others = bench.ablation()
    preset = bench.Rung("as the presets", checkpointing=s.preset["checkpointing"])
    base = Config(model=s.model, tokens=s.tokens, peak_tflops=s.peak_tflops)
    usual = {task: replace(base, batch=batch) for task, batch in s.batches.items()}
    for task, batch in s.preset_batches.items():
        measure(task, replace(base, batch=batch, tokens=s.preset["tokens"]), [preset])
    for task, config in usual.items():
        measure(task, config, [whole])
    for task, config in usual.items():
        measure(task, config, others[: s.others])


def waiting(job: Job) -> None:
    """How long training waits for its samples."""
    from vlm3.training import bench
    from vlm3.training.config import Config

    s = job.sizes
    workers = min(8, max(1, os.cpu_count() - 1))
    for task, batch in s.preset_batches.items():
        config = Config(
            model=s.model, batch=batch, workers=workers, peak_tflops=s.peak_tflops, **s.preset
        )
        job.tell(
            {"task": task} | bench.waiting(config, task, s.image, s.questions, s.waits, s.device)
        )


def answer(job: Job) -> None:
    """In bfloat16, as models are used, and a few in float32, where rounding does not decide near
    ties."""
    import torch

    from vlm3.scoring import speed

    s = job.sizes
    for dtype, asked, share in (
        (torch.bfloat16, s.asked, 0.4),
        (torch.float32, max(2, s.asked // 10), 0.3),
    ):
        for found in speed.measured(
            s.model, s.image, asked, 1, s.device, share * job.left_s, dtype
        ):
            job.tell(found)


def tiny(job: Job) -> None:
    """The eyes of the tiny model, then its words, for all the time that is left."""
    import teach

    s, scratch, amounts = job.sizes, Path(tempfile.mkdtemp()), teach.Amounts(**job.sizes.teaching)
    start = s.after / "model" if s.after else "random:tiny"
    try:
        start = teach.eyes(scratch / "eyes", s.eyes_share * job.left_s, s.after, amounts)
        job.tell({"rung": "eyes"} | _last(scratch / "eyes"))
        _halve(scratch / "eyes")
        parts = "log.jsonl", "heads.safetensors", "half"
        _packed(scratch / "eyes", job.out / "eyes.tar.gz", *parts)
    except Exception as error:  # words may be learned all the same
        traceback.print_exc()
        job.tell({"rung": "eyes", "failed": _brief(str(error))})
    teach.words(scratch / "words", start, job.left_s - PACKING_S, amounts, job.tell)
    _packed(scratch / "words", job.out / "words.tar.gz", "config.json", "log.jsonl", "model")
    for stage in scratch.glob("stages/*"):
        _packed(stage, job.out / f"stage-{stage.name}.tar.gz", ".")
    job.tell({"rung": "words"} | _taught(scratch / "words", amounts.samples))


def _last(run: Path) -> dict:
    """How a pre-training ended: means over its last steps."""
    from vlm3 import disk

    records = disk.jsonl(run / "log.jsonl", "step")
    last = records[-200:]
    names = [name for name in records[0] if name not in ("step", "again")]
    found = {name: sum(record[name] for record in last) / len(last) for name in names}
    told = {"steps": records[-1]["step"], "again": records[-1]["again"]}
    return told | {"step_s": found.pop("seconds")} | found


def _taught(run: Path, batch: int) -> dict:
    """How fast words were learned, and how well."""
    from vlm3.training import log

    records = log.records(run)
    seconds, wait_s = (sum(record[name] for record in records) for name in ("seconds", "wait_s"))
    samples = len(records) * batch
    return {
        "steps": len(records),
        "samples": samples,
        "seconds": seconds,
        "step_s": seconds / len(records),
        "samples_per_s": samples / seconds,
        "wait_share": wait_s / seconds,
        "losses": log.means(records, max(1, len(records) // 10)),
    }


def _halve(run: Path) -> None:
    """Add half/, its model in bfloat16: what may be carried home is limited."""
    import torch

    from vlm3.qwen import model

    vlm = model.load(run / "model", dtype=torch.bfloat16)
    model.save(vlm, run / "half")


def _packed(run: Path, path: Path, *names: str) -> None:
    """Parts of a folder, as one file."""
    from vlm3 import disk

    with disk.whole(path) as draft, tarfile.open(draft, "w:gz") as file:
        for name in names:
            file.add(run / name, f"{run.name}/{name}")


def machine(job: Job) -> None:
    """What the results say about their making."""
    from vlm3.pages import recorded

    found = recorded.provenance(
        " ".join(["python", "book/record/gpu.py", *map(shlex.quote, sys.argv[1:])]), 0, 0.0
    )
    if job.sizes.device == "cuda" and "CPU" in found["device"]:
        raise RuntimeError("torch sees no GPU here; --dry tries all of it on CPUs")
    job.tell(found | {"cores": os.cpu_count()})


STEPS = {
    "tests": (tests, 60),
    "train": (train, 180),
    "waiting": (waiting, 45),
    "answer": (answer, 60),
    "tiny": (tiny, 10**6),
}


class Record:
    """The steps one after another, and what they found so far."""

    def __init__(
        self,
        out: Path,
        minutes: float,
        sizes: Sizes,
        show: Callable[[str], None] = print,
        began_s: float = 0,
    ):
        """began_s: when the minutes began, on the monotonic clock; 0 is now."""
        self.out, self.sizes, self.show = out, sizes, show
        self.began = began_s or time.monotonic()
        self.until = self.began + 60 * minutes - GRACE_S - 5
        self.made, self.results = {}, {}

    def run(self, steps: dict[str, tuple[Callable[[Job], None], float]]) -> bool:
        """Whether all ended well. Budgets are seconds of nine minutes."""
        *made, last = self._step(machine, self._end(60))
        if not made:
            self.show(f"machine: {last['ended']}")
            return False
        self.made = made[0]
        for name, (step, budget_s) in steps.items():
            began, rungs = time.monotonic(), []
            part = self.results[name] = {"ended": "cut off", "seconds": 0.0, "rungs": rungs}
            for found in self._step(step, self._end(budget_s)):
                if "ended" not in found:
                    rungs.append(found)
                    self.show(f"{name}: {_line(found)}")
                part |= {"seconds": round(time.monotonic() - began, 1)} | (
                    found if "ended" in found else {}
                )
                self._write()
            self.show(f"{name}: {part['ended']}, {part['seconds']:.0f} s")
        return all(part["ended"] == "done" for part in self.results.values())

    def _end(self, budget_s: float) -> float:
        share = (self.until - self.began) / NINE_MINUTES_S
        return min(self.until, time.monotonic() + budget_s * share)

    def _step(self, step: Callable[[Job], None], until: float) -> Iterator[dict]:
        """What a step tells, in a process group of its own, and at last how it ended."""
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_child, args=(step, self.sizes, self.out, theirs, until))
        process.start()
        theirs.close()
        ended, asked = {}, False
        try:
            while not ended:
                deadline = until + GRACE_S * asked
                if ours.poll(max(0.0, deadline - time.monotonic())):
                    found = ours.recv()
                    ended = found if "ended" in found else {}
                    if not ended:
                        yield found
                elif asked:
                    ended = {"ended": "killed at the end of its time"}
                else:
                    asked = True
                    _signal(process.pid, signal.SIGTERM)
        except EOFError:
            process.join()
            ended = {
                "ended": "cut off at the end of its time"
                if asked
                else f"died with code {process.exitcode}"
            }
        finally:
            _signal(process.pid, signal.SIGKILL)  # whatever it leaves behind, too
            process.join()
        yield ended

    def _write(self) -> None:
        from vlm3.pages import recorded

        what = (
            "the tests that need CUDA, steps and answers of a 4B model with random weights, the "
            "tiny model trained on"
        )
        made = self.made | {"wall_time_s": round(time.monotonic() - self.began, 1)}
        recorded.write(self.out / "gpu.json", what, made, self.results)


def _child(
    step: Callable[[Job], None], sizes: Sizes, out: Path, conn: Connection, until: float
) -> None:
    """A step in its own process: what it prints goes to the log."""
    with suppress(PermissionError):
        os.setpgid(0, 0)
    with (out / "gpu.log").open("a") as told:
        for stream in (1, 2):
            os.dup2(told.fileno(), stream)
    try:
        step(Job(sizes, out, conn.send, until))
        conn.send({"ended": "done"})
    except Exception as error:
        traceback.print_exc()
        conn.send({"ended": f"failed: {_brief(f'{type(error).__name__}: {error}')}"})
    sys.stdout.flush()
    os._exit(0)  # no cleaning up of what the parent began


def _signal(group: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, what)


def _brief(text: str, most: int = 300) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:most] if lines else ""


def _line(found: dict) -> str:
    shown = {
        k: f"{v:.3g}" if isinstance(v, float) else v
        for k, v in found.items()
        if not isinstance(v, list)
    }
    return "  ".join(f"{k} {v}" for k, v in shown.items())


def _missing() -> str:
    """What has to be installed first, in one line; all else that the steps need is imported here,
    once."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    oldest = next(line for line in wanted if line.startswith("transformers")).split(">=")[1]
    found, how = (
        _version("transformers"),
        "the guide, Training, says how (A bare machine with a GPU)",
    )
    if _numbers(found) < _numbers(oldest):
        return f"transformers {oldest} or later is needed, here is {found or 'none'}: {how}"
    try:
        from vlm3.scoring import speed  # noqa: F401
        from vlm3.training import bench, sft  # noqa: F401
    except ModuleNotFoundError as error:
        return f"{error.name} is missing: {how}"
    return ""


def _version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return version(package)
    return ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _chosen(names: list[str]) -> dict[str, tuple[Callable[[Job], None], float]]:
    """Some of the steps; those that are measured share all of the time where none is to fill it."""
    all_s = sum(STEPS[name][1] for name in names)
    longer = 1 if "tiny" in names else NINE_MINUTES_S / all_s
    return {name: (STEPS[name][0], longer * STEPS[name][1]) for name in names}


def main() -> None:
    began_s = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="all of it ends within so many")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument(
        "--after", type=Path, help="a pre-training whose end the tiny model's goes on from"
    )
    parser.add_argument("--dry", action="store_true", help="small sizes, on CPUs")
    args = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = (
        "" if args.dry else os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    )
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if missing := _missing():
        sys.exit(missing)
    args.out.mkdir(parents=True, exist_ok=True)
    sizes = replace(SMALL if args.dry else Sizes(), after=args.after and args.after.resolve())
    record = Record(args.out.resolve(), args.minutes, sizes, began_s=began_s)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    well = record.run(_chosen(args.only))
    print(
        f"{args.out / 'gpu.json'}: cp it to book/recorded/ if it is worth keeping"
        if record.results
        else f"nothing was measured: see {args.out / 'gpu.log'}"
    )
    sys.exit(not well)


if __name__ == "__main__":
    main()

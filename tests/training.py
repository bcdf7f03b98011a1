"""What the tests of training share: a network of two small layers, a mixture of two tasks,
processes that may die."""

import itertools
import multiprocessing
import os
import signal
import socket
from pathlib import Path

import numpy as np
import torch

from vlm3.qwen import model
from vlm3.training import checkpoints, log, sft
from vlm3.training.config import Config

NETWORK = dict(
    text=dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        rope_parameters=dict(rope_theta=1e4, mrope_section=[4, 2, 2]),
    ),
    vision=dict(
        depth=2,
        hidden_size=32,
        intermediate_size=64,
        num_heads=2,
        num_position_embeddings=64,
        deepstack_visual_indexes=[0],
        spatial_merge_size=2,
    ),
)
SOURCE = """
[sources.{task}]
from = "vlm3.sources.rooms:Rooms"
arguments = {{ collection = "small", views = {views} }}
task = "{task}"
questions = {questions}
focal_px = 100
"""
KILLED = signal.SIGPROF  # as abrupt as SIGKILL, and what a timer of a process's own work sends
SAME = (
    "step",
    "loss",
    "losses",
    "lr",
    "grad_norm",
)  # what a log says of the run rather than of the machine
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["vlm3.training.sft"])


def small(folder: Path, **changes) -> Config:
    """Settings of a short run in folder / "run", with network and mixture beside it."""
    if not (folder / "network").exists():
        model.save(model.new(model.config("tiny", **NETWORK), seed=1), folder / "network")
        depth, pose = (
            SOURCE.format(task=task, views=views, questions=questions)
            for task, views, questions in (("depth", 1, 3), ("pose", 2, 2))
        )
        (folder / "mixture.toml").write_text(depth + pose)
    given = dict(
        out=folder / "run",
        model=str(folder / "network"),
        mixture=str(folder / "mixture.toml"),
        steps=6,
        batch=4,
        tokens=400,
        lr=1e-2,
        precision="fp32",
        workers=0,
        save_every=2,
        progress=False,
        peak_tflops=1.0,
    )
    return Config(**given | changes)


def told(out: Path) -> list[dict]:
    return [{name: record[name] for name in SAME} for record in log.records(out)]


def losses(out: Path) -> np.ndarray:
    return np.array([record["loss"] for record in log.records(out)])


def state(out: Path) -> dict[str, bytes]:
    """The last checkpoint to the bit, weights and optimiser."""
    return {
        path.name: path.read_bytes() for path in checkpoints.checkpoints(out)[-1].glob("*.distcp")
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return model.load(folder).net.float().state_dict()


def begin(
    config: Config,
    rank: int = 0,
    world: int = 1,
    port: int = 0,
    dies_s: float = 0,
    stepped: bool = False,
    dies_saving: int = 0,
):
    """Train in a process of its own, whose stderr goes to a file beside the run.

    dies_s: it ends after so much work, as if by kill -9; counted, with `stepped`, from its first
    step on.
    dies_saving: the same within this save of its own (1 is the first), when all is written but not
    yet named.
    """
    process = PROCESSES.Process(
        target=_train, args=(config, rank, world, port, dies_s, stepped, dies_saving)
    )
    process.start()
    return process


def ended(process, seconds: float = 300) -> int:
    process.join(seconds)
    return process.exitcode


def together(config: Config, world: int) -> None:
    """Train in several processes that learn as one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (
        list(map(ended, [begin(config, rank, world, port) for rank in range(world)])) == [0] * world
    )


def stderr(config: Config, rank: int = 0) -> str:
    return Path(f"{config.out}.{rank}.err").read_text()


def join(rank: int, world: int, port: int) -> None:
    """Make this process one of a group, as torchrun would."""
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
    }
    os.environ |= {name: str(value) for name, value in place.items()}


def _train(
    config: Config, rank: int, world: int, port: int, dies_s: float, stepped: bool, dies_saving: int
) -> None:
    os.setpgrp()
    os.dup2(os.open(f"{config.out}.{rank}.err", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    torch.set_num_threads(1)
    if world > 1:
        join(rank, world, port)

    if dies_saving:
        saves, save = itertools.count(1), checkpoints.dcp.save
        checkpoints.dcp.save = lambda *a, **k: (
            save(*a, **k),
            next(saves) == dies_saving and signal.raise_signal(KILLED),
        )

    def doom(*_):
        if dies_s and not any(signal.getitimer(signal.ITIMER_PROF)):
            signal.setitimer(
                signal.ITIMER_PROF, dies_s
            )  # nobody handles its signal, so the kernel ends the process

    if not stepped:
        doom()
    sft.train(config, on_step=doom)

"""Several processes learn what one would: on CPUs with gloo, in shards and in copies of shards."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.fsdp import FSDPModule

from tests.training import losses, small, stderr, together, told, weights
from vlm3 import mixture, parallel
from vlm3.qwen import batching
from vlm3.training import checkpoints, log, sft, sharding
from vlm3.training.config import Config
from vlm3.training.loader import Feed, Share, Stop

BIN = Path(sys.executable).parent
STEPS = 20


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Config:
    """What one process learns, with so few tokens at once that its steps are of several batches."""
    config = small(
        tmp_path_factory.mktemp("alone"), steps=STEPS, batch=6, tokens=200, lr=1e-3, save_every=10
    )
    sft.train(config)
    return config


def saved(out: Path) -> dict[str, torch.Tensor]:
    """The weights of the last checkpoint, in float32 and of one piece."""
    dcp_to_torch_save(checkpoints.checkpoints(out)[-1], out / "whole.pt")
    return torch.load(out / "whole.pt")["model"]


def agree(config: Config, alone: Config) -> None:
    np.testing.assert_allclose(losses(config.out), losses(alone.out), rtol=0, atol=1e-5)
    found, expected, exported = saved(config.out), saved(alone.out), weights(config.out / "model")
    assert found.keys() == expected.keys() == exported.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(
            found[name], weight, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert torch.equal(exported[name], found[name].bfloat16().float())


def turns(config: Config, world: int) -> list[tuple[int, ...]]:
    """How many batches each process has, step by step."""
    samples, tokenizer = mixture.load(config.mixture), sft.start(config).tokenizer
    shares = [Share(samples, config, tokenizer, rank, world) for rank in range(world)]
    return [tuple(_count(share, step) for share in shares) for step in range(STEPS)]


def _count(share: Share, step: int) -> int:
    packs = [packed for part in share.parts(step) for packed in share[part]]
    return len(list(batching.batches(packs, share.config.tokens)))


def test_two_processes_share_the_network_and_learn_what_one_learns(alone, tmp_path):
    config = replace(alone, out=tmp_path / "run", workers=1, progress=True)
    assert any(len(set(counts)) > 1 for counts in turns(config, 2))
    together(config, 2)
    agree(config, alone)
    assert "20/20" in stderr(config, rank=0)
    assert stderr(config, rank=1) == ""


def test_two_whole_copies_learn_what_one_learns_and_resume(alone, tmp_path):
    config = replace(alone, out=tmp_path / "run", shard=1)
    together(config, 2)
    agree(config, alone)
    whole = told(config.out)
    _forget_after(config, config.out / "checkpoints" / "step-00000010")
    together(config, 2)
    assert told(config.out) == whole
    agree(config, alone)


def test_two_copies_of_two_halves_learn_the_same_with_checkpointing(alone, tmp_path):
    config = replace(alone, out=tmp_path / "run", shard=2, checkpointing=1)
    assert (2, 2, 1, 1) in turns(config, 4)
    together(config, 4)
    agree(config, alone)


def test_a_run_goes_on_in_another_number_of_processes(alone, tmp_path):
    config = replace(alone, out=tmp_path / "run")
    first = config.out / "checkpoints" / "step-00000010"
    together(config, 2)
    whole = told(config.out)
    _forget_after(config, first)
    together(config, 2)
    assert told(config.out) == whole
    _forget_after(config, first)
    sft.train(config)
    agree(config, alone)


def test_in_bfloat16_the_parts_of_a_network_learn_nearly_what_the_whole_does(tmp_path):
    whole = small(tmp_path, steps=STEPS, batch=6, lr=1e-3, precision="bf16", out=tmp_path / "whole")
    sft.train(whole)
    parts = replace(whole, out=tmp_path / "parts")
    together(parts, 2)
    np.testing.assert_allclose(losses(parts.out), losses(whole.out), rtol=0.002)


class InParts(FSDPModule):
    def set_requires_all_reduce(self, travels: bool) -> None:
        self.travels.append(travels)


def test_gradients_travel_between_copies_after_the_last_batch_only():
    net = object.__new__(InParts)
    net.travels = []
    assert list(sharding.evened("abc", net)) == [("a", True), ("b", True), ("c", True)]
    assert net.travels == [False, False, True]


def test_a_step_says_which_network_its_batches_are_for(alone, monkeypatch):
    evened, nets = sharding.evened, []
    monkeypatch.setattr(
        sharding, "evened", lambda items, net, stop: (nets.append(net), evened(items, net, stop))[1]
    )
    samples, vlm = mixture.load(alone.mixture), sft.start(alone)
    learner = sft.Learner(alone, sft.prepared(vlm, alone), parallel.place(), ["depth", "pose"])
    with Feed(Share(samples, alone, vlm.tokenizer), range(1), 0, Stop()) as feed:
        learner.step(0, feed)
    assert nets == [learner.net]


def _forget_after(config: Config, checkpoint: Path) -> None:
    """As if the run had been stopped there."""
    for path in (*checkpoints.checkpoints(config.out), config.out / "model"):
        if path != checkpoint:
            shutil.rmtree(path)


def test_adapters_are_learned_and_merged_in_shards(tmp_path):
    config = small(tmp_path, steps=4, lora=2, out=tmp_path / "one")
    sft.train(config)
    shared = replace(config, out=tmp_path / "two")
    together(shared, 2)
    np.testing.assert_allclose(losses(shared.out), losses(config.out), rtol=0, atol=1e-5)
    found, expected = (weights(out / "model") for out in (shared.out, config.out))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=2**-7, atol=1e-5)


def test_fewer_samples_than_processes_are_refused(alone):
    with pytest.raises(ValueError, match="6 samples do not give each of 8 processes one"):
        Share(mixture.load(alone.mixture), alone, None, 0, 8)


def test_groups_that_do_not_come_out_even_are_refused(monkeypatch):
    monkeypatch.setattr(sharding.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(sharding.dist, "get_world_size", lambda: 6)
    with pytest.raises(ValueError, match="6 processes do not make groups of 4"):
        sharding.sharded(torch.nn.Linear(1, 1), torch.device("cpu"), shard=4)


@pytest.mark.parametrize("keyword", [False, True])
def test_what_fills_a_folder_is_alone_in_it_and_may_begin_again_once_it_failed(tmp_path, keyword):
    config = SimpleNamespace(out=tmp_path / "run")

    @parallel.alone
    def fill(config, deep: int = 0) -> str:
        return (
            fill(config, deep=deep - 1)
            if deep
            else parallel.alone(lambda config: 1 / 0)(SimpleNamespace(out=tmp_path))
        )

    begin = (
        (lambda **more: fill(config=config, **more))
        if keyword
        else (lambda **more: fill(config, **more))
    )
    with pytest.raises(BlockingIOError, match="run is in use by process .* wait until that ends"):
        begin(deep=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            begin()


@pytest.mark.parametrize(
    "launcher",
    [
        ["torchrun", "--standalone", "--nproc-per-node", "2"],
        [
            "accelerate",
            "launch",
            "--multi_gpu",
            "--num_processes",
            "2",
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
        ],
    ],
)
def test_launchers_start_processes_of_which_one_speaks(tmp_path, launcher):
    config = small(tmp_path)
    words = [
        "train",
        "tiny",
        "--steps",
        "2",
        "--batch",
        "2",
        "--model",
        config.model,
        "--mixture",
        config.mixture,
        "--workers",
        "0",
        "--peak-tflops",
        "1",
        "--no-progress",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(
        [BIN / launcher[0], *launcher[1:], "-m", "vlm3", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(log.records(tmp_path / "run")) == 2
    assert (
        len(list(checkpoints.checkpoints(tmp_path / "run")[-1].glob("*.distcp"))) == 2
    )  # each process wrote its part
    assert "Warning" not in done.stderr
    assert done.stdout == f"saved {tmp_path / 'run' / 'model'}\n"

"""What teaches the tiny model on a GPU, as far as a CPU can tell: batches filled up, scenes that
come from a pool, the model of a stage."""

import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from vlm3 import mixture, parallel
from vlm3.qwen import batching, model
from vlm3.training import sft
from vlm3.training.config import Config
from vlm3.training.loader import Share

RECORD = ROOT / "book" / "record"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(RECORD))
    yield
    sys.path.remove(str(RECORD))


class Plain:
    """In place of a graph: the same operations, one after another."""

    def __init__(self, loss, given, net):
        self.loss = loss

    def __call__(self, given):
        told, total = self.loss(given)
        total.backward()
        return told


@pytest.fixture(scope="module")
def learner(tmp_path_factory, scripts):
    import graphed

    out = tmp_path_factory.mktemp("run")
    config = Config(out=out, mixture="homes", batch=16, precision="fp32", tokens=100_000)
    net = sft.prepared(sft.start(config), config)
    return graphed.Learner(
        config, net, parallel.place(), ["correspondence", "depth", "objects", "pose"]
    )


def _batch(learner, step: int) -> batching.Batch:
    stream = mixture.load("homes", 0)
    share = Share(
        stream, learner.config, sft.start(learner.config).tokenizer, merge=_merge(learner)
    )
    (batch,) = batching.batches([p for part in share.parts(step) for p in share[part]], 100_000)
    return batch


def _merge(learner) -> int:
    return learner.net.config.vision_config.spatial_merge_size


def test_a_batch_filled_up_has_the_losses_and_gradients_of_the_batch(learner, monkeypatch):
    import graphed

    monkeypatch.setattr(graphed.pools, "Graph", Plain)
    for step in (0, 5):
        batch = _batch(learner, step)
        learner.net.zero_grad()
        exact = sft.Learner.gradients(learner, batch, True).detach()
        wanted = {name: p.grad.clone() for name, p in learner.net.named_parameters()}
        learner.net.zero_grad()
        learner.graph = None
        found = learner.gradients(batch, True).detach()
        assert learner.graph is not None
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
        for name, p in learner.net.named_parameters():
            assert (p.grad - wanted[name]).norm() <= 1e-4 * wanted[name].norm() + 1e-7, name


def test_a_batch_that_does_not_fit_is_learned_as_it_is(learner, monkeypatch):
    import graphed

    monkeypatch.setattr(graphed, "PATCHES", 8)
    monkeypatch.setattr(graphed.pools, "Graph", Plain)
    learner.graph = None
    learner.net.zero_grad()
    batch = _batch(learner, 1)
    found = learner.gradients(batch, True)
    assert learner.graph is None
    assert len(found) == batch.supervised.sum()


class Numbers(torch.utils.data.Dataset):
    """Labels that say which step they are of."""

    def __getitem__(self, step: int):
        import dense

        time.sleep(0.02)
        return dense.Labels(*(torch.full((2, 2), step) for _ in dense.Labels._fields))


def test_a_pool_gives_out_each_batch_once_before_any_again(scripts, monkeypatch):
    import contextlib

    import pools

    class Stream:
        def synchronize(self):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    with contextlib.closing(pools.Pool(Numbers(), range(12), 2, torch.device("cpu"))) as pool:
        seen = []
        deadline = time.monotonic() + 60
        while len(set(seen)) < 12 and time.monotonic() < deadline:
            seen.append(int(next(pool).images[0, 0]))
            time.sleep(0.005)
    first = list(dict.fromkeys(seen))
    assert first == sorted(first) == list(range(12))
    assert pool.again == len(seen) - 12
    assert not pool._filling.is_alive()


def test_the_model_of_a_stage_is_that_of_its_checkpoint(tmp_path):
    import stages

    from tests.training import small, weights

    config = small(tmp_path, steps=2, mixture="rooms-all", tokens=4000, batch=1)
    sft.train(replace(config, save_every=1, keep=9))
    stages.save(config.out, 2, tmp_path / "stage")
    last, stage = weights(config.out / "model"), weights(tmp_path / "stage")
    assert all(torch.equal(last[name], stage[name]) for name in last)
    stages.save(config.out, 1, tmp_path / "first")
    first = weights(tmp_path / "first")
    assert any(not np.array_equal(last[name], first[name]) for name in last)
    assert model.load(tmp_path / "first").taught == model.load(config.out / "model").taught
    with pytest.raises(FileNotFoundError, match="step-00000007: that step is not kept"):
        stages.save(config.out, 7, tmp_path / "none")

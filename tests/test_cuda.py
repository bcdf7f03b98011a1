"""What only a GPU can show: its kernels, a training step, a resumed run and answers are those of a
CPU.

Imports no more than a bare machine with torch has, see the guide, Training.
"""

import os
from dataclasses import replace

from vlm3.qwen import batching

os.environ.setdefault(
    "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
)  # else cuBLAS may add in another order each time

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.test_attention import ROWS, _batch, _query_key_value
from tests.training import begin, ended, losses, small, told
from vlm3 import tasks
from vlm3.qwen import attention, model
from vlm3.qwen.decode import answer
from vlm3.sources.rooms import Rooms
from vlm3.training import bench, sft

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no GPU here, or hidden: see CONTRIBUTING.md"
    ),
]
DEVICE = "cuda"
RUNGS = {rung.name: rung for rung in bench.ladder(gpu=True)}


def _attended(rows: list, device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Output and gradients, in float64 on the CPU."""
    batch = _batch(rows).to(device)
    qkv = [x.detach().to(device, dtype).requires_grad_() for x in _query_key_value(len(batch))]
    out, _ = attention.attend(None, *qkv, None, 0.3, batch.tree)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    return [x.double().cpu() for x in (out, *torch.autograd.grad((out * weights).sum(), qkv))]


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("name", ROWS)
def test_the_kernels_give_what_a_cpu_gives_in_double_precision(name, dtype, near):
    exact, found = (_attended(ROWS[name], *of) for of in (("cpu", torch.float64), (DEVICE, dtype)))
    for a, b in zip(exact, found, strict=True):
        assert (a - b).norm() <= near * a.norm()


def test_the_kernels_at_full_size_give_what_masked_attention_gives():
    """1100 tokens of an image and ten questions of 35, 32 heads of queries and 8 of keys, 128
    numbers each."""
    batch = _batch([(1100, [35] * 10), (900, [35] * 9 + [20])]).to(DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(0)
    qkv = [
        torch.randn(1, heads, len(batch), 128, device=DEVICE, generator=generator)
        for heads in (32, 8, 8)
    ]
    ours, _ = attention.attend(None, *(x.bfloat16() for x in qkv), None, 0.09, batch.tree)
    seen = batching.visible(batch.samples, batch.branches)
    masked = scaled_dot_product_attention(*qkv, seen, scale=0.09, enable_gqa=True).transpose(1, 2)
    assert (ours - masked).norm() <= 2e-2 * masked.norm()


def test_the_ray_caster_sees_the_same_rooms():
    cpu, gpu = (
        [v for views in Rooms("large", device=of).batch(list(range(16))) for v in views]
        for of in ("cpu", DEVICE)
    )
    for a, b in zip(cpu, gpu, strict=True):
        np.testing.assert_allclose(b.depth_m, a.depth_m, rtol=1e-4)
        assert (b.image != a.image).mean() < 1e-3


def test_answers_are_those_of_a_cpu():
    (view,) = Rooms("large", views=1)[3]
    questions = [
        qa.question for qa in tasks.get("depth").ask((view,), 30, np.random.default_rng(0))
    ]
    cpu, gpu = (
        [a.text for a in answer(model.load("tiny", of, torch.float32), view, questions)]
        for of in ("cpu", DEVICE)
    )
    assert gpu == cpu
    assert len(set(cpu)) > 1


def _losses(folder, rung: bench.Rung, device: str, precision: str, steps: int = 2) -> list[float]:
    """Of each step, which changes the weights; both tasks have the same two samples at each."""
    config = small(folder, precision=precision)
    vlm = sft.start(config)
    vlm = replace(vlm, net=vlm.net.to(device))
    samples = [bench._mixture(task, (64, 64), 3) for task in ("depth", "correspondence")]
    batches = [b for each in samples for b in bench._batches(each, rung.packed, config, vlm)]
    net = bench._prepared(vlm, rung, config)
    (optimizer,) = sft.optimizers(net, config)
    found = []
    for _ in range(steps):
        loss = sum(bench._loss(net, batch.to(device), rung, config) for batch in batches) / len(
            batches
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def test_training_has_the_losses_of_a_cpu(tmp_path, monkeypatch):
    config = small(tmp_path, steps=4)
    sft.train(config)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the processes that start now
    alone = replace(config, out=tmp_path / "cpu")
    assert ended(begin(alone)) == 0
    np.testing.assert_allclose(losses(config.out), losses(alone.out), rtol=2e-3)


def _broken_off(config, after: int):
    """Trained up to a step, and then to the end by another call."""

    def stop(record: dict) -> None:
        if record["step"] == after:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sft.train(config, on_step=stop)
    sft.train(config)


def test_a_resumed_run_is_the_undisturbed_one_to_the_bit_with_deterministic_kernels(tmp_path):
    """In bfloat16; in float32 torch's masked attention adds up in any order, unless it may refuse
    operations that know no other way."""
    config = small(tmp_path, steps=6, precision="bf16")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        sft.train(config)
        _broken_off(replace(config, out=tmp_path / "broken"), after=3)
    finally:
        torch.use_deterministic_algorithms(False)
    assert told(config.out) == told(tmp_path / "broken")
    name = "model/model.safetensors"
    assert (config.out / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    config = small(tmp_path, steps=6)
    sft.train(config)
    _broken_off(replace(config, out=tmp_path / "broken"), after=3)
    np.testing.assert_allclose(losses(tmp_path / "broken"), losses(config.out), rtol=2e-3)


def test_one_of_eight_gpus_is_measured_with_its_memory(tmp_path):
    config = small(tmp_path, precision="bf16")
    vlm = bench.start(config, DEVICE, share=8)
    assert vlm.dtype == torch.bfloat16
    (found,) = bench.train(vlm, config, "depth", (64, 32), 2, 1, 8, [RUNGS["tree attention"]])
    assert found["mfu"] > 0
    assert found["memory_gb"] > 0


@pytest.mark.parametrize(
    ("name", "precision", "near"),
    [
        ("tree attention", "fp32", 1e-3),
        ("tree attention", "bf16", 2e-2),
        ("fused head", "fp32", 1e-3),  # this one and the next are compiled
        ("every second layer checkpointed", "fp32", 1e-3),
    ],
)
def test_a_rung_has_the_losses_that_a_cpu_has_without_it(tmp_path, name, precision, near):
    cpu = _losses(tmp_path, RUNGS["supervised rows only"], "cpu", "fp32")
    gpu = _losses(tmp_path, RUNGS[name], DEVICE, precision)
    assert gpu == pytest.approx(cpu, rel=near)

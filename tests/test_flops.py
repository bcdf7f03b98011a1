"""Operations of a step against a count by hand, and what is known of devices."""

import numpy as np
import pytest
import torch

from vlm3.qwen import batching, flops, model, packing
from vlm3.training import sft
from vlm3.training.config import Config
from vlm3.views import QA, Sample, View

TEXT = dict(
    num_hidden_layers=2,
    hidden_size=48,
    intermediate_size=80,
    vocab_size=1600,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=32,
)
VISION = dict(
    depth=3,
    hidden_size=32,
    intermediate_size=56,
    num_heads=2,
    deepstack_visual_indexes=[1, 2],
    spatial_merge_size=2,
)
# Weights of its matrices.
LANGUAGE = 2 * (2 * 48 * 192 + 2 * 48 * 64 + 3 * 48 * 80)  # q and o, k and v, the gated MLP
HEAD = 48 * 1600
BLOCKS = 3 * (4 * 32 * 32 + 2 * 32 * 56)  # q, k, v and o, the MLP
PATCHES = 3 * 2 * 16 * 16 * 32
MERGERS = 3 * (128 * 128 + 128 * 48)  # the last and two of deepstack; each reads 4 patches at once


@pytest.fixture
def small():
    return model.new(model.config("tiny", text=TEXT, vision=VISION), seed=1)


@pytest.fixture
def batch(small):
    """One image of 8 patches, two questions."""
    qas = QA("", (), "How far?", "2.4"), QA("", (), "How wide?", "13")
    sample = Sample((View(np.zeros((32, 64, 3), np.uint8), None),), qas, "depth", "here")
    return batching.collate([packing.pack(sample, small.tokenizer)])


def _vision() -> float:
    attention = (
        2 * 3 * 32 * 8**2
    )  # queries with keys, shares with values; 3 layers, 8 patches see each other
    return (BLOCKS + PATCHES) * 8 + MERGERS * 2 + attention


def _text(batch: batching.Batch) -> float:
    shared, first, second = np.bincount(batch.branches).tolist()
    seen = shared**2 / 2 + first * (shared + first / 2) + second * (shared + second / 2)
    return (
        LANGUAGE * len(batch) + HEAD * 7 + 2 * 2 * 6 * 32 * seen
    )  # 7: 4 and 3 tokens to predict; 2 layers, 6 heads


def test_a_step_counts_each_weight_and_each_look_three_times_forward_and_backward(small, batch):
    assert flops.step(small.net, batch) == 2 * 3 * (_vision() + _text(batch))


def test_parts_that_do_not_learn_count_once(small, batch):
    small.net.model.visual.requires_grad_(False)
    assert flops.step(small.net, batch) == 2 * (_vision() + 3 * _text(batch))
    small.net.requires_grad_(False)
    assert flops.step(small.net, batch) == 2 * (_vision() + _text(batch))


def test_gradients_pass_through_a_language_model_that_does_not_learn(small, batch):
    small.net.model.language_model.requires_grad_(False)
    looks = _text(batch) - LANGUAGE * len(batch) - HEAD * 7  # no weights of its own to learn
    assert flops.step(small.net, batch) == 2 * (3 * _vision() + 2 * _text(batch) + looks)


def test_adapters_save_the_gradients_of_the_weights_that_they_adapt(small, batch):
    net = sft.prepared(model.VLM(small.net, small.tokenizer), Config(lora=4))
    sides = [
        48 + 192,
        48 + 64,
        48 + 64,
        192 + 48,
        48 + 80,
        48 + 80,
        80 + 48,
    ]  # in and out of q, k, v, o, gate, up, down
    adapters = 2 * 4 * sum(sides)  # 2 layers, rank 4
    looks = _text(batch) - LANGUAGE * len(batch) - HEAD * 7
    language = 2 * (LANGUAGE * len(batch) + HEAD * 7) + 3 * adapters * len(batch) + 3 * looks
    assert flops.step(net, batch) == 2 * (_vision() + language)


def test_samples_of_a_batch_cost_what_they_cost_alone(small):
    qas = (QA("", (), "How far is what lies to the left of the second box?", "2.4"),)
    sample = Sample((View(np.zeros((64, 64, 3), np.uint8), None),) * 2, qas, "depth", "here")
    packed = packing.pack(sample, small.tokenizer)
    one, three = batching.collate([packed]), batching.collate([packed] * 3)
    assert flops.step(small.net, three) == pytest.approx(3 * flops.step(small.net, one), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GeForce RTX 4090", 165),
        ("Tesla V100-SXM2-16GB", 125),
    ],
)
def test_the_peak_of_a_known_device_is_its_makers(monkeypatch, name, tflops):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert flops.peak(torch.device("cuda"), "bf16") == tflops * 1e12


def test_a_device_whose_name_only_begins_like_a_known_one_is_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L40")
    monkeypatch.setattr(flops, "measured", lambda *_: 1.0)
    assert flops.peak(torch.device("cuda"), "bf16") == 1.0


def test_the_peak_of_a_cpu_is_measured():
    assert flops.measured(torch.device("cpu"), torch.float32, side=32) > 0

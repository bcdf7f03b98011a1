"""The benchmarks: every rung of the ladder works on the same samples, and says what it took."""

import json
from dataclasses import asdict, replace
from functools import partialmethod

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.test_cli import vlm3
from tests.training import small
from vlm3.pages import recorded as records
from vlm3.qwen import attention, batching, packing, patches
from vlm3.training import bench, compiling, head, sft
from vlm3.training.config import Config


@pytest.fixture
def traced(monkeypatch):
    """Layers are compiled as for a GPU, but for the last stage, which would need a compiler."""
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(compiling, "compiler", lambda: "g++")
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compiled, backend="aot_eager"))


@pytest.mark.parametrize(
    "rungs", [bench.ladder(gpu=False), bench.ladder(gpu=True), bench.ablation()]
)
def test_every_rung_gives_the_same_loss_and_gradient(tmp_path, traced, rungs):
    """On one network, so that no rung leaves it otherwise than it says."""
    config = small(tmp_path, precision="fp32")
    mixture = bench._mixture("correspondence", (64, 32), questions=3)
    losses, slopes = [], []
    vlm = sft.start(config)
    for rung in [*rungs, rungs[0]]:
        batches = bench._batches(mixture, rung.packed, config, vlm)
        net = bench._prepared(vlm, rung, config)
        supervised = [int(b.supervised.sum()) for b in batches]
        loss = sum(
            bench._loss(net, b, rung, config) * n for b, n in zip(batches, supervised, strict=True)
        )
        (loss / sum(supervised)).backward()
        losses.append(loss.item() / sum(supervised))
        slopes.append(net.model.visual.patch_embed.proj.weight.grad.norm().item())
        net.zero_grad()
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-5)
    assert slopes == pytest.approx([slopes[0]] * len(slopes), rel=1e-4)


@pytest.mark.parametrize("rung", bench.ablation() + bench.ladder(gpu=True))
def test_the_network_is_prepared_as_the_rung_says_whatever_was_before(tmp_path, traced, rung):
    config = small(tmp_path)
    vlm = sft.start(config)
    bench._prepared(
        vlm,
        bench.Rung("", linear=False, tree=False, checkpointing=1, compiled=not rung.compiled),
        config,
    )
    net = bench._prepared(vlm, rung, config)
    layers = net.model.language_model.layers
    assert [layer.gradient_checkpointing for layer in layers] == [
        bool(rung.checkpointing) and k % rung.checkpointing == 0 for k in range(len(layers))
    ]
    assert all(bool(layer._compiled_call_impl) == rung.compiled for layer in layers)
    assert (net.config.text_config._attn_implementation == attention.NAME) == rung.tree
    assert isinstance(net.model.visual.patch_embed.proj, patches.LinearPatches) == rung.linear


def test_the_ablation_changes_one_thing_of_the_whole_at_a_time():
    whole, *others = (asdict(rung) | {"name": ""} for rung in bench.ablation())
    assert [sum(rung[name] != whole[name] for name in whole) for rung in others] == [1] * len(
        others
    )
    assert all(
        sum(rung[name] != whole[name] for rung in others) for name in whole if name != "name"
    )


def test_the_rungs_of_a_gpu_are_what_training_can_be_told(tmp_path, traced):
    before, *rungs, fused = bench.ladder(gpu=True)[4:]
    assert (before.checkpointing, before.compiled) == (1, False)
    assert fused == replace(rungs[-1], name=fused.name, fused=True)
    for rung in rungs:
        told = Config(tmp_path, checkpointing=rung.checkpointing, compiled=rung.compiled)
        net = sft.prepared(sft.start(told), told)
        forgets = [layer.gradient_checkpointing for layer in net.model.language_model.layers]
        every = rung.checkpointing
        assert forgets == [bool(every) and k % every == 0 for k in range(len(forgets))]
        assert all(layer._compiled_call_impl for layer in net.model.language_model.layers)


def test_the_command_measures_each_rung_and_records_how(monkeypatch, capsys, tmp_path):
    network = small(tmp_path).model
    words = [
        "--model",
        network,
        "--size",
        "64",
        "32",
        "--batch",
        "2",
        "--questions",
        "2",
        "--steps",
        "1",
    ]
    assert vlm3(monkeypatch, "bench", "train", *words, "--save", str(tmp_path / "speed.json")) == 0
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["rung"] for r in recorded["results"]] == [
        r.name for r in bench.ladder(torch.cuda.is_available())
    ]
    assert all(r["samples_per_s"] > 0 and r["mfu"] > 0 for r in recorded["results"])
    assert {
        "command",
        "commit",
        "date",
        "device",
        "versions",
        "seed",
        "wall_time_s",
    } <= recorded.keys()
    assert capsys.readouterr().out.count("\n") == len(recorded["results"])


def test_what_was_measured_is_kept_when_a_later_rung_fails(monkeypatch, tmp_path):
    def measured(*_):
        yield {"rung": "first", "step_s": 1.0}
        raise OSError("the power is out")

    monkeypatch.setattr(bench, "train", measured)
    monkeypatch.setattr(records.subprocess, "run", absent)
    assert vlm3(monkeypatch, "bench", "train", "--save", str(tmp_path / "speed.json")) == 2
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["rung"] for r in recorded["results"]] == ["first"]
    assert recorded["commit"] == ""


def absent(words: list[str], **_):
    raise FileNotFoundError(words[0])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("no memory"), {"out_of_memory": True}),
        (RuntimeError("no compiler\nmany lines"), {"failed": "RuntimeError: no compiler"}),
    ],
)
def test_a_rung_that_cannot_be_is_told_and_the_next_is_measured(monkeypatch, tmp_path, error, told):
    measured = bench._measured

    def refused(vlm, batches, rung, *others):
        if not rung.linear:
            vlm.net.lm_head.weight.grad = torch.zeros_like(vlm.net.lm_head.weight)  # left behind
            raise error
        assert all(weight.grad is None for weight in vlm.net.parameters())
        return measured(vlm, batches, rung, *others)

    monkeypatch.setattr(bench, "_measured", refused)
    config = small(tmp_path)
    rungs = [bench.Rung("first"), bench.Rung("second", linear=False), bench.Rung("third")]
    first, second, third = bench.train(
        sft.start(config), config, "depth", (64, 32), 2, 1, rungs=rungs
    )
    assert second == {"rung": "second"} | told
    assert first["samples_per_s"] > 0 < third["samples_per_s"]


def test_a_network_without_the_memory_for_its_weights_ends_in_one_line_with_a_way_out(
    monkeypatch, capsys
):
    def full(config):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(sft, "start", full)
    assert vlm3(monkeypatch, "bench", "train") == 2
    assert "try --share 8" in capsys.readouterr().err


def test_one_of_eight_gpus_keeps_an_eighth_of_the_weights_and_no_gradient_of_the_others(
    tmp_path, monkeypatch
):
    config = small(tmp_path, precision="bf16")
    whole, part = bench.start(config, "cpu"), bench.start(config, "cpu", share=8)
    assert (whole.dtype, part.dtype) == (torch.float32, torch.bfloat16)
    assert part.net.model.language_model.rotary_emb.inv_freq.dtype == torch.float32
    kept = bench._kept(part.net, 8)
    assert sum(p.numel() for p in kept) == sum(p.numel() for p in part.net.parameters()) // 8
    changed = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: (changed.append(self.param_groups), step(self))
    )
    (found,) = bench.train(part, config, "depth", (64, 32), 2, 1, 8, [bench.Rung("all")])
    assert found["share"] == 8
    assert all(weight.grad is None for weight in part.net.parameters())
    assert {p.numel() for groups in changed for p in groups[0]["params"]} == {kept[0].numel()}
    assert all(p.grad is not None for groups in changed for p in groups[0]["params"])


def test_a_gradient_that_leaves_is_the_one_that_would_stay(tmp_path):
    """What one of eight GPUs computes is what one alone would, layer by layer."""
    config = small(tmp_path, precision="fp32")
    batch = batching.collate(
        [packing.pack(bench._mixture("depth", (64, 32), 2)[0], sft.start(config).tokenizer)]
    )
    seen = {1: [], 8: []}
    for share, slopes in seen.items():
        net = bench._prepared(bench.start(config, "cpu", share), bench.Rung(""), config)
        for weight in net.parameters():
            weight.register_hook(lambda slope, slopes=slopes: slopes.append(slope.norm().item()))
        bench._loss(net, batch, bench.Rung(""), config).backward()
    assert sorted(seen[1]) == pytest.approx(sorted(seen[8]))
    assert any(seen[1])


@pytest.mark.parametrize("rows", [1, 3, 7, 64, 1000])
@pytest.mark.parametrize(("tokens", "words"), [(0, 5), (1, 5), (7, 97), (200, 1536)])
def test_the_loss_in_parts_is_the_plain_one_with_its_gradients(tokens, words, rows):
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (
        torch.randn(n, 16, generator=generator, requires_grad=True) for n in (tokens, words)
    )
    targets = torch.randint(0, words, (tokens,), generator=generator)
    plain = cross_entropy(hidden @ weight.T, targets, reduction="none")
    parts = head.losses(hidden, weight, targets, rows)
    torch.testing.assert_close(parts, plain)
    weights = torch.rand(tokens, generator=generator)
    for a, b in zip(
        *(torch.autograd.grad((x * weights).sum(), (hidden, weight)) for x in (parts, plain)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_wait_for_samples_is_that_of_the_training_loop(tmp_path):
    config = small(tmp_path, batch=2, workers=1)
    found = bench.waiting(config, "depth", (64, 32), 2, 2, "cpu")
    assert 0 <= found["wait_share"] <= 1
    assert found["samples_per_s"] == pytest.approx(2 / found["seconds"], rel=0.5)
    assert not config.out.exists()
    assert sft.start.__module__ == "vlm3.training.sft"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--device", "cuda:7"], "device 'cuda:7' cannot be used here"),
        (["train", "--steps", "0"], "steps must be 1 or more, got 0"),
        (["train", "--share", "0"], "share must be 1 or more, got 0"),
        (["answer", "--questions", "0"], "questions must be 1 or more, got 0"),
        (["answer", "--share", "8"], "--share"),
        (["answer", "--task", "correspondence"], "--task"),
    ],
)
def test_what_cannot_be_measured_is_refused(monkeypatch, capsys, words, message):
    assert vlm3(monkeypatch, "bench", *words) == 2
    assert message in capsys.readouterr().err


def test_a_question_per_sample_reads_the_image_again_for_each(tmp_path):
    config = Config(tmp_path, tokens=10**6, batch=2)
    mixture, vlm = bench._mixture("depth", (64, 32), questions=4), sft.start(config)
    alone, packed = (bench._batches(mixture, packed, config, vlm)[0] for packed in (False, True))
    assert len(alone.grids) == 4 * len(packed.grids) == 8
    assert alone.supervised.sum() == packed.supervised.sum()

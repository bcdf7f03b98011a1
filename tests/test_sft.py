"""Fine-tuning: what a step computes, what is learned and what is left alone, and runs that end
before their time."""

import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.test_cli import vlm3
from tests.training import KILLED, begin, ended, losses, small, state, stderr, told, weights
from vlm3 import mixture
from vlm3.mixture import Mixture, NoSample, Source
from vlm3.qwen import attention, batching, model, packing, precision
from vlm3.qwen.architecture import ADAPTED, PARTS
from vlm3.sources.rooms import Rooms
from vlm3.terminal import cli
from vlm3.training import checkpoints, log, sft
from vlm3.training.config import PRESETS, Config


class Interrupted(Exception):
    pass


def interrupt(after: int):
    def told(record: dict) -> None:
        if record["step"] == after:
            raise Interrupted

    return told


def same(config: Config, whole: Config) -> bool:
    """Whether two runs told the same and ended in the same weights and the same optimiser, to the
    bit."""
    models = [(c.out / "model" / "model.safetensors").read_bytes() for c in (config, whole)]
    return (
        told(config.out) == told(whole.out)
        and state(config.out) == state(whole.out)
        and models[0] == models[1]
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Config:
    """A run of forty steps that nothing disturbed."""
    config = small(tmp_path_factory.mktemp("whole"), steps=40, save_every=1)
    assert ended(begin(config)) == 0
    return config


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Config:
    """One of six steps."""
    config = small(tmp_path_factory.mktemp("short"))
    sft.train(config)
    return config


def test_a_run_killed_at_twenty_random_moments_ends_as_if_undisturbed(whole, rng):
    config = replace(whole, out=whole.out.with_name("killed"))
    step_s = min(
        record["seconds"] for record in log.records(whole.out)
    )  # so that no machine is done before its time
    for k in range(20):
        stepped, saving = k % 4 > 0, int(rng.integers(1, 4)) if k % 5 == 0 else 0
        dies_s = 0 if saving else rng.uniform(0.001, 2 * step_s if stepped else 0.3)
        assert ended(begin(config, dies_s=dies_s, stepped=stepped, dies_saving=saving)) == -KILLED
        assert not saving or any((config.out / "checkpoints").glob(".*"))
    assert ended(begin(config)) == 0
    assert same(config, whole)
    assert not list((config.out / "checkpoints").glob(".*"))


def test_sigterm_to_a_run_and_its_workers_saves_it_and_ends_with_143(whole):
    config = replace(whole, out=whole.out.with_name("stopped"), save_every=1000, workers=1)
    process = begin(config)
    while process.is_alive() and len(log.records(config.out)) < 2:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert ended(process) == 143
    assert (
        checkpoints.checkpoints(config.out)[-1].name
        == f"step-{log.records(config.out)[-1]['step']:08d}"
    )
    assert ended(begin(config)) == 0
    assert same(config, whole)
    assert stderr(config) == ""


class Stuck(Sequence):
    """Rooms whose disk hangs from the second dozen on."""

    def __init__(self):
        self.rooms, self.read = Rooms("small", views=1), 0

    def __len__(self) -> int:
        return len(self.rooms)

    def __getitem__(self, index: int) -> tuple:
        self.read += 1
        if self.read > 12:
            time.sleep(3600)
        return self.rooms[index]


def test_a_validation_that_fails_after_the_last_step_is_told_and_its_repair_finishes_the_model(
    short, tmp_path
):
    gone = tmp_path / "gone"
    config = replace(short, out=tmp_path / "run", validation=short.mixture, validate_every=6)
    attic = Mixture({"attic": Source(Faulty(gone), "depth", 3, 100)})
    with pytest.raises(
        NoSample, match="after step 6, which is saved, no sample came: .*'attic': the disk is gone"
    ):
        sft.train(
            config, validation=attic, on_step=lambda record: record["step"] == 5 and gone.touch()
        )
    sft.train(config, validation=attic)
    assert same(config, short)


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_saves_the_last_whole_step_while_samples_are_waited_for(tmp_path, workers):
    mixture = tmp_path / "stuck.toml"
    lines = ['from = "tests.test_sft:Stuck"', 'task = "depth"', "questions = 3", "focal_px = 100"]
    mixture.write_text("\n".join(["[sources.stuck]", *lines]))
    config = small(tmp_path, mixture=str(mixture), save_every=1000, workers=workers)
    process = begin(config)
    while process.is_alive() and len(log.records(config.out)) < 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert ended(process, 30) == 143
    assert checkpoints.checkpoints(config.out)[-1].name == "step-00000003"
    assert stderr(config) == ""


def test_ctrl_c_saves_the_last_whole_step_and_a_second_one_ends_at_once(short, tmp_path):
    config = replace(short, out=tmp_path / "run", save_every=1000)

    def interrupted(record: dict) -> None:
        if record["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sft.train(config, on_step=interrupted)
    assert [path.name for path in checkpoints.checkpoints(config.out)] == ["step-00000003"]
    with pytest.raises(KeyboardInterrupt):
        sft.train(
            config, on_step=lambda record: [signal.raise_signal(signal.SIGINT) for _ in range(2)]
        )
    sft.train(config)
    assert same(config, short)


def test_what_was_learned_before_samples_failed_is_saved_in_validation_too(short, tmp_path):
    gone = tmp_path / "gone"
    config = replace(
        short, out=tmp_path / "run", save_every=1000, validation=short.mixture, validate_every=2
    )
    attic = Mixture({"attic": Source(Faulty(gone), "depth", 3, 100)})
    with pytest.raises(
        NoSample,
        match="after step 2, which is saved, no sample came: .*source 'attic': the disk is gone",
    ):
        sft.train(
            config, validation=attic, on_step=lambda record: record["step"] == 1 and gone.touch()
        )
    assert [path.name for path in checkpoints.checkpoints(config.out)] == ["step-00000002"]
    assert [record["step"] for record in log.records(config.out)] == [1, 2]


def test_a_finished_run_returns_its_model_and_trains_nothing(short, monkeypatch):
    monkeypatch.setattr(sft, "start", None)
    assert sft.train(short) == short.out / "model"
    with pytest.raises(ValueError, match="lr was 0.01, is 0.02"):
        sft.train(replace(short, lr=0.02))


def _reversed(config: Config) -> Mixture:
    mix = mixture.load(config.mixture)
    return Mixture(
        dict(reversed(mix.sources.items())), dict(zip(mix.names, mix.shares, strict=True))
    )


def _wider(config: Config) -> Mixture:
    changed = config.out.with_name("wider.toml")
    changed.write_text(Path(config.mixture).read_text().replace("views = 1", "views = 3"))
    return mixture.load(changed)


@pytest.mark.parametrize(
    ("changed", "change"),
    [
        (lambda config: mixture.load(config.mixture, seed=5), "stream_seed was 0, is 5"),
        (_reversed, "sources/depth/place was 0, is 1"),
        (_wider, "sources/depth/origin/arguments/views was 1, is 3"),
    ],
)
def test_what_a_run_learns_from_may_not_change(short, changed, change):
    with pytest.raises(ValueError, match=change):
        sft.train(short, changed(short))


def test_a_loss_that_is_not_a_number_ends_the_run_and_leaves_what_was_saved(short, monkeypatch):
    config = replace(short, out=short.out.with_name("nan"))
    vlm = sft.start(config)

    def spoil(record: dict) -> None:
        if record["step"] == 3:
            vlm.net.lm_head.weight.data.fill_(torch.nan)

    with monkeypatch.context() as patch:
        patch.setattr(sft, "start", lambda config: vlm)
        with pytest.raises(FloatingPointError, match="step 4: loss nan.*lower lr"):
            sft.train(config, on_step=spoil)
    assert [path.name for path in checkpoints.checkpoints(config.out)] == ["step-00000002"]
    sft.train(config)
    assert same(config, short)


class Faulty(Sequence):
    """Rooms on a disk that is gone as long as a file says so."""

    def __init__(self, gone: Path):
        self.gone, self.rooms = gone, Rooms("small", views=1)

    def __len__(self) -> int:
        return len(self.rooms)

    def __getitem__(self, index: int) -> tuple:
        if self.gone.exists():
            raise OSError("the disk is gone")
        return self.rooms[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_that_fails_is_named_with_the_step_and_the_run_goes_on_once_it_is_repaired(
    tmp_path, workers
):
    gone, config = tmp_path / "gone", small(tmp_path, workers=workers)
    samples = Mixture({"attic": Source(Faulty(gone), "depth", 3, 100)})
    fault = r"no sample came: .*item \d+ of source 'attic': the disk is gone$"
    with pytest.raises(NoSample, match=rf"after step \d, which is saved, {fault}"):
        sft.train(config, samples, on_step=lambda record: record["step"] == 2 and gone.touch())
    gone.unlink()
    assert checkpoints.checkpoints(config.out)
    sft.train(config, samples)
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    sft.train(undisturbed, samples)
    assert same(config, undisturbed)


def test_a_full_disk_while_saving_or_logging_leaves_the_last_checkpoint_to_resume_from(short):
    config = replace(short, out=short.out.with_name("full"))
    log = config.out / "log.jsonl"

    def full(record: dict) -> None:  # of the first step, before the first save
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match=r"step-00000002 could not be written.*too large"):
            sft.train(config, on_step=full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((config.out / "checkpoints").iterdir())

    def unlogged(record: dict) -> None:
        if record["step"] == 3:
            log.rename(log.with_suffix(".kept"))
            log.symlink_to("/dev/full")

    with pytest.raises(
        OSError, match="log.jsonl: step 4 could not be written, checkpoints stay: .*No space left"
    ):
        sft.train(config, on_step=unlogged)
    log.with_suffix(".kept").rename(log)
    sft.train(config)
    assert same(config, short)


@pytest.mark.parametrize("part", PARTS)
def test_a_frozen_part_stays_to_the_bit_and_all_others_learn(tmp_path, monkeypatch, part):
    config = small(tmp_path, steps=2, freeze=(part,))
    vlm, before = sft.start(config), sft.start(config).net
    monkeypatch.setattr(sft, "start", lambda config: vlm)
    sft.train(config)
    still = {
        name
        for name, weight in before.named_parameters()
        if torch.equal(weight, vlm.net.get_parameter(name))
    }
    assert still == {
        name for name, _ in before.named_parameters() if name.startswith(PARTS[part] + ".")
    }


def test_lora_learns_adapters_only_resumes_and_leaves_a_plain_model(tmp_path, monkeypatch):
    config = small(tmp_path, lora=2, save_every=2)
    with pytest.raises(Interrupted):
        sft.train(config, on_step=interrupt(after=3))
    sft.train(config)
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    vlm, before = sft.start(config), sft.start(config).net.state_dict()
    monkeypatch.setattr(sft, "start", lambda config: vlm)
    sft.train(undisturbed)
    assert same(config, undisturbed)

    after = weights(config.out / "model")
    assert after.keys() == before.keys()
    changed = {
        name for name in before if not torch.equal(before[name].bfloat16().float(), after[name])
    }
    adapted = {
        name for name in before if "language_model" in name and name.split(".")[-2] in ADAPTED
    }
    assert changed == adapted
    batch = batching.collate([packing.pack(mixture.load(config.mixture)[0], vlm.tokenizer)])
    plain = model.load(config.out / "model", dtype=torch.float32).net
    attention.use(plain)
    with torch.no_grad():
        found, expected = (
            net(**batch.inputs(), use_cache=False).logits for net in (plain, vlm.net)
        )
        attention.use(plain, tree=True)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize(
    "change",
    [
        {"checkpointing": 1},
        {"checkpointing": 2},
        {"tokens": 1},
        {"tokens": 100_000},
        {"workers": 2},
    ],
)
def test_what_saves_memory_or_time_leaves_the_losses_as_they_are(short, tmp_path, change):
    config = replace(short, out=tmp_path / "run", **change)
    sft.train(config)
    np.testing.assert_allclose(
        losses(config.out), losses(short.out), rtol=0, atol=1e-5 if "tokens" in change else 1e-6
    )


def test_bfloat16_gives_about_the_same_losses(short, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "fast", lambda device: torch.bfloat16)  # on slow CPUs, too
    config = replace(short, out=tmp_path / "run", precision="bf16")
    sft.train(config)
    difference = np.abs(losses(config.out) - losses(short.out))
    assert 0 < difference.max() < 0.05


@pytest.mark.parametrize("weighting", packing.WEIGHTINGS)
def test_the_loss_is_the_mean_over_what_is_said_to_count_the_same(tmp_path, weighting):
    config = small(tmp_path, steps=1, weighting=weighting)
    sft.train(config)
    vlm, samples = sft.start(config), mixture.load(config.mixture, config.seed)
    found = [_answers(vlm, samples[i]) for i in range(config.batch)]
    assert len({len(answers) for answers in found}) > 1  # else two weightings agree
    by_hand = {
        "token": torch.cat([tokens for answers in found for tokens in answers]).mean(),
        "answer": torch.stack([tokens.mean() for answers in found for tokens in answers]).mean(),
        "sample": torch.stack(
            [torch.stack([tokens.mean() for tokens in answers]).mean() for answers in found]
        ).mean(),
    }
    assert losses(config.out)[0] == pytest.approx(by_hand[weighting].item(), abs=1e-5)


@torch.no_grad()
def _answers(vlm, sample) -> list[torch.Tensor]:
    """The cross-entropy of each token of each answer, by torch's own attention."""
    batch = batching.collate([packing.pack(sample, vlm.tokenizer)])
    rows, logits = batch.supervised, vlm.net(**batch.inputs(masked=True), use_cache=False).logits
    entropy = cross_entropy(logits, batch.targets[rows], reduction="none")
    return [entropy[batch.branches[rows] == branch] for branch in batch.branches[rows].unique()]


def test_validation_is_told_for_each_source_and_changes_nothing(short, tmp_path):
    config = replace(
        short, out=tmp_path / "run", validation=short.mixture, validate_every=3, validate_samples=4
    )
    sft.train(config)
    assert told(config.out) == told(short.out)
    records = log.records(config.out)
    assert [record["step"] for record in records if "validation" in record] == [3, 6]
    assert records[2]["validation"]["losses"].keys() == {"depth", "pose"}
    assert records[2]["shuffled"]["losses"].keys() == {"depth", "pose"}
    assert records[2]["shuffled"] != records[2]["validation"]


def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine_to_zero():
    config = Config(steps=100, lr=2.0, warmup=0.1)
    rates = [sft.learning_rate(step, config) for step in range(101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 5)
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert (np.diff(rates[10:]) < 0).all()
    assert sft.learning_rate(0, replace(config, warmup=0)) == 2.0
    assert sft.learning_rate(99, replace(config, warmup=1)) == 2.0


@pytest.mark.parametrize(
    ("name", "samples", "lr"),
    [
        ("depth-4b", 32_000_000, 5.5e-5),
        ("correspondence-4b", 80_000_000, 2e-5),
        ("pose-4b", 10_000_000, 5e-5),
        ("objects-4b", 1_000_000, 3.5e-4),
    ],
)
def test_presets_see_as_many_samples_as_the_paper_at_its_learning_rate(name, samples, lr):
    preset = PRESETS[name]
    assert 0 <= samples - preset.steps * preset.batch < preset.batch
    assert (preset.lr, preset.clip, preset.warmup) == (lr, 0.02, 0.1)


def test_the_command_trains_the_tiny_model_and_writes_event_files(monkeypatch, capsys, tmp_path):
    words = [
        "--steps",
        "2",
        "--batch",
        "4",
        "--out",
        str(tmp_path / "run"),
        "--peak-tflops",
        "1",
        "--no-progress",
    ]
    assert vlm3(monkeypatch, "train", "--tensorboard", "tiny", *words) == 0
    assert capsys.readouterr().out == f"saved {tmp_path / 'run' / 'model'}\n"
    assert [record["step"] for record in log.records(tmp_path / "run")] == [1, 2]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert any(name.startswith("losses/") for name in events.Tags()["scalars"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depth-4b"], "--mixture data.toml"),
        (["tiny", "--mixture", "nowhere.toml"], "nowhere.toml: no such mixture"),
        (["tiny", "--model", "random:huge"], "'huge'"),
        (["tiny", "--model", "nowhere"], "'nowhere'"),
        (
            ["tiny", "--steps", "1", "--validation", "", "--validate-every", "5"],
            "--validation data.toml",
        ),
    ],
)
def test_what_cannot_be_found_ends_in_one_line_that_names_it(
    monkeypatch, capsys, tmp_path, words, message
):
    monkeypatch.chdir(tmp_path)
    assert vlm3(monkeypatch, "train", *words, "--out", "run") == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("vlm3: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny", "--lr", "nan"], "lr must be positive, got nan"),
        (["tiny", "--batch", "0"], "batch must be positive, got 0"),
        (["tiny", "--warmup", "3"], "warmup must be a share of the steps"),
        (["tiny", "--workers", "-1"], "workers must be 0 or more"),
        (["tiny", "--precision", "fp16"], "precision must be one of bf16, fp32, got 'fp16'"),
        (["tiny", "--layout", "tree"], "layout must be one of isolated, chat"),
        (["tiny", "--weighting", "none"], "weighting must be one of token, answer, sample"),
        (["tiny", "--freeze", "wheels"], "freeze must be some of vision, merger"),
        (["tiny", "--freeze", "text", "--lora", "4"], "nothing left to train"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_their_value(
    monkeypatch, capsys, tmp_path, words, message
):
    monkeypatch.setenv("COLUMNS", "200")
    assert vlm3(monkeypatch, "train", *words, "--out", str(tmp_path / "run")) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoSample("no sample came"), "vlm3: no sample came\n"),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "fewer --tokens at once, --checkpointing 1",
        ),
    ],
)
def test_what_stops_a_run_is_told_in_one_line(monkeypatch, capsys, tmp_path, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(sft, "train", fail)
    assert vlm3(monkeypatch, "train", "tiny", "--out", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_fault_of_the_code_keeps_its_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(sft, "start", lambda config: torch.ones(2) @ torch.ones(3))
    monkeypatch.setattr(sys, "argv", ["vlm3", "train", "tiny", "--out", str(tmp_path / "run")])
    with pytest.raises(RuntimeError, match="size"):
        cli.main()


def test_muon_takes_the_matrices_and_adamw_all_else(tmp_path):
    config = small(tmp_path, optimizer="muon")
    net = sft.start(config).net
    adamw, muon = sft.optimizers(net, config)
    names = {id(p): name for name, p in net.named_parameters()}
    held = [{names[id(p)] for p in o.param_groups[0]["params"]} for o in (adamw, muon)]
    assert held[0] | held[1] == set(names.values())
    assert not held[0] & held[1]
    assert "model.language_model.layers.0.mlp.up_proj.weight" in held[1]
    assert {
        "model.language_model.embed_tokens.weight",
        "model.visual.pos_embed.weight",
        "model.visual.patch_embed.proj.weight",
        "model.language_model.norm.weight",
    } <= held[0]
    assert [type(o).__name__ for o in sft.optimizers(net, replace(config, optimizer="adamw"))] == [
        "AdamW"
    ]


def test_a_run_with_muon_resumes_to_the_bit(tmp_path):
    whole, broken = (
        small(tmp_path, optimizer="muon", out=tmp_path / name) for name in ("whole", "broken")
    )
    sft.train(whole)
    with pytest.raises(Interrupted):
        sft.train(broken, on_step=interrupt(3))
    sft.train(broken)
    assert same(broken, whole)

"""What a run leaves on disk: whole or absent, never another run's, and readable while it is
written."""

import codecs
import json
from dataclasses import replace

import pytest
import torch
import torch.distributed.checkpoint as dcp

from tests.training import NETWORK, small, weights
from vlm3.qwen import architecture, model, network
from vlm3.training import checkpoints, log, sft
from vlm3.training.checkpoints import Run

IDENTITY = {"lr": 0.1, "sources": {"depth": {"size": 3}}}


def opened(out, keep: int = 2, **changes) -> tuple[Run, torch.nn.Linear]:
    """A run of a network of one layer, taken up where it is."""
    net = torch.nn.Linear(3, 2)
    run = Run(out, IDENTITY | changes, keep)
    run.resume(net, [torch.optim.AdamW(net.parameters(), lr=0.1)])
    return run, net


def learned(run: Run, net: torch.nn.Linear, steps: int) -> None:
    """A step, its line in the log and a checkpoint, so many times."""
    for step in range(run.step + 1, run.step + 1 + steps):
        net(torch.ones(3)).sum().backward()
        run.optimizers[0].step()
        run.log({"step": step, "loss": 1 / step})
        run.save(step)


def names(out) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def test_weights_and_optimiser_come_back_and_only_the_last_checkpoints_stay(tmp_path):
    run, net = opened(tmp_path)
    learned(run, net, 3)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    again, other = opened(tmp_path)
    assert again.step == 3
    assert torch.equal(net.weight, other.weight)
    for mine, its in zip(
        run.optimizers[0].state.values(), again.optimizers[0].state.values(), strict=True
    ):
        assert all(torch.equal(mine[name], its[name]) for name in mine)


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), RuntimeError("a writer died")]
)
def test_a_save_that_fails_leaves_the_checkpoints_before_it_and_no_draft(
    tmp_path, monkeypatch, failure
):
    run, net = opened(tmp_path)
    learned(run, net, 1)

    class Failing(dcp.FileSystemWriter):
        def write_data(self, plan, planner):
            super().write_data(plan, planner).wait()
            raise failure

    save = dcp.save
    with monkeypatch.context() as patch:
        patch.setattr(
            dcp,
            "save",
            lambda state, checkpoint_id: save(state, storage_writer=Failing(checkpoint_id)),
        )
        with pytest.raises(OSError, match="step-00000002 could not be written") as told:
            run.save(2)
    assert str(failure) in str(told.value)
    assert "\n" not in str(told.value)
    assert names(tmp_path) == ["step-00000001"]
    assert torch.equal(opened(tmp_path)[1].weight, net.weight)


def test_what_a_killed_save_left_is_not_taken_for_a_checkpoint_and_is_removed(tmp_path):
    learned(*opened(tmp_path), 1)
    for draft in (tmp_path / "checkpoints" / ".step-00000002", tmp_path / ".model.draft"):
        draft.mkdir()
        (draft / "half").write_text("...")
    assert opened(tmp_path)[0].step == 1
    assert names(tmp_path) == ["step-00000001"]
    assert not (tmp_path / ".model.draft").exists()


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    learned(*opened(tmp_path), 2)
    for path in (tmp_path / "checkpoints" / "step-00000002").glob("*.distcp"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        OSError, match="step-00000002 cannot be read, remove it to resume from the one before"
    ):
        opened(tmp_path)


def test_another_configuration_is_refused_with_every_change_named(tmp_path):
    learned(*opened(tmp_path), 1)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(
        ValueError, match="lr was 0.1, is 0.2; seed was None, is 1; sources/depth/size was 3, is 4"
    ):
        opened(tmp_path, lr=0.2, seed=1, sources={"depth": {"size": 4}})
    assert (tmp_path / "config.json").read_text() == before
    assert opened(tmp_path)[0].step == 1


def test_a_folder_whose_run_saved_nothing_takes_another_configuration(tmp_path):
    opened(tmp_path)[0].log({"step": 1, "loss": 0.5})
    opened(tmp_path, lr=0.2)
    assert json.loads((tmp_path / "config.json").read_text())["lr"] == 0.2
    assert log.records(tmp_path) == []


def test_the_log_is_cut_back_to_the_checkpoint_and_a_line_half_written_is_left_out(tmp_path):
    run, net = opened(tmp_path)
    learned(run, net, 2)
    run.log({"step": 3, "loss": 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in log.records(tmp_path)] == [1, 2, 3]
    opened(tmp_path)
    assert [
        json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ] == [1, 2]


@pytest.mark.parametrize("line", ['{"step": 1, "lo', "[1, 2]", '{"loss": 2.0}', "\x00\x00"])
def test_a_damaged_log_is_named_with_its_line(tmp_path, line):
    learned(*opened(tmp_path), 1)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(line + "\n")
    for call in (log.records, opened):
        with pytest.raises(ValueError, match=r"log.jsonl:2 is damaged"):
            call(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "log.jsonl"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=ascii)
def test_what_an_editor_saved_with_a_byte_order_mark_says_the_same(tmp_path, name, ends):
    learned(*opened(tmp_path), 2)
    path = tmp_path / name
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", ends))
    assert [record["step"] for record in log.records(tmp_path)] == [1, 2]
    assert opened(tmp_path)[0].step == 2


@pytest.mark.parametrize("content", [b"", b'{"lr": 0.1', b"[]", b"\xff\xfe"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    learned(*opened(tmp_path), 1)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="config.json is damaged"):
        opened(tmp_path)


def test_a_folder_without_a_run_has_no_log_and_no_checkpoints(tmp_path):
    assert log.records(tmp_path) == checkpoints.checkpoints(tmp_path) == []


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "muon"}, {"lora": 2}], ids=["adamw", "muon", "lora"]
)
def test_a_head_of_its_own_is_trained_saved_and_loaded(tmp_path, changes):
    config = small(tmp_path, steps=2, **changes)
    vlm = model.load(config.model)
    head, embeddings = vlm.net.lm_head, vlm.net.model.language_model.embed_tokens
    vlm.net.config.tie_word_embeddings = False
    head.weight = torch.nn.Parameter(embeddings.weight.detach().flip(0).clone())
    model.save(vlm, tmp_path / "untied")
    made = weights(sft.train(replace(config, model=str(tmp_path / "untied"))))
    assert torch.equal(made[architecture.HEAD], made[architecture.EMBEDDINGS].flip(0)) == bool(
        changes.get("lora")
    )
    assert torch.equal(made[architecture.HEAD], head.weight.bfloat16().float()) == bool(
        changes.get("lora")
    )
    torch.testing.assert_close(made[architecture.HEAD], head.weight.detach(), atol=0.1, rtol=0)


def test_a_head_that_would_be_dropped_is_never_finished(tmp_path):
    settings = model.config("tiny", **NETWORK)
    changed = model.new(settings).net.state_dict()
    changed[architecture.HEAD] = changed[architecture.HEAD] + 1
    with pytest.raises(ValueError, match="what was trained: lm_head.weight and .* differ"):
        network.of_weights(settings, changed)

"""Predictions on disk: nothing asked twice, nothing lost, and scores from the files alone."""

import json
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_cli import vlm3
from tests.training import KILLED, PROCESSES, ended, join
from vlm3.disk import held
from vlm3.mixture import Source
from vlm3.scoring import evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.scoring.predictors import Predictor
from vlm3.sources.rooms import Rooms
from vlm3.views import Answer, NothingToAsk

SOURCE = """
[sources.rooms]
from = "vlm3.sources.rooms:Rooms"
arguments = { collection = "small", views = 1 }
task = "depth"
questions = 3
focal_px = 100
"""


def settings(folder: Path, **changes) -> Evaluation:
    """Of an evaluation in folder / "out", with its source beside it."""
    (folder / "mixture.toml").write_text(SOURCE)
    given = dict(
        source=str(folder / "mixture.toml"),
        out=folder / "out",
        samples=20,
        at_once=3,
        progress=False,
    )
    return Evaluation(**given | changes)


def source(items=None) -> Source:
    return Source(items or Rooms("small", views=1), "depth", 3, 100)


def truthful(asked: list | None = None, identity: str = "") -> Predictor:
    """Says what is true, and notes what it is asked."""

    def say(samples):
        if asked is not None:
            asked.extend(qa.question for sample in samples for qa in sample.qas)
        return [[Answer(qa.answer, (-0.1, -0.2)) for qa in sample.qas] for sample in samples]

    return Predictor(say, source(), identity)


def lines(out: Path) -> list[str]:
    return [
        line
        for path in sorted(out.glob("predictions-*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def test_perfect_answers_score_perfectly_and_are_all_on_disk(tmp_path):
    config = settings(tmp_path)
    scores = evaluate.evaluate(config, predictor=truthful())
    assert scores["delta_1"] == 1
    assert scores["questions"] == 60
    records = evaluate.predictions(config.out)
    assert [record["item"] for record in records] == list(range(20))
    assert records[0]["answers"][0].keys() == {
        "question",
        "kind",
        "about",
        "text",
        "logprob",
        "truth",
    }
    assert records[0]["answers"][0]["logprob"] == pytest.approx(-0.3)
    assert json.loads((config.out / "scores.json").read_text()) == scores


def test_scores_come_from_the_file_alone(tmp_path):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    (path,) = config.out.glob("predictions-*.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records[:10]:
        for answer in record["answers"]:
            answer["text"] = "1000 metres"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert evaluate.score(config.out)["delta_1"] == 0.5


def test_records_that_do_not_say_of_what_kind_a_question_was_are_refused(tmp_path):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    (path,) = config.out.glob("predictions-*.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        for answer in record["answers"]:
            assert answer.pop("kind") == "z"
            assert len(answer.pop("about")) == 1
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(ValueError, match=f"{config.out}: predictions of an earlier version"):
        evaluate.score(config.out)


def test_nothing_is_asked_twice_and_a_torn_line_is_asked_again(tmp_path):
    config, asked = settings(tmp_path), []
    scores = evaluate.evaluate(config, predictor=truthful(asked))
    assert len(asked) == 60
    assert evaluate.evaluate(config, predictor=truthful(asked)) == scores
    assert len(asked) == 60
    (path,) = config.out.glob("predictions-*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert evaluate.evaluate(config, predictor=truthful(asked)) == scores
    assert len(asked) == 63
    assert path.read_bytes() == whole


def test_a_damaged_line_is_named_with_its_file(tmp_path):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    (path,) = config.out.glob("predictions-*.jsonl")
    path.write_text("rubbish\n" + path.read_text())
    with pytest.raises(ValueError, match=r"predictions-0\.jsonl:1 is damaged"):
        evaluate.predictions(config.out)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"samples": 30}, "samples was 20, is 30"),
        ({"model": "constant"}, "model was 'tiny', is 'constant'"),
    ],
)
def test_another_configuration_does_not_mix_in(tmp_path, changes, named):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    before = lines(config.out)
    with pytest.raises(ValueError, match=named):
        evaluate.evaluate(replace(config, **changes), predictor=truthful())
    assert lines(config.out) == before


def test_other_weights_of_the_same_name_do_not_mix_in(tmp_path):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful(identity="a"))
    with pytest.raises(ValueError, match="weights was 'a', is 'b'"):
        evaluate.evaluate(config, predictor=truthful(identity="b"))


def test_the_questions_of_a_sample_do_not_depend_on_how_many_are_asked_at_once(tmp_path):
    together, alone = (settings(tmp_path, out=tmp_path / str(n), at_once=n) for n in (7, 1))
    for config in (together, alone):
        evaluate.evaluate(config, predictor=truthful())
    assert lines(together.out) == lines(alone.out)


class Bare:
    """Rooms of which every other one has nothing to ask about."""

    def __init__(self):
        self.rooms = Rooms("small", views=1)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int):
        if index % 2:
            raise NothingToAsk("empty")
        return self.rooms[index]


def test_samples_with_nothing_to_ask_about_are_done_with(tmp_path):
    config, asked = settings(tmp_path), []
    found = evaluate.evaluate(config, predictor=truthful(asked)._replace(source=source(Bare())))
    assert found["questions"] == len(asked) == 9
    assert len(lines(config.out)) == 6


@pytest.mark.parametrize(
    "name", ["predictions-0 (copy).jsonl", "predictions-1.jsonl", "predictions-0.old.jsonl"]
)
@pytest.mark.parametrize("kept", [20, 7, 0])
def test_a_copy_of_predictions_changes_no_score_nor_what_is_asked(tmp_path, name, kept):
    config, asked = settings(tmp_path), []
    scores = evaluate.evaluate(config, predictor=truthful())
    whole = lines(config.out)
    (config.out / name).write_text("".join(f"{line}\n" for line in whole[:kept]))
    assert (
        evaluate.evaluate(config, predictor=truthful(asked)) == evaluate.score(config.out) == scores
    )
    assert len(evaluate.pairs(config.out)) == 60
    assert not asked


@pytest.mark.parametrize("name", ["config.json", "predictions-0.jsonl"])
def test_what_an_editor_saved_with_a_byte_order_mark_has_the_same_scores(tmp_path, name):
    config = settings(tmp_path)
    scores = evaluate.evaluate(config, predictor=truthful())
    path = config.out / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert evaluate.score(config.out) == scores


@pytest.mark.parametrize("field", ["text", "truth", "question"])
def test_files_that_contradict_each_other_are_both_named(tmp_path, field):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    record = json.loads(lines(config.out)[3])
    record["answers"][0][field] = "5 m" if field != "truth" else 5.0
    (config.out / "predictions-9.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(
        ValueError,
        match=r"predictions-0\.jsonl and .*predictions-9\.jsonl hold different .* item 3",
    ):
        evaluate.score(config.out)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (20, "1 samples that were not asked for, such as item 20: remove"),
        (-1, "such as item -1: remove"),
        ("3", "item '3' is not a whole number"),
        (None, "item None is not"),
        ([1], r"item \[1\] is not"),
        (2.5, "item 2.5 is not"),
    ],
)
def test_predictions_about_what_was_not_asked_are_refused(tmp_path, item, message):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    foreign = json.loads(lines(config.out)[0]) | {"item": item}
    (config.out / "predictions-1.jsonl").write_text(json.dumps(foreign) + "\n")
    with pytest.raises(ValueError, match=message):
        evaluate.score(config.out)


@pytest.mark.parametrize("left", [[], [0], list(range(19)), list(range(1, 20)), [3, 7, 11]])
def test_fewer_samples_than_asked_have_no_score_and_are_counted(tmp_path, left):
    config = settings(tmp_path)
    evaluate.evaluate(config, predictor=truthful())
    (path,) = config.out.glob("predictions-*.jsonl")
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[item] for item in left))
    lacking = min(set(range(20)) - set(left))
    with pytest.raises(
        ValueError,
        match=f"lacks .* {20 - len(left)} of 20 samples, such as item {lacking}: the `vlm3",
    ):
        evaluate.score(config.out)


def test_a_source_with_less_than_the_samples_asked_for_is_scored_in_full(tmp_path):
    config = settings(tmp_path, samples=1000)
    evaluate.evaluate(config, predictor=truthful()._replace(source=source(Bare())))
    assert evaluate.score(config.out)["questions"] == 9


def test_a_second_start_is_refused_and_the_first_scores_all_it_asked(tmp_path):
    config, refused, first = settings(tmp_path), [], truthful()

    def say(samples):
        with pytest.raises(
            BlockingIOError, match=f"{config.out} is in use by process {os.getpid()}"
        ) as told:
            evaluate.evaluate(config, predictor=truthful())
        refused.append(str(told.value))
        assert evaluate.predictions(config.out) is not None  # looking needs no lock
        return first.predict(samples)

    assert evaluate.evaluate(config, predictor=first._replace(predict=say))["questions"] == 60
    assert len(refused) == 7
    assert len(lines(config.out)) == 20


@pytest.mark.parametrize(
    "command", [("evaluate", "--model", "constant"), ("train", "tiny")], ids=lambda c: c[0]
)
def test_a_command_in_a_held_folder_ends_with_code_2_and_one_line(
    tmp_path, monkeypatch, capsys, command
):
    with held(tmp_path):
        assert vlm3(monkeypatch, *command, "--out", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith(
        f"vlm3: {tmp_path} is in use by process {os.getpid()} on "
    )
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_evaluation_that_failed_goes_on_in_the_same_process(tmp_path):
    config = settings(tmp_path)

    def fail(samples):
        raise RuntimeError("no network today")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no network today"):
            evaluate.evaluate(config, predictor=truthful()._replace(predict=fail))
    assert evaluate.evaluate(config, predictor=truthful())["questions"] == 60


def test_a_torn_line_is_cut_off_in_place_so_that_whoever_still_writes_loses_nothing(tmp_path):
    path = tmp_path / "predictions-0.jsonl"
    path.write_bytes(b"whole\nto\xc3")
    with path.open("a") as other:
        evaluate._mend(path)
        other.write("another\n")
    assert path.read_bytes() == b"whole\nanother\n"


def _killed(config: Evaluation, dies_s: float) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def say(samples):
        with (config.out.parent / "asked").open("a") as file:
            file.writelines(f"{qa.question}\n" for sample in samples for qa in sample.qas)
        return [[Answer(qa.answer, (0.0,)) for qa in sample.qas] for sample in samples]

    signal.setitimer(signal.ITIMER_PROF, dies_s)
    evaluate.evaluate(config, predictor=Predictor(say, source()))


def test_what_was_killed_at_random_moments_goes_on_and_loses_at_most_what_was_being_answered(
    tmp_path, rng
):
    config, kills, codes = settings(tmp_path), 8, set()
    for _ in range(kills):
        process = PROCESSES.Process(target=_killed, args=(config, rng.uniform(0.005, 0.06)))
        process.start()
        codes.add(ended(process))
    assert -KILLED in codes
    scores = evaluate.evaluate(config, predictor=truthful())
    undisturbed = evaluate.evaluate(
        replace(config, out=tmp_path / "undisturbed"), predictor=truthful()
    )
    assert scores == undisturbed
    items = [json.loads(line)["item"] for line in lines(config.out)]
    assert sorted(items) == list(range(20))
    asked = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    assert len(asked) <= 60 + kills * config.at_once * 3


def _one_of(config: Evaluation, rank: int, world: int, port: int) -> None:
    join(rank, world, port)
    evaluate.evaluate(config)


def together(config: Evaluation, world: int) -> list[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        PROCESSES.Process(target=_one_of, args=(config, rank, world, port)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    return [ended(process) for process in processes]


def test_one_two_and_four_processes_give_the_same_scores(tmp_path):
    config = settings(tmp_path, samples=8)
    scores = evaluate.evaluate(config)
    for world in (2, 4):
        shared = replace(config, out=tmp_path / f"of-{world}")
        assert together(shared, world) == [0] * world
        assert len(list(shared.out.glob("predictions-*.jsonl"))) == world
        assert json.loads((shared.out / "scores.json").read_text()) == scores


def test_another_number_of_processes_goes_on_where_the_first_stopped(tmp_path):
    config = settings(tmp_path, samples=8)
    whole = evaluate.evaluate(config)
    path = config.out / "predictions-0.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert together(config, 2) == [0, 0]
    assert json.loads((config.out / "scores.json").read_text()) == whole
    assert len(lines(config.out)) == 8


def test_a_held_folder_refuses_all_processes_that_work_as_one(tmp_path):
    config = settings(tmp_path, samples=8)
    with held(config.out):
        assert together(config, 2) == [1, 1]
    assert not (config.out / "config.json").exists()
    assert together(config, 2) == [0, 0]


def test_a_mixture_without_one_source_of_the_task_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"must have one source of pose; its sources are rooms \(depth\)"
    ):
        evaluate.evaluate(settings(tmp_path, task="pose"), predictor=truthful())


def test_a_source_without_questions_is_refused(tmp_path):
    class Empty(Bare):
        def __getitem__(self, index):
            raise NothingToAsk("empty")

    with pytest.raises(ValueError, match="gave no question"):
        evaluate.evaluate(settings(tmp_path), predictor=truthful()._replace(source=source(Empty())))


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="samples must be 1 or more, got 0"):
        settings(tmp_path, samples=0)
    with pytest.raises(ValueError, match="no task 'deptj'"):
        settings(tmp_path, task="deptj")


def test_a_score_that_left_its_recorded_value_is_named():
    evaluate.agrees({"delta_1": 0.52}, {"delta_1": 0.5}, {"delta_1": 0.03})
    with pytest.raises(ValueError, match=r"delta_1 is 0\.6, recorded was 0\.5"):
        evaluate.agrees({"delta_1": 0.6}, {"delta_1": 0.5}, {"delta_1": 0.03})
    with pytest.raises(ValueError, match="abs_rel is nan"):
        evaluate.agrees({"abs_rel": float("nan")}, {"abs_rel": 0.5}, {"abs_rel": 0.03})

"""Questions and answers in the files of others, and back: the same numbers on both sides."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.test_bootstrap import folder
from tests.test_cli import vlm3
from tests.test_depthlm import DEPTHVLM
from tests.test_depthlm import folder as label_files
from vlm3 import mixture, tasks
from vlm3.geometry import invert
from vlm3.mixture import Source
from vlm3.scoring import blind, compare, evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.scoring.harness import da3, depthvlm, lmms
from vlm3.sources.depthlm import Depthlm
from vlm3.sources.rooms import Rooms
from vlm3.tasks.pose import fields_of

ROOMS = "\n".join(
    f"""
[sources.{task}]
from = "vlm3.sources.rooms:Rooms"
arguments = {{ collection = "small", views = {tasks.get(task).views}, split = "test" }}
task = "{task}"
questions = 4
focal_px = 100
"""
    for task in lmms.NAMES
)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> tuple[Path, Path]:
    """A mixture of four tasks, and its questions as tasks of lmms-eval."""
    root = tmp_path_factory.mktemp("rooms")
    (root / "rooms.toml").write_text(ROOMS)
    config = Evaluation(source=str(root / "rooms.toml"), samples=3)
    lmms.write(lmms.sources(config), config, root / "lmms")
    return root / "rooms.toml", root / "lmms"


def answered(source: Path, task: str, out: Path, monkeypatch) -> Path:
    """Predictions of ours: right, wrong, and none that can be read."""
    config = Evaluation(task, str(source), "constant", out, samples=3, progress=False)
    monkeypatch.setattr("vlm3.scoring.predictors.constant.LOOKED_AT", 3)
    evaluate.evaluate(config)
    path = out / "predictions-0.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    truths = [qa.answer for _, s in made(source, task) for qa in s.qas]
    for n, answer in enumerate(a for r in records for a in r["answers"]):
        answer["text"] = (truths[n], answer["text"], "I see nothing")[n % 5 // 2]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return out


def made(source: Path, task: str) -> list:
    config = Evaluation(task, str(source), samples=3)
    return list(evaluate.samples(evaluate.named(config), iter(range(3)), 0))


def functions(folder: Path):
    """The file of functions of a folder, as lmms-eval imports it."""
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(path: Path) -> dict:
    """A file of a task of lmms-eval, with the files that it includes and with its functions."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader, node):
        module, _, name = loader.construct_scalar(node).partition(".")
        assert module == "utils"
        return getattr(functions(path.parent), name)

    Loader.add_constructor("!function", function)
    found = yaml.load(path.read_text(), Loader)
    common = found.pop("include", None)
    return (parsed(path.parent / common) if common else {}) | found


@pytest.mark.parametrize("task", lmms.NAMES)
def test_a_task_of_lmms_eval_gives_our_scores_of_the_same_answers(
    task, rooms, tmp_path, monkeypatch, rng
):
    source, root = rooms
    out, config = (
        answered(source, task, tmp_path / "out", monkeypatch),
        parsed(root / f"vlm3_{task}.yaml"),
    )
    texts = [a["text"] for r in evaluate.predictions(out) for a in r["answers"]]
    data = root / config["dataset_kwargs"]["data_files"]["test"]
    docs = [json.loads(line) for line in data.read_text().splitlines()]
    assert len(texts) == len(docs)
    assert [config["doc_to_text"](d, {}) for d in docs] == [
        a["question"] for r in evaluate.predictions(out) for a in r["answers"]
    ]
    found = [config["process_results"](d, [t.strip()]) for d, t in zip(docs, texts, strict=True)]
    # lmms-eval adds up what stands below this name.
    assert not any("score" in each for answer in found for each in answer.values())
    found = [found[k] for k in rng.permutation(len(found))]  # as several processes bring them
    scores = evaluate.score(out)
    assert list(found[0]) == [metric["metric"] for metric in config["metric_list"]]
    for metric in config["metric_list"]:
        name = metric["metric"]
        got = metric["aggregation"]([each[name] for each in found])
        assert got == pytest.approx(scores[name], nan_ok=True), name
        assert metric["higher_is_better"] == (compare.sign(tasks.get(task), name) > 0), name
    assert scores["parsed"] < 1
    assert tasks.get(task).headline in [metric["metric"] for metric in config["metric_list"]]


@pytest.mark.parametrize("task", lmms.NAMES)
def test_lmms_eval_is_shown_what_we_show(task, rooms):
    source, root = rooms
    config = parsed(root / f"vlm3_{task}.yaml")
    docs = [json.loads(line) for line in (root / f"{task}.jsonl").read_text().splitlines()]
    for item, sample in made(source, task):
        doc = next(doc for doc in docs if doc["item"] == item)
        shown = config["doc_to_visual"](doc)
        assert len(shown) == len(sample.views)
        for picture, view in zip(shown, sample.views, strict=True):
            assert np.array_equal(np.array(picture), view.image)
            # what smart_resize of Qwen leaves alone, between the pixels that the command sets
            assert all(side % 32 == 0 for side in picture.size)
            assert lmms.LEAST <= picture.size[0] * picture.size[1] <= lmms.MOST


def test_words_may_stand_around_a_question(rooms):
    _, root = rooms
    doc = json.loads((root / "depth.jsonl").read_text().splitlines()[0])
    around = {"pre_prompt": "Look. ", "post_prompt": " In metres."}
    asked = functions(root).question(doc, around)
    assert asked == f"Look. {doc['question']} In metres."


def test_views_that_lmms_eval_would_resize_are_refused(tmp_path):
    tiny = Source(Rooms("small", views=1, split="test"), "depth", 2, focal_px=30)
    with pytest.raises(ValueError, match="would be resized"):
        lmms.write({"depth": tiny}, Evaluation(samples=1), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(FileExistsError, match="holds something already"):
        lmms.write({}, Evaluation(), tmp_path / "full")


@pytest.mark.parametrize("task", lmms.NAMES)
def test_answers_that_lmms_eval_wrote_down_are_held_against_ours(
    task, rooms, tmp_path, monkeypatch, capsys
):
    source, root = rooms
    out = answered(source, task, tmp_path / "out", monkeypatch)
    texts = [a["text"] for r in evaluate.predictions(out) for a in r["answers"]]
    samples = tmp_path / f"20260101_samples_vlm3_{task}.jsonl"
    # One answer is written as text, or in a list.
    forms = [text if k % 2 else [text] for k, text in enumerate(texts)]
    lines = [json.dumps({"doc_id": k, "filtered_resps": f}) for k, f in enumerate(forms)]
    samples.write_text("\n".join(lines[::-1]) + "\n")
    words = [str(root), str(samples), "--out", str(tmp_path / "theirs"), "--model", "Qwen"]
    assert vlm3(monkeypatch, "exchange", "from-lmms-eval", *words) == 0
    ours, theirs = compare.opened([out, tmp_path / "theirs"])
    assert theirs.model == "Qwen"
    assert theirs.scores == pytest.approx(ours.scores, nan_ok=True)
    assert theirs.about == ours.about
    assert compare.alike(ours.questions, theirs.questions)
    samples.write_text("\n".join(lines[:-1]) + "\n")
    assert vlm3(monkeypatch, "exchange", "from-lmms-eval", *words[:3], str(tmp_path / "few")) == 2
    assert "evaluate without --limit" in capsys.readouterr().err
    words[1] = str(tmp_path / "nowhere.jsonl")
    assert vlm3(monkeypatch, "exchange", "from-lmms-eval", *words) == 2
    assert "no such file of --log_samples" in capsys.readouterr().err


def test_lmms_evals_own_code_takes_the_tasks(rooms, monkeypatch):
    pytest.importorskip("lmms_eval")
    from lmms_eval.tasks import TaskManager, get_task_dict

    found = TaskManager("ERROR", include_path=[str(rooms[1])], include_defaults=False)
    assert found.all_tags == ["vlm3"]
    for name, task in get_task_dict(["vlm3_depth", "vlm3_pose"], found).items():
        docs = task.test_docs()
        got = [task.process_results(doc, [task.doc_to_target(doc)]) for doc in docs]
        aggregated = task.aggregation()["parsed"]([each["parsed"] for each in got])
        assert aggregated == 1, name


def test_the_command_writes_a_folder_and_says_how_it_is_used(rooms, tmp_path, monkeypatch, capsys):
    words = [str(tmp_path / "out"), "--source", str(rooms[0]), "--samples", "1"]
    assert vlm3(monkeypatch, "exchange", "lmms-eval", *words) == 0
    said = capsys.readouterr().out
    assert f"--include_path {tmp_path / 'out'} --tasks vlm3_correspondence,vlm3_depth" in said
    assert "max_pixels=16777216" in said
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"utils.py", "vlm3_common", "vlm3_pose.yaml", "pose.jsonl", "images"} <= kept


def depth_asked(items: Depthlm | Rooms, out: Path, origin: dict, focal_px: float = 100.0) -> Path:
    source = Source(items, "depth", 20, focal_px, origin=origin)
    config = Evaluation("depth", "toy", "constant", out, samples=len(items), progress=False)
    evaluate.evaluate(replace(config, samples=min(2, len(items))), source)
    return out


@pytest.fixture
def dense(tmp_path) -> Path:
    arguments = {"collection": "small", "views": 1, "split": "test"}
    origin = {"from": "vlm3.sources.rooms:Rooms", "arguments": arguments}
    return depth_asked(Rooms(**arguments), tmp_path / "dense", origin)


def test_predictions_that_are_not_finished_do_not_go_anywhere(dense, rng, tmp_path):
    answers = [[(kind, "", {"distance_m": 1.0, "pair": "0"}) for kind in ("distance",)]] * 3
    poses_of = folder(tmp_path / "poses", "pose", answers)
    for out, write in ((dense, depthvlm.write), (poses_of, da3.write)):
        lines = (out / "predictions-0.jsonl").read_text().splitlines(keepends=True)
        (out / "predictions-0.jsonl").write_text("".join(lines[:-1]))
        with pytest.raises(
            ValueError, match=f"lacks the predictions of 1 of .*evaluate --out {out}"
        ):
            write(out, tmp_path / "gone")
        assert not (tmp_path / "gone").exists()


def test_depth_goes_to_depthvlm_bench_and_back_pixel_by_pixel(dense, tmp_path, monkeypatch, capsys):
    bench = tmp_path / "bench"
    assert vlm3(monkeypatch, "exchange", "depthvlm", str(dense), "--out", str(bench)) == 0
    source = mixture.Mixture({"toy": Source(Depthlm(bench), "depth")}).sources["toy"]
    for item, record in enumerate(evaluate.predictions(dense)):
        view, room = source.items[item], Rooms("small", views=1, split="test")[item][0]
        truths = [answer["truth"] for answer in record["answers"]]
        assert view.points[:, 2].tolist() == truths
        # Each label stands in the middle of the very pixel that was asked about.
        columns, rows = view.points[:, :2].astype(int).T
        assert room.depth_m[rows, columns].tolist() == truths
        assert (view.points[:, :2] % 1 == 0.5).all()
        assert view.camera.fx == pytest.approx(100)
    maps, again = bench / depthvlm.MAPS, tmp_path / "again"
    words = [str(maps), "--like", str(dense), "--out", str(again), "--model", "theirs"]
    assert vlm3(monkeypatch, "exchange", "from-depthvlm", *words) == 0
    ours, theirs = compare.opened([dense, again])
    assert theirs.scores["delta_1"] == ours.scores["delta_1"]
    assert theirs.scores["abs_rel"] == pytest.approx(ours.scores["abs_rel"], rel=1e-5)
    assert compare.alike(ours.questions, theirs.questions)
    rows = [json.loads(line) for line in (bench / "results" / "test_eval_results.jsonl").open()]
    # As many questions of each image, so the mean over images is that over questions.
    assert np.mean([row["delta1"] for row in rows]) == pytest.approx(ours.scores["delta_1"])
    assert vlm3(monkeypatch, "exchange", "from-depthvlm", str(dense), *words[1:4], "x") == 2
    assert "no NAME_pred.npy" in capsys.readouterr().err


def test_a_map_over_the_photo_is_read_where_the_photo_shows_the_labelled_place(tmp_path):
    labels = label_files(tmp_path, DEPTHVLM)
    origin = {"from": "vlm3.sources.depthlm:Depthlm", "arguments": {"root": str(labels)}}
    like = depth_asked(Depthlm(labels), tmp_path / "like", origin, focal_px=70.0)
    (tmp_path / "depth_maps").mkdir()
    width, height = DEPTHVLM["canonical_size"]
    # Its own pixel tells the value of each: column + row / 1000.
    metres = np.arange(width) + np.arange(height)[:, None] / 1000 + 1
    np.save(tmp_path / "depth_maps" / "room_b_pred.npy", metres.astype(np.float32))
    depthvlm.read(tmp_path / "depth_maps", like, tmp_path / "out")
    said = {truth: value for value, truth in evaluate.pairs(tmp_path / "out")}
    for (column, row), truth in zip(DEPTHVLM["pixel_coords"], DEPTHVLM["depth"], strict=True):
        # Centres of the 16x12 labels, over a map of another size.
        x, y = int((column + 0.5) / 16 * width), int((row + 0.5) / 12 * height)
        assert said[truth] == pytest.approx(x + y / 1000 + 1, abs=1e-3)


def poses(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 4, 4) cam_from_world."""
    found = np.tile(np.eye(4), (n, 1, 1))
    for pose in found:
        pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        pose[:3, :3] *= np.linalg.det(pose[:3, :3])
        pose[:3, 3] = rng.normal(size=3)
    return found


def results(root: Path, scene: str, predicted: np.ndarray, truth: np.ndarray) -> None:
    place = root / "model_results" / "eth3d" / scene / "unposed"
    (place / da3.PREDICTED).parent.mkdir(parents=True)
    np.savez(place / da3.PREDICTED, extrinsics=predicted[:, :3], depth=np.zeros((1, 2, 2)))
    names = np.array(["a.jpg"] * len(truth), dtype=object)
    np.savez(place / da3.TRUTH, extrinsics=truth, intrinsics=truth[:, :3, :3], image_files=names)


def test_poses_of_da3_bench_are_those_of_all_pairs_whatever_the_world_is(rng, tmp_path):
    truth, world = poses(rng, 4), poses(rng, 1)[0]
    results(tmp_path, "pipes", truth @ world, truth)
    scaled = truth.copy()
    scaled[:, :3, 3] *= 3  # a scale of its own
    results(tmp_path, "office", scaled, truth)
    assert da3.read(tmp_path, tmp_path / "out") == 12
    scores = evaluate.score(tmp_path / "out")
    assert scores["auc_5"] == pytest.approx(1)
    assert scores["rotation_error_deg"] < 1e-3
    assert scores["direction_error_signed_deg"] < 1e-3
    assert evaluate.scenes(tmp_path / "out").tolist() == [0] * 6 + [1] * 6
    da3.read(tmp_path, tmp_path / "metric", metric=True)
    assert evaluate.score(tmp_path / "metric")["distance_25"] == 0.5
    with pytest.raises(FileExistsError, match="holds something already"):
        da3.read(tmp_path, tmp_path / "out")


def test_an_error_of_da3_bench_is_as_large_as_it_was_made(rng, tmp_path):
    truth = poses(rng, 2)
    turn = np.eye(4)
    c, s = np.cos(np.radians(7)), np.sin(np.radians(7))
    turn[:2, :2] = [[c, -s], [s, c]]
    predicted = np.stack([truth[0], turn @ truth[1]])  # camera 2 rolls by 7 degrees where it stands
    results(tmp_path, "pipes", predicted, truth)
    da3.read(tmp_path, tmp_path / "out")
    scores = evaluate.score(tmp_path / "out")
    assert scores["rotation_error_deg"] == pytest.approx(7, abs=1e-3)
    assert scores["direction_error_deg"] == pytest.approx(0, abs=1e-3)


def test_files_that_are_not_of_da3_bench_are_refused(rng, tmp_path):
    with pytest.raises(FileNotFoundError, match="no DATA/SCENE/unposed"):
        da3.read(tmp_path, tmp_path / "out")
    results(tmp_path, "pipes", poses(rng, 3), poses(rng, 2))
    with pytest.raises(ValueError, match="3 poses predicted, 2 true ones"):
        da3.read(tmp_path, tmp_path / "out")
    depth = folder(tmp_path / "depth", "depth", [[("z", "2", 2.0)]])
    with pytest.raises(ValueError, match="poses, not depth"):
        da3.write(depth, tmp_path / "results")


def test_poses_go_to_da3_bench_and_back(rooms, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(blind, "LOOKED_AT", 4)
    config = Evaluation("pose", str(rooms[0]), "mean_motion", tmp_path / "ours", samples=3)
    evaluate.evaluate(replace(config, progress=False))
    ours = evaluate.score(tmp_path / "ours")
    words = [str(tmp_path / "ours"), "--out", str(tmp_path / "results")]
    assert vlm3(monkeypatch, "exchange", "da3", *words) == 0
    assert "3 pairs, 0 left out" in capsys.readouterr().out
    words = [str(tmp_path / "results"), "--out", str(tmp_path / "back"), "--metric"]
    assert vlm3(monkeypatch, "exchange", "from-da3", *words) == 0
    back = evaluate.score(tmp_path / "back")
    for name in ("auc_30", "rotation_error_deg", "direction_error_signed_deg", "distance_abs_rel"):
        assert back[name] == pytest.approx(ours[name], rel=1e-3), name
    file = next((tmp_path / "results").rglob("gt_meta.npz"))
    found = np.load(file)
    view1, view2 = evaluate.named(config).views(int(file.parents[2].name))
    assert np.allclose(found["intrinsics"][0][0, 2], view1.camera.cx - 0.5)
    true = invert(found["extrinsics"][1])
    expected = invert(view1.world_from_cam) @ view2.world_from_cam
    assert np.allclose(true, expected, atol=1e-5)
    assert fields_of(true)["distance_m"] == pytest.approx(fields_of(expected)["distance_m"])


def test_a_picture_of_a_doc_is_rgb_whatever_the_file_is(rooms):
    _, root = rooms
    doc = json.loads((root / "depth.jsonl").read_text().splitlines()[0])
    assert functions(root).views(doc)[0].mode == Image.open(root / doc["images"][0]).mode == "RGB"

"""`vlm3 data`: what it prints about folders, how it ends, and the pictures that it draws."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import walls, worlds
from vlm3.pages import sheets
from vlm3.sources.curation.splits import load
from vlm3.sources.rooms import Rooms
from vlm3.sources.shards import Shards
from vlm3.terminal import cli
from vlm3.terminal.data import options
from vlm3.views import Box, View, points_of


def write(folder: Path, views: list[View]) -> Path:
    """Views as `Rgbd` reads them, all of one camera."""
    for k, view in enumerate(views):
        stem = folder / f"frame-{k:06}"
        worlds.save(view.image, stem.with_suffix(".color.png"))
        worlds.save(np.round(1000 * view.depth_m).astype(np.uint16), stem.with_suffix(".depth.png"))
        np.savetxt(stem.with_suffix(".pose.txt"), view.world_from_cam)
    c = views[0].camera
    np.savetxt(
        folder / "camera-intrinsics.txt", [[c.fx, 0, c.cx - 0.5], [0, c.fy, c.cy - 0.5], [0, 0, 1]]
    )
    return folder


@pytest.fixture(scope="module")
def homes(tmp_path_factory) -> str:
    """A folder of three rooms, four frames in each."""
    root, rooms = tmp_path_factory.mktemp("homes"), Rooms("homes", "train", views=4)
    for k in range(3):
        write(root / f"room{k}", [*rooms[k]])
    return str(root)


@pytest.fixture
def data(monkeypatch, capsys):
    """Runs `vlm3 data ...`; returns its exit code, what it printed, and what it complained of."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vlm3", "data", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code), said.out, said.err

    return run


def test_a_good_folder_is_counted_and_nothing_seems_wrong(data, homes, tmp_path):
    picture = tmp_path / "sheet.png"
    code, said, _ = data("check", "rgbd", homes, "--n", "12", "--save", picture)
    assert code == 0
    rows = {line.split()[0]: line for line in said.splitlines()}
    assert "12 frames of 3 scenes; 12 looked at" in rows["rgbd"]
    assert "12 with poses, 12 with dense depth, 0 with points, 0 with boxes" in rows["labels"]
    assert "px" in rows["focal"]
    assert " m, in the middle " in rows["depth"]
    assert "pairs: the same points look 0." in rows["views"]
    assert "depths by 0." in rows["apart"]
    assert "places by " in rows["apart"]
    assert said.splitlines()[-2:] == ["nothing seems wrong", f"saved {picture}"]
    assert Image.open(picture).size[0] > 1000
    assert list(tmp_path.iterdir()) == [picture]


def test_what_is_found_is_said_and_ends_with_one(data, tmp_path):
    rooms = Rooms("homes", "train", views=4)
    for k in range(3):
        views = [
            replace(v, world_from_cam=v.world_from_cam @ np.diag([1.0, -1, -1, 1]))
            for v in rooms[k]
        ]
        write(tmp_path / f"room{k}", views)
    code, said, _ = data("check", "rgbd", tmp_path, "--n", "6")
    assert code == 1
    (line,) = (line for line in said.splitlines() if line.startswith("FOUND"))
    assert "OpenGL: flip the axes y and z" in line
    assert "nothing seems wrong" not in said


def test_broken_frames_are_found_and_the_sheet_is_drawn_without_them(data, tmp_path):
    write(tmp_path / "in", [*Rooms("homes", "train", views=4)[0]])
    (tmp_path / "in" / "frame-000001.color.png").write_bytes(b"\x89PNG\r\n")
    picture = tmp_path / "sheet.jpg"
    code, said, complaint = data("check", "rgbd", tmp_path / "in", "--save", picture)
    assert (code, complaint) == (1, "")
    assert "FOUND 1 frames cannot be read, such as frame-000001" in said
    assert picture.is_file()


def test_a_folder_of_nothing_but_broken_frames_is_said_to_be_one(data, tmp_path):
    write(tmp_path, [*Rooms("homes", "train", views=2)[0]])
    for photo in tmp_path.glob("*.color.png"):
        photo.write_bytes(b"")
    code, said, complaint = data("check", "rgbd", tmp_path)
    assert (code, complaint) == (1, "")
    assert "2 frames of 1 scenes; 0 looked at" in said
    assert "FOUND 2 frames cannot be read" in said


def test_single_views_are_said_to_tell_little(data, homes, tmp_path):
    for path in Path(homes, "room0").glob("frame-00000*.color.png"):
        worlds.save(np.array(Image.open(path)), tmp_path / path.name)
    intrinsics = Path(homes, "room0", "camera-intrinsics.txt")
    (tmp_path / intrinsics.name).write_text(intrinsics.read_text())
    code, said, _ = data("check", "rgbd", tmp_path)
    assert code == 0
    assert "0 with poses, 0 with dense depth" in said
    assert "none that show the same and know their pose and depth" in said
    assert "nothing seems wrong, as far as single views tell" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "kinect", "HOMES"], "no reader of 'kinect'; there are argoverse2, "),
        (["check", "rgbd", "absent"], "absent: no such folder; give the one with frame-0000"),
        (["check", "rgbd", "HOMES", "--scenes", "attic"], "no scene 'attic'; its 3 scenes are"),
        (["check", "rgbd", "HOMES", "--option", "objects=iphone"], "an option is name=value"),
        (["check", "rgbd", "HOMES", "--option", "objects"], "such as part='\"iphone\"', got 'obj"),
        (["check", "rgbd", "HOMES", "--option", "colour=3"], "rgbd: "),
        (["check", "rgbd", "HOMES", "--option", "colour=3"], "options are scenes, frames, objects"),
        (["check", "rgbd", "HOMES", "--n", "0"], "--n must be 1 or more, got 0"),
        (["check", "rgbd", "HOMES", "--save", "nowhere/a.png"], "there is no folder nowhere"),
        (["check", "no.such:Reader", "HOMES"], "no.such:Reader: No module named 'no'"),
        (["check", "no.such:Reader", "HOMES"], "is its folder on PYTHONPATH?"),
        (["check", "tests.walls:Absent", "HOMES"], "tests.walls:Absent: "),
        (["split", "rgbd", "HOMES", "--share", "1.5"], "share must lie between 0 and 1, got 1.5"),
        (["pack", "rgbd", "HOMES", "--focal-px", "-3", "--out", "OUT"], "-3"),
        (["passes", "no-mixture", "--samples", "9"], "no-mixture: no such mixture; give a TOML"),
    ],
)
def test_bad_input_ends_in_one_line_and_two(data, homes, tmp_path, words, message):
    places = {"HOMES": homes, "OUT": str(tmp_path / "out")}
    code, said, complaint = data(*(places.get(word, word) for word in words))
    assert code == 2
    *bars, line = complaint.removesuffix("\n").split("\n")  # of progress
    assert all("shard/s" in bar for bar in bars)
    assert line.startswith("vlm3: ")
    assert message in line
    assert "saved" not in said


def test_options_are_values_as_in_toml():
    words = ("objects=[1, 9, 1]", 'part="iphone"', "most=3", "half=true")
    assert options(words) == {"objects": [1, 9, 1], "part": "iphone", "most": 3, "half": True}
    assert options(()) == {}


def test_an_option_reaches_the_reader(data, homes):
    code, said, _ = data("check", "rgbd", homes, "--option", "frames=[1, 3]", "--n", "2")
    assert code == 0
    assert "6 frames of 3 scenes; 2 looked at" in said
    assert (
        "4 frames of 1 scenes" in data("check", "rgbd", homes, "--scenes", "room1", "--n", "1")[1]
    )


def test_pairs_are_counted_and_their_index_is_kept(data, homes, tmp_path):
    path = tmp_path / "pairs"
    words = ("pairs", "rgbd", homes, "--index", path, "--processes", "1")
    code, said, _ = data(*words)
    assert code == 0
    lines = said.splitlines()
    count = int(lines[0].split()[0])
    assert lines[0] == f"{count} pairs of 12 frames"
    assert 3 < count <= 18
    assert lines[1].startswith("angle_deg: ")
    assert lines[1].split(", ")[0].endswith("degrees")
    assert lines[2].startswith("distance_m: ")
    assert lines[-1] == f"saved {path}"
    rows = [json.loads(line) for line in (path / "pairs.jsonl").read_text().splitlines()]
    assert sum(len(row.get("pairs", [row])) for row in rows) >= count
    assert data(*words)[1].splitlines()[-1] == f"there already: {path}"


def test_a_folder_without_pairs_has_none_and_that_is_no_error(data, tmp_path):
    views = Rooms("homes", "train", views=2)[0]
    apart = [replace(v, world_from_cam=worlds.facing(90 * k, 0, 0, 0)) for k, v in enumerate(views)]
    write(tmp_path / "in", apart)
    code, said, complaint = data("pairs", "rgbd", tmp_path / "in", "--processes", "1")
    assert (code, complaint.count("Error")) == (0, 0)
    assert said.splitlines()[0] == "0 pairs of 2 frames"


def test_a_split_divides_scenes_and_is_clean(data, homes, tmp_path):
    out = tmp_path / "split.json"
    code, said, _ = data("split", "rgbd", homes, "--out", out, "--share", "0.3")
    assert code == 0
    assert "train: 8 frames of 2 scenes\ntest: 4 frames of 1 scenes\n" in said
    assert "8 x 4 photographs compared" in said
    assert said.splitlines()[-1] == "0 near-duplicates, 0 places on both sides"
    sides = load(out)
    assert len(sides["train"]["rgbd"]) == 2
    assert {*sides["train"]["rgbd"], *sides["test"]["rgbd"]} == {"room0", "room1", "room2"}


def test_a_split_with_near_duplicates_ends_with_one(data, tmp_path):
    views = [*Rooms("homes", "train", views=2)[0]]
    for folder in ("a", "b"):
        write(tmp_path / "in" / folder, views)
    words = ("split", "rgbd", tmp_path / "in", "--out", tmp_path / "s.json")
    code, said, _ = data(*words, "--share", "0.5")
    assert code == 1
    found = [line for line in said.splitlines() if line.startswith("FOUND")]
    assert len(found) == 2
    assert all("is nearly" in line and "0 of 64 bits differ" in line for line in found)
    code, said, _ = data(*words, "--share", "0.5", "--no-check")
    assert code == 0
    assert "compared" not in said


def test_one_scene_cannot_be_divided_and_no_split_is_left(data, homes, tmp_path):
    out = tmp_path / "split.json"
    code, said, complaint = data("split", "rgbd", Path(homes, "room0"), "--out", out)
    assert (code, said) == (2, "")
    assert "all is one scene, which cannot be divided" in complaint
    assert not out.exists()


def test_packed_shards_hold_all_frames_at_the_focal_length(data, homes, tmp_path):
    words = ("--out", tmp_path / "out", "--focal-px", "80", "--per-shard", "5", "--points", "50")
    code, said, _ = data("pack", "rgbd", homes, *words, "--terms", "made")
    assert code == 0
    assert said.splitlines()[-1] == f"saved {tmp_path / 'out'}"
    shards = Shards(str(tmp_path / "out"))
    assert len(shards) == 12
    assert shards[0].camera.fx == pytest.approx(80)
    assert len(shards[0].points) <= 50
    assert len([*(tmp_path / "out").glob("*.parquet")]) == 3


def test_passes_count_how_often_a_run_goes_through_a_source(data, tmp_path):
    walls.write_frames(tmp_path / "frames", 3)
    file = tmp_path / "mixture.toml"
    made = 'from = "{}"\ntask = "depth"\nfocal_px = 80\narguments = {}\n'
    file.write_text(
        'weights = "uniform"\n[sources.few]\n'
        + made.format("vlm3.sources.rgbd:Rgbd", f'{{root = "{tmp_path}/frames"}}')
        + "[sources.many]\n"
        + made.format("tests.walls:Made", "{size = 100}")
    )
    code, said, _ = data("passes", file, "--samples", "60")
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["source", "items", "samples", "passes"]
    assert lines[1] == ["few", "3", "30", "10"]
    assert lines[2] == ["many", "100", "30", "0.3"]
    assert said.splitlines()[3].startswith("few: each item comes 10 times")
    assert len(lines) == 4


def colours(figure) -> np.ndarray:
    """(H, W, 3) of a figure as it is drawn."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


@pytest.mark.parametrize("labels", ["points", "depth_m", "boxes"])
def test_a_sheet_shows_labels_on_the_photograph(labels):
    plain = Rooms("homes", "train", views=2)[0][0]
    plain = View(plain.image, plain.camera)
    depth_m = Rooms("homes", "train", views=2)[0][0].depth_m
    known = {
        "points": points_of(depth_m)[::40],
        "depth_m": depth_m,
        "boxes": (Box(10, 12, 50, 60, "a crate"),),
    }
    drawn = sheets.sheet([replace(plain, **{labels: known[labels]})], ["a photograph"], [])
    assert drawn.axes[0].get_title() == "a photograph"
    without = colours(sheets.sheet([plain], ["a photograph"], []))
    changed = (np.abs(colours(drawn) - without).max(-1) > 20).mean()
    assert changed > 0.003
    words = [text.get_text() for text in drawn.axes[0].texts]
    assert ("a crate" in " ".join(words)) == (labels == "boxes")


def test_near_places_are_lighter_than_far_ones():
    view = View(np.full((60, 80, 3), 90, np.uint8), worlds.room(80, 60, 60)[0].camera)
    depth_m = np.tile(np.linspace(1, 8, 80, dtype=np.float32), (60, 1))
    for known in ({"depth_m": depth_m}, {"points": points_of(depth_m)}):
        (ax, *_) = sheets.sheet([replace(view, **known)], [""], []).axes
        drawn = colours(ax.figure)
        x0, y0, x1, y1 = ax.get_window_extent().extents.astype(int)
        middle = drawn[len(drawn) - (y0 + y1) // 2, x0:x1].mean(-1)
        assert middle[4:30].mean() > middle[-30:-4].mean() + 20


def test_a_pair_stands_below_the_photographs_and_one_is_carried_into_the_other():
    first, second = Rooms("homes", "train", views=2)[1]
    figure = sheets.sheet([first, second], ["one", "two"], [(first, second)])
    assert len(figure.axes) == 6
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["one", "two", "", "view 1", "view 1, carried into view 2", "view 2"]
    shown = figure.axes[4].images[0].get_array()
    assert shown.shape == second.image.shape


def test_a_view_that_is_carried_over_looks_like_the_other_where_labels_are_right():
    first, second = Rooms("homes", "train", views=2)[1]

    def off(one: View, two: View) -> float:
        picture = sheets.carried(one, two).astype(int)
        filled = (picture != 255).any(-1)
        assert filled.mean() > 0.2
        return float(np.median(np.abs(picture - two.image)[filled]))

    assert off(first, second) < 12
    wrong = replace(first, world_from_cam=second.world_from_cam)
    assert off(wrong, second) > 2 * off(first, second) + 5


@pytest.mark.parametrize("sparse", [True, False])
def test_without_a_map_of_depth_points_of_the_first_view_are_drawn_into_the_second(sparse):
    first, second = Rooms("homes", "train", views=2)[1]
    second = replace(second, depth_m=None)
    if sparse:
        first = replace(first, points=points_of(first.depth_m), depth_m=None)
    picture = sheets.carried(first, second).astype(int)
    coloured = np.ptp(picture, axis=-1) > 0
    assert coloured.mean() > 0.1
    assert np.median(np.abs(picture - second.image)[coloured]) < 25

"""Label files of DepthLM and DepthVLM-Bench: whatever the data set, points with z-depth come."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.readers import demand_reader
from vlm3.geometry import range_from_depth
from vlm3.sources.depthlm import Depthlm

SIZE = 80, 60
DEPTHLM = {
    "image": "room/a.png",
    "intrinsics": [70.0, 71.0, 39.5, 29.5, 80, 60],
    "pixel_coords": [[0, 0], [79, 59], [40, 30]],
    "depth": [2.5, 3.0, 4.0],
}
DEPTHVLM = {
    "scene_id": "5748ce6f01",
    "image": "room/b.png",
    "depth_path": "room/b_depth.png",
    "depth_scale": 1000.0,
    "original_rgb_size": [80, 60],
    "original_depth_size": [16, 12],
    "original_fx": 70.0,
    "canonical_fx": 1000.0,
    "canonical_size": [1143, 857],
    "prompt": "Given this image, ...",
    "pixel_coords": [[0, 0], [15, 11]],
    "depth": [1.021, 0.785],
    "depth_type": "z_depth",
}


def folder(root: Path, *lines: dict | str) -> Path:
    (root / "room").mkdir(exist_ok=True)
    for name in ("a", "b"):
        Image.new("RGB", SIZE, (90, 100, 110)).save(root / f"room/{name}.png")
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (root / "set_val.jsonl").write_text("\n".join(text or [json.dumps(DEPTHLM)]) + "\n")
    return root


def test_labels_become_points_in_the_middle_of_their_pixels(tmp_path):
    reader = Depthlm(folder(tmp_path, DEPTHLM, DEPTHLM))
    view = demand_reader(reader)[1]
    assert view.points.tolist() == [[0.5, 0.5, 2.5], [79.5, 59.5, 3.0], [40.5, 30.5, 4.0]]
    # the file counts from pixel centres
    assert (view.camera.fy, view.camera.cx, view.camera.cy) == (71.0, 40.0, 30.0)
    assert [frame.name for frame in reader.frames] == ["set_val.jsonl:1", "set_val.jsonl:2"]
    assert reader.scenes == ("room",)


def test_a_distance_from_the_camera_becomes_z(tmp_path):
    view = Depthlm(folder(tmp_path), depth="range")[0]
    back = range_from_depth(view.points[:, 2], view.points[:, :2], view.camera)
    np.testing.assert_allclose(back, DEPTHLM["depth"])
    # 39.5 pixels to the side and 29.5 up, at focal lengths 70 and 71
    assert view.points[0, 2] == pytest.approx(
        2.5 / np.sqrt(1 + (39.5 / 70) ** 2 + (29.5 / 71) ** 2)
    )


def test_a_scale_undoes_labels_at_four_fifths_of_the_truth(tmp_path):
    assert Depthlm(folder(tmp_path), scale=1.25)[0].points[:, 2].tolist() == [3.125, 3.75, 5.0]
    with pytest.raises(ValueError, match="depth is 'z' or 'range' and scale > 0"):
        Depthlm(tmp_path, depth="euclid")
    with pytest.raises(ValueError, match="depth is 'z' or 'range' and scale > 0"):
        Depthlm(tmp_path, scale=0)


def test_pixels_of_a_smaller_depth_map_move_to_the_photo(tmp_path):
    reader = Depthlm(folder(tmp_path, DEPTHVLM), depth="range")  # the line knows better
    view = demand_reader(reader)[0]
    assert view.points.tolist() == [[2.5, 2.5, 1.021], [77.5, 57.5, 0.785]]
    assert view.camera.K.tolist() == [[70, 0, 40], [0, 70, 30], [0, 0, 1]]
    assert reader.scenes == ("5748ce6f01",)


def test_matterports_name_for_the_photo_is_known(tmp_path):
    line = {k: v for k, v in DEPTHLM.items() if k != "image"} | {"image_path": "room/b.png"}
    assert len(Depthlm(folder(tmp_path, line))[0].points) == 3


def test_labels_and_photos_may_lie_in_folders_of_their_own(tmp_path):
    folder(tmp_path)
    for name, start in (("data", "room"), ("annotations", "set_val.jsonl")):
        (tmp_path / name).mkdir()
        (tmp_path / start).rename(tmp_path / name / start)
    with pytest.raises(FileNotFoundError, match="nothing to read"):
        Depthlm(tmp_path)
    reader = Depthlm(tmp_path, labels="annotations/*.jsonl", images="data")
    assert len(reader[0].points) == 3
    assert reader.frames[0].name == "annotations/set_val.jsonl:1"


def test_lines_are_found_whatever_stands_between_them(tmp_path):
    folder(tmp_path)
    lines = [json.dumps(DEPTHLM | {"depth": [k, k, k], "scene": "é"}) for k in (1, 2, 3)]
    text = lines[0] + "\r\n\n" + lines[1] + "\n" + lines[2]
    (tmp_path / "set_val.jsonl").write_bytes(text.encode())
    reader = Depthlm(tmp_path)
    assert [frame.name[-1] for frame in reader.frames] == ["1", "3", "4"]
    assert [view.points[0, 2] for view in reader] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not whole as json"),
        ("[]", "needs image, pixel_coords, depth"),
        ("[" * 100_000, "not whole as json"),
        ({"image": "room/a.png"}, "needs image, pixel_coords, depth"),
    ],
    ids=["cut", "list", "deep", "few"],
)
def test_a_line_that_is_no_label_is_named_at_once(line, message, tmp_path):
    with pytest.raises(ValueError, match=rf"set_val\.jsonl:2: {message}"):
        Depthlm(folder(tmp_path, DEPTHLM, line))


@pytest.mark.parametrize(
    ("line", "changes", "message"),
    [
        (DEPTHLM, {"intrinsics": [70, 71, 39.5, 29.5]}, "intrinsics must be"),
        (DEPTHLM, {"pixel_coords": [[80, 0]], "depth": [1.0]}, "lies outside the 80x60"),
        (DEPTHLM, {"depth": [1.0, 2.0, 0]}, "must be a positive number"),
        (DEPTHLM, {"depth": [1.0]}, "lists of the same length"),
        (DEPTHLM, {"image": "../out.png"}, "leaves the folder"),
        (DEPTHLM, {"image": None}, "image must be a path"),
        (DEPTHLM, {"intrinsics": [70, 71, 39.5, 29.5, 8, 6]}, "photo is 80x60, .* take the photos"),
        (DEPTHVLM, {"original_fx": None}, "needs intrinsics .* or original_fx"),
        (DEPTHVLM, {"original_rgb_size": [80]}, "needs intrinsics .* or original_fx"),
        (DEPTHVLM, {"original_depth_size": [0, 12]}, "width must be a positive"),
        (DEPTHVLM, {"pixel_coords": [[16, 0]], "depth": [1.0]}, "lies outside the 16x12"),
    ],
)
def test_a_label_that_cannot_be_read_is_named_by_file_and_line(line, changes, message, tmp_path):
    reader = Depthlm(folder(tmp_path, DEPTHLM, line | changes))
    reader[0]
    with pytest.raises(ValueError, match=rf"set_val\.jsonl:2.*{message}|{message}.*jsonl:2"):
        reader[1]


def test_a_photo_that_is_missing_or_cut_is_named(tmp_path):
    reader = Depthlm(folder(tmp_path))
    photo = tmp_path / "room/a.png"
    photo.write_bytes(photo.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"a\.png: not a picture that can be read whole"):
        reader[0]
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png: missing; .*jsonl:1 names it: unpack"):
        reader[0]


def test_the_real_file_of_ibims_reads_as_its_own_reader_does(ibims_views):
    reader = Depthlm(ibims_views.root)
    assert len(reader) == 100
    for k in range(0, 100, 20):
        assert reader[k].camera == ibims_views[k].camera
        assert (reader[k].points == ibims_views[k].points).all()
        assert (reader[k].image == ibims_views[k].image).all()

"""Reconstructions, against pycolmap, which wrote them, and three real photographs of a door."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.readers import FORMATS, demand_reader, real
from vlm3.geometry import invert, project
from vlm3.sources.colmap import Colmap
from vlm3.sources.curation.indexing import beside
from vlm3.sources.reading import colmap_files, lenses

pycolmap = pytest.importorskip("pycolmap")

DOOR = FORMATS / "colmap_text"
ENDINGS = ".bin", ".txt"
POSED = "1 1 0 0 0 0 0 2 7 a photo.png\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A reconstruction of a rig of three cameras, as text and binary, and its photographs."""
    root = tmp_path_factory.mktemp("made")
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1, num_cameras_per_rig=3, num_frames_per_rig=2, num_points3D=40
    )
    options.camera_width, options.camera_height = 64, 48
    options.camera_params = [60.0, 31.0, 25.0, -0.05]
    found = pycolmap.synthesize_dataset(options)
    for ending, write in zip(ENDINGS, (found.write_binary, found.write_text), strict=True):
        (root / ending / "sparse" / "0").mkdir(parents=True)
        write(root / ending / "sparse" / "0")
        for image in found.images.values():
            (root / ending / "images").mkdir(exist_ok=True)
            shade = np.full((48, 64, 3), image.image_id, np.uint8)
            Image.fromarray(shade).save(root / ending / "images" / image.name)
    return root, found


def told(folder, images=POSED + "\n", camera="7 PINHOLE 8 6 9 9 4 3\n", points=None):
    """A model in text, and its one photograph."""
    (folder / "sparse").mkdir(parents=True)
    (folder / "sparse" / "cameras.txt").write_text(camera)
    (folder / "sparse" / "images.txt").write_text("# as COLMAP 3 writes\n\n" + images)
    if points is not None:
        (folder / "sparse" / "points3D.txt").write_text(points)
    (folder / "images").mkdir()
    Image.new("RGB", (8, 6)).save(folder / "images" / "a photo.png")
    return folder


@pytest.mark.parametrize("ending", ENDINGS)
def test_cameras_poses_and_points_are_those_of_pycolmap(made, ending):
    root, found = made
    views = demand_reader(reader := Colmap(root, scenes=ending, scale_m=2.0))
    assert len(views) == 6
    assert [f.photo for f in reader.frames] == sorted(f.photo for f in reader.frames)
    by_name = {image.name: image for image in found.images.values()}
    for frame, view in zip(reader.frames, views, strict=True):
        image = by_name[frame.photo]
        camera = found.cameras[image.camera_id]
        assert (frame.model, frame.size) == (camera.model_name, (camera.width, camera.height))
        assert frame.params == tuple(camera.params)
        assert np.median(view.image) == image.image_id
        pose = image.cam_from_world().inverse().matrix()
        np.testing.assert_allclose(view.world_from_cam[:3], pose * [1, 1, 1, 2], atol=1e-12)
        seen = {p.point3D_id for p in image.points2D if p.has_point3D()}
        cam = [image.cam_from_world() * found.points3D[number].xyz for number in sorted(seen)]
        xyz = np.array([p for p in cam if p[2] > 0]) * 2
        uv = project(xyz, view.camera)
        inside = ((uv >= 0) & (uv < view.size)).all(1)
        assert inside.sum() > 5
        expected = np.column_stack([uv, xyz[:, 2]])[inside]
        np.testing.assert_allclose(np.sort(view.points, 0), np.sort(expected, 0), atol=1e-9)


def test_every_model_of_a_camera_is_read_from_binary_files(tmp_path):
    found = pycolmap.Reconstruction()
    for number, (name, count) in enumerate(colmap_files.MODELS):
        params = np.arange(count) + number + 0.25
        camera = pycolmap.Camera(
            camera_id=number + 1, model=name, width=9, height=7 + number, params=params
        )
        assert int(camera.model) == number
        found.add_camera(camera)
    found.write_binary(tmp_path)
    read = colmap_files._cameras(tmp_path / "cameras.bin")
    for number, camera in found.cameras.items():
        assert read[number] == (camera.model_name, tuple(camera.params), (9, camera.height))
    known = set(pycolmap.CameraModelId.__members__) - {"INVALID"}
    assert known == {name for name, _ in colmap_files.MODELS}


def test_photographs_come_through_the_lens(made):
    reader = Colmap(made[0], scenes=".bin")
    frame = reader.frames[0]
    of = lenses.lens("SIMPLE_RADIAL", frame.params, 64, 48)
    assert reader[0].camera == of.camera
    assert of.lookup is not None


def test_without_a_scale_nobody_knows_metres(made):
    free, held = Colmap(made[0]), Colmap(made[0], scale_m=0.5)
    assert (free.metric, held.metric) == (False, True)
    centres = free[0].world_from_cam[:3, 3], held[0].world_from_cam[:3, 3]
    np.testing.assert_allclose(centres[0] / 2, centres[1])
    np.testing.assert_allclose(free[0].points * [1, 1, 0.5], held[0].points)
    with pytest.raises(ValueError, match="scale_m must be metres per unit"):
        Colmap(made[0], scale_m=-1)


def test_what_is_another_world_or_unit_has_another_index_of_pairs(made, tmp_path):
    shutil.copytree(made[0] / ".txt", tmp_path / "a")
    shutil.copytree(tmp_path / "a" / "sparse" / "0", tmp_path / "a" / "sparse" / "1")
    readers = [
        *(Colmap(tmp_path / "a"), Colmap(tmp_path / "a", model="sparse/1")),
        Colmap(tmp_path / "a", scale_m=1.0),
    ]
    assert len({beside(reader) for reader in readers}) == 3


def test_the_first_place_that_holds_a_model_is_read(made, tmp_path):
    shutil.copytree(made[0] / ".txt", tmp_path / "a")
    whole = Colmap(tmp_path / "a")
    assert whole.scenes == ("a",)
    (tmp_path / "a" / "sparse" / "0").rename(tmp_path / "a" / "model")
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with sparse/0"):
        Colmap(tmp_path)
    moved = Colmap(tmp_path, model="model")
    assert [f.name for f in moved.frames] == [f.name for f in whole.frames]
    for path in (tmp_path / "a" / "model").iterdir():
        path.rename(tmp_path / "a" / path.name)
    assert len(Colmap(tmp_path / "a")) == 6


def test_a_point_lies_where_it_was_found_and_one_behind_does_not(tmp_path):
    seen = "5 4 11 1 1 12 2 2 -1 3 3 13\n"
    points = "11 .5 .25 1 0 0 0 1\n12 0 0 -5 0 0 0 1\n13 9 0 0 0 0 0 1\n14 0 0 1 0 0 0 1\n"
    (view,) = Colmap(told(tmp_path, POSED + seen, points=points))
    # 3 units ahead, half a unit right, a quarter down: 12 is behind, 13 beside, 14 not seen here
    np.testing.assert_allclose(view.points, [[4 + 9 * 0.5 / 3, 3 + 9 * 0.25 / 3, 3]])
    np.testing.assert_allclose(view.world_from_cam[:3, 3], [0, 0, -2])


def test_a_photograph_in_which_nothing_was_found_has_no_points(tmp_path):
    (view,) = Colmap(told(tmp_path, POSED + "4 3 -1\n", points="11 0 0 1 0 0 0 1\n"))
    assert view.points is None


def test_photographs_that_are_not_there_are_left_out(tmp_path):
    told(tmp_path, POSED + "\n2 1 0 0 0 0 0 2 7 gone.png\n\n")
    assert [f.name for f in Colmap(tmp_path).frames] == [f"{tmp_path.name}/a photo.png"]
    with pytest.raises(FileNotFoundError, match="others: has none of the 2 .* such as a photo.png"):
        Colmap(tmp_path, images="others")


@pytest.mark.parametrize(
    ("images", "camera", "words"),
    [
        (POSED.replace("0 2 7", "0 2 8"), None, "a photo.png has camera 8, which is not there"),
        (POSED.replace("a photo", "../a"), None, "image '../a.png' leaves the folder"),
        (POSED.replace("1 1 0", "1 9 0"), None, r"not a rotation: quaternion \[9.0"),
        (POSED.replace("0 2 7", "0 7"), None, "images.txt: not whole as COLMAP writes it"),
        (POSED, "7 PINHOLE 8 six 9 9 4 3\n", "cameras.txt: not whole .* export the model again"),
        (POSED, "", "cameras.txt: not whole"),
    ],
)
def test_a_broken_model_is_named(tmp_path, images, camera, words):
    told(tmp_path, images + "\n", **({} if camera is None else {"camera": camera}))
    with pytest.raises(ValueError, match=words):
        Colmap(tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_a_binary_file_that_is_cut_short_is_named(made, tmp_path, name):
    shutil.copytree(made[0] / ".bin", tmp_path / "a")
    path = tmp_path / "a" / "sparse" / "0" / name
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=f"{name}: not whole as COLMAP writes it"):
        Colmap(tmp_path / "a")[0]


def test_a_missing_file_and_a_photograph_of_another_size_are_named(tmp_path):
    reader = Colmap(told(tmp_path))
    Image.new("RGB", (16, 12)).save(tmp_path / "images" / "a photo.png")
    with pytest.raises(ValueError, match="a photo.png: the photograph is 16x12, its calibration"):
        reader[0]
    (tmp_path / "sparse" / "images.txt").unlink()
    with pytest.raises(FileNotFoundError, match="images.txt: missing; export the model again"):
        Colmap(tmp_path)


def test_points_of_a_real_door_lie_where_three_photographs_show_them(tmp_path):
    (tmp_path / "sparse").symlink_to(real(DOOR) / "colmap_ground_truth")
    (tmp_path / "images").symlink_to(DOOR / "images")
    views = list(reader := Colmap(tmp_path))
    assert [frame.photo[4:8] for frame in reader.frames] == ["0001", "0003", "0005"]
    assert [view.size for view in views] == [(1296, 1936)] * 3
    assert not reader.metric
    found = _keypoints(DOOR / "colmap_ground_truth" / "images.txt")
    seen = [found[frame.photo] for frame in reader.frames]
    common = sorted(set.intersection(*map(set, seen)))[::10]
    straight = [_straight(np.array([s[number] for number in common])) for s in seen]
    cams = [invert(view.world_from_cam)[:3] for view in views]
    off = []
    for k in range(len(common)):
        # by its first and last photograph, and looked for in the second
        rows = [
            row
            for i in (0, 2)
            for xy in [(straight[i][k] - [648, 968]) / 2435.38]
            for row in (xy[0] * cams[i][2] - cams[i][0], xy[1] * cams[i][2] - cams[i][1])
        ]
        point = np.linalg.svd(np.array(rows))[2][-1]
        uv = project(cams[1] @ (point / point[3]), views[1].camera)
        off.append(np.linalg.norm(uv - straight[1][k]))
    assert len(off) > 250
    assert np.median(off) < 0.5  # 0.27 px


def _keypoints(path):
    """Of each photograph: its points by their numbers."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    tables = (np.array(line.split(), float).reshape(-1, 3) for line in lines[1::2])
    names = (line.split()[-1] for line in lines[::2])
    return {
        name: {int(number): (x, y) for x, y, number in table if number >= 0}
        for name, table in zip(names, tables, strict=True)
    }


def _straight(uv):
    """SIMPLE_RADIAL of the door, undone."""
    bent = xy = (uv - [648, 968]) / 2435.38
    for _ in range(20):
        xy = bent / (1 - 0.0336422 * (xy**2).sum(1, keepdims=True))
    return xy * 2435.38 + [648, 968]

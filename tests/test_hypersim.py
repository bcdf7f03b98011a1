"""Hypersim: folders made in the published layout, with cameras of its published table."""

import csv

import numpy as np
import pytest

from tests.readers import demand_reader
from tests.worlds import demand_same, facing, fit, room, save, wall
from vlm3.geometry import project
from vlm3.sources.hypersim import RAYS, TABLE, Hypersim
from vlm3.sources.reading.films import pinhole

h5py = pytest.importorskip("h5py")

UNIT_M = 0.0254
GL_FROM_CAM = np.diag([1.0, -1, -1])
# M_cam_from_uv, and rows 0, 1 and 3 of M_proj, of scenes whose film is straight, tilted one way,
# tilted both ways, and shifted and tilted both ways
PUBLISHED = {
    "ai_001_001": (
        [[0.5773502886169104, 0, 0], [0, 0.4330127164626828, 0], [0, 0, -1]],
        [[1.7320507492870254, 0, 0], [0, 2.309400999049367, 0], [0, 0, -1]],
    ),
    "ai_041_007": (
        [
            [0.5917716252369174, 0, 0],
            [0, 0.43309846467927854, 0],
            [0, -0.09700335889774327, -1.0249784874103218],
        ],
        [
            [1.6898410761071, 0, 0],
            [0, 2.308943765802836, 0],
            [0, -0.2185170747873629, -0.975630232519873],
        ],
    ),
    "ai_041_008": (
        [
            [0.579524123702513, 0, 0],
            [0, 0.447236712006752, 0],
            [-0.14082436247421865, -0.007011482141615686, -1.0231480202975314],
        ],
        [
            [1.7255537070849007, 0, 0],
            [0, 2.2359524009399805, 0],
            [-0.2375022928203403, -0.015322651285719562, -0.9773756877418383],
        ],
    ),
    "ai_042_003": (
        [
            [0.5813867895573526, 0, 0],
            [0, 0.44599980827670044, -0.01189332795487541],
            [-0.1337189640239258, 0.03567998386462623, -1.0244455108528754],
        ],
        [
            [1.72002532214632, 0, 0],
            [-0.005992544206425192, 2.2442377933264748, -0.0260545395552921],
            [-0.2247204127638374, 0.07816361866587632, -0.9770452551621172],
        ],
    ),
}


def save_hdf5(stored: np.ndarray, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=stored, compression="gzip")


def write(scene, camera: str, images, ranges_m, poses) -> None:
    """poses: 4x4 world_from_cam in metres, of cameras that look along z with y down."""
    start = scene / "images" / f"scene_{camera}"
    for k, (image, range_m) in enumerate(zip(images, ranges_m, strict=True)):
        save(image, scene / f"{start}_final_preview/frame.{k:04d}.tonemap.jpg")
        save(image, scene / f"{start}_final_preview/frame.{k:04d}.color.jpg")
        path = scene / f"{start}_geometry_hdf5/frame.{k:04d}.depth_meters.hdf5"
        save_hdf5(range_m.astype(np.float32), path)
    detail = scene / "_detail"
    turned = np.array([pose[:3, :3] @ GL_FROM_CAM for pose in poses])
    save_hdf5(turned, detail / f"{camera}/camera_keyframe_orientations.hdf5")
    places = np.array([pose[:3, 3] / UNIT_M for pose in poses])
    save_hdf5(places, detail / f"{camera}/camera_keyframe_positions.hdf5")
    table = f"parameter_name,parameter_value\nmeters_per_asset_unit,{UNIT_M}\n"
    (detail / "metadata_scene.csv").write_text(table)


@pytest.fixture(scope="module")
def views():
    return room(128, 96, 60)


@pytest.fixture
def root(tmp_path, views):
    u, v = np.meshgrid(np.arange(128) + 0.5 - 64, np.arange(96) + 0.5 - 48)
    longer = np.sqrt(1 + (u**2 + v**2) / (64 / np.tan(np.pi / 6)) ** 2)
    ranges_m = [view.depth_m * longer for view in views]
    poses = [view.world_from_cam for view in views]
    images = [view.image for view in views]
    write(tmp_path / "ai_001_001", "cam_00", images, ranges_m, poses)
    write(tmp_path / "ai_001_002", "cam_01", images[:1], ranges_m[:1], poses)
    return tmp_path


def tabled(root, scenes) -> None:
    with open(root / TABLE, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["scene_name", "camera_physical_bmpaperture_tex", *RAYS])
        for scene in scenes:
            rows.writerow([scene, "AColor(0, 0, 0, 0)", *np.ravel(PUBLISHED[scene][0])])


def test_distances_become_depth_and_units_metres(root, views):
    reader = Hypersim(root)
    found = demand_reader(reader)
    assert [frame.name for frame in reader.frames] == [
        "ai_001_001/cam_00/0000",
        "ai_001_001/cam_00/0001",
        "ai_001_002/cam_01/0000",
    ]
    for view, original in zip(found, (*views, views[0]), strict=True):
        demand_same(view, original)
    assert fit(*found[:2])[0] == pytest.approx(fit(*views)[0], abs=0.01)


def test_the_table_has_the_same_camera_where_it_is_the_standard_one(root, views):
    tabled(root, PUBLISHED)
    for view, original in zip(Hypersim(root, "ai_001_001"), views, strict=True):
        demand_same(view, original)


def test_a_scene_that_the_table_lacks_is_refused(root):
    tabled(root, PUBLISHED)
    with pytest.raises(ValueError, match=f"{TABLE}: has no row of ai_001_002; download"):
        Hypersim(root, "ai_001_002")[0]


@pytest.mark.parametrize("scene", PUBLISHED)
def test_a_film_projects_points_as_the_published_matrix_does(scene):
    cam_from_uv, rows = map(np.array, PUBLISHED[scene])
    film = pinhole(cam_from_uv, 1024, 768)
    points = np.random.default_rng(0).uniform([-1, -0.8, -6], [1, 0.8, -3], (50, 3))
    x, y, w = rows @ points.T
    published = np.column_stack([(1 + x / w) / 2 * 1024, (1 - y / w) / 2 * 768])
    found = project(points @ film.gl_from_cam[:3, :3], film.camera)
    found[:, 0] += film.shear * (found[:, 1] - film.camera.cy)
    np.testing.assert_allclose(found, published, atol=1e-6)
    assert abs(film.shear) * 768 < 15


@pytest.mark.parametrize("scene", PUBLISHED)
def test_views_through_any_film_are_those_of_pinhole_cameras(tmp_path, scene):
    """The wall as the published rays see it, and as the camera of the view that is read."""
    width, height, pose = 256, 192, facing(0.1, 0, -2, 20)
    u, v = np.meshgrid(
        (np.arange(width) + 0.5) / width * 2 - 1, 1 - (np.arange(height) + 0.5) / height * 2
    )
    to = np.stack([u, v, np.ones_like(u)], -1) @ np.array(PUBLISHED[scene][0]).T
    to = to @ (pose[:3, :3] @ GL_FROM_CAM).T
    points = pose[:3, 3] - to * pose[2, 3] / to[..., 2:]
    x, y = points[..., 0], points[..., 1]
    waves = np.stack([np.sin(20 * x), np.sin(25 * y), np.sin(9 * (x + y))], -1)
    image = np.round(127.5 + 120 * waves).astype(np.uint8)
    range_m = np.linalg.norm(points - pose[:3, 3], axis=-1)
    write(tmp_path / scene, "cam_00", [image], [range_m], [pose])
    tabled(tmp_path, PUBLISHED)
    (view,) = Hypersim(tmp_path)
    straight = wall(view.camera, view.world_from_cam)
    # of a sheared picture, each pixel has the distance of the nearest
    off = 1e-5 if view.size == (width, height) else 4e-3
    np.testing.assert_allclose(view.depth_m, straight.depth_m, rtol=off)
    assert np.abs(view.image.astype(int) - straight.image).mean() < 2.5
    assert view.size[0] >= width - 6


def test_windows_have_no_depth(root, views):
    path = root / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5"
    range_m = np.full((96, 128), 3, np.float16)
    range_m[:20], range_m[20:30] = np.nan, np.inf
    path.unlink()
    save_hdf5(range_m, path)
    depth_m = Hypersim(root)[0].depth_m
    assert np.isnan(depth_m[:30]).all()
    assert np.isfinite(depth_m[30:]).all()
    assert depth_m[47:49, 63:65] == pytest.approx(3, rel=1e-4)


CAM = "ai_001_001/_detail/cam_00/"
RANGE = "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5"


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        (CAM + "camera_keyframe_positions.hdf5", lambda p: p.unlink(), "missing; unpack"),
        (CAM + "camera_keyframe_orientations.hdf5", lambda p: p.write_text("x"), "no dataset can"),
        (RANGE, lambda p: p.unlink(), "missing; unpack"),
        (RANGE, lambda p: p.write_bytes(p.read_bytes()[:2500]), "no dataset can be read"),
        ("ai_001_001/_detail/metadata_scene.csv", lambda p: p.unlink(), "missing; unpack"),
        ("ai_001_001/_detail/metadata_scene.csv", lambda p: p.write_text("a,b"), "says no meters"),
        (TABLE, lambda p: p.write_text("scene_name\nai_001_001\n"), "not the table of Hypersim"),
    ],
)
def test_a_file_that_is_none_is_named(root, name, write, told):
    write(root / name)
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        Hypersim(root)[0]
    assert name.split("/")[-1] in str(caught.value)


def test_a_pose_that_is_not_there_is_named(root, views):
    save_hdf5(np.zeros((0, 3)), root / "ai_001_002/_detail/cam_01/camera_keyframe_positions.hdf5")
    with pytest.raises(ValueError, match="cam_01: has 0 poses, none for 0"):
        Hypersim(root, "ai_001_002")[0]

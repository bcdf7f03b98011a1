"""The toy world: the same for everybody, exact against other code, and without shortcuts."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh

from vlm3 import geometry
from vlm3.geometry import Camera
from vlm3.sources import rooms
from vlm3.sources.rooms import COLLECTIONS, SPLITS, Lens, Rooms, furnish, raycast
from vlm3.sources.rooms.raycast import SOLID, Scene, Skin, Solid
from vlm3.sources.rooms.stands import GRADES, _clearance
from vlm3.sources.rooms.world import SMALLEST_SHARE, silhouettes_px

# Collections whose cameras stand anywhere, so that the scale has to be seen; in homes people hold
# them, and their height tells it.
HARD = tuple(name for name in COLLECTIONS if name != "homes")
MANY = 200  # scenes, of two views each, for claims about a whole collection


@pytest.fixture(scope="module")
def world():
    """name -> MANY scenes of each collection, two views each."""
    return {name: Rooms(name).batch(range(MANY)) for name in COLLECTIONS}


def flat(scenes):
    return [view for views in scenes for view in views]


def digest(scenes) -> str:
    """Of everything in the views, to the last bit."""
    seen = hashlib.sha256()
    for view in flat(scenes):
        for array in (view.image, view.depth_m, view.world_from_cam):
            seen.update(np.ascontiguousarray(array).tobytes())
        seen.update(repr((view.camera, view.boxes)).encode())
    return seen.hexdigest()


# The same for everybody


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_scene_is_the_same_to_the_last_bit_whatever_the_batch(name):
    source, picked = Rooms(name), [7, 3, 3, 0, 20, 11]
    together = source.batch(picked)
    assert digest(together) == digest([source[i] for i in picked])
    assert digest(together[::-1]) == digest(source.batch(picked[::-1]))


def test_chunks_do_not_change_a_bit_and_the_number_of_threads_stays():
    threads = torch.get_num_threads()
    ready, shots = Rooms("large").shots(range(12))
    for chunk_px in (1000, 20_000, 10**6):
        for one, other in zip(shots, raycast.render(*ready, chunk_px=chunk_px), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.get_num_threads() == threads


def test_another_process_makes_the_same_rooms():
    made = "digest(Rooms('large').batch([5, 2**15]))"
    code = f"from tests.test_rooms import *; torch.set_num_threads(1); print({made})"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert other.strip() == digest(Rooms("large").batch([5, 2**15]))


def test_the_rooms_are_those_that_models_were_trained_on():
    """A change here makes every recorded result on rooms a result on other rooms."""
    scene, stands = Rooms("endless").scene(2**31 - 1)
    assert [solid.name for solid in scene.solids[:2]] == ["pink cabinet", "white table"]
    assert scene.solids[0].centre == pytest.approx((-2.046, -0.964, 0.133), abs=5e-4)
    assert stands[0][1][:3, 3] == pytest.approx([0.670254, -1.782999, -0.482734], abs=1e-6)


def test_the_first_views_do_not_depend_on_how_many_there_are():
    three = Rooms("large", views=3).batch([4])
    assert len(three[0]) == 3
    assert digest([three[0][:1]]) == digest(Rooms("large", views=1).batch([4]))
    assert digest([three[0][:2]]) == digest(Rooms("large", views=2).batch([4]))


def test_cameras_that_turn_stay_where_they_are_and_turn_no_further_than_told():
    most = np.array([25, 12, 0])
    turned = []
    for index in range(100):
        (_, first), *others = Rooms("large", views=3, turn_deg=most.tolist()).scene(index)[1]
        assert np.array_equal(first, Rooms("large").scene(index)[1][0][1])
        turned += [geometry.relative_pose(first, pose) for _, pose in others]
    angles = np.array([geometry.ypr_from_rotation(pose[:3, :3]) for pose in turned])
    assert np.abs([pose[:3, 3] for pose in turned]).max() < 1e-12
    assert (np.abs(angles) <= most + 1e-9).all()
    assert (np.abs(angles).max(0) >= 0.9 * most).all()
    assert np.abs(angles.mean(0)).max() < 3


def test_splits_seeds_and_collections_share_no_room():
    sources = [
        Rooms(name, split, seed=seed) for name in COLLECTIONS for split in SPLITS for seed in (0, 1)
    ]
    sizes = [source.scene(i)[0].size_m for source in sources for i in range(25)]
    assert len(set(sizes)) == len(sizes)


def test_a_collection_is_a_sequence():
    lengths = {name: [len(Rooms(name, split)) for split in SPLITS] for name in COLLECTIONS}
    assert lengths == {
        "small": [300, 30, 30],
        "medium": [3_000, 300, 300],
        "large": [100_000, 1000, 1000],
        "endless": [2**31, 1000, 1000],
        "homes": [2**31, 1000, 1000],
    }
    small = Rooms("small", "test")
    assert digest([small[-1]]) == digest([small[29]])
    assert len(list(small)) == 30
    with pytest.raises(IndexError, match="scene 30 of 30"):
        small[30]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"collection": "huge"}, "no collection 'huge'; there are small, medium, large, endless"),
        ({"split": "val"}, "no split 'val'; there are train, validation, test"),
        ({"views": 0}, "views must be at least 1 .* got views=0"),
        ({"seed": -1}, "seed at least 0, got views=2, seed=-1"),
        ({"turn_deg": (20, 0)}, r"three angles of 0 to 90 \(yaw, pitch, roll\), got \(20, 0\)"),
        ({"turn_deg": (20, 0, float("nan"))}, "three angles of 0 to 90 .* nan"),
    ],
)
def test_a_wrong_argument_is_named(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        Rooms(**arguments)


# Exact


def meshes(scene: Scene) -> list[trimesh.Trimesh]:
    """The room and its boxes as closed meshes."""
    w, h, d = scene.size_m
    made = [
        trimesh.creation.box((w, h, d), trimesh.transformations.translation_matrix((0, -h / 2, 0)))
    ]
    for solid in scene.solids:
        if solid.shape == "box":
            place = trimesh.transformations.rotation_matrix(np.radians(solid.yaw_deg), (0, 1, 0))
            place[:3, 3] = solid.centre
            made.append(trimesh.creation.box(solid.size, place))
    return made


def first_hit(scene: Scene, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(N,) ray parameters in float64: trimesh for the room and boxes, the textbook's quadratic for
    the others."""
    mesh = trimesh.util.concatenate(meshes(scene))
    origins = np.broadcast_to(origin, directions.shape)
    points, ray, _ = mesh.ray.intersects_location(origins, directions, multiple_hits=True)
    found = np.full(len(directions), np.inf)
    np.minimum.at(
        found, ray, ((points - origin) * directions[ray]).sum(-1) / (directions[ray] ** 2).sum(-1)
    )
    for solid in scene.solids:
        if solid.shape != "box":
            found = np.minimum(found, round_hit(solid, origin - solid.centre, directions))
    return found


def round_hit(solid: Solid, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    ball, r, half = solid.shape == "ball", solid.size[0] / 2, solid.size[1] / 2
    axes = [0, 1, 2] if ball else [0, 2]
    a, b, c = (
        (d[:, axes] ** 2).sum(-1),
        2 * (d[:, axes] * o[axes]).sum(-1),
        (o[axes] ** 2).sum() - r * r,
    )
    with np.errstate(invalid="ignore"):
        t = (-b - np.sqrt(b * b - 4 * a * c)) / (2 * a)
        on_side = (t > 0) & (ball | (np.abs(o[1] + t * d[:, 1]) <= half))
    hits = np.where(on_side, t, np.inf)
    for lid in () if ball else (-half, half):
        t = (lid - o[1]) / d[:, 1]
        across = o[None, [0, 2]] + t[:, None] * d[:, [0, 2]]
        hits = np.minimum(hits, np.where((t > 0) & ((across**2).sum(-1) <= r * r), t, np.inf))
    return hits


@pytest.mark.parametrize("name", COLLECTIONS)
def test_depth_agrees_with_independent_code_to_a_tenth_of_a_millimetre(name):
    """At 1500 random pixels of each view; 1e-4 m, or 1e-4 of the depth beyond one metre."""
    (scenes, cameras, poses), shots = Rooms(name).shots(range(8))
    rng = np.random.default_rng(0)
    for scene, camera, pose, shot in zip(scenes, cameras, poses, shots, strict=True):
        rows, columns = rng.integers(0, camera.height, 1500), rng.integers(0, camera.width, 1500)
        rays = geometry.rays(geometry.pixel_centres(camera)[rows, columns], camera) @ pose[:3, :3].T
        truth = first_hit(scene, pose[:3, 3], rays)
        assert (np.abs(shot.depth_m[rows, columns] - truth) / np.maximum(1, truth)).max() < 1e-4


def one_room(*solids: Solid) -> Scene:
    grey = Skin((0.5, 0.5, 0.5))
    return Scene((4.0, 2.5, 6.0), solids, (grey, grey, grey), ((0.0, -2.3, 0.0, 1.0),), 0.4)


def test_a_camera_that_looks_straight_at_things_measures_what_a_ruler_does():
    """Rays along the axes, where slopes are infinite: wall at 5 m, box front at 2 m, ball at 2.5 m,
    drum at 2.8 m."""
    pose = np.eye(4)
    pose[:3, 3] = 0, -1, -2
    camera = Camera(100.0, 100.0, 50.5, 50.5, 101, 101)
    skin = Skin((1.0, 0.0, 0.0))
    box = Solid("box", "box", (0.0, -1.0, 0.5), (1.0, 1.0, 1.0), 0.0, skin)
    ball = Solid("ball", "ball", (0.0, -1.0, 1.0), (1.0, 1.0, 1.0), 0.0, skin)
    drum = Solid("cylinder", "drum", (0.0, -1.0, 1.2), (0.8, 1.0, 0.8), 0.0, skin)
    scenes = [one_room(), one_room(box), one_room(ball), one_room(drum), one_room(drum, box, ball)]
    shots = raycast.render(scenes, [camera] * 5, [pose] * 5)
    assert [float(shot.depth_m[50, 50]) for shot in shots] == pytest.approx(
        [5.0, 2.0, 2.5, 2.8, 2.0], abs=1e-5
    )
    assert [int(shot.ids[50, 50]) for shot in shots] == [
        raycast.WALL,
        SOLID,
        SOLID,
        SOLID,
        SOLID + 1,
    ]
    assert shots[0].ids[100, 50] == raycast.FLOOR
    assert all(np.isfinite(shot.depth_m).all() for shot in shots)


def covisible(one, other, tolerance: float = 0.01):
    """Where the pixel centres of one view are in the other (N, 2), their depth there (N,), and
    which are seen there."""
    points = geometry.unproject(geometry.pixel_centres(one.camera), one.depth_m, one.camera)
    moved = geometry.transform(
        geometry.relative_pose(other.world_from_cam, one.world_from_cam), points
    )
    uv, depth_m = geometry.project(moved, other.camera), moved[..., 2]
    with np.errstate(invalid="ignore"):
        inside = ((uv >= 0) & (uv < other.camera.size)).all(-1)
    columns, rows = np.moveaxis(np.where(inside[..., None], uv, 0).astype(int), -1, 0)
    seen = inside & (
        np.abs(other.depth_m[rows, columns] / np.where(inside, depth_m, 1) - 1) < tolerance
    )
    return uv, depth_m, seen


def test_two_views_of_a_scene_agree_through_geometry(world):
    """A point of the first view, seen from the second camera by a ray of its own, lies where
    geometry says."""
    checked = 0
    for index in range(6):
        scene, ((_, pose1), (camera2, pose2)) = Rooms("large").scene(index)
        view1, view2 = world["large"][index]
        uv, depth_m, seen = covisible(view1, view2)
        for row, column in np.argwhere(seen)[::400]:
            u, v = uv[row, column]
            through = Camera(
                camera2.fx, camera2.fy, camera2.cx - u + 0.5, camera2.cy - v + 0.5, 1, 1
            )
            (shot,) = raycast.render([scene], [through], [pose2])
            if abs(shot.depth_m[0, 0] - depth_m[row, column]) > 0.01:
                continue  # hidden by an edge that passes between pixel centres
            assert shot.depth_m[0, 0] == pytest.approx(depth_m[row, column], rel=1e-4)
            difference = np.abs(shot.rgb[0, 0].astype(int) - view1.image[row, column])
            checked += difference.max() <= 2
    assert checked > 95


def test_every_point_lies_in_the_room_and_on_the_solid_that_its_id_names():
    (scenes, cameras, poses), shots = Rooms("endless").shots(range(10))
    for scene, camera, pose, shot in zip(scenes, cameras, poses, shots, strict=True):
        points = geometry.unproject(geometry.pixel_centres(camera), shot.depth_m, camera)
        points = geometry.transform(pose, points)
        w, h, d = scene.size_m
        assert (np.abs(points - [0, -h / 2, 0]) < np.array([w, h, d]) / 2 + 1e-3).all()
        assert np.abs(points[shot.ids == raycast.FLOOR][:, 1]).max(initial=0) < 1e-3
        assert np.abs(points[shot.ids == raycast.CEILING][:, 1] + h).max(initial=0) < 1e-3
        for k, solid in enumerate(scene.solids):
            for point in points[shot.ids == SOLID + k][::50]:
                assert _clearance(solid, point) < 1e-3


# Boxes and names


def test_a_box_holds_exactly_the_visible_pixels_of_its_solid():
    source = Rooms("large")
    (scenes, _, _), shots = source.shots(range(20))
    for view, scene, shot in zip(flat(source.batch(range(20))), scenes, shots, strict=True):
        names = [solid.name for solid in scene.solids]
        for box in view.boxes:
            rows, columns = np.nonzero(shot.ids == SOLID + names.index(box.name))
            assert box[:4] == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert len(rows) > SMALLEST_SHARE * shot.ids.size


def test_names_are_unique_in_a_scene(world):
    for name, scenes in world.items():
        for index in range(MANY):
            names = [solid.name for solid in Rooms(name).scene(index)[0].solids]
            assert len(set(names)) == len(names)
        assert all(
            box.name.split()[0] in furnish.COLOURS for view in flat(scenes) for box in view.boxes
        )


def test_centres_and_sizes_are_those_of_the_solid_as_it_stands(world):
    for index in range(MANY):
        scene, stands = Rooms("medium").scene(index)
        solids = {solid.name: solid for solid in scene.solids}
        for view, (_, pose) in zip(world["medium"][index], stands, strict=True):
            for box in view.boxes:
                solid, (width, height, depth) = solids[box.name], box.size_m
                assert geometry.transform(pose, np.array(box.centre_m)) == pytest.approx(
                    np.array(solid.centre)
                )
                assert height == solid.size[1]
                assert width >= depth
                assert {width, depth} == {solid.size[0], solid.size[2]}


def test_what_stands_free_in_the_picture_fills_its_silhouette():
    """The area that decides on visibility is the one that ray casting finds."""
    pose = np.eye(4)
    pose[:3, :3] = geometry.rotation_from_ypr(6, -8, 5)
    pose[:3, 3] = 0.1, -1.4, -2
    camera = Camera(420.0, 350.0, 250.0, 190.0, 480, 400)
    skin = Skin((1.0, 0.0, 0.0))
    for shape, size, yaw_deg in (
        ("box", (0.5, 0.6, 0.3), 30),
        ("cylinder", (0.4, 0.7, 0.4), 0),
        ("ball", (0.6,) * 3, 0),
    ):
        scene = one_room(Solid(shape, "it", (0.2, -1.0, 0.5), size, yaw_deg, skin))
        (shot,) = raycast.render([scene], [camera], [pose])
        area = silhouettes_px(scene, camera, geometry.invert(pose))
        assert area == pytest.approx((shot.ids == SOLID).sum(), rel=0.02)


def test_what_is_mostly_hidden_or_cut_off_has_no_box():
    pose = np.eye(4)
    pose[:3, 3] = 0, -1, -2.5
    skin = Skin((1.0, 0.0, 0.0))
    front = Solid("box", "front", (0.0, -1.0, 0.0), (1.0, 1.0, 0.2), 0.0, skin)
    behind = Solid("box", "behind", (0.45, -1.0, 1.5), (1.0, 1.0, 0.2), 0.0, skin)
    aside = Solid("box", "aside", (1.55, -1.0, 0.5), (0.6, 0.6, 0.6), 0.0, skin)
    camera = Camera(100.0, 100.0, 50.0, 50.0, 100, 100)
    (shot,) = raycast.render([one_room(front, behind, aside)], [camera], [pose])
    assert set(np.unique(shot.ids)) >= {SOLID, SOLID + 1, SOLID + 2}
    boxes = rooms.visible_boxes(one_room(front, behind, aside), camera, pose, shot.ids)
    assert [box.name for box in boxes] == ["front"]


# Rooms to live in


def test_homes_are_seen_by_people_through_one_ordinary_lens():
    for index in range(MANY):
        _, ((camera, first), *others) = Rooms("homes", views=3).scene(index)
        assert 1.35 <= -first[1, 3] <= 1.7
        assert camera.fx == camera.fy
        assert (camera.cx, camera.cy) == (camera.width / 2, camera.height / 2)
        assert all(other == camera for other, _ in others)
        assert all(1.2 < -pose[1, 3] < 1.9 for _, pose in others)


@pytest.mark.parametrize("collection", ["homes", "large"])
def test_pairs_of_a_grade_are_as_far_apart_as_it_says(collection):
    for grade, (apart_m, turn_deg) in GRADES.items():
        found = []
        for index in range(100):
            _, ((_, first), (_, second)) = Rooms(collection, grade=grade).scene(index)
            found.append(geometry.relative_pose(first, second))
        far_m = np.linalg.norm([pose[:3, 3] for pose in found], axis=1)
        turned_deg = [geometry.rotation_angle_deg(pose[:3, :3]) for pose in found]
        assert apart_m[0] - 1e-9 <= far_m.min()
        assert far_m.max() <= apart_m[1] + 1e-9
        assert max(turned_deg) < turn_deg
        assert np.ptp(far_m) > 0.5 * np.ptp(apart_m)  # not all at one end of it


def test_cameras_stand_free_in_the_room(world):
    for name in COLLECTIONS:
        for index in range(MANY):
            scene, stands = Rooms(name, views=3).scene(index)
            for _, pose in stands:
                x, y, z = pose[:3, 3]
                w, h, d = scene.size_m
                assert max(abs(x) - w / 2, abs(z) - d / 2) < -0.29
                assert 0.2 < -y < h - 0.19
                assert (
                    min((_clearance(solid, (x, y, z)) for solid in scene.solids), default=1) > 0.25
                )


def test_solids_do_not_run_through_each_other_nor_through_the_walls():
    rng = np.random.default_rng(0)
    for name in COLLECTIONS:
        for index in range(MANY):
            scene, _ = Rooms(name).scene(index)
            for mesh in meshes(scene)[1:]:
                (left, top, back), (right, bottom, front) = mesh.bounds
                w, h, d = scene.size_m
                assert max(-left, right) < w / 2 + 1e-6
                assert max(-back, front) < d / 2 + 1e-6
                assert bottom < 1e-6
                assert top > -h + 0.04
            for k, solid in enumerate(scene.solids):
                points = rng.uniform(-0.49, 0.49, (200, 3)) * solid.size
                points = points @ geometry.rotation_from_ypr(solid.yaw_deg, 0, 0).T + solid.centre
                points = points[inside(solid, points)]
                assert not any(
                    inside(other, points).any()
                    for other in scene.solids[:k] + scene.solids[k + 1 :]
                )


def inside(solid: Solid, points: np.ndarray) -> np.ndarray:
    own = (points - solid.centre) @ geometry.rotation_from_ypr(solid.yaw_deg, 0, 0)
    x, y, z = np.abs(own / solid.size * 2).T
    if solid.shape == "box":
        return np.maximum(np.maximum(x, y), z) < 1
    return x * x + y * y + z * z < 1 if solid.shape == "ball" else (x * x + z * z < 1) & (y < 1)


def test_views_of_a_scene_overlap_with_real_parallax(world):
    for scenes in world.values():
        shares = np.array([covisible(*views, tolerance=0.03)[2].mean() for views in scenes])
        poses = [
            geometry.relative_pose(one.world_from_cam, other.world_from_cam)
            for one, other in scenes
        ]
        baselines = np.linalg.norm([pose[:3, 3] for pose in poses], axis=-1)
        turns = np.array([geometry.rotation_angle_deg(pose[:3, :3]) for pose in poses])
        assert ((shares > 0.25) & (shares < 0.9)).mean() > 0.65
        assert baselines.min() > 0.19
        assert baselines.max() < 1.51
        assert np.quantile(baselines, 0.5) > 0.5
        assert turns.max() < 40
        assert np.quantile(turns, 0.9) > 20


def test_pictures_vary_in_depth_tilt_height_and_content(world):
    for name, scenes in world.items():
        views = flat(scenes)
        depth_m = np.concatenate([view.depth_m.ravel()[::20] for view in views])
        assert np.quantile(depth_m, 0.95) / np.quantile(depth_m, 0.05) > 3
        heights = [-view.world_from_cam[1, 3] for view in views]
        spread_m = np.quantile(heights, 0.9) - np.quantile(heights, 0.1)
        assert spread_m > 0.8 or name == "homes"
        _, pitch, roll = np.transpose(
            [geometry.ypr_from_rotation(view.world_from_cam[:3, :3]) for view in views]
        )
        assert pitch.std() > 8
        assert roll.std() > 3
        counts = np.array([len(view.boxes) for view in views])
        assert counts.mean() > 2, name
        assert (counts >= 2).mean() > 0.6
        assert len({box.name for view in views for box in view.boxes}) > 40


@pytest.mark.parametrize(
    "lens", [Lens(33, 70, (20, 20), (0.5, 0.5)), Lens(200, 40, (120, 120), (2.0, 2.0), 0.2)]
)
def test_any_camera_will_do(lens):
    views = flat(Rooms("medium", lenses=(lens,)).batch(range(4)))
    for view in views:
        assert view.size == (lens.width, lens.height)
        assert view.camera.fx == pytest.approx(
            lens.width / 2 / np.tan(np.radians(lens.hfov_deg[0] / 2))
        )
        assert view.camera.fy == pytest.approx(lens.stretch[0] * view.camera.fx)
        assert np.isfinite(view.depth_m).all()


def test_a_contact_sheet_shows_pictures_and_depth_beside_each_other():
    sheet, views = rooms.contact_sheet("small", n=3), flat(Rooms("small").batch(range(3)))
    assert sheet.shape == (3 * 100, 4 * 132, 3)
    assert np.array_equal(sheet[100:196, 264:392], views[3].image)
    depth_m, grey = views[3].depth_m, sheet[100:196, 396:524, 0].astype(float)
    assert np.corrcoef(np.log(depth_m).ravel(), grey.ravel())[0, 1] < -0.99


# No shortcuts


def regressed(x, y, x_new):
    """Least squares with squares and products, and the mean of the 25 nearest: the better baseline
    counts."""
    scale = x.std(0) + 1e-9
    x, x_new = (x - x.mean(0)) / scale, (x_new - x.mean(0)) / scale
    first, second = np.triu_indices(x.shape[1])
    full, full_new = (np.c_[np.ones(len(a)), a, a[:, first] * a[:, second]] for a in (x, x_new))
    linear = full_new @ np.linalg.lstsq(full, y, rcond=None)[0]
    order = np.argpartition(((x_new[:, None] - x[None]) ** 2).sum(-1), 25, axis=1)[:, :25]
    return linear, y[order].mean(1)


def gain(x, y) -> float:
    """Share of the mean absolute error of the best constant that x saves on the second half, fitted
    on the first."""
    x, y, half = np.asarray(x, float), np.asarray(y, float), len(x) // 2
    constant = np.abs(y[half:] - np.median(y[:half], 0)).mean()
    return max(
        1 - np.abs(y[half:] - guess).mean() / constant
        for guess in regressed(x[:half], y[:half], x[half:])
    )


def pixels(views, per_view: int = 12):
    """For random pixels: place in the image (share of its sides), mean colour, number of boxes; log
    depth."""
    rng, x, y = np.random.default_rng(0), [], []
    for view in views:
        rows, columns = (
            rng.integers(0, view.size[1], per_view),
            rng.integers(0, view.size[0], per_view),
        )
        place = np.stack([columns / view.size[0], rows / view.size[1]], -1)
        whole = np.r_[view.image.mean((0, 1)), len(view.boxes)]
        x.append(np.c_[place, np.tile(whole, (per_view, 1))])
        y.append(np.log(view.depth_m[rows, columns]))
    return np.concatenate(x), np.concatenate(y)[:, None]


@pytest.mark.parametrize("name", HARD)
def test_neither_place_nor_mean_colour_nor_count_gives_depth_away(world, name):
    """Log depth: the error of a constant falls by less than 20 % (place), 10 % (mean colour), 5 %
    (count)."""
    x, y = pixels(flat(world[name]))
    gains = {"place": gain(x[:, :2], y), "colour": gain(x[:, 2:5], y), "count": gain(x[:, 5:], y)}
    print(name, {key: round(float(value), 3) for key, value in gains.items()})
    assert gains["place"] < 0.2
    assert gains["colour"] < 0.1
    assert gains["count"] < 0.05


@pytest.mark.parametrize("name", COLLECTIONS)
def test_neither_mean_colours_nor_counts_give_the_pose_away(world, name):
    """Yaw, roll and translation: the error of a constant falls by less than 10 %; pitch: by less
    than 20 %, because a second picture with more ceiling in it is brighter."""
    poses = [
        geometry.relative_pose(one.world_from_cam, other.world_from_cam)
        for one, other in world[name]
    ]
    angles = np.array([geometry.ypr_from_rotation(pose[:3, :3]) for pose in poses])
    shifts = np.array([pose[:3, 3] for pose in poses])
    colours = [np.concatenate([view.image.mean((0, 1)) for view in views]) for views in world[name]]
    counts = [[len(view.boxes) for view in views] for views in world[name]]
    for what, x in (("colours", colours), ("counts", counts)):
        gains = [gain(x, y) for y in (angles[:, :1], angles[:, 1:2], angles[:, 2:], shifts)]
        print(name, what, np.round(gains, 3))
        assert (np.array(gains) < [0.1, 0.2, 0.1, 0.1]).all()

"""Views as they could have been: what is shown changes, what is true does not."""

from dataclasses import replace

import numpy as np
import pytest

from tests import walls, worlds
from vlm3.geometry import Camera, invert, project, rotation_from_ypr, transform
from vlm3.mixture import Mixture, NoSample, load
from vlm3.mixture.augmentation import augmented, mirrored, noisy, relit, turned
from vlm3.mixture.files import expanded
from vlm3.mixture.moving import moved
from vlm3.mixture.source import Source
from vlm3.sources.rooms import Rooms
from vlm3.views import View, points_of

CAMERA = Camera(150, 148, 83, 57, 160, 120)
STANDS = [worlds.facing(0, 0.1, -2, 5), worlds.facing(0.3, 0, -2.2, -4)]
MIRROR = np.diag([-1.0, 1, 1, 1])


@pytest.fixture
def wall() -> View:
    """Of a plane, with every tenth pixel as a point as well."""
    view = worlds.wall(CAMERA, STANDS[0])
    return replace(view, points=points_of(view.depth_m)[::10])


def world_of(view: View) -> np.ndarray:
    """(N, 3) points of a view in the world, computed by hand."""
    u, v, z = view.points.T
    rays = np.linalg.solve(view.camera.K, np.stack([u, v, np.ones_like(u)]))
    return (view.world_from_cam @ np.vstack([rays * z, np.ones_like(z)]))[:3].T


def seen(view: View, world: np.ndarray) -> np.ndarray:
    """(N, 3) u, v, z_m of points of the world, inside the view."""
    points = transform(invert(view.world_from_cam), world)
    found = np.column_stack([project(points, view.camera), points[:, 2]])
    return found[((found[:, :2] >= 0) & (found[:, :2] < view.size)).all(1)]


def demand_plane(view: View, tolerance_m: float, least: float = 0.9) -> None:
    """That depth, pose and camera tell of the plane z = 0, as most of the picture does."""
    known = replace(view, points=points_of(view.depth_m))
    assert len(known.points) > least * view.depth_m.size
    assert np.quantile(np.abs(world_of(known)[:, 2]), 0.99) < tolerance_m


def repainted(view: View) -> np.ndarray:
    """What the wall looks like from where the view says it stands."""
    return worlds.wall(view.camera, view.world_from_cam).image.astype(int)


def test_a_mirrored_view_is_that_of_a_mirrored_world(wall):
    view = mirrored(wall)
    right = worlds.wall(view.camera, MIRROR @ view.world_from_cam @ MIRROR)
    assert view.camera.cx == 160 - 83
    demand_plane(view, 1e-5)
    # the same points, their x the other way
    np.testing.assert_allclose(world_of(view), world_of(wall) * [-1, 1, 1], atol=1e-9)
    assert (view.image[:, ::-1] == wall.image).all()
    assert right.size == view.size
    again = mirrored(view)
    assert again.camera == wall.camera
    assert (again.image == wall.image).all()
    np.testing.assert_allclose(again.points, wall.points, atol=1e-12)
    np.testing.assert_allclose(again.world_from_cam, wall.world_from_cam)


def test_boxes_and_the_middles_of_their_objects_are_mirrored():
    view = walls.wall(0)
    crate, ball = mirrored(view).boxes
    assert crate[:4] == (24, 4, 61, 50)
    assert crate.centre_m == (-0.1, 0.2, 3.0)
    assert crate.size_m[:2] == (1.0, 2.0)
    assert ball == (34, 6.5, 59, 20, "ball", None, None)
    # the middle still projects to the same place of the picture
    before, after = (
        project(np.array(box.centre_m), of.camera)
        for of, box in ((view, view.boxes[0]), (mirrored(view), crate))
    )
    np.testing.assert_allclose(after, [64 - before[0], before[1]])


@pytest.mark.parametrize("angles", [(6, 0, 0), (0, -7, 0), (0, 0, 8), (5, 4, -7)])
def test_a_turned_view_shows_every_known_point_where_its_pose_says(wall, angles):
    view = turned(wall, rotation_from_ypr(*angles))
    np.testing.assert_allclose(view.world_from_cam[:3, 3], wall.world_from_cam[:3, 3])
    np.testing.assert_allclose(view.points, seen(view, world_of(wall)), atol=1e-9)
    assert 0.7 * len(wall.points) < len(view.points) < len(wall.points)
    # depth of the nearest pixel: up to half a pixel beside, on a slanted wall
    demand_plane(view, 0.004, least=0.7)
    known = np.isfinite(view.depth_m)
    off = np.abs(view.image.astype(int) - repainted(view))[known]
    assert np.median(off) <= 2
    assert (view.image[~known] == 127).mean() > 0.9
    shifted = replace(view, camera=replace(view.camera, cx=view.camera.cx + 0.5))
    assert off.mean() < 0.7 * np.abs(view.image.astype(int) - repainted(shifted))[known].mean()


def test_a_view_that_is_not_turned_stays_what_it_was():
    view = worlds.wall(CAMERA, STANDS[1])
    same = turned(view, np.eye(3))
    assert (same.image == view.image).all()
    assert (same.depth_m == view.depth_m).all()


def test_a_view_from_elsewhere_is_what_a_camera_there_sees(wall):
    old_from_new = np.eye(4)
    old_from_new[:3, :3], old_from_new[:3, 3] = rotation_from_ypr(4, -3, 6), (0.2, -0.1, 0.15)
    view = moved(wall, old_from_new)
    assert view.size == (80, 60)
    np.testing.assert_allclose(view.world_from_cam, wall.world_from_cam @ old_from_new)
    # depth of an old pixel, up to 0.7 of a new one beside
    demand_plane(view, 0.02, least=0.6)
    known = np.isfinite(view.depth_m)
    assert np.median(np.abs(view.image.astype(int) - repainted(view))[known]) < 15
    beside = replace(view, camera=replace(view.camera, cx=view.camera.cx + 3))
    assert np.median(np.abs(view.image.astype(int) - repainted(beside))[known]) > 25
    assert view.points is None
    assert moved(wall, np.eye(4), (160, 120)).image.shape == (120, 160, 3)
    assert (moved(wall, np.eye(4), (160, 120)).image == wall.image).mean() > 0.99


def test_the_nearer_thing_hides_the_other_and_what_was_hidden_has_no_depth():
    depth_m = np.full((120, 160), 4.0, np.float32)
    depth_m[:, 60:100] = 1.0  # a post
    image = np.where(depth_m[..., None] == 1, 250, 20).astype(np.uint8).repeat(3, -1)
    old_from_new = np.eye(4)
    old_from_new[0, 3] = 0.2
    view = moved(View(image, CAMERA, depth_m), old_from_new)
    # by hand: 0.2 m to the left at 1 m is 15 new pixels, at 4 m under 4
    row = view.depth_m[30]
    assert (row[15:35] == 1).all()
    assert (row[(row != 1) & np.isfinite(row)] == 4).all()
    assert np.isnan(row[35:45]).sum() >= 10
    assert (view.image[30, 15:35] == 250).all()
    assert (view.image[30, 52:70] == 20).all()


def test_unknown_depth_is_shown_and_stays_unknown():
    depth_m = worlds.wall(CAMERA, STANDS[0]).depth_m.copy()
    depth_m[30:60, 40:90] = np.nan
    view = replace(worlds.wall(CAMERA, STANDS[0]), depth_m=depth_m)
    there = moved(view, np.eye(4), (160, 120))
    assert np.isnan(there.depth_m[31:59, 41:89]).all()
    assert np.median(np.abs(there.image.astype(int) - view.image)[31:59, 41:89]) < 20
    back = turned(view, np.eye(3))
    assert np.isnan(back.depth_m[30:60, 40:90]).all()


def test_two_augmented_views_still_fit_each_other():
    shown, agreed, colours = 0, [], []
    for k in range(24):
        pair = [worlds.wall(CAMERA, stand) for stand in STANDS]
        rng = np.random.default_rng(k)
        one, two = augmented(pair, rng)
        agree, apart = worlds.fit(one, two)
        agreed.append(agree)
        colours.append(apart)
        shown += one.size != two.size
    assert np.mean(agreed) > 0.6  # the rest is beside what was seen before
    assert np.median(colours) < 60
    assert shown > 3  # one is moved, the other is turned


def test_pairs_of_rooms_agree_in_depth_after_augmentation_as_before():
    rooms = Rooms("homes", "train", views=2)
    before, after = [], []
    for k in range(6):
        pair = [replace(view, boxes=()) for view in rooms[k]]
        before.append(worlds.fit(*pair)[0])
        after += [worlds.fit(*augmented(pair, np.random.default_rng(seed)))[0] for seed in range(4)]
    assert np.median(before) > 0.5
    assert np.median(after) > 0.4
    # nothing would fit, had the poses of one view of each been left as they were
    wrong = []
    for k in range(6):
        pair = [replace(view, boxes=()) for view in rooms[k]]
        one, two = augmented(pair, np.random.default_rng(0))
        wrong.append(worlds.fit(replace(one, world_from_cam=pair[0].world_from_cam), two)[0])
    assert np.median(wrong) < np.median(after) / 2


def test_the_same_rng_gives_the_same_view_and_another_one_another(wall):
    first, again, other = (augmented([wall], np.random.default_rng(k))[0] for k in (1, 1, 2))
    assert (first.image == again.image).all()
    assert first.camera == again.camera
    assert np.array_equal(first.depth_m, again.depth_m, equal_nan=True)
    assert first.size != other.size or (first.image != other.image).any()


def test_all_that_can_happen_to_a_view_happens(wall):
    bare = replace(wall, points=None)
    made = [augmented([bare], np.random.default_rng(k))[0] for k in range(40)]
    mirrors = [v.camera.cx * 160 / v.size[0] != CAMERA.cx for v in made]
    halves = [v.size != bare.size for v in made]
    assert 10 < sum(mirrors) < 30
    assert 10 < sum(halves) < 30
    sparse = [augmented([replace(wall, depth_m=None)], np.random.default_rng(k)) for k in range(9)]
    assert all(v.size == wall.size and len(v.points) > 900 for (v,) in sparse)


def test_views_with_boxes_stay_where_they_are():
    view = walls.wall(0)
    for k in range(8):
        (there,) = augmented([view], np.random.default_rng(k))
        assert there.size == view.size
        assert len(there.boxes) == 2
        np.testing.assert_allclose(there.world_from_cam[:3, :3], view.world_from_cam[:3, :3])
        assert (np.isnan(there.depth_m) == np.isnan(view.depth_m)).all() or (
            np.isnan(there.depth_m) == np.isnan(view.depth_m)[:, ::-1]
        ).all()


def test_a_photograph_alone_is_augmented_too():
    view = View(walls.wall(0).image, CAMERA.resized(64, 56))
    (there,) = augmented([view], np.random.default_rng(3))
    assert there.depth_m is there.points is there.world_from_cam is None
    assert there.image.shape == view.image.shape


def test_a_view_without_a_camera_is_left_for_unification_to_refuse(wall):
    (found,) = augmented([replace(wall, camera=None)], np.random.default_rng(0))
    assert found.camera is None


def test_a_mirrored_point_at_the_edge_stays_inside():
    points = np.array([[0.0, 3.0, 2.0], [159.5, 4.0, 2.0]])
    view = View(np.zeros((120, 160, 3), np.uint8), CAMERA, points=points)
    assert mirrored(view).points[:, 0].max() < 160
    assert mirrored(view).points[1, 0] == 0.5


def test_other_light_changes_brightness_and_colour_and_nothing_else(rng):
    image = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, -1)
    lights = [relit(image, rng) for _ in range(20)]
    for light in lights:
        assert light.dtype == np.uint8
        assert (np.diff(light[0].astype(int), axis=0) >= 0).all()  # what is brighter stays so
        assert (light[0, 0] == 0).all()
    middle = np.array([light[0, 128] for light in lights])
    assert middle.std(0).min() > 5
    assert np.ptp(middle, axis=1).max() > 3
    assert 64 < middle.min() < middle.max() < 210


def test_another_sensor_adds_noise_and_blur_and_keeps_what_is_shown(rng):
    wide = np.zeros((60, 80, 3), np.uint8) + 128
    wide[:, 40:] = 180
    found = [noisy(wide, rng).astype(int) for _ in range(20)]
    for image in found:
        assert abs(image[:, :35].mean() - 128) < 2
        assert abs(image[:, 45:].mean() - 180) < 2
    noises = [image[:, :35].std() for image in found]
    assert min(noises) < 3 < max(noises) < 10
    steps = [image[:, 40].mean() - image[:, 39].mean() for image in found]
    assert min(steps) < 35 < max(steps) < 55


def sample_of(source: Source, index: int, seed: int = 0):
    return Mixture({"one": source}, seed=seed)[index]


def test_an_augmented_sample_depends_on_seed_and_index_alone():
    source = Source(walls.Made(4), "depth", augment=True, focal_px=80.0)
    first, again = (sample_of(source, 5) for _ in range(2))
    _ = [sample_of(source, k) for k in range(3)]
    third = sample_of(source, 5)
    for other in (again, third):
        assert other.qas == first.qas
        assert (other.views[0].image == first.views[0].image).all()
    plain = sample_of(replace(source, augment=False), 5)
    assert (plain.views[0].image != first.views[0].image).any()
    assert (sample_of(source, 5, 1).views[0].image != first.views[0].image).any()


def test_depth_that_is_asked_for_is_that_of_the_view_that_is_shown():
    bare = [replace(walls.wall(k), boxes=()) for k in range(4)]
    mixture, asked = Mixture({"one": Source(bare, "depth", augment=True, focal_px=80.0)}), 0
    for k in range(12):
        (view,), qas = mixture[k].views, mixture[k].qas
        for qa in qas:
            if qa.kind == "z":
                column, row = (np.array(qa.about[0]) / 2000 * view.size).astype(int)
                assert qa.truth == pytest.approx(view.depth_m[row, column], rel=1e-3)
                asked += 1
    assert asked


def test_a_pair_of_matches_cannot_be_augmented():
    source = Source(walls.Paired(3), "correspondence", augment=True, focal_px=80.0)
    with pytest.raises(NoSample, match="augment needs depth or points, not a Pair"):
        sample_of(source, 0)
    assert sample_of(replace(source, augment=False), 0).qas


def test_only_as_many_views_are_augmented_as_a_task_asks_about():
    source = Source(walls.Made(3, several=3), "depth", augment=True, focal_px=80.0)
    assert len(sample_of(source, 0).views) == 1


def test_a_mixture_finds_data_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("VLM3_MADE", str(tmp_path))
    monkeypatch.delenv("VLM3_ABSENT", raising=False)
    told = {"root": "$VLM3_MADE/a", "more": ["${VLM3_MADE}", 3], "deep": {"of": "$VLM3_MADE"}}
    assert expanded(told) == {
        "root": f"{tmp_path}/a",
        "more": [str(tmp_path), 3],
        "deep": {"of": str(tmp_path)},
    }
    with pytest.raises(ValueError, match=r"'\$VLM3_ABSENT/x': VLM3_ABSENT is not set: export VLM3"):
        expanded({"root": "$VLM3_ABSENT/x"})
    assert expanded("costs 5$") == "costs 5$"


def test_a_source_of_the_environment_is_the_same_run_wherever_its_data_lie(monkeypatch, tmp_path):
    for folder in ("here", "there"):
        walls.write_frames(tmp_path / folder, 2)
    file = tmp_path / "mixture.toml"
    file.write_text(
        '[sources.depth]\nfrom = "vlm3.sources.rgbd:Rgbd"\ntask = "depth"\nfocal_px = 80\n'
        'augment = true\narguments = {root = "$VLM3_MADE"}\n'
    )
    told = []
    for folder in ("here", "there"):
        monkeypatch.setenv("VLM3_MADE", str(tmp_path / folder))
        mixture = load(file)
        assert mixture.sources["depth"].items.root == tmp_path / folder
        assert mixture.sources["depth"].augment
        told.append(mixture.description)
    assert told[0] == told[1]
    monkeypatch.delenv("VLM3_MADE")
    with pytest.raises(ValueError, match=r"mixture.toml, source 'depth': .*VLM3_MADE is not set"):
        load(file)


def test_arguments_are_not_inherited_by_what_makes_other_items(tmp_path):
    below = '[sources.a]\nfrom = "tests.walls:Made"\ntask = "depth"\nquestions = 3\nfocal_px = 80\n'
    below += "arguments = {size = 5, several = 1}\n"
    (tmp_path / "below.toml").write_text(below)
    above = tmp_path / "above.toml"
    head = f'like = "{tmp_path}/below.toml"\n[sources.a]\n'
    above.write_text(head + "arguments = {size = 7}\n")
    assert load(above).sources["a"].origin["arguments"] == {"size": 7, "several": 1}
    above.write_text(head + 'from = "tests.walls:Made"\narguments = {size = 7}\n')
    assert load(above).sources["a"].origin["arguments"] == {"size": 7, "several": 1}
    above.write_text(head + 'from = "tests.walls:Paired"\narguments = {size = 9}\n')
    other = load(above).sources["a"]
    assert other.origin["arguments"] == {"size": 9}
    assert other.questions == 3


def test_augmented_pairs_show_either_view_first():
    views = Rooms("small", "test", views=2)[0]
    dark, light = (
        replace(view, image=np.full_like(view.image, grey), boxes=())
        for view, grey in zip(views, (10, 250), strict=True)
    )
    source = Source([(dark, light)], "depth", 2, 100, either_way=True, augment=True)
    shown = [source.sample(0, "", np.random.default_rng(k)).views[0].image for k in range(24)]
    assert {bool(np.median(image) > 127) for image in shown} == {True, False}

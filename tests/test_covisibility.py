"""How much of one view another sees, against geometry that is known: planes, rooms with a pillar, a
street; and WAI's definition, written out."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.readers import REAL, real
from tests.walks import CAMERA, cast_rays, depth_of, stand
from vlm3.geometry import (
    Camera,
    invert,
    pixel_centres,
    project,
    rays,
    rotation_from_ypr,
    transform,
    unproject,
)
from vlm3.sources.curation.covisibility import WAI, Glances, covisibility
from vlm3.sources.rgbd import Rgbd
from vlm3.views import View, points_of

DARK = np.zeros((96, 128, 3), np.uint8)


def at(x=0.0, y=0.0, z=0.0, yaw=0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_from_ypr(yaw, 0, 0), (x, y, z)
    return pose


def wall(pose: np.ndarray, z_m: float = 4.0) -> View:
    """A view of the endless wall at z = z_m by a camera that looks straight at it."""
    depth_m = np.full((96, 128), z_m - pose[2, 3], np.float32)
    return View(DARK, CAMERA, depth_m, world_from_cam=pose)


def room(k: int) -> View:
    pose = stand(np.random.default_rng([7, k]))
    return View(DARK, CAMERA, depth_of(pose), world_from_cam=pose)


ROOMS = [room(k) for k in range(9)]
COUPLES = [(i, j) for i in range(9) for j in range(9) if i != j]


def shares(views: list[View], grid: int) -> np.ndarray:
    both = Glances.join([Glances.of(view, grid) for view in views])
    return both.shares(*np.array(COUPLES).T)


@cache
def full() -> np.ndarray:
    return shares(ROOMS, WAI)


def moved(a: View, b: View) -> tuple[np.ndarray, np.ndarray]:
    """Where all pixels of a lie in b, (N, 2), and their z-depth there."""
    camera = a.camera
    points = unproject(pixel_centres(camera).reshape(-1, 2), a.depth_m.ravel(), camera)
    there = transform(invert(b.world_from_cam) @ a.world_from_cam, points)
    return project(there, camera), there[:, 2]


def tolerance(z_m: np.ndarray) -> np.ndarray:
    return 0.1 + 0.005 * z_m + 0.1 * math.log(2)


def exact(a: View, b: View) -> float:
    """Of all pixels of a view of the room, those to which nothing blocks the way from b: by casting
    rays to just these places, with no depth map."""
    uv, z_m = moved(a, b)
    inside = ((uv >= 0) & (uv < b.camera.size)).all(-1)
    cast = cast_rays(b.world_from_cam, rays(uv[inside], b.camera))
    return float((np.abs(cast - z_m[inside]) < tolerance(z_m[inside])).sum() / len(uv))


@cache
def truths() -> np.ndarray:
    return np.array([exact(ROOMS[i], ROOMS[j]) for i, j in COUPLES])


def test_a_view_sees_all_of_itself_that_is_known():
    view = wall(at())
    assert covisibility(view, view) == (1, 1)
    half = view.depth_m.copy()
    half[:, :64] = np.nan
    assert covisibility(replace(view, depth_m=half), view) == (0.5, 0.5)


def test_a_step_aside_of_a_quarter_of_the_picture_leaves_three_quarters():
    seen = covisibility(wall(at()), wall(at(x=4 * 32 / 100)))
    assert seen == pytest.approx((0.75, 0.75))


def test_from_half_the_distance_a_view_sees_a_quarter_of_the_other_and_is_seen_whole():
    assert covisibility(wall(at()), wall(at(z=2))) == pytest.approx((0.25, 1), abs=0.02)


def test_what_lies_behind_the_camera_or_beyond_its_picture_is_not_seen():
    away = replace(wall(at()), world_from_cam=at(z=-1, yaw=180))
    assert covisibility(wall(at()), away) == (0, 0)
    assert covisibility(wall(at()), wall(at(x=20))) == (0, 0)


def test_what_a_nearer_thing_hides_is_not_seen():
    view, hidden = wall(at()), wall(at())
    hidden.depth_m[:, :32] = 2
    # a point of the near thing falls onto itself, but where it is not, there is only the wall
    assert covisibility(view, hidden) == (0.75, 0.75)
    for gap, seen in ((0.16, 1), (0.21, 0)):  # 0.1 + 0.1 ln 2 + 0.005 z is 0.189
        assert covisibility(view, replace(view, depth_m=view.depth_m + np.float32(gap)))[0] == seen


def test_on_the_full_grid_shares_are_those_of_the_definition():
    middles = (np.arange(WAI) + 0.5) / WAI
    at_middles = np.ix_((middles * 96).astype(int), (middles * 128).astype(int))
    views = [
        View(
            np.zeros((WAI, WAI, 3), np.uint8),
            CAMERA.resized(WAI, WAI),
            room.depth_m[at_middles],
            world_from_cam=room.world_from_cam,
        )
        for room in ROOMS
    ]
    for (i, j), share in list(zip(COUPLES, full(), strict=True))[::29]:
        uv, z_m = moved(views[i], views[j])
        inside = ((uv >= 0) & (uv < WAI)).all(-1) & (z_m >= 0.04)
        u, v = np.floor(uv[inside]).astype(int).T
        z_m = z_m[inside]
        gap = np.abs(views[j].depth_m[v, u] - z_m)
        seen = (gap < tolerance(z_m)).sum() / WAI**2
        assert share == pytest.approx(seen, abs=2e-4)  # single precision, at edges


def test_on_the_small_grid_shares_are_near_those_of_the_full_one():
    off = np.abs(shares(ROOMS, 48) - full())
    assert (full() > 0.1).sum() > 30
    assert off.mean() < 0.02
    # the rest: faces that the other view sees so flatly that they are a few pixels wide
    assert np.quantile(off, 0.8) < 0.015


def test_shares_are_those_of_the_places_to_which_nothing_blocks_the_way():
    off = np.abs(shares(ROOMS, 48) - truths())
    assert off.mean() < 0.025
    assert np.quantile(off, 0.8) < 0.02


@pytest.mark.parametrize(("name", "step"), [("kitchen", 20), ("hololens", 8)])
def test_on_real_rooms_shares_of_both_grids_are_near(name, step):
    reader = Rgbd(real(REAL / name))
    views = [reader[k] for k in range(0, 9 * step, step)]
    small, large = shares(views, 48), shares(views, WAI)
    assert (large > 0.1).sum() > 10
    assert np.abs(small - large).mean() < 0.01
    assert np.abs(small - large).max() < 0.06


def street(pose: np.ndarray) -> View:
    """Level ground 1.5 m below the camera, out to 100 m, which hides nothing."""
    camera = Camera(500, 500, 320, 240, 640, 480)
    way = rays(pixel_centres(camera), camera) @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        depth_m = 1.5 / way[..., 1]
    depth_m[(depth_m < 0) | (depth_m > 100)] = np.nan
    image = np.zeros((480, 640, 3), np.uint8)
    return View(image, camera, depth_m.astype(np.float32), world_from_cam=pose)


@pytest.mark.parametrize("pose", [at(z=1), at(x=0.5, yaw=10), at(z=8, yaw=-5)])
def test_ground_that_one_looks_along_does_not_fall_between_the_cells_of_the_small_grid(pose):
    views = street(at()), street(pose)
    ways = (views, views[::-1])
    truth = [((uv >= 0) & (uv < (640, 480))).all(-1).mean() for uv, _ in (moved(*w) for w in ways)]
    off, off_full = (np.subtract(covisibility(*views, grid=g), truth) for g in (48, WAI))
    assert np.abs(off).max() < 0.03
    assert (np.abs(off) < np.abs(off_full)).all()  # there it does


def rings(view: View) -> View:
    """As a scanner sees it: every fourth row of pixels."""
    known = np.full_like(view.depth_m, np.nan)
    known[2::4] = view.depth_m[2::4]
    return View(DARK, CAMERA, points=points_of(known), world_from_cam=view.world_from_cam)


def test_laser_points_give_about_the_shares_that_depth_gives():
    off = np.abs(shares([rings(view) for view in ROOMS], 48) - truths())
    assert off.mean() < 0.035
    assert np.quantile(off, 0.8) < 0.04


def test_laser_points_of_which_the_other_scanner_knows_nothing_count_as_seen():
    view = rings(wall(at()))
    few = replace(view, points=view.points[:1])
    assert covisibility(view, few) == (1, 1)
    near = replace(view, points=view.points * [1, 1, 0.5])
    assert covisibility(view, near) == (0, 0)  # something stands before all of it


def test_depth_sees_points_and_points_see_depth():
    dense, sparse = wall(at()), rings(wall(at(x=4 * 32 / 100)))
    assert covisibility(dense, sparse) == pytest.approx((0.75, 0.75), abs=0.02)


def test_a_unit_that_is_no_metre_changes_nothing_if_it_is_told():
    def enlarged(view: View) -> View:
        pose = view.world_from_cam.copy()
        pose[:3, 3] *= 1000
        return replace(view, depth_m=view.depth_m * 1000, world_from_cam=pose)

    large = Glances.join([Glances.of(enlarged(view)) for view in ROOMS])
    told = replace(large, unit_m=1000).shares(*np.array(COUPLES).T)
    np.testing.assert_allclose(told, shares(ROOMS, 48), atol=2e-3)


def test_places_far_from_the_origin_of_the_world_lose_no_digits():
    def away(view: View) -> View:
        pose = view.world_from_cam.copy()
        pose[:3, 3] += [4e5, 5e6, 100]  # as of a map
        return replace(view, world_from_cam=pose)

    np.testing.assert_allclose(shares([away(v) for v in ROOMS], 48), shares(ROOMS, 48), atol=1e-3)


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ({"world_from_cam": None}, "needs the camera and the pose"),
        ({"depth_m": None}, "needs depth_m or points"),
        ({"depth_m": np.full((96, 128), np.nan)}, "known somewhere"),
    ],
)
def test_views_that_lack_something_are_refused(lacking, told):
    with pytest.raises(ValueError, match=told):
        covisibility(replace(wall(at()), **lacking), wall(at()))

"""Taskonomy: published poses against the pixels published with them, and made views."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.readers import demand_reader
from vlm3.geometry import invert, pixel_centres, project, transform, unproject
from vlm3.sources.taskonomy import Taskonomy

FOV = 1.3089969389957472
# Numbers of the sample building published with the data set: location, angles, the point that the
# view is fixed on, and the whole pixel at which it sees SEEN, from its `nonfixated` file.
PUBLISHED = {
    "point_52_view_0": (
        (0.724806, 4.289951, 1.483605),
        (1.7480149269104004, -0.012179006822407246, 2.7053401470184326),
        (-0.582731306552887, 1.4692943096160889, 2.0403730869293213),
        (338, 392),
    ),
    "point_9_view_2": (
        (0.081101, -0.078128, 1.481538),
        (1.7068731784820557, 0.006823912262916565, -0.25847694277763367),
        (1.387424349784851, 4.844126224517822, 2.178821325302124),
        (33, 379),
    ),
    "point_18_view_5": (
        (4.119016, 3.356542, 1.473925),
        (1.7629690170288086, -0.007264856249094009, 1.2989999055862427),
        (2.081400156021118, 3.921308755874634, 1.8853280544281006),
        (84, 358),
    ),
    "point_20_view_1": (
        (4.119016, 3.356542, 1.473925),
        (1.3239898681640625, -0.00026953150518238544, 2.220635414123535),
        (-0.5246977210044861, -0.1719522625207901, 0.0045468444004654884),
        (423, 209),
    ),
}
SEEN = (-0.735573410987854, 2.436551332473755, 0.9980431199073792)


def path(root: Path, view: str, task: str, domain: str, building: str = "cauthron") -> Path:
    """Where omnitools.download puts it."""
    found = root / task / "taskonomy" / building / f"{view}_domain_{domain}"
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def views(root: Path, size: int = 64, domain: str = "point_info") -> Path:
    for view, (location, angles, _, _) in PUBLISHED.items():
        image = np.full((size, size, 3), len(view), np.uint8)
        Image.fromarray(image).save(path(root, view, "rgb", "rgb.png"))
        info = dict(camera_location=location, camera_rotation_final=angles)
        info |= {"field_of_view_rads": FOV, "resolution": 512}
        path(root, view, "point_info", f"{domain}.json").write_text(json.dumps(info))
    return root


def depth_of(root: Path, view: str, task: str, depth_m: np.ndarray) -> None:
    stored = np.where(np.isfinite(depth_m), np.rint(depth_m * 512), 65535).astype(np.uint16)
    Image.fromarray(stored).save(path(root, view, task, f"{task}.png"))


def test_what_every_reader_promises(tmp_path):
    reader = Taskonomy(views(tmp_path))
    demand_reader(reader)
    assert reader.scenes == ("cauthron",)
    assert [frame.name for frame in reader.frames] == [
        "cauthron/point_9_view_2",
        "cauthron/point_18_view_5",
        "cauthron/point_20_view_1",
        "cauthron/point_52_view_0",
    ]  # by number


@pytest.mark.parametrize("domain", ["point_info", "fixatedpose"])
def test_published_points_lie_on_their_published_pixels(domain, tmp_path):
    reader = Taskonomy(views(tmp_path, 512, domain))
    for frame, view in zip(reader.frames, reader, strict=True):
        location, _, fixed, pixel = PUBLISHED[frame.name.split("/")[1]]
        cam_from_world = invert(view.world_from_cam)
        in_camera = transform(cam_from_world, np.array([fixed, SEEN]))
        uv = project(in_camera, view.camera)
        assert uv[0] == pytest.approx((256, 256), abs=1e-3)  # fixed on it: in the middle
        assert in_camera[0, 2] == pytest.approx(np.linalg.norm(np.subtract(fixed, location)))
        assert uv[1] == pytest.approx(pixel, abs=0.51)  # rounded there
        assert view.world_from_cam[:3, 3].tolist() == list(location)
        assert view.world_from_cam[2, 1] < -0.9  # down is down


def floor_m(view) -> np.ndarray:
    """z-depth of the floor, world z = 0, by intersection; NaN above the horizon, or far away."""
    rays = unproject(pixel_centres(view.camera), np.ones(view.size[::-1]), view.camera)
    down = rays @ view.world_from_cam[2, :3]
    with np.errstate(divide="ignore"):
        depth_m = -view.world_from_cam[2, 3] / down
    return np.where((depth_m > 0) & (depth_m < 60), depth_m, np.nan)


def test_two_views_of_a_floor_agree_where_it_is(tmp_path):
    views(tmp_path)
    for frame, view in zip(Taskonomy(tmp_path).frames, Taskonomy(tmp_path), strict=True):
        depth_of(tmp_path, frame.name.split("/")[1], "depth_zbuffer", floor_m(view))
    off = []
    for first, second in permutations(Taskonomy(tmp_path), 2):
        known = np.isfinite(first.depth_m)
        points = unproject(pixel_centres(first.camera)[known], first.depth_m[known], first.camera)
        world = transform(first.world_from_cam, points)
        assert np.abs(world[:, 2]).max() < 0.01  # half of 1/512 m, at a slant
        seen = transform(invert(second.world_from_cam), world)
        uv = project(seen, second.camera)
        inside = np.isfinite(uv).all(1) & (uv >= 0).all(1) & (uv < 64).all(1)
        columns, rows = uv[inside].astype(int).T
        off += np.abs(second.depth_m[rows, columns] / seen[inside, 2] - 1).tolist()
    assert len(off) > 1000
    assert np.nanmedian(off) < 0.02  # half a pixel of 64


def test_euclidean_depth_becomes_z_depth(tmp_path):
    views(tmp_path)
    z_m = np.random.default_rng(0).uniform(1, 9, (64, 64))
    focal_px = 32 / np.tan(FOV / 2)
    rows, columns = np.indices((64, 64))
    beside = np.hypot(columns + 0.5 - 32, rows + 0.5 - 32) / focal_px
    depth_of(tmp_path, "point_9_view_2", "depth_euclidean", z_m * np.sqrt(1 + beside**2))
    assert np.abs(Taskonomy(tmp_path)[0].depth_m - z_m).max() < 0.6 / 512
    depth_of(tmp_path, "point_9_view_2", "depth_zbuffer", z_m + 1)  # counts where both are
    assert np.abs(Taskonomy(tmp_path)[0].depth_m - z_m - 1).max() < 0.6 / 512


@pytest.mark.parametrize("domain", ["mask_valid", "depth_zbuffer"])
def test_depth_is_unknown_in_holes_and_where_the_mask_says_so(domain, tmp_path):
    views(tmp_path)
    depth_m, mask = np.full((64, 64), 2.5), np.full((64, 64), 255, np.uint8)
    depth_m[3, 4], mask[5, 6] = np.nan, 0
    depth_of(tmp_path, "point_9_view_2", "depth_zbuffer", depth_m)
    Image.fromarray(mask).save(path(tmp_path, "point_9_view_2", "mask_valid", f"{domain}.png"))
    found = Taskonomy(tmp_path)[0].depth_m
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 4], [5, 6]]
    assert np.nanmax(found) == np.nanmin(found) == 2.5


@pytest.mark.parametrize(
    "layout",
    [
        "{task}/{building}",
        "{building}/{task}",
        "{building}_{task}/{task}",
        "{task}/taskonomy/{building}",
    ],
)
def test_other_layouts_are_read(layout, tmp_path):
    whole = views(tmp_path / "whole")
    for view, domain, task, ending in (
        ("point_9_view_2", "rgb", "rgb", "png"),
        ("point_9_view_2", "point_info", "point_info", "json"),
    ):
        source = path(whole, view, task, f"{domain}.{ending}")
        target = tmp_path / "other" / layout.format(task=task, building="cauthron") / source.name
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
    reader = Taskonomy(tmp_path / "other")
    assert [frame.name for frame in reader.frames] == ["cauthron/point_9_view_2"]
    assert reader[0].world_from_cam is not None


def test_a_folder_of_one_building_is_named_after_it(tmp_path):
    whole = views(tmp_path / "whole")
    for task in ("rgb", "points"):
        (tmp_path / "hanson" / task).mkdir(parents=True)
    photo = path(whole, "point_9_view_2", "rgb", "rgb.png")
    (tmp_path / "hanson" / "rgb" / photo.name).write_bytes(photo.read_bytes())
    pose = path(whole, "point_9_view_2", "point_info", "point_info.json").read_bytes()
    (tmp_path / "hanson" / "points" / "point_9_view_2_domain_fixatedpose.json").write_bytes(pose)
    reader = Taskonomy(tmp_path / "hanson")
    assert reader.scenes == ("hanson",)
    assert reader[0].camera.fx == pytest.approx(32 / np.tan(FOV / 2))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "point_info.json: missing; download point_info, too"),
        ("{", "point_info.json: not whole as json"),
        ("{}", "point_info.json: not a pose of Taskonomy"),
        ('{"field_of_view_rads": null}', "point_info.json: not a pose of Taskonomy"),
    ],
)
def test_a_pose_that_is_missing_or_another_file_is_named(text, told, tmp_path):
    file = path(views(tmp_path), "point_9_view_2", "point_info", "point_info.json")
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=told):
        Taskonomy(tmp_path)[0]


def test_broken_pictures_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with rgb/task"):
        Taskonomy(tmp_path)
    views(tmp_path)
    path(tmp_path, "point_9_view_2", "depth_zbuffer", "depth_zbuffer.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"domain_depth_zbuffer\.png: not a picture"):
        Taskonomy(tmp_path)[0]
    path(tmp_path, "point_18_view_5", "rgb", "rgb.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"view_5_domain_rgb\.png: not a picture"):
        Taskonomy(tmp_path)[1]

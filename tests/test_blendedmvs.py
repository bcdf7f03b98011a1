"""BlendedMVS: a folder made in the published layout, since the set is not at hand."""

import numpy as np
import pytest

from tests.readers import demand_reader
from tests.worlds import demand_same, fit, room, save, save_cam, save_pfm
from vlm3.geometry import project, transform
from vlm3.sources.blendedmvs import Blendedmvs

UNIT_M = 2.5  # of the made reconstruction


@pytest.fixture(scope="module")
def views():
    return room(128, 96, 70, off=0.05)


def centred(view):
    """Intrinsics with the principal point from pixel centres, and cam_from_world in units."""
    matrix, pose = view.camera.K, np.linalg.inv(view.world_from_cam)
    matrix[:2, 2] -= 0.5
    pose[:3, 3] /= UNIT_M
    return matrix, pose


@pytest.fixture
def root(tmp_path, views):
    for scene in ("5a0271884e62597cdee0d0eb", "5bfe5ae0fe0ea555e6a969ca"):
        for k, view in enumerate(views):
            folder, name = tmp_path / scene, f"{k:08d}"
            save(view.image, folder / f"blended_images/{name}.jpg")
            save(view.image // 2, folder / f"blended_images/{name}_masked.jpg")
            save_cam(*centred(view), folder / f"cams/{name}_cam.txt")
            save_pfm(view.depth_m / UNIT_M, folder / f"rendered_depth_maps/{name}.pfm")
        (folder / "cams/pair.txt").write_text("2\n0\n1 1 99.0\n1\n1 0 99.0\n")
    (tmp_path / "BlendedMVS_list.txt").write_text("5bfe5ae0fe0ea555e6a969ca\n")
    return tmp_path


def test_views_are_those_of_the_reconstruction_and_not_metric(root, views):
    reader = Blendedmvs(root)
    found = demand_reader(reader)
    assert not reader.metric
    assert len(reader) == 4
    for view, original in zip(found[:2], views, strict=True):
        np.testing.assert_allclose(view.depth_m * UNIT_M, original.depth_m, rtol=1e-6)
        np.testing.assert_allclose(view.camera.K, original.camera.K, atol=1e-6)
    # what fits is the set's own unit of length
    assert fit(*found[:2])[0] == pytest.approx(fit(*views)[0], abs=0.01)


def test_who_measured_the_scale_has_metres(root, views):
    reader = Blendedmvs(root, scenes="5b*", scale_m=UNIT_M)
    assert reader.metric
    for view, original in zip(reader, views, strict=True):
        demand_same(view, original)


@pytest.mark.parametrize("scale_m", [0, -1.0, np.inf, np.nan])
def test_a_scale_is_positive(root, scale_m):
    with pytest.raises(ValueError, match="scale_m must be metres per unit"):
        Blendedmvs(root, scale_m=scale_m)


def test_a_point_of_the_world_lies_on_the_pixel_that_its_matrices_say(root, views):
    matrix, cam_from_world = centred(views[1])
    point = views[1].world_from_cam[:3] @ [0.2, -0.1, 2, 1] / UNIT_M
    x, y, w = matrix @ (cam_from_world @ [*point, 1])[:3]
    view = Blendedmvs(root)[1]
    seen = project(transform(np.linalg.inv(view.world_from_cam), point), view.camera)
    assert seen == pytest.approx([x / w + 0.5, y / w + 0.5])


def test_where_a_mesh_ends_depth_is_unknown(root, views):
    path = next(root.glob("5a*/rendered_depth_maps/00000000.pfm"))
    stored = views[0].depth_m.copy()
    stored[:50] = 0
    stored[50] = -1
    save_pfm(stored, path)
    known = np.isfinite(Blendedmvs(root)[0].depth_m)
    assert not known[:51].any()
    assert known[51:].all()
    save_pfm(np.zeros_like(stored), path)
    assert np.isnan(Blendedmvs(root)[0].depth_m).all()


@pytest.mark.parametrize("name", ["cams/00000000_cam.txt", "rendered_depth_maps/00000000.pfm"])
def test_a_missing_file_is_named(root, name):
    path = next(root.glob(f"5a*/{name}"))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name}: missing; download"):
        Blendedmvs(root)[0]


def test_a_photograph_that_was_cut_short_is_named(root):
    path = next(root.glob("5a*/blended_images/00000000.jpg"))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"00000000\.jpg: not a picture"):
        Blendedmvs(root)[0]


def test_depth_of_another_size_names_the_frame(root):
    path = next(root.glob("5a*/rendered_depth_maps/00000000.pfm"))
    save_pfm(np.ones((48, 64)), path)
    with pytest.raises(ValueError, match="frame 5a.*/00000000: depth_m must be"):
        Blendedmvs(root)[0]

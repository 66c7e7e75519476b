"""Generated scenes have the surfaces that they say; folders of pictures with depth are read as they were written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tokzoo.data.rgbd import RgbdFolder, _counts, mirror, noised, write_scenes
from tokzoo.data.scenes import PLANES, scenes
from tokzoo.layers.camera import lift


def test_what_rays_meet_lies_on_the_surface_that_is_named_and_faces_the_camera() -> None:
    made = scenes(list(range(8)), seed=3, image_size=24)
    hit, depth = made.cast_pixels(), made.render().depth
    points = lift(depth, made.intrinsics).flatten(2).transpose(1, 2)
    assert set(hit.thing.unique().tolist()) == set(range(6))  # floor, wall, balls and boxes are all seen
    torch.testing.assert_close(hit.normal.norm(dim=-1), torch.ones_like(hit.depth))
    assert bool(((hit.normal * points).sum(-1) < 1e-4).all())
    for scene in range(8):
        for thing in range(6):
            on = points[scene][hit.thing[scene] == thing]
            if thing < PLANES:
                away = on @ made.normals[scene, thing] - made.offsets[scene, thing]
            elif thing < PLANES + 2:
                away = (on - made.balls[scene, thing - 2]).norm(dim=-1) - made.radii[scene, thing - 2]
            else:
                inside = (on - made.boxes[scene, thing - 4]) @ made.frames[scene, thing - 4].T
                away = (inside.abs() - made.halves[scene, thing - 4]).amax(-1)
            torch.testing.assert_close(away, torch.zeros_like(away), atol=1e-4, rtol=0)


def test_normals_are_those_of_the_depth_around_a_pixel() -> None:
    made = scenes([0, 1, 2], seed=5, image_size=96)
    hit, depth = made.cast_pixels(), made.render().depth
    points = lift(depth, made.intrinsics)
    across = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    down = points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1]
    measured = torch.nn.functional.normalize(torch.linalg.cross(across, down, dim=1), dim=1)
    told = hit.normal.transpose(1, 2).unflatten(2, (96, 96))[:, :, 1:-1, 1:-1]
    alike = (measured * told).sum(1).abs()
    assert float((alike > 0.995).float().mean()) > 0.9  # all but edges, and the curves of small balls


def test_a_scene_depends_on_its_number_alone() -> None:
    several, one = scenes([4, 9], seed=1, image_size=16).render(), scenes([9], seed=1, image_size=16).render()
    assert torch.equal(several.images[1:], one.images) and torch.equal(several.depth[1:], one.depth)
    assert not torch.equal(scenes([9], seed=2, image_size=16).render().depth, one.depth)


def test_written_scenes_are_read_with_their_depth_and_cameras(tmp_path: Path) -> None:
    made = scenes([0, 1, 2], seed=0, image_size=16).render()
    folder = RgbdFolder(write_scenes(tmp_path, 3, seed=0, image_size=16), 16)
    read = folder.chosen(range(3))
    torch.testing.assert_close(read.images, made.images, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(read.depth, made.depth, atol=0.5e-3 + 1e-6, rtol=0)
    torch.testing.assert_close(read.intrinsics, made.intrinsics)
    one, other = (folder.batch(7, seed=0, batch_size=4) for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))
    assert not torch.equal(folder.batch(8, seed=0, batch_size=4).images, one.images)


def test_a_mirrored_picture_is_of_the_mirrored_scene() -> None:
    made = scenes([0, 1], seed=0, image_size=16).render()
    turned = mirror(made, torch.tensor([True, False]))
    points, before = lift(turned.depth, turned.intrinsics), lift(made.depth, made.intrinsics)
    torch.testing.assert_close(points[0], before[0].flip(2) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None])
    assert torch.equal(points[1], before[1])


def test_a_wide_picture_with_coarser_depth_is_cut_shrunk_and_seen_by_the_camera_of_the_square(tmp_path: Path) -> None:
    write_wide(tmp_path)
    read = RgbdFolder(tmp_path, 8).chosen([0])
    assert read.images.shape == (1, 3, 8, 8)
    # depth is 1 m and 1 mm more for each column of its own file, of two pixels of the picture; the square begins at 8
    columns = 1.0 + 0.001 * (4 + torch.arange(8).float())
    torch.testing.assert_close(read.depth[0], columns.expand(8, 8), atol=1e-6, rtol=0)
    # the point behind the second pixel of the square, whose middle is between columns 10 and 11 of the picture
    point = lift(read.depth, read.intrinsics)[0, :, 0, 1]
    torch.testing.assert_close(point[0] / point[2], torch.tensor((10.5 - 15.5) / 20.0))
    torch.testing.assert_close(point[1] / point[2], torch.tensor((0.5 - 7.5) / 20.0))


def test_noise_is_in_whole_squares_that_are_named_and_nowhere_else() -> None:
    depth = torch.full((64, 20, 24), 2.0)
    made = noised(depth, share=0.25, deviation=0.3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.depth != depth, made.wrong)
    squares = made.wrong[:, ::8, ::8]  # 3 x 3 of them, the last ones cut
    assert torch.equal(squares.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :20], made.wrong)
    assert float(squares.float().mean()) == pytest.approx(0.25, abs=0.06)
    logs = (made.depth / depth).log()[:, :8, :8].flatten(1)[squares[:, 0, 0]]
    assert float(logs.std(1).mean()) == pytest.approx(0.3, abs=0.03)  # of pixels, and of squares
    assert float(logs.mean(1).std()) == pytest.approx(0.3, abs=0.15)


def test_what_is_missing_in_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cameras\.json"):
        RgbdFolder(tmp_path, 8)
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(ValueError, match="no pictures"):
        RgbdFolder(tmp_path, 8)
    write_wide(tmp_path)
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(ValueError, match="for 'wide'; got None"):
        RgbdFolder(tmp_path, 8)
    write_wide(tmp_path)
    Image.new("RGB", (16, 8)).save(tmp_path / "depth" / "wide.png")
    with pytest.raises(ValueError, match="one channel"):
        RgbdFolder(tmp_path, 8)
    (tmp_path / "depth" / "wide.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"wide.png has no depth"):
        RgbdFolder(tmp_path, 8)


def write_wide(folder: Path) -> None:
    """A picture of 16x32 pixels, with depth of 8x16."""
    for part in ("colour", "depth"):
        (folder / part).mkdir(exist_ok=True)
    Image.new("RGB", (32, 16), (10, 20, 30)).save(folder / "colour" / "wide.png")
    counts = np.tile(1000 + np.arange(16, dtype=np.uint16), (8, 1))
    Image.fromarray(counts).save(folder / "depth" / "wide.png")
    (folder / "cameras.json").write_text(json.dumps({"camera": [20.0, 20.0, 15.5, 7.5]}))


def test_depth_that_is_not_known_is_written_as_zero() -> None:
    depth = torch.tensor([[1.5, 0.0, -1.0], [torch.nan, torch.inf, 100.0]])
    assert _counts(depth).tolist() == [[1500, 0, 0], [0, 0, 0]]

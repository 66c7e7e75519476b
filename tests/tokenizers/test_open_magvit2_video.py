"""Videos: causal convolutions, numbers of frames, what is refused; the numbers are proved by the golden case."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import some_images, tiny
from tokzoo.layers.causal_convs import CausalConv3d, CausalDepthToSpace, check_strides
from tokzoo.tokens import Grid3D


@torch.no_grad()
@pytest.mark.parametrize(("frames", "planes"), [(1, 1), (3, 2), (9, 5)])
def test_one_more_than_any_multiple_of_frames_goes_in_and_comes_out(frames: int, planes: int) -> None:
    tok = tiny("open_magvit2_video")
    videos = torch.rand(1, 3, frames, 8, 20, generator=torch.Generator().manual_seed(0))
    tokens = tok.encode(videos)
    assert tokens.layout == Grid3D(planes, 2, 5)
    assert tokens.extent == (frames, 8, 20)
    assert tok.decode(tokens).shape == videos.shape


@torch.no_grad()
def test_no_frame_of_a_causal_conv_sees_a_later_one() -> None:
    torch.manual_seed(0)
    video = torch.rand(1, 2, 6, 4, 4)
    changed = torch.cat([video[:, :, :3], torch.rand(1, 2, 3, 4, 4)], dim=2)
    conv = CausalConv3d(2, 3, 3)
    assert torch.equal(conv(video)[:, :, :3], conv(changed)[:, :, :3])
    assert not torch.equal(conv(video)[:, :, 3], conv(changed)[:, :, 3])
    halved = CausalConv3d(2, 3, 3, stride=(2, 2, 2))
    assert halved(video[:, :, :5]).shape == (1, 3, 3, 2, 2)
    assert torch.equal(halved(video)[:, :, :2], halved(changed)[:, :, :2])  # planes of frames 0, and 1 and 2
    larger = CausalDepthToSpace(2, (2, 2, 2))
    assert torch.equal(larger(video)[:, :, :5], larger(changed)[:, :, :5])


@torch.no_grad()
def test_channels_become_frames_then_rows_then_columns_and_the_second_frame_is_dropped() -> None:
    larger = CausalDepthToSpace(1, (2, 2, 2))
    larger.conv.conv.weight.zero_()
    larger.conv.conv.bias.copy_(torch.arange(8.0))
    made = larger(torch.zeros(1, 1, 2, 1, 1))[0, 0]  # two places of eight channels: (3, 2, 2)
    assert made.tolist() == [[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_frames_that_do_not_fit_are_met_with_those_that_do() -> None:
    tok = tiny("open_magvit2_video")
    with pytest.raises(ValueError, match=r"1 \+ 2 n frames; got 6. The nearest fit is 5"):
        tok.encode(torch.zeros(1, 3, 6, 16, 16))
    with pytest.raises(ValueError, match=r"\(B, 3, T, H, W\); got \(2, 3, 16, 16\).*unsqueeze\(2\)"):
        tok.encode(torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match=r"3 levels need 2 strides of 1 or 2 frames; got \(\(3, 2, 2\),\)"):
        check_strides((1, 2, 2), ((3, 2, 2),))


@torch.no_grad()
def test_photos_are_the_frames_of_one_video() -> None:
    tok = tiny("open_magvit2_video")
    photos = [Image.fromarray(np.full((20, 30, 3), 50 * number, dtype=np.uint8)) for number in range(3)]
    video = tok.preprocess(photos)
    assert video.shape == (1, 3, 3, 16, 16)
    torch.testing.assert_close(video[0, :, :, 0, 0], (torch.arange(3) * 50 / 255).expand(3, -1))
    assert tok.preprocess(photos[1]).shape == (1, 3, 1, 16, 16)


@torch.no_grad()
def test_the_decoder_reads_volumes_alone() -> None:
    tok = tiny("open_magvit2_video")
    tokens = tok.encode(some_images(tok))
    with pytest.raises(ValueError, match="lie on a Grid3D"):
        tok.decode(tiny("open_magvit2").encode(torch.zeros(1, 3, 16, 16)))
    assert torch.equal(tok.codes(tokens).unique(), torch.tensor([-1.0, 1.0]))

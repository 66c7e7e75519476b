"""The discriminator's shape and reach, and its losses against numbers worked out by hand."""

import pytest
import torch

from tokzoo.losses.adversarial import LeCam, PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss


@pytest.mark.parametrize(("depth", "side"), [(1, 30), (2, 14), (3, 6), (4, 2)])
def test_the_map_of_logits_has_one_entry_per_patch(depth, side):
    logits = PatchDiscriminator(width=8, depth=depth)(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 1, side, side)


def test_the_default_is_the_published_70_pixel_discriminator():
    discriminator = PatchDiscriminator()
    channels = [layer.out_channels for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d)]
    assert channels == [64, 128, 256, 512, 1]
    reach = 1
    for layer in reversed(discriminator.layers):
        if isinstance(layer, torch.nn.Conv2d):
            reach = (reach - 1) * layer.stride[0] + layer.kernel_size[0]
    assert reach == 70


def test_a_logit_depends_on_its_own_image_only():
    discriminator, images = PatchDiscriminator(width=8), torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(discriminator(images)[1:2], discriminator(images[1:2]))


def test_the_discriminator_learns_to_tell_noise_from_grey():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(width=8, depth=2)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    real, fake = torch.rand(4, 3, 32, 32), torch.full((4, 3, 32, 32), 0.5)
    losses = []
    for _ in range(20):
        loss = hinge_discriminator_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_hinge_losses_have_their_known_values():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.5, 1.0])
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1.5 + 2) / 3)
    assert hinge_generator_loss(fake).item() == pytest.approx(0.5 / 3)


def test_lecam_pulls_logits_back_from_the_other_average():
    lecam = LeCam(decay=0.5)
    penalty = lecam(torch.tensor([1.0, 3.0]), torch.tensor([-4.0, 0.0]))
    # the averages are now 1 and -1: real logits exceed -1 by 2 and 4, fake ones fall short of 1 by 5 and 1
    assert (lecam.real_average.item(), lecam.fake_average.item()) == (1, -1)
    assert penalty.item() == pytest.approx((4 + 16) / 2 + (25 + 1) / 2)


def test_lecam_averages_are_saved_and_carry_no_gradient():
    lecam, real = LeCam(), torch.ones(2, requires_grad=True)
    lecam(real, -real).backward()
    assert set(lecam.state_dict()) == {"real_average", "fake_average"}
    assert not lecam.real_average.requires_grad
    assert real.grad.abs().sum() > 0

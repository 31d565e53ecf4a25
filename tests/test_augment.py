"""Augmentation moves, colours and covers as it says, from the stream it is given, and lets gradients through."""

import pytest
import torch

from ganlab.choices import AUGMENTATIONS, REAL_AUGMENTATIONS, function
from ganlab.training.augment import augment, augment_real, crop, cutout, flip, rotation, translation


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 64) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=seeded(1)) * 2 - 1


@pytest.mark.parametrize("name", [*AUGMENTATIONS, *REAL_AUGMENTATIONS])
def test_same_stream_same_result_and_shape(name):
    images, change = pictures(), function("augmentation", AUGMENTATIONS | REAL_AUGMENTATIONS, name)
    first = change(images, seeded())
    assert first.shape == images.shape
    assert torch.equal(first, change(images, seeded()))
    assert not torch.equal(first, change(images, seeded(2)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradient_flows_to_every_image(name):
    images = pictures().requires_grad_()
    function("augmentation", AUGMENTATIONS, name)(images, seeded()).square().sum().backward()
    assert (images.grad.abs().sum((1, 2, 3)) > 0).all()


def test_translation_shifts_whole_images_by_at_most_an_eighth_and_fills_with_zeros():
    images = torch.zeros(256, 3, 32, 32)
    images[:, :, 16, 16] = 1
    moved = translation(images, seeded())
    assert (moved.sum((2, 3)) == 1).all()
    places = moved[:, 0].flatten(1).argmax(1)
    shifts = torch.stack([places // 32 - 16, places % 32 - 16])
    assert shifts.min() == -4
    assert shifts.max() == 4
    assert shifts.unique(dim=1).shape[1] > 60  # of 81


def test_cutout_covers_at_most_a_quarter_and_all_channels_alike():
    holes = cutout(torch.ones(256, 3, 32, 32), seeded()) == 0
    share = holes[:, 0].float().mean((1, 2))
    assert share.max() == 0.25  # 16 x 16
    assert 0.0625 <= share.min() < 0.08  # in a corner
    assert torch.equal(holes[:, 0], holes[:, 2])


def test_instance_noise_has_its_standard_deviation():
    images = pictures()
    noise = augment(images, [], 0.3, seeded()) - images
    assert noise.std().item() == pytest.approx(0.3, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)


def test_nothing_asked_for_changes_nothing():
    images = pictures()
    assert augment(images, [], 0.0, seeded()) is images
    assert augment_real(images, [], seeded()) is images


def test_half_of_the_images_are_mirrored_and_the_others_are_not_touched():
    images = pictures(400)
    flipped = flip(images, seeded())
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(images, flipped, strict=True)])
    assert 150 < kept.sum() < 250
    assert torch.equal(flipped[~kept], images[~kept].flip(3))


def test_a_crop_moves_black_in():
    white = crop(torch.ones(64, 3, 32, 32), seeded())
    assert set(white.unique().tolist()) == {-1.0, 1.0}
    assert (white == 1).float().mean((1, 2, 3)).min() >= (28 / 32) ** 2


def test_a_turn_keeps_the_centre_and_moves_black_into_the_corners_by_at_most_its_angle():
    ramp = torch.linspace(-0.5, 0.5, 33).expand(200, 3, 33, 33).contiguous()  # brightness is the column
    turned = rotation(ramp, seeded(), degrees=15.0)
    torch.testing.assert_close(turned[:, :, 16, 16], ramp[:, :, 16, 16], atol=1e-5, rtol=0)
    slope = (turned[:, 0, 24, 16] - turned[:, 0, 8, 16]) / (turned[:, 0, 16, 24] - turned[:, 0, 16, 8])  # tan(angle)
    angles = torch.rad2deg(torch.atan(slope))
    assert -15.001 <= angles.min() < -13 and 13 < angles.max() <= 15.001
    assert (turned[angles.abs() > 10][:, 0, 0, 0] == -1).all()

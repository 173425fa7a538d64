"""The operations and tables of AutoAugment and RandAugment against a literal transcription in numpy
of what tensorflow/tpu computes, and against torchvision's own."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import autoaugment as theirs
from torchvision.transforms.v2 import functional as F

from phiscale.data.augment import policies
from phiscale.data.augment.policies import (
    AUTOAUGMENT_LENGTHS,
    PAPER,
    RANDAUGMENT,
    RANDAUGMENT_LENGTHS,
    V0,
    apply_operation,
    paper_argument,
    tf_argument,
)

SIDE = 224
rng = np.random.default_rng(3)
ROUGH = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
SMOOTH = np.asarray(  # as photographs are: neighbours alike, not all levels there
    Image.fromarray(rng.integers(30, 220, (9, 9, 3), np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
)


def blend(a: np.ndarray, b: np.ndarray, factor: float) -> np.ndarray:
    mixed = a.astype(np.float32) + np.float32(factor) * (b.astype(np.float32) - a)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def moved(image: np.ndarray, x_of, y_of) -> np.ndarray:  # type: ignore[no-untyped-def]
    """TensorFlow's nearest: where each pixel of the result comes from, grey from outside."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    from_x, from_y = np.rint(x_of(x, y)).astype(int), np.rint(y_of(x, y)).astype(int)
    inside = (from_x >= 0) & (from_x < SIDE) & (from_y >= 0) & (from_y < SIDE)
    result = np.full_like(image, 128)
    result[inside] = image[from_y[inside], from_x[inside]]
    return result


def rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin, middle = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), (SIDE - 1) / 2
    return moved(
        image,
        lambda x, y: cos * (x - middle) - sin * (y - middle) + middle,
        lambda x, y: sin * (x - middle) + cos * (y - middle) + middle,
    )


def grey(image: np.ndarray) -> np.ndarray:
    return np.repeat((image @ [0.2989, 0.587, 0.114]).astype(np.uint8)[:, :, None], 3, 2)


def smoothed(image: np.ndarray) -> np.ndarray:
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    wide = image.astype(np.float32)
    inner = sum(
        kernel[i, j] * wide[i : SIDE - 2 + i, j : SIDE - 2 + j] for i in range(3) for j in range(3)
    )
    result = image.copy()
    result[1:-1, 1:-1] = np.asarray(inner).astype(np.uint8)
    return result


def autocontrast(image: np.ndarray) -> np.ndarray:
    channels = []
    for channel in np.moveaxis(image.astype(np.float32), 2, 0):
        low, high = channel.min(), channel.max()
        scale = 255 / (high - low)
        channels.append(np.clip(channel * scale - low * scale, 0, 255).astype(np.uint8))
    return np.stack(channels, 2)


def equalized(image: np.ndarray) -> np.ndarray:
    channels = []
    for channel in np.moveaxis(image, 2, 0):
        counts = np.bincount(channel.ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        table = np.concatenate([[0], ((counts.cumsum() + step // 2) // step)[:-1]]).clip(0, 255)
        channels.append(table[channel].astype(np.uint8))
    return np.stack(channels, 2)


def cut_out(image: np.ndarray, half: int) -> np.ndarray:
    result, middle = image.copy(), SIDE // 2
    result[middle - half : middle + half, middle - half : middle + half] = 128
    return result


TENSORFLOW = {
    "AutoContrast": lambda i, v: autocontrast(i),
    "Equalize": lambda i, v: equalized(i),
    "Invert": lambda i, v: 255 - i,
    "Rotate": rotated,
    "Posterize": lambda i, v: i >> (8 - int(v)) << (8 - int(v)),
    "Solarize": lambda i, v: np.where(i < v, i, 255 - i),
    "SolarizeAdd": lambda i, v: np.where(i < 128, np.clip(i.astype(int) + int(v), 0, 255), i),
    "Color": lambda i, v: blend(grey(i), i, v),
    "Contrast": lambda i, v: blend(np.full_like(i, 196), i, v),  # 224 * 224 / 256, not the mean
    "Brightness": lambda i, v: blend(np.zeros_like(i), i, v),
    "Sharpness": lambda i, v: blend(smoothed(i), i, v),
    "ShearX": lambda i, v: moved(i, lambda x, y: x + v * y, lambda x, y: y),
    "ShearY": lambda i, v: moved(i, lambda x, y: x, lambda x, y: y + v * x),
    "TranslateX": lambda i, v: moved(i, lambda x, y: x + v, lambda x, y: y),
    "TranslateY": lambda i, v: moved(i, lambda x, y: x, lambda x, y: y + v),
    "Cutout": lambda i, v: cut_out(i, int(v)),
}
LEVELS = {
    "AutoContrast": 10,
    "Equalize": 10,
    "Invert": 10,
    "Rotate": 9,
    "Posterize": 10,
    "Solarize": 3,
    "SolarizeAdd": 7,
    "Color": 4,
    "Contrast": 8,
    "Brightness": 7,
    "Sharpness": 2,
    "ShearX": 9,
    "ShearY": 4,
    "TranslateX": 10,
    "TranslateY": 5,
    "Cutout": 8,
}


@pytest.mark.parametrize("name", RANDAUGMENT)
@pytest.mark.parametrize("pixels", [ROUGH, SMOOTH], ids=["noise", "photo-like"])
def test_an_operation_does_what_tensorflow_does(name: str, pixels: np.ndarray):
    value = tf_argument(RANDAUGMENT_LENGTHS)(name, LEVELS[name], 1, SIDE)
    ours = apply_operation(Image.fromarray(pixels), name, value, contrast=policies.tf_contrast)
    difference = np.abs(np.asarray(ours).astype(int) - TENSORFLOW[name](pixels, value))
    if name in ("Rotate", "ShearX", "ShearY"):  # a tie between two pixels may fall either way
        assert (difference > 0).mean() < 0.01
    else:  # greys and sums are rounded where TensorFlow cuts off
        assert difference.max() <= {"Color": 2, "Sharpness": 2, "AutoContrast": 1}.get(name, 0)


@pytest.mark.parametrize(
    ("name", "level", "means"),
    [
        ("Rotate", 8, 24.0),
        ("ShearX", 9, 0.27),
        ("ShearY", 3, 0.09),
        ("Posterize", 6, 2),
        ("Posterize", 2, 0),
        ("Solarize", 3, 76),
        ("Solarize", 10, 256),
        ("SolarizeAdd", 7, 77),
        ("Color", 0, 0.1),
        ("Color", 9, 1.72),
        ("TranslateY", 9, 225.0),
        ("Cutout", 5, 50),
        ("Posterize", 28, 11),
        ("Solarize", 28, 716),
        ("Brightness", 28, 5.14),
    ],
)
def test_a_level_means_what_tensorflow_makes_of_it(name: str, level: float, means: float):
    assert tf_argument(AUTOAUGMENT_LENGTHS)(name, level, 1, SIDE) == pytest.approx(means)


def test_levels_beyond_the_scale_leave_what_has_no_more_to_give():
    image = Image.fromarray(ROUGH)
    for name in ("Posterize", "Solarize"):  # EfficientNet-B7's 28: 11 bits, a threshold of 716
        value = tf_argument(RANDAUGMENT_LENGTHS)(name, 28, 1, SIDE)
        same = apply_operation(image, name, value, contrast=policies.tf_contrast)
        assert np.array_equal(np.asarray(same), ROUGH)


def test_lengths_shrink_with_small_images_and_never_grow():
    argument = tf_argument(RANDAUGMENT_LENGTHS)
    assert [argument("TranslateX", 10, 1, side) for side in (32, 224, 600)] == pytest.approx(
        [100 / 7, 100, 100]
    )


def test_the_papers_policy_is_torchvisions_with_the_levels_it_leaves_out():
    table = theirs.AutoAugment()._get_policies(theirs.AutoAugmentPolicy.IMAGENET)
    assert len(V0) == len(PAPER) == len(table) == 25
    for ours, other in zip(PAPER, table, strict=True):
        for (name, probability, level), (n, p, magnitude) in zip(ours, other, strict=True):
            assert (name, probability) == (n, p)
            assert magnitude is None or magnitude == level


@pytest.mark.parametrize("name", ["Posterize", "Solarize", "Color", "Contrast", "Sharpness"])
@pytest.mark.parametrize("level", [0, 4, 9])
def test_the_papers_levels_are_torchvisions(name: str, level: int):
    values, signed = theirs.AutoAugment()._augmentation_space(10, (SIDE, SIDE))[name]
    magnitude = float(values[level])
    expected = 1 + magnitude if signed else magnitude
    assert paper_argument(name, level, 1, SIDE) == pytest.approx(expected)


def test_colours_change_as_torchvision_changes_them():
    image = Image.fromarray(SMOOTH)
    for name, change in {
        "Color": F.adjust_saturation,
        "Contrast": F.adjust_contrast,
        "Brightness": F.adjust_brightness,
        "Sharpness": F.adjust_sharpness,
    }.items():
        ours = apply_operation(image, name, 1.6, contrast=policies.pillow_contrast)
        assert np.array_equal(np.asarray(ours), np.asarray(change(image, 1.6)))


def test_an_operation_is_applied_with_its_probability():
    image = Image.fromarray(SMOOTH[:32, :32])
    numbers = np.random.default_rng(0).random((4000, policies.NUMBERS))
    numbers[:, 0] = 16 / 25 + 1e-6  # ShearX never, Solarize at level 4 in four of five
    changed = sum(
        np.any(np.asarray(policies.autoaugment_v0(image, row)) != SMOOTH[:32, :32])
        for row in numbers.tolist()
    )
    assert 0.77 < changed / 4000 < 0.83


def test_randaugment_picks_every_operation_equally_often():
    rows = np.random.default_rng(0).random((8000, policies.NUMBERS)).tolist()
    picked = [name for row in rows for name in policies.pick_operations(2, row)]
    counts = np.array([picked.count(name) for name in RANDAUGMENT])
    assert counts.sum() == 16_000 and (abs(counts - 1000) < 150).all()

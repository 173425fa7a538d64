"""timm's functions for data. Their transforms give the same images as timm's."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image
from torch import nn

from phiscale.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from phiscale.errors import UsageError


def config_of(preprocessing: Preprocessing) -> dict[str, Any]:
    """Returns a preprocessing under timm's keys."""
    return {
        "input_size": (3, preprocessing.size, preprocessing.size),
        "interpolation": preprocessing.interpolation,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "crop_pct": preprocessing.crop,
        "crop_mode": "squash" if preprocessing.squash else "center",
    }


def resolve_model_data_config(
    model: nn.Module,
    args: Mapping[str, Any] | None = None,
    *,
    use_test_size: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Returns arguments of `create_transform` for this network.

    Their size is that of training, or with `use_test_size` that of evaluation. Known keys of `args`
    and `changes` override. UsageError: the network has no preprocessing.
    """
    model = getattr(model, "model", model)
    preprocessing = getattr(model, "preprocessing", None)
    if not isinstance(preprocessing, Preprocessing):
        raise UsageError("this network has no preprocessing. Use one of create_model.")
    config = config_of(preprocessing)
    if not use_test_size:
        config |= getattr(model, "trained_at", {})
    overrides = {**(args or {}), **changes}
    if overrides.get("img_size"):
        overrides["input_size"] = (3, overrides["img_size"], overrides["img_size"])
    return config | {k: v for k, v in overrides.items() if k in config and v is not None}


def resolve_data_config(
    args: Mapping[str, Any] | None = None, model: nn.Module | None = None, **changes: Any
) -> dict[str, Any]:
    """Does the same as `resolve_model_data_config`, with timm's older order of arguments."""
    if model is None:
        raise UsageError("resolve_data_config has no model. Pass `model`.")
    return resolve_model_data_config(model, args, **changes)


def create_transform(
    input_size: int | tuple[int, ...] = 224,
    is_training: bool = False,
    *,
    interpolation: str = "bilinear",
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    crop_pct: float | None = None,
    crop_mode: str = "center",
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | None = 0.4,
    auto_augment: str | None = None,
    re_prob: float = 0.0,
    re_mode: str = "const",
    re_count: int = 1,
    no_aug: bool = False,
) -> Callable[[Image.Image], torch.Tensor]:
    """Returns a function from a PIL image to a normalised float tensor.

    Evaluation, as in timm: the shorter side is resized to size / crop_pct, then the centre is cut
    out. Training: a random area, flips, colour jitter or an automatic policy (`rand-m9`,
    `original`, `augmix`, `trivial`), random erasing. UsageError: an unknown or impossible argument.
    """
    from torchvision.transforms import InterpolationMode, ToTensor, v2

    side = input_size if isinstance(input_size, int) else input_size[-1]
    if not isinstance(input_size, int) and input_size[-2] != side:
        raise UsageError(f"input_size={input_size} is not square. Use a square.")
    modes = {mode.value: mode for mode in InterpolationMode}
    mode = (modes | {"random": InterpolationMode.BILINEAR}).get(interpolation)
    if mode is None:
        raise UsageError(
            f"interpolation={interpolation!r} is unknown. Use one of {', '.join(modes)}."
        )
    finish = [ToTensor(), v2.Normalize(list(mean), list(std))]  # v2's own scaling rounds otherwise
    if not is_training or no_aug:
        if crop_mode == "squash":
            resized = math.floor(side / (crop_pct or 1.0))
            return v2.Compose([v2.Resize((resized, resized), mode), v2.CenterCrop(side), *finish])
        if crop_mode != "center":
            raise UsageError(f"crop_mode={crop_mode!r} is unknown. Use center or squash.")
        resized = math.floor(side / (crop_pct or 0.875))
        resize = [v2.Resize(resized, mode), v2.CenterCrop(side)]
        return v2.Compose([*resize, *finish])
    steps: list[nn.Module] = [v2.RandomResizedCrop(side, scale, ratio, mode)]
    steps += [v2.RandomHorizontalFlip(hflip)] if hflip else []
    steps += [v2.RandomVerticalFlip(vflip)] if vflip else []
    if auto_augment:
        steps.append(augment_policy(auto_augment))
    elif color_jitter:
        steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter))
    fill: Any = "random" if re_mode == "pixel" else 0
    erase = [v2.RandomErasing(re_prob, value=fill) for _ in range(re_count if re_prob else 0)]
    return v2.Compose([*steps, *finish, *erase])


def augment_policy(name: str) -> nn.Module:
    """Returns the policy of a name such as timm's `rand-m9-mstd0.5-inc1`.

    Magnitudes are of 10, as in timm; the noise of magnitudes is left out. UsageError: unknown name.
    """
    from torchvision.transforms import v2

    kind, *options = name.split("-")
    numbers = {
        match[1]: float(match[2])
        for option in options
        if (match := re.fullmatch(r"([a-z]+)([\d.]+)", option))
    }
    match kind:
        case "rand":
            layers, magnitude = round(numbers.get("n", 2)), numbers.get("m", 9)
            return v2.RandAugment(layers, round(magnitude * 10), num_magnitude_bins=101)
        case "original" | "v0" | "originalr" | "v0r":
            return v2.AutoAugment()
        case "augmix":
            return v2.AugMix()
        case "trivial" | "3a":
            return v2.TrivialAugmentWide()
    raise UsageError(f"auto_augment={name!r} is unknown. Use rand-m9, original, augmix or trivial.")

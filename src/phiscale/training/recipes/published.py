"""Recipe values that the published sources state for each of their models."""

from __future__ import annotations

from collections.abc import Mapping

from phiscale.arch.families import MEMBERS
from phiscale.training.recipes.sizing import PublishedOverrides

_RANDAUGMENT = {"efficientnet_b5": 17.0, "efficientnet_b7": 28.0, "efficientnet_b8": 28.0}

# tensorflow/tpu, models/official/efficientnet: AutoAugment. The magnitude is for RandAugment,
# should a user select that.
V1: Mapping[str, PublishedOverrides] = {
    name: PublishedOverrides(
        dropout=member.dropout,
        train_pixels=member.train_resolution,
        magnitude=_RANDAUGMENT.get(name, 10.0),
    )
    for name, member in MEMBERS.items()
    if name.startswith("efficientnet_b")
}

# B0 to B3 are trained as the first EfficientNets are (google/automl, efficientnetv2).
_SMALL = {
    name: PublishedOverrides(
        dropout=member.dropout, train_pixels=member.train_resolution, policy="v0", mixup=0.0
    )
    for name, member in MEMBERS.items()
    if name.startswith("efficientnetv2_b")
}

# google/automl, efficientnetv2, hparams.py and main.py: four stages from 128 px, without 128 px
# itself: 128 + (full - 128) / 4 at first. Dropout is constant there; CutMix grows like mixup.
V2_CODE: Mapping[str, PublishedOverrides] = _SMALL | {
    f"efficientnetv2_{size}": PublishedOverrides(
        dropout=dropout,
        train_pixels=pixels,
        first_pixels=first,
        policy="randaugment",
        magnitude=magnitude,
        mixup=mixup,
        cutmix=mixup,
    )
    for size, dropout, pixels, first, magnitude, mixup in (
        ("s", 0.2, 300, 171, 10.0, 0.0),
        ("m", 0.3, 384, 192, 15.0, 0.2),
        ("l", 0.4, 384, 192, 20.0, 0.5),
        ("xl", 0.4, 384, 192, 20.0, 0.5),
    )
}

# arXiv:2104.00298, table 6: sizes 128 to 300 and 380; dropout grows from the recipe's 0.1.
V2_TABLE: Mapping[str, PublishedOverrides] = {
    f"efficientnetv2_{size}": PublishedOverrides(
        dropout=dropout,
        train_pixels=pixels,
        first_pixels=128,
        policy="randaugment",
        magnitude=magnitude,
        mixup=mixup,
    )
    for size, dropout, pixels, magnitude, mixup in (
        ("s", 0.3, 300, 15.0, 0.0),
        ("m", 0.4, 380, 20.0, 0.2),
        ("l", 0.5, 380, 25.0, 0.5),
    )
}

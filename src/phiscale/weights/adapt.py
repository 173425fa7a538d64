"""Adapts weights to a network that differs only in classes or input channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from phiscale.arch.scaling import first_stages
from phiscale.arch.spec import Spec
from phiscale.errors import WeightsError

STEM = "stem.conv.weight"
HEAD = ("classifier.weight", "classifier.bias")


def adapt_weights(
    tensors: Mapping[str, Tensor],
    have: Spec,
    want: Spec,
    fresh: Mapping[str, Tensor],
    *,
    new_head: bool = False,
) -> dict[str, Tensor]:
    """Returns the tensors of the network `have`, adapted to the network `want`.

    `want` may also be the first stages of `have` (`first_stages`): they keep their weights. The
    classifier comes from `fresh` where the number of classes differs, where stages are left out, or
    with `new_head`. The stem's input channels are adapted by `over_channels`. The resolution may
    differ, since no tensor depends on it. WeightsError: the networks differ in anything else.
    """
    names = differing_fields(have, want)
    shortened = bool(names) and is_first_part(have, want)
    if names and not shortened:
        raise WeightsError(
            f"these weights are of another network: it differs in {', '.join(names)}. "
            "Start from weights of the same network."
        )
    adapted = dict(tensors)
    if shortened:
        adapted = {name: t for name, t in adapted.items() if name in fresh}
    if shortened or new_head or have.classes != want.classes:
        adapted |= {name: fresh[name] for name in HEAD if name in fresh}
        if not want.classes:
            adapted = {name: tensor for name, tensor in adapted.items() if name not in HEAD}
    if have.in_channels != want.in_channels:
        adapted[STEM] = over_channels(adapted[STEM], want.in_channels)
    return adapted


def differing_fields(have: Spec, want: Spec) -> list[str]:
    """Returns the names of the fields in which two networks differ.

    Classes, input channels and resolution do not count.
    """
    body = replace(
        have, classes=want.classes, in_channels=want.in_channels, resolution=want.resolution
    )
    return [name for name in vars(want) if getattr(body, name) != getattr(want, name)]


def is_first_part(have: Spec, want: Spec) -> bool:
    """Returns whether `want` is made of the first stages of `have`."""
    count = len(want.stages)
    return count < len(have.stages) and not differing_fields(first_stages(have, count), want)


def over_channels(kernel: Tensor, channels: int) -> Tensor:
    """Returns a stem's kernel (out, c, h, w) for another number of input channels.

    One response is kept exactly. Fewer channels share the sum of the old ones evenly, so a grey
    image gives the response of its RGB version. More channels repeat the old ones in turn, divided
    by their number of copies, so an image with repeated channels gives the original's response.
    """
    before = kernel.shape[1]
    if channels < before:
        return kernel.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    colours = torch.arange(channels) % before
    copies = torch.bincount(colours, minlength=before).to(kernel)
    return kernel[:, colours] / copies[colours][:, None, None]

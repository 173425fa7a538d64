"""Weights of one network made to fit another that differs in classes or input channels alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

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
    """`tensors` of `have` for `want`: the classifier from `fresh` where the number of classes
    differs (or `new_head` asks for it), the stem's input channels by `over_channels`. Everything
    else has to be equal; resolution may differ, as no tensor depends on it. Raises WeightsError."""
    if names := differing_fields(have, want):
        raise WeightsError(
            f"these weights are of another network: it differs in {', '.join(names)}. "
            "Start from weights of the same network."
        )
    found = dict(tensors)
    if new_head or have.classes != want.classes:
        found |= {name: fresh[name] for name in HEAD if name in fresh}
        found = {name: tensor for name, tensor in found.items() if want.classes or name not in HEAD}
    if have.in_channels != want.in_channels:
        found[STEM] = over_channels(found[STEM], want.in_channels)
    return found


def differing_fields(have: Spec, want: Spec) -> list[str]:
    """What of two networks is not the same, classes, input channels and resolution apart."""
    body = replace(
        have, classes=want.classes, in_channels=want.in_channels, resolution=want.resolution
    )
    return [name for name in vars(want) if getattr(body, name) != getattr(want, name)]


def over_channels(kernel: Tensor, channels: int) -> Tensor:
    """A stem's kernel (out, c, h, w) for another number of input channels.

    One response is kept exactly. Fewer channels than before share the sum of the old ones evenly:
    a grey image answers as when it was given in every colour. More repeat the old ones in turn,
    each divided by its number of copies: an image whose channels repeat answers as the original.
    """
    before = kernel.shape[1]
    if channels < before:
        return kernel.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    colours = torch.arange(channels) % before
    copies = torch.bincount(colours, minlength=before).to(kernel)
    return kernel[:, colours] / copies[colours][:, None, None]

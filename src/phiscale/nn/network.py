"""The torch module of a Spec: stem, stages, head, pool, classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.arch.families import as_spec
from phiscale.arch.spec import Spec
from phiscale.nn.blocks import ConvNorm, Dropout, build_block, pad_same
from phiscale.nn.init import Linear, initialise


class Network(nn.Module):
    """A network that maps float images (n, c, h, w) of any size to logits (n, classes).

    Without classes, it returns pooled features. Children are named as in `cost(spec).layers`.
    """

    preprocessing: Any = None  # set by `load`: how images become its input
    metadata: Any = None  # set by `load`: classes, metrics, origin

    def __init__(self, spec: Spec, *, dropout: float = 0.0, drop_path: float = 0.0):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(
            spec, spec.in_channels, spec.stem_channels, spec.stem_kernel, spec.stem_stride
        )
        channels, number, stages = spec.stem_channels, 0, []
        for stage in spec.stages:
            blocks = []
            for repeat in range(stage.repeats):
                # block i of N drops at i/N of the rate; blocks without a skip count too
                drop = drop_path * number / spec.blocks
                blocks.append(build_block(spec, stage, channels, repeat == 0, drop))
                channels, number = stage.channels, number + 1
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        head = spec.head_channels
        self.head = ConvNorm(spec, channels, head) if head else nn.Identity()
        self.dropout = Dropout(dropout)
        self.features = head or channels  # channels of the last map
        self.classifier = Linear(self.features, spec.classes) if spec.classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Returns the last map before pooling: (n, channels, h, w)."""
        x = self.pool_stem(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return self.head(x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns logits of the last map; with `pre_logits`, pooled features."""
        pooled = self.dropout(features.mean((2, 3)))
        return pooled if pre_logits else self.classifier(pooled)

    def intermediates(self, x: Tensor) -> dict[str, Tensor]:
        """Returns every map (n, channels, h, w) by its name: stem, stages.0, ..., head.

        The map of the stem is the one before its pool, where it has a pool.
        """
        maps = {"stem": self.stem(x)}
        x = self.pool_stem(maps["stem"])
        for number, stage in enumerate(self.stages):
            maps[f"stages.{number}"] = x = stage(x)
        maps["head"] = self.head(x)
        return maps

    def pool_stem(self, x: Tensor) -> Tensor:
        """Pools the stem's map where the network has a pool there; else returns it."""
        if not self.spec.stem_pool:
            return x
        if self.spec.padding == "same":
            return F.max_pool2d(pad_same(x, 3, 2, value=float("-inf")), 3, 2)
        return F.max_pool2d(x, 3, 2, padding=1)


def build(
    model: Spec | str,
    *,
    classes: int | None = None,
    in_channels: int | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    initialised: bool = True,
) -> Network:
    """Builds the network of a model: a Spec, a model's name, or a file that holds a spec.

    Initial weights are drawn from torch's generator, as the original does. `dropout` (before the
    classifier) and `drop_path` act in training only; `drop_path` is the rate of the last block, and
    rates rise linearly from 0 at the first. `initialised=False` leaves the memory as it is, for
    weights that are loaded at once. SpecError: no such model.
    """
    spec = as_spec(model)
    if classes is not None or in_channels is not None:
        spec = replace(
            spec,
            classes=classes if classes is not None else spec.classes,
            in_channels=in_channels if in_channels is not None else spec.in_channels,
        )
    network = Network(spec, dropout=dropout, drop_path=drop_path)
    if initialised and not network.stem.conv.weight.is_meta:
        initialise(network)
    return network

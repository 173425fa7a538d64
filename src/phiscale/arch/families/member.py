"""The facts that the table of models holds about each network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from phiscale.arch.rounding import Scaling, scale_spec
from phiscale.arch.spec import Spec

AS_IS = Scaling()
Target = Literal["mobile/edge", "server", "high accuracy"]


@dataclass(frozen=True)
class Figure:
    """A published ImageNet accuracy. Fractions."""

    top1: float
    top5: float | None
    source: str
    condition: str  # recipe, extra data, pixels where they differ from the spec's


@dataclass(frozen=True, kw_only=True)
class Member:
    """A registered model: its spec, its origin and its published accuracies."""

    name: str
    spec: Spec
    family: str
    target: Target
    base: str  # a model of the same padding; its own name where the spec is not scaled
    scaling: Scaling = AS_IS  # `spec` is `base` scaled by this
    train_resolution: int  # pixels; `spec.resolution` evaluates
    dropout: float  # before the classifier
    drop_path: float  # stochastic depth of the last block
    published: tuple[Figure, ...] = ()  # quote the first one


def scaled_member(  # noqa: PLR0913 (a row of the tables)
    base: Member,
    name: str,
    *,
    depth: float,
    width: float,
    pixels: int,
    target: Target,
    train_pixels: int = 0,
    dropout: float,
    published: tuple[Figure, ...],
) -> Member:
    """Returns the model that is `base` scaled, to exactly `pixels` a side."""
    by = Scaling(depth=depth, width=width, resolution=pixels / base.spec.resolution)
    return replace(
        base,
        name=name,
        spec=scale_spec(base.spec, by),
        base=base.name,
        scaling=by,
        target=target,
        train_resolution=train_pixels or pixels,
        dropout=dropout,
        published=published,
    )


def as_tensorflow(member: Member, norm_momentum: float) -> Member:
    """Returns the network as TensorFlow runs it: SAME padding, epsilon 1e-3, its norm momentum.

    Weights do not carry over to the symmetric network without loss: strided maps differ by a pixel.
    """
    spec = replace(member.spec, padding="same", norm_eps=1e-3, norm_momentum=norm_momentum)
    return replace(member, name=f"tf_{member.name}", base=f"tf_{member.base}", spec=spec)

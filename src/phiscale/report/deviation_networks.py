"""Which networks `phiscale deviation` compares, and with which base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from phiscale.arch.costs import cost, measure_scaling
from phiscale.arch.deviation import Deviation, deviation
from phiscale.arch.families import MEMBERS, Member, as_spec, get_spec
from phiscale.arch.scaling import ScaledNetwork, Scaling, compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import SpecError, UsageError
from phiscale.planning.coefficients import Coefficients
from phiscale.report.describe import name_network, refuse_huge

DEFAULT_PATTERN = "efficientnet_b[0-7]"
DEFAULT_PHIS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # of a network that no model scales


@dataclass(frozen=True, kw_only=True)
class ComparedNetwork:
    """A network, the base that it is compared with, and the scaling between the two."""

    name: str
    spec: Spec
    base: Spec
    base_name: str
    scaling: Scaling | None  # the multipliers before rounding; None: no scaling made the network
    family: str = ""

    @cached_property
    def measured(self) -> ScaledNetwork:
        """Returns the network with its multipliers and its MACs over the base's, as built."""
        return measure_scaling(self.spec, self.base, name=self.name)

    @property
    def by(self) -> Scaling:
        """Returns the multipliers before rounding; as built where no scaling made the network."""
        return self.scaling or self.measured.by

    @property
    def deviation(self) -> Deviation:
        """Returns the MACs over the base's against d w^2 r^2, by cause.

        A network that no scaling made has one cause: structure.
        """
        if self.scaling:
            return deviation(self.base, self.scaling)
        built = self.measured
        return Deviation(
            monomial=built.by.macs,
            exact=built.compute_ratio,
            structure=built.compute_ratio / built.by.macs,
            depth_rounding=1.0,
            channel_rounding=1.0,
            spatial_rounding=1.0,
            real_depth=built.by.depth,
        )


def select_networks(
    networks: Sequence[str | Spec] = (),
    phis: Sequence[float] = (),
    coefficients: Coefficients | None = None,
) -> list[ComparedNetwork]:
    """Returns the networks that are meant, each with its base.

    A pattern of model names compares each model with its family's base. With `phis`, and for a
    network that no model scales, one network is scaled by each phi.
    UsageError: a pattern matches nothing, or more than one network where one is needed; a phi is
    out of range.
    """
    selected: dict[str, ComparedNetwork] = {}
    for network in networks or (DEFAULT_PATTERN,):
        members = [] if isinstance(network, Spec) else _matching_members(network)
        pairs = [] if phis else [pair for m in members if (pair := _compare_with_base(m))]
        if not pairs:
            if len(members) > 1:
                raise UsageError(_too_many(str(network), len(members), bool(phis)))
            pairs = _scale_by_phi(network, phis or DEFAULT_PHIS, coefficients)
        selected |= {pair.name: pair for pair in pairs}
    return list(selected.values())


def _matching_members(pattern: str) -> list[Member]:
    """TensorFlow's variants match only patterns that begin with tf_."""
    tensorflow = pattern.startswith("tf_")
    members = [
        member
        for member in MEMBERS.values()
        if fnmatchcase(member.name, pattern) and (tensorflow or not member.name.startswith("tf_"))
    ]
    if not members and any(letter in pattern for letter in "*?["):
        raise UsageError(f"no model matches {pattern!r}. Quote a pattern such as '*lite*'.")
    return members


def _too_many(pattern: str, count: int, by_phi: bool) -> str:
    reason = "and `phi` scales one" if by_phi else "none of which scales another"
    return f"{pattern!r} names {count} networks, {reason}. Name one, such as efficientnet_b0."


def _scale_by_phi(
    network: str | Spec, phis: Sequence[float], coefficients: Coefficients | None
) -> list[ComparedNetwork]:
    base = as_spec(network)
    name = network if isinstance(network, str) else name_network(base)
    family = MEMBERS[name].family if name in MEMBERS else ""
    scalings = [(phi, _scaling(base, phi, coefficients)) for phi in phis]
    return [
        ComparedNetwork(
            name=f"{name} phi {phi:g}",
            spec=scale(base, scaling),
            base=base,
            base_name=name,
            scaling=scaling,
            family=family,
        )
        for phi, scaling in scalings
    ]


def _scaling(base: Spec, phi: float, coefficients: Coefficients | None) -> Scaling:
    try:
        by = compound(phi, **(coefficients.powers if coefficients else {}))
    except SpecError as error:
        raise UsageError(str(error)) from None
    refuse_huge(base, by, phi)
    return by


def _compare_with_base(member: Member) -> ComparedNetwork | None:
    """Returns a model with the one that it scales, or None for that one itself.

    Families that are tables have no scaling: their models are compared with the smallest of the
    same blocks.
    """
    scaled = member.base != member.name
    base_name = member.base if scaled else _smallest_alike(member).name
    if base_name == member.name:
        return None
    return ComparedNetwork(
        name=member.name,
        spec=member.spec,
        base=get_spec(base_name),
        base_name=base_name,
        scaling=member.scaling if scaled else None,
        family=member.family,
    )


def _smallest_alike(member: Member) -> Member:
    alike = (m for m in MEMBERS.values() if m.base == m.name and _kind(m) == _kind(member))
    return min(alike, key=lambda m: cost(m.spec).macs)


def _kind(member: Member) -> tuple[Any, ...]:
    stages = member.spec.stages
    blocks = frozenset((stage.block, stage.se_ratio > 0) for stage in stages)
    return member.family, member.spec.padding, len(stages), blocks


def smallest_of_families() -> dict[str, Spec]:
    """Returns the smallest network of every family and kind of block, by its name."""
    smallest: dict[tuple[str, str], Member] = {}
    for member in MEMBERS.values():
        if member.base == member.name and not member.name.startswith("tf_"):
            kind = member.family, member.spec.stages[0].block
            smallest.setdefault(kind, member)
            if cost(member.spec).macs < cost(smallest[kind].spec).macs:
                smallest[kind] = member
    return {member.name: member.spec for member in smallest.values()}

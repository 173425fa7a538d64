"""How wrong FLOPS ~ d w^2 r^2 is, and memory, and time: networks against the one they scale.

The paper counts a scaled network's compute by that product (arXiv:1905.11946, section 3.3). Here
the integer network is counted exactly, and what it departs by is told apart by cause.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from phiscale.arch.costs import Deviation, cost, deviation, doubling_powers, slopes
from phiscale.arch.families import MEMBERS, Member, get_spec, resolve_spec
from phiscale.arch.scaling import Scaling, compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget import effective
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.report.latencies import Timed, Timings, explained

Row = dict[str, Any]  # of `rows`
DEFAULT = "efficientnet_b[0-7]"
PHIS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # of a network that no member scales
COSTS = {
    "macs": "MACs",
    "params": "params",
    "activations": "activations",
    "saved_bytes": "training memory",
    "peak_bytes": "inference peak",
}


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A network and the one that it scales."""

    name: str
    over: str
    base: Spec
    spec: Spec
    by: Scaling  # real multipliers where `rounded` is False
    rounded: bool = True  # made by `scale`, so that rounding can be told from structure
    family: str = ""

    @property
    def deviation(self) -> Deviation:
        """MACs over the base's against d w^2 r^2, by cause; of a network that was not made by
        rounding a scaling, all of it is structure."""
        if self.rounded:
            return deviation(self.base, self.by)
        exact = cost(self.spec).macs / cost(self.base).macs
        return Deviation(
            monomial=self.by.macs,
            exact=exact,
            structure=exact / self.by.macs,
            depth_rounding=1.0,
            channel_rounding=1.0,
            spatial_rounding=1.0,
            real_depth=self.spec.blocks / self.base.blocks,
        )

    @property
    def growth(self) -> dict[str, float]:
        """Every cost over the base's."""
        own, base = cost(self.spec), cost(self.base)
        return {name: getattr(own, name) / getattr(base, name) for name in COSTS}


def scaled_networks(
    words: Sequence[str] = (),
    phis: Sequence[float] = (),
    along: Coefficients | None = None,
    spec_of: Callable[[str], Spec] = resolve_spec,
) -> list[Scaled]:
    """The networks that `words` name: patterns of members, each against its family's base; or,
    with `phis` and for a SPEC of one's own, scalings of one network. `spec_of` reads that. Raises
    UsageError."""
    found: dict[str, Scaled] = {}
    for word in words or (DEFAULT,):
        members = [
            m
            for m in MEMBERS.values()
            if fnmatchcase(m.name, word)
            and (word.startswith("tf_") or not m.name.startswith("tf_"))
        ]
        if not members and any(letter in word for letter in "*?["):
            raise UsageError(f"no member matches {word!r}. Quote a pattern such as '*lite*'.")
        own = [each for member in members if (each := _of_member(member))] if not phis else []
        if not own:
            if len(members) > 1:
                raise UsageError(
                    f"{word!r} names {len(members)} networks"
                    f"{', and `phi` scales one' if phis else ', none of which scales another'}. "
                    "Name one: phiscale deviation efficientnet_b0 --phi 1 2."
                )
            own = _by_phi(word, spec_of(word), phis or PHIS, along)
        found |= {each.name: each for each in own}
    return list(found.values())


def _by_phi(
    word: str, base: Spec, phis: Sequence[float], along: Coefficients | None
) -> list[Scaled]:
    family = MEMBERS[word].family if word in MEMBERS else ""
    powers = along.powers if along else {}
    nets = ((phi, compound(phi, **powers)) for phi in phis)
    return [
        Scaled(
            name=f"{word} phi {phi:g}",
            over=word,
            base=base,
            spec=scale(base, by),
            by=by,
            family=family,
        )
        for phi, by in nets
    ]


def _of_member(member: Member) -> Scaled | None:
    """A member against the one that it scales; of families that are tables, against the smallest of
    the same blocks. None for that one itself."""
    if member.base != member.name:
        return Scaled(
            name=member.name,
            over=member.base,
            base=get_spec(member.base),
            spec=member.spec,
            by=member.scaling,
            family=member.family,
        )
    alike = (m for m in MEMBERS.values() if m.base == m.name and _kind(m) == _kind(member))
    base = min(alike, key=lambda m: cost(m.spec).macs)
    if base is member:
        return None
    by = effective(member.spec, base.spec)
    return Scaled(
        name=member.name,
        over=base.name,
        base=base.spec,
        spec=member.spec,
        by=by,
        rounded=False,
        family=member.family,
    )


def _kind(member: Member) -> tuple[Any, ...]:
    stages = member.spec.stages
    blocks = frozenset((stage.block, stage.se_ratio > 0) for stage in stages)
    return member.family, member.spec.padding, len(stages), blocks


def rows(
    networks: Iterable[Scaled],
    device: DeviceModel | None = None,
    measured_ms: Mapping[str, float] | None = None,
) -> list[Row]:
    """A row of plain data for each: ratios over the base, and what d w^2 r^2 is off by, by cause
    (fractions: 0.1 = 10 % above). Milliseconds by the device model and as measured, if given."""
    return [_row(each, device, measured_ms or {}) for each in networks]


def _row(each: Scaled, device: DeviceModel | None, measured_ms: Mapping[str, float]) -> Row:
    away = each.deviation

    def cause(factor: float) -> float | None:
        return factor - 1 if each.rounded else None

    return {
        "network": each.name,
        "over": each.over,
        "base": each.base,
        "by": each.by,
        "depth": each.by.depth,
        "width": each.by.width,
        "resolution": each.spec.resolution / each.base.resolution,
        "monomial": away.monomial,
        "exact": away.exact,
        "off": away.total - 1,
        "structure": away.structure - 1,
        "depth_rounding": cause(away.depth_rounding),
        "channel_rounding": cause(away.channel_rounding),
        "map_rounding": cause(away.spatial_rounding),
        "real_depth": away.real_depth,
        **{f"{name}_ratio": ratio for name, ratio in each.growth.items() if name != "macs"},
        "macs": cost(each.spec).macs,
        "modelled_ms": device and float(device.latency_ms(cost(each.spec))),
        "measured_ms": measured_ms.get(each.name),
    }


def table(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as people read them: per cent, three digits."""
    return [
        {
            "network": row["network"],
            "over": row["over"],
            "d w² r²": f"{row['monomial']:.2f}",
            "MACs": f"{row['exact']:.2f}",
            "off %": percent(row["off"]),
            "structure": percent(row["structure"]),
            "depth": percent(row["depth_rounding"]),
            "channels": percent(row["channel_rounding"]),
            "maps": percent(row["map_rounding"]),
            "real d": f"{row['real_depth']:.3f}",
            "saved": f"{row['saved_bytes_ratio']:.1f}",
            "peak": f"{row['peak_bytes_ratio']:.1f}",
            "params": f"{row['params_ratio']:.1f}",
            "modelled ms": _ms(row["modelled_ms"]),
            "measured ms": _ms(row["measured_ms"]),
        }
        for row in found
    ]


def powers(names: Mapping[str, Spec]) -> list[dict[str, Any]]:
    """With which powers of d, w and r each cost of these networks grows, by doubling one."""
    return [{"network": name, **doubling_powers(spec)} for name, spec in names.items()]


def slopes_of(found: Sequence[Row]) -> list[dict[str, Any]]:
    """The powers without any rounding, at each base and at the largest scaling of it."""
    largest = {
        row["over"]: row
        for row in sorted(found, key=lambda row: row["monomial"])
        if row["depth_rounding"] is not None
    }
    at_base = [{"network": name, **slopes(row["base"])} for name, row in largest.items()]
    return at_base + [
        {"network": row["network"], **slopes(row["base"], row["by"])} for row in largest.values()
    ]


def power_table(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """d^1.02 w^1.91 r^2.00 for each cost."""
    return [
        {
            "network": row["network"],
            **{word: power_words(row[name]) for name, word in COSTS.items()},
        }
        for row in found
    ]


def power_words(of: Sequence[float], digits: int = 2) -> str:
    """d^1.02 w^1.91 r^2.00."""
    return " ".join(
        f"{axis}^{abs(power):.{digits}f}" for axis, power in zip("dwr", of, strict=True)
    )


def families() -> dict[str, Spec]:
    """The smallest network of every family and kind of block, by its name."""
    smallest: dict[tuple[str, str], Member] = {}
    for member in MEMBERS.values():
        if member.base == member.name and not member.name.startswith("tf_"):
            known = smallest.setdefault((member.family, member.spec.stages[0].block), member)
            if cost(member.spec).macs < cost(known.spec).macs:
                smallest[member.family, member.spec.stages[0].block] = member
    return {member.name: member.spec for member in smallest.values()}


def plain(found: Sequence[Row], timings: Timings | None = None) -> dict[str, Any]:
    """All of it as plain data, for JSON."""
    bases = {row["over"]: row["base"] for row in found}
    return {
        "networks": [{k: v for k, v in row.items() if k not in ("base", "by")} for row in found],
        "powers": powers(bases | families()),
        "slopes": slopes_of(found),
        "time": explained(timings.networks) if timings else None,
    }


def percent(share: float | None) -> str | None:
    """+41.0, for a column in per cent."""
    return None if share is None else f"{100 * share:+.1f}".replace("-0.0", "+0.0")


def _ms(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def timings_of(
    networks: Sequence[Scaled],
    rounds: int,
    command: str = "",
) -> Timings:
    """Milliseconds of these networks and their bases on this machine, measured in turns."""
    from phiscale.deploy.calibrate import describe_device
    from phiscale.deploy.timing import measure_interleaved_ms

    load = os.getloadavg()[0]
    specs = {each.over: (each.base, each.family) for each in networks}
    specs |= {each.name: (each.spec, each.family) for each in networks}
    times = measure_interleaved_ms({name: s for name, (s, _) in specs.items()}, rounds=rounds)
    timed = tuple(
        Timed.of(name, family, cost(spec), times[name]) for name, (spec, family) in specs.items()
    )
    return Timings(
        fingerprint=describe_device(),
        rounds=rounds,
        networks=timed,
        command=command,
        load=round(load, 1),
    )

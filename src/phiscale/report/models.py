"""The models side by side: cost, published accuracy, pretrained weights, the paper's ratios."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, Member, get_spec
from phiscale.arch.families.published import HEADLINES, RIVALS, TABLE_2, TABLE_4, TABLE_5, Headline
from phiscale.errors import UsageError
from phiscale.weights.pretrained import weights_of_member

_MIB = 2**20


def rows(pattern: str = "*") -> list[dict[str, Any]]:
    """Returns a row for each model whose name matches, with the exact costs of one fp32 image."""
    return [_row(member) for member in _matching(pattern)]


def _matching(pattern: str) -> list[Member]:
    members = [member for name, member in MEMBERS.items() if fnmatchcase(name, pattern)]
    if not members:
        raise UsageError(f"no model matches {pattern!r}. Quote a pattern such as '*lite*'.")
    return members


def _row(member: Member) -> dict[str, Any]:
    counted = cost(member.spec)
    figure = member.published[0] if member.published else None
    return {
        "name": member.name,
        "family": member.family,
        "target": member.target,
        "resolution": member.spec.resolution,
        "params": counted.params,
        "macs": counted.macs,
        "activations": counted.activations,
        "saved_mib": counted.saved_bytes / _MIB,
        "peak_mib": counted.peak_bytes / _MIB,
        "weights_mib": counted.weight_bytes / _MIB,
        "top1": figure.top1 if figure else None,
        "condition": figure.condition if figure else None,
        "source": figure.source if figure else None,
        "pretrained": [asdict(each) for each in weights_of_member(member.name)],
    }


def pretrained_rows(member: str) -> list[dict[str, Any]]:
    """Returns a model's known weights and their preprocessing, the library's default first."""
    return [
        {
            "weights": f"{member}.{each.tag}",
            "from": each.source,
            "pixels": each.pixels,
            "crop": each.crop,
            "interpolation": each.interpolation,
            "mean": " ".join(f"{value:.3g}" for value in each.mean),
            "std": " ".join(f"{value:.3g}" for value in each.std),
            "classes": each.classes,
            "top1": each.top1,
            "licence": each.licence,
        }
        for each in weights_of_member(member)
    ]


def ratios() -> list[dict[str, Any]]:
    """Returns the paper's headline ratios, counted again, each beside the printed one.

    `exact`: both counts are ours and exact; otherwise the rival's is the printed, rounded one.
    """
    return [_ratio(headline) for headline in HEADLINES]


def _ratio(headline: Headline) -> dict[str, Any]:
    ours, theirs, exact = _compared(headline)
    gain = headline.quantity == "top1"
    return {
        "member": headline.member,
        "rival": headline.rival,
        "quantity": headline.quantity,
        "data": headline.data,
        "ours": ours,
        "theirs": theirs,
        "ratio": ours - theirs if gain else theirs / ours,
        "printed": headline.printed,
        "exact": exact,
        "source": headline.source,
    }


def _compared(headline: Headline) -> tuple[float, float, bool]:
    """Our number, the rival's, and whether both were counted."""
    member, rival = headline.member, headline.rival
    match headline.quantity:
        case "params" | "macs":
            printed = next(each for each in RIVALS if each.name == rival)
            ours = getattr(cost(get_spec(member)), headline.quantity)
            if printed.member:
                return ours, getattr(cost(get_spec(printed.member)), headline.quantity), True
            return ours, getattr(printed, headline.quantity), False
        case "cpu latency":
            timed = next(each for each in TABLE_4 if (each.member, each.rival) == (member, rival))
            return timed.seconds, timed.rival_s, False
        case "top1":
            ours = next(row.v5[0] for row in TABLE_2 if row.member == member)
            return ours, next(each.top1 for each in RIVALS if each.name == rival), False
        case "backbone params":
            learnt = next(
                each
                for each in TABLE_5
                if (each.data, each.member, each.rival) == (headline.data, member, rival)
            )
            assert learnt.rival_params is not None  # headlines name rows that have it
            counted = cost(get_spec(member))
            return counted.params - counted.layers[-1].params, learnt.rival_params, False


def short(count: float) -> str:
    """Writes three significant digits with a unit as on the command line: 386M, 1.83G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return (
                f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
            )
    return f"{count:.3g}"


def markdown_table(pattern: str = "*") -> str:
    """Returns the models as a table in Markdown, as docs/models.md shows them."""
    head = (
        "| model | target | pixels | params | MACs | activations | saved MiB/image | peak MiB "
        "| weights MiB | published top-1 | known weights (default, + others) |"
    )
    lines = [head, "|---|---|" + "---:|" * 9]
    for row in rows(pattern):
        top1 = f"{100 * row['top1']:.1f} %" if row["top1"] is not None else ""
        lines.append(
            f"| {row['name']} | {row['target']} | {row['resolution']} | {short(row['params'])} "
            f"| {short(row['macs'])} | {short(row['activations'])} | {short(row['saved_mib'])} "
            f"| {short(row['peak_mib'])} | {short(row['weights_mib'])} | {top1} "
            f"| {_default(row['pretrained'])} |"
        )
    return "\n".join(lines)


def _default(known: list[dict[str, Any]]) -> str:
    """The weights that a library uses by default, and the number of others."""
    if not known:
        return ""
    others = f" + {len(known) - 1}" if len(known) > 1 else ""
    return f"{known[0]['tag']}, {known[0]['pixels']} px, crop {known[0]['crop']:.3g}{others}"

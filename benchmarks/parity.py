"""Writes docs/parity.md: every member against every peer that has it.

    python benchmarks/parity.py [--only PATTERN] [--most-gmacs N] [--peers timm,keras]

A peer's network gets random weights and random batch-norm statistics; both answer the same input in
float64, which decides, and in float32, which is shown. Then one step in training mode in float64:
loss, gradient, running statistics. Rows are kept in docs/parity.json: killed and run again it goes
on with what is missing, and with rows that other code or another version of a peer made. An hour or
two on two cores for all; minutes with --most-gmacs 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import phiscale
from parity_peers import TRAIN_BATCH, TRAIN_PIXELS, Pair, Step, pairs, sides
from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS
from phiscale.arch.spec import Spec
from phiscale.files import sha256, write_atomic, write_json

DOCS = Path(__file__).parents[1] / "docs"
BOUND: Mapping[str, float] = {"keras": 1e-5}  # its layers hold float32 constants
USUAL_BOUND = 1e-8
TOO_LARGE = ("*_l2", "*_b8", "regnety_1280")  # 224 px instead of the native size
PACKAGES = {
    "timm": "timm",
    "torchvision": "torchvision",
    "keras": "keras",
    "lukemelas": "efficientnet_pytorch",
}
CODE = (
    "nn/*.py",
    "arch/families/*.py",
    "arch/ops.py",
    "arch/rounding.py",
    "arch/scaling.py",
    "arch/sizes.py",
    "arch/spec.py",
    "weights/formats.py",
    "weights/keymaps.py",
    "weights/layouts.py",
    "weights/peers.py",
)


def made_by(library: str) -> str:
    """Changes with everything that a row depends on."""
    home = Path(phiscale.__file__).parent
    files = sorted(chain.from_iterable(home.glob(pattern) for pattern in CODE))
    code = sha256(b"".join(file.read_bytes() for file in files))[:12]
    return f"torch {version('torch')}, {library} {version(PACKAGES[library])}, code {code}"


def sizes(member: str, spec: Spec) -> tuple[tuple[int, int], ...]:
    """The native size (224 for the largest), an odd one, a rectangle."""
    large = any(fnmatchcase(member, pattern) for pattern in TOO_LARGE)
    native = min(224, spec.resolution) if large else spec.resolution
    return (native, native), (97, 97), (64, 160)


def away(theirs: Tensor, ours: Tensor) -> float:
    return float((theirs.double() - ours.double()).norm() / theirs.double().norm())


def measured(pair: Pair) -> dict[str, Any]:
    """One row: relative differences of logits, and of a whole step in training."""
    both = sides(pair)
    answers: dict[str, dict[str, float]] = {}
    for kind in (torch.float32, torch.float64):
        for height, width in sizes(pair.member, pair.spec):
            found = away(*both.logits(kind, height, width))
            answers.setdefault(f"{height}x{width}", {})[str(kind).removeprefix("torch.")] = found
            gc.collect()
    return {
        "key": pair.key,
        "library": pair.library,
        "theirs": pair.theirs,
        "member": pair.member,
        "made_by": made_by(pair.library),
        "eval": answers,
        "train": compared(*both.step()),
        "momentum": [both.momentum, pair.spec.norm_momentum],
    }


def compared(theirs: Step, ours: Step) -> dict[str, float]:
    return {
        "loss": abs(theirs.loss - ours.loss) / abs(theirs.loss),
        "gradient": _whole(theirs.gradients, ours.gradients),
        "statistics": _whole(theirs.statistics, ours.statistics),
    }


def _whole(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> float:
    """`away` of all tensors as one vector, which the largest networks have no memory for."""
    apart = math.hypot(*(float((theirs[name] - ours[name]).norm()) for name in ours))
    return apart / math.hypot(*(float(theirs[name].norm()) for name in ours))


def passes(row: Mapping[str, Any]) -> bool:
    bound = BOUND.get(row["library"], USUAL_BOUND)
    judged = [each["float64"] for each in row["eval"].values()]
    return all(value <= bound for value in [*judged, *row["train"].values()])  # NaN is not


def report(rows: Iterable[Mapping[str, Any]], total: int) -> str:
    """`total`: how many networks there are to compare."""
    rows = sorted(rows, key=lambda row: (row["library"], row["member"]))
    lines = [
        "# Parity",
        "",
        "Every network that a peer has, with random weights, biases and batch-norm statistics "
        "carried over by our",
        "keymaps: relative difference of the logits, ||a - b|| / ||a||. float64 decides "
        f"(at most {USUAL_BOUND:g}; Keras {BOUND['keras']:g},",
        "as its layers hold float32 constants). float32 is shown and decides nothing: with random "
        "weights and statistics the deepest",
        "networks magnify the rounding of their input many million times, so that in float32 two "
        "equal ones differ (keras's EfficientNetV2M",
        "by 7e-01, beside 2e-08 in float64). Training: one step at "
        f"{TRAIN_PIXELS} px, batch {TRAIN_BATCH}, float64,",
        "drop rates 0: loss, whole gradient, running statistics after it, with the peer's momentum "
        "(Keras averages a variance",
        "over n values, torch over n - 1, which is allowed for; its norms and means, which round "
        "doubles to single precision, are told not to). "
        "Made by `python benchmarks/parity.py`",
        f"with {'; '.join(sorted({row['made_by'].partition(', code')[0] for row in rows}))}.",
        "",
        *_momenta(rows),
        f"{len(rows)} of {total} networks are compared, {sum(map(passes, rows))} within the bound.",
        "",
        "| peer | network | member | size | float64 | float32 | training: loss | gradient "
        "| statistics | |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        train = [f"{row['train'][k]:.0e}" for k in ("loss", "gradient", "statistics")]
        for number, (size, each) in enumerate(row["eval"].items()):
            whole = " | ".join(train if number == 0 else ["", "", ""])
            lines.append(
                f"| {row['library']} | {row['theirs']} | {row['member']} | {size} "
                f"| {each['float64']:.0e} | {each['float32']:.0e} | {whole} "
                f"| {'ok' if passes(row) else '**differs**'} |"
            )
    return "\n".join(lines) + "\n"


def _momenta(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where a network that we import goes on with another momentum than the peer's."""
    found: dict[str, int] = {}
    for row in rows:
        theirs, ours = row["momentum"]
        if not math.isclose(theirs, ours):
            said = f"{row['library']}'s {theirs:g} where ours is {ours:g}"
            found[said] = found.get(said, 0) + 1
    if not found:
        return []
    each = "; ".join(f"{said} ({count} networks)" for said, count in sorted(found.items()))
    return [f"Momenta of batch norms that differ by intent (ours are the originals'): {each}.", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="members, such as '*lite*'")
    parser.add_argument("--most-gmacs", type=float, default=float("inf"))
    parser.add_argument("--peers", default="timm,torchvision,lukemelas,keras")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = DOCS / "parity.json"
    rows = {row["key"]: row for row in json.loads(kept.read_text())} if kept.exists() else {}
    rows = {key: row for key, row in rows.items() if row.get("made_by") == made_by(row["library"])}
    wanted = [
        pair
        for pair in pairs()
        if pair.library in asked.peers.split(",")
        and fnmatchcase(pair.member, asked.only)
        and cost(MEMBERS[pair.member].spec).macs <= asked.most_gmacs * 1e9
    ]
    for pair in sorted(wanted, key=lambda pair: cost(MEMBERS[pair.member].spec).macs):
        if pair.key in rows:
            continue
        rows[pair.key] = found = measured(pair)
        print(pair.key, json.dumps(found), file=sys.stderr, flush=True)
        write_json(kept, list(rows.values()))
        gc.collect()
    write_atomic(DOCS / "parity.md", report(rows.values(), len(list(pairs()))))
    if not all(map(passes, rows.values())):
        sys.exit("some networks differ: see docs/parity.md")


if __name__ == "__main__":
    main()

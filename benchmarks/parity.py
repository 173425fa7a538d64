"""Writes docs/parity.md: every member against every peer that has it.

    python benchmarks/parity.py [--only PATTERN] [--most-gmacs N] [--peers timm,keras]

A peer's network gets random weights and random batch-norm statistics; both answer the same input in
float64, which decides, and in float32, which is shown. Then one step in training mode in float64:
loss, gradient, running statistics. Rows are kept in docs/parity.json: killed and run again it goes
on with what is missing. Hours on two cores for all; minutes with --most-gmacs 1.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.costs import cost
from phiscale.families import MEMBERS
from phiscale.files import write_atomic, write_json
from phiscale.nn.network import Network, build
from phiscale.spec import Spec
from phiscale.weights.aliases import names_of
from phiscale.weights.formats import read_foreign
from phiscale.weights.peers import Library, spec_of, to_ours
from phiscale.weights.pretrained import original

DOCS = Path(__file__).parents[1] / "docs"
BOUND: Mapping[str, float] = {"keras": 1e-5}  # its layers hold float32 constants
USUAL_BOUND = 1e-8
TRAIN_PIXELS, TRAIN_BATCH = 96, 4
LARGEST_AT_HOME = 45e9  # MACs: above it, 224 px instead of the native size
PACKAGES = {"timm": "timm", "torchvision": "torchvision", "keras": "keras",
            "lukemelas": "efficientnet_pytorch"}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A member and the peer's network that should be the same."""

    library: Library
    theirs: str
    member: str

    @property
    def key(self) -> str:
        return f"{self.library}:{self.theirs}"


def pairs() -> Iterator[Pair]:
    import timm
    from torchvision import models

    for theirs, member in names_of("timm").items():
        if timm.is_model(theirs) and theirs == member:
            yield Pair("timm", theirs, member)
    for theirs, member in names_of("torchvision").items():
        if theirs in models.list_models():
            yield Pair("torchvision", theirs, member)
    for library in ("lukemelas", "keras"):
        for theirs, member in names_of(library).items():
            yield Pair(library, theirs, member)


def make(pair: Pair) -> nn.Module:
    import timm
    from efficientnet_pytorch import EfficientNet
    from torchvision import models

    match pair.library:
        case "timm":
            return timm.create_model(pair.theirs)
        case "torchvision":
            return models.get_model(pair.theirs)
        case _:
            return EfficientNet.from_name(pair.theirs, image_size=None)  # pads by the picture


def randomise(network: nn.Module) -> None:
    """Batch norms with statistics, scales and shifts that no default hides."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor, low, high in (
                (module.weight.data, 0.3, 0.9), (module.bias.data, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 1.5),
            ):  # fmt: skip
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))


def sizes(spec: Spec) -> tuple[tuple[int, int], ...]:
    """The native size (224 for the largest), an odd one, a rectangle."""
    native = spec.resolution if cost(spec).macs < LARGEST_AT_HOME else min(224, spec.resolution)
    return (native, native), (97, 97), (64, 160)


def away(theirs: Tensor, ours: Tensor) -> float:
    return float((theirs.double() - ours.double()).norm() / theirs.double().norm())


def picture(height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randn(batch, 3, height, width, dtype=torch.float64, generator=generator)


def ours_like(pair: Pair, spec: Spec, tensors: Mapping[str, Tensor]) -> Network:
    network = build(spec, initialised=False)
    network.load_state_dict(to_ours(pair.library, spec, tensors), assign=True)
    return copy.deepcopy(network)  # memory of its own


def measured(pair: Pair) -> dict[str, Any]:
    """One row: relative differences of logits, and of a whole step in training."""
    torch.manual_seed(0)
    theirs = make(pair)
    randomise(theirs)
    spec = spec_of(pair.library, pair.member)
    momentum = {m.momentum for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)}.pop()
    ours = ours_like(pair, replace(spec, norm_momentum=momentum), theirs.state_dict())
    row: dict[str, Any] = {"eval": {}}
    for kind in (torch.float32, torch.float64):
        theirs, ours = theirs.to(kind).eval(), ours.to(kind).eval()
        for height, width in sizes(spec):
            x = picture(height, width).to(kind)
            with torch.inference_mode():
                found = away(theirs(x), ours(x))
            name = str(kind).removeprefix("torch.")
            row["eval"].setdefault(f"{height}x{width}", {})[name] = found
    return {**row, "train": _stepped(pair, theirs, ours)}


def _stepped(pair: Pair, theirs: nn.Module, ours: Network) -> dict[str, float]:
    """One step in float64 without dropout: loss, gradient, running statistics."""
    x, labels = picture(TRAIN_PIXELS, TRAIN_PIXELS, TRAIN_BATCH), torch.arange(TRAIN_BATCH)
    losses = []
    for network in (theirs, ours):
        _silence(network)
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        losses.append(loss.item())
    spec = ours.spec
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    named = to_ours(pair.library, spec, gradients)
    mine = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    after = to_ours(pair.library, spec, theirs.state_dict())
    statistics = {n: t for n, t in ours.state_dict().items() if "running_" in n}
    assert mine.keys() <= named.keys() and statistics.keys() <= after.keys()
    return {
        "loss": abs(losses[0] - losses[1]) / abs(losses[0]),
        "gradient": away(_flat(named, mine), _flat(mine, mine)),
        "statistics": away(_flat(after, statistics), _flat(statistics, statistics)),
    }


def _silence(network: nn.Module) -> None:
    """Training mode with every random rate at 0."""
    network.train()
    for module in network.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth", "DropPath"):
            module.eval()
    if (params := getattr(network, "_global_params", None)) is not None:  # lukemelas
        network._global_params = params._replace(drop_connect_rate=0.0)  # type: ignore[assignment]


def _flat(tensors: Mapping[str, Tensor], order: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].ravel() for name in order])


def measured_keras(pair: Pair) -> dict[str, Any]:
    """Keras keeps its rescaling and normalisation inside: it sees pixels, we what they become."""
    import keras

    rng = np.random.default_rng(0)
    spec, take = spec_of("keras", pair.member), original(pair.member)
    if pair.theirs.startswith("EfficientNetB"):  # without ImageNet's weights: x / 255 alone
        take = replace(take, mean=(0.0,) * 3, std=(1.0,) * 3)
    row: dict[str, Any] = {"eval": {}, "train": {}}
    for kind in ("float32", "float64"):
        keras.config.set_floatx(kind)
        for height, width in sizes(spec):
            theirs = getattr(keras.applications, pair.theirs)(
                weights=None, input_shape=(height, width, 3), classifier_activation=None
            )
            for layer in theirs.layers:
                if type(layer).__name__ == "BatchNormalization":  # scale, shift, mean, variance
                    ranges = ((0.8, 1.2), (-0.1, 0.1), (-0.1, 0.1), (0.5, 1.5))
                    like = layer.get_weights()
                    layer.set_weights(
                        [rng.uniform(*each, w.shape) for each, w in zip(ranges, like, strict=True)]
                    )
            with tempfile.TemporaryDirectory() as folder:
                theirs.save_weights(f"{folder}/w.weights.h5")
                tensors = read_foreign(Path(folder) / "w.weights.h5").tensors
            ours = ours_like(pair, spec, tensors).eval().to(getattr(torch, kind))
            pixels = rng.integers(0, 256, (1, height, width, 3)).astype(kind)
            mean, std = (np.array(each, kind) for each in (take.mean, take.std))
            x = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).copy())
            with torch.inference_mode():
                answer = torch.as_tensor(theirs(pixels)).cpu()
                found = away(answer, ours(x.to(getattr(torch, kind))))
            row["eval"].setdefault(f"{height}x{width}", {})[kind] = found
            del theirs, ours
            keras.backend.clear_session()
            gc.collect()
    keras.config.set_floatx("float32")
    return row


def passes(row: Mapping[str, Any]) -> bool:
    bound = BOUND.get(row["library"], USUAL_BOUND)
    judged = [each["float64"] for each in row["eval"].values()]
    return all(value <= bound for value in [*judged, *row["train"].values()])  # NaN is not


def report(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Parity",
        "",
        "Every network that a peer has, with random weights and random batch-norm statistics "
        "carried over by our",
        "keymaps: relative difference of the logits, ||a - b|| / ||a||. float64 decides "
        f"(at most {USUAL_BOUND:g}; Keras {BOUND['keras']:g},",
        "as its layers hold float32 constants); float32 is shown. Training: one step at "
        f"{TRAIN_PIXELS} px, batch {TRAIN_BATCH}, float64,",
        "drop rates 0: loss, whole gradient, running statistics after it. "
        "Made by `python benchmarks/parity.py`",
        f"with torch {version('torch')}, "
        + ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items()) + ".",
        "",
        f"{len(rows)} networks, {sum(map(passes, rows))} within the bound.",
        "",
        "| peer | network | member | size | float64 | float32 | training: loss | gradient "
        "| statistics | |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    for row in sorted(rows, key=lambda row: (row["library"], row["member"])):
        train = [f"{row['train'][k]:.0e}" if row["train"] else ""
                 for k in ("loss", "gradient", "statistics")]  # fmt: skip
        for number, (size, each) in enumerate(row["eval"].items()):
            whole = " | ".join(train if number == 0 else ["", "", ""])
            lines.append(
                f"| {row['library']} | {row['theirs']} | {row['member']} | {size} "
                f"| {each['float64']:.0e} | {each['float32']:.0e} | {whole} "
                f"| {'ok' if passes(row) else '**differs**'} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="members, such as '*lite*'")
    parser.add_argument("--most-gmacs", type=float, default=float("inf"))
    parser.add_argument("--peers", default="timm,torchvision,lukemelas,keras")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = DOCS / "parity.json"
    rows = {row["key"]: row for row in json.loads(kept.read_text())} if kept.exists() else {}
    wanted = [
        pair for pair in pairs()
        if pair.library in asked.peers.split(",") and fnmatchcase(pair.member, asked.only)
        and cost(MEMBERS[pair.member].spec).macs <= asked.most_gmacs * 1e9
    ]  # fmt: skip
    for pair in sorted(wanted, key=lambda pair: cost(MEMBERS[pair.member].spec).macs):
        if pair.key in rows:
            continue
        found = measured_keras(pair) if pair.library == "keras" else measured(pair)
        rows[pair.key] = {"key": pair.key, "library": pair.library, "theirs": pair.theirs,
                          "member": pair.member, **found}  # fmt: skip
        print(pair.key, json.dumps(found), file=sys.stderr)
        write_json(kept, list(rows.values()))
        gc.collect()
    write_atomic(DOCS / "parity.md", report(list(rows.values())))
    if not all(map(passes, rows.values())):
        sys.exit("some networks differ: see docs/parity.md")


if __name__ == "__main__":
    main()

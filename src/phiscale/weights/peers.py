"""Recognises the library and the network of weights from the names and shapes of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from phiscale.arch.families import MEMBERS
from phiscale.arch.spec import Spec
from phiscale.errors import WeightsError
from phiscale.nn.network import build
from phiscale.weights import keymaps
from phiscale.weights.keymaps import Naming, paths

Library = Literal["timm", "torchvision", "lukemelas", "keras", "tf"]
LIBRARIES: tuple[Library, ...] = get_args(Library)

_NAMINGS: dict[Library, tuple[Naming, ...]] = {
    "timm": (keymaps.TIMM_MOBILE, keymaps.RESNET, keymaps.TIMM_REGNET),
    "torchvision": (
        keymaps.TORCHVISION_EFFICIENTNET,
        keymaps.TORCHVISION_MOBILENETV2,
        keymaps.RESNET,
        keymaps.TORCHVISION_REGNET,
    ),
    "lukemelas": (keymaps.LUKEMELAS,),
    "keras": (keymaps.KERAS, keymaps.KERAS_V2),
    "tf": (keymaps.TENSORFLOW,),
}
_SAME_PADDING = ("lukemelas", "keras", "tf")  # TensorFlow's networks and ports with its weights
_COUNTER = "num_batches_tracked"  # of a batch norm, torch's only
_TORCHVISION_NORM = {  # symmetric padding with TensorFlow's epsilon: (epsilon, momentum)
    **{f"efficientnet_b{size}": (1e-3, 0.01) for size in (5, 6, 7)},
    **{f"efficientnetv2_{size}": (1e-3, 0.1) for size in "sml"},
}


def naming_of(library: Library, spec: Spec) -> Naming:
    """Returns the names that a library has for such a network. WeightsError: it has none."""
    kinds = {stage.block for stage in spec.stages}
    fused = "fused_mbconv" in kinds
    if kinds <= {"basic", "bottleneck"} and library in ("timm", "torchvision"):
        if spec.stem_pool:
            return keymaps.RESNET
        return keymaps.TIMM_REGNET if library == "timm" else keymaps.TORCHVISION_REGNET
    if kinds <= {"mbconv", "fused_mbconv", "separable"}:
        if library == "timm":
            return keymaps.TIMM_MOBILE
        if library == "torchvision" and (fused or spec.stages[-1].se_ratio):
            return keymaps.TORCHVISION_EFFICIENTNET
        if library == "torchvision" and kinds == {"mbconv"}:
            return keymaps.TORCHVISION_MOBILENETV2
        if library == "lukemelas" and kinds == {"mbconv"}:
            return keymaps.LUKEMELAS
        if library == "keras" and "separable" not in kinds:
            return keymaps.KERAS_V2 if fused else keymaps.KERAS
        if library == "tf" and "separable" not in kinds:
            return keymaps.TENSORFLOW
    others = [name for name in LIBRARIES if name != library]
    raise WeightsError(
        f"{library} has no network of {' and '.join(sorted(kinds))} blocks. "
        f"Try one of {', '.join(others)}."
    )


def tensor_names(library: Library, spec: Spec) -> dict[str, str]:
    """Returns our name -> the library's name of each tensor, in the network's order.

    WeightsError: the library has no such network.
    """
    names: dict[str, str] = {}
    shapes = _shapes(spec)
    for ours, theirs in paths(naming_of(library, spec), spec):
        for leaf in ("weight", "bias", "running_mean", "running_var", _COUNTER):
            if f"{ours}.{leaf}" in shapes and not (leaf == _COUNTER and library in ("keras", "tf")):
                names[f"{ours}.{leaf}"] = f"{theirs}.{leaf}"
    if lost := [n for n in shapes if n not in names and not n.endswith(_COUNTER)]:
        raise WeightsError(f"{library} has no place for {lost[0]}: it has no such network.")
    return names


def to_theirs(library: Library, spec: Spec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns our tensors under the library's names, in the network's order."""
    return {theirs: tensors[ours] for ours, theirs in tensor_names(library, spec).items()}


def to_ours(library: Library, spec: Spec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the library's tensors under our names. Counters that a file lacks start at 0."""
    our_names = {theirs: ours for ours, theirs in tensor_names(library, spec).items()}
    if unknown := sorted(tensors.keys() - our_names.keys()):
        raise WeightsError(
            f"{len(unknown)} tensors ({', '.join(unknown[:3])}) are not {library}'s for this "
            "network. Name another one with `model`."
        )
    renamed = {our_names[name]: tensor for name, tensor in tensors.items()}
    for name in _shapes(spec):
        if name.endswith(_COUNTER):
            renamed.setdefault(name, torch.tensor(0))
    return renamed


@dataclass(frozen=True, kw_only=True)
class NetworkMatch:
    """The library and the model that tensors fit. `summary` says what had to be assumed."""

    library: Library
    member: str
    spec: Spec
    summary: str


def recognise(tensors: Mapping[str, Tensor], *, hint: str = "", model: str = "") -> NetworkMatch:
    """Finds the library and the model that these tensors fit. WeightsError: there is none.

    `hint` is a name that came with them, such as timm's; it decides between networks that differ
    only in padding. `model` names the model where the user knows it.
    """
    library = library_of(tensors)
    size = {
        "classes": _length(library, tensors, "classifier", 0) or 0,
        "in_channels": _length(library, tensors, "stem.conv", 1) or 3,
    }
    shapes = {name: tuple(t.shape) for name, t in tensors.items() if not name.endswith(_COUNTER)}
    if whole := sorted(name for name in shapes if not tensors[name].is_floating_point()):
        raise WeightsError(
            f"{len(whole)} tensors hold whole numbers ({', '.join(whole[:3])}). "
            "Give weights that are not quantised."
        )
    members = [model] if model else list(MEMBERS)
    fitting = [
        name for name in members if _fits(library, replace(MEMBERS[name].spec, **size), shapes)
    ]
    if not fitting:
        what = f"do not fit {model}" if model else "fit no model"
        fix = "Give weights of that network" if model else "Name the network with `model`"
        raise WeightsError(
            f"{len(shapes)} tensors under {library}'s names {what}"
            f"{_nearest(library, members, size, shapes)}. {fix}."
        )
    return _best_match(library, fitting, hint, size, named=bool(model))


def library_of(tensors: Mapping[str, Tensor]) -> Library:
    """Returns the library whose names these are. WeightsError: none knows them."""
    for library in LIBRARIES:  # timm and torchvision share names and networks of ResNets
        if _named(library, tensors, "stem.conv"):
            return library
    raise WeightsError(
        f"names such as {', '.join(sorted(tensors)[:3])} belong to no library that phiscale "
        f"knows: {', '.join(LIBRARIES)}. Give a file of one of them."
    )


def spec_of(library: Library, member: str, **size: int) -> Spec:
    """Returns the model's spec as a library runs it. `size`: other `classes`, `in_channels`."""
    spec = replace(MEMBERS[member].spec, **size)
    if library == "torchvision" and member in _TORCHVISION_NORM:
        eps, momentum = _TORCHVISION_NORM[member]
        spec = replace(spec, norm_eps=eps, norm_momentum=momentum)
    return spec


def _best_match(
    library: Library, fitting: list[str], hint: str, size: Mapping[str, int], *, named: bool
) -> NetworkMatch:
    hinted = [name for name in fitting if name == hint.partition(".")[0]]
    tensorflow = [name for name in fitting if name.startswith("tf_")]
    plain = [name for name in fitting if not name.startswith("tf_")]
    first = hinted or (tensorflow if library in _SAME_PADDING else plain) or fitting
    member, others = first[0], [name for name in fitting if name != first[0]]
    spec = spec_of(library, member, **size)
    reason = "as you say" if named else "it is named so" if hinted else f"as {library}'s are"
    summary = (
        f"{library}'s {member}: padding {spec.padding}, norm epsilon {spec.norm_eps:g} ({reason})."
    )
    if others:
        summary += (
            f" It fits {' and '.join(others)} too: phiscale import --model {others[0]} takes that."
        )
    return NetworkMatch(library=library, member=member, spec=spec, summary=summary)


def _named(library: Library, tensors: Mapping[str, Tensor], ours: str) -> str | None:
    """Returns the name among `tensors` of our module's weight, in any naming of the library."""
    names = (f"{naming.frame[ours]}.weight" for naming in _NAMINGS[library])
    return next((name for name in names if name in tensors), None)


def _length(library: Library, tensors: Mapping[str, Tensor], ours: str, axis: int) -> int | None:
    """Returns the length of our module's weight along an axis; None where there is none."""
    name = _named(library, tensors, ours)
    shape = tensors[name].shape if name else ()
    return int(shape[axis]) if len(shape) > axis else None


def _fits(library: Library, spec: Spec, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if not _may_fit(library, spec, shapes):
        return False
    try:
        return _library_shapes(library, spec) == dict(shapes)
    except WeightsError:
        return False


def _may_fit(library: Library, spec: Spec, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Compares the stem's width, the last block and the modules' names, which is quick."""
    try:
        modules = dict(paths(naming_of(library, spec), spec))
    except WeightsError:
        return False
    stem = shapes.get(f"{modules['stem.conv']}.weight", (0,))
    last = f"stages.{len(spec.stages) - 1}.{spec.stages[-1].repeats - 1}."
    present = {name.rpartition(".")[0] for name in shapes}
    return (
        stem[0] == spec.stem_channels
        and present <= set(modules.values())
        and any(theirs in present for ours, theirs in modules.items() if ours.startswith(last))
    )


def _nearest(
    library: Library,
    members: list[str],
    size: Mapping[str, int],
    shapes: Mapping[str, tuple[int, ...]],
) -> str:
    """Returns in words how the tensors differ from those of the nearest model."""
    differences: list[tuple[int, str]] = []
    for name in members:
        spec = replace(MEMBERS[name].spec, **size)
        try:
            expected = _library_shapes(library, spec)
        except WeightsError:
            continue
        missing, extra = (
            sorted(expected.keys() - shapes.keys()),
            sorted(shapes.keys() - expected.keys()),
        )
        misshapen = sorted(k for k in expected.keys() & shapes.keys() if expected[k] != shapes[k])
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])})"
            for what, names in (("missing", missing), ("unknown", extra), ("misshapen", misshapen))
            if names
        ]
        differences.append(
            (len(missing) + len(extra) + len(misshapen), f"{name}: {', '.join(parts)}")
        )
    return f"; nearest is {min(differences)[1]}" if differences else ""


def _library_shapes(library: Library, spec: Spec) -> dict[str, tuple[int, ...]]:
    shapes = _shapes(spec)
    return {
        theirs: shapes[ours]
        for ours, theirs in tensor_names(library, spec).items()
        if not ours.endswith(_COUNTER)
    }


@cache
def _shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in build(spec).state_dict().items()}

"""Whose weights these are: the library and the network are recognised from names and shapes."""

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
    """The names that a library gives a network of this kind. Raises WeightsError."""
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
    known = [each for each in LIBRARIES if each != library]
    raise WeightsError(
        f"{library} has no network of {' and '.join(sorted(kinds))} blocks. "
        f"Try one of {', '.join(known)}."
    )


def tensor_names(library: Library, spec: Spec) -> dict[str, str]:
    """Our tensors' names -> the library's, in the network's order, of exactly the tensors that
    this network has there."""
    found: dict[str, str] = {}
    shapes = _shapes(spec)
    for ours, theirs in paths(naming_of(library, spec), spec):
        for leaf in ("weight", "bias", "running_mean", "running_var", _COUNTER):
            if f"{ours}.{leaf}" in shapes and not (leaf == _COUNTER and library in ("keras", "tf")):
                found[f"{ours}.{leaf}"] = f"{theirs}.{leaf}"
    if lost := [n for n in shapes if n not in found and not n.endswith(_COUNTER)]:
        raise WeightsError(f"{library} has no place for {lost[0]}: it has no such network.")
    return found


def to_theirs(library: Library, spec: Spec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the library's names, in the network's order."""
    return {theirs: tensors[ours] for ours, theirs in tensor_names(library, spec).items()}


def to_ours(library: Library, spec: Spec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The library's tensors under our names; counters that a file lacks start at 0."""
    back = {theirs: ours for ours, theirs in tensor_names(library, spec).items()}
    if unknown := sorted(tensors.keys() - back.keys()):
        raise WeightsError(
            f"{len(unknown)} tensors ({', '.join(unknown[:3])}) are not {library}'s for this "
            "network. Name another one with `model`."
        )
    found = {back[name]: tensor for name, tensor in tensors.items()}
    for name in _shapes(spec):
        if name.endswith(_COUNTER):
            found.setdefault(name, torch.tensor(0))
    return found


@dataclass(frozen=True, kw_only=True)
class NetworkMatch:
    """Whose tensors they are, which member's network, and what had to be assumed."""

    library: Library
    member: str
    spec: Spec
    summary: str


def recognise(tensors: Mapping[str, Tensor], *, hint: str = "", model: str = "") -> NetworkMatch:
    """The library and member that these tensors fit. Raises WeightsError.

    `hint`: a name that came with them, such as timm's, which decides between networks that differ
    in padding alone. `model`: the member, where the user says it.
    """
    library = library_of(tensors)
    own = {
        "classes": _length(library, tensors, "classifier", 0) or 0,
        "in_channels": _length(library, tensors, "stem.conv", 1) or 3,
    }
    given = {name: tuple(t.shape) for name, t in tensors.items() if not name.endswith(_COUNTER)}
    if whole := sorted(name for name in given if not tensors[name].is_floating_point()):
        raise WeightsError(
            f"{len(whole)} tensors hold whole numbers ({', '.join(whole[:3])}). "
            "Give weights that are not quantised."
        )
    members = [model] if model else list(MEMBERS)
    fitting = [
        name for name in members if _fits(library, replace(MEMBERS[name].spec, **own), given)
    ]
    if not fitting:
        what = f"do not fit {model}" if model else "fit no member"
        fix = "Give weights of that network" if model else "Name the network with `model`"
        raise WeightsError(
            f"{len(given)} tensors under {library}'s names {what}"
            f"{_nearest(library, members, own, given)}. {fix}."
        )
    return _chosen(library, fitting, hint, own, named=bool(model))


def library_of(tensors: Mapping[str, Tensor]) -> Library:
    """Whose names these are. Raises WeightsError."""
    for library in LIBRARIES:  # RESNET's names are timm's and torchvision's: the same network
        if _named(library, tensors, "stem.conv"):
            return library
    raise WeightsError(
        f"names such as {', '.join(sorted(tensors)[:3])} belong to no library that phiscale "
        f"knows: {', '.join(LIBRARIES)}. Give a file of one of them."
    )


def spec_of(library: Library, member: str, **own: int) -> Spec:
    """The member's network as this library runs it; `own`: other classes or in_channels."""
    spec = replace(MEMBERS[member].spec, **own)
    if library == "torchvision" and member in _TORCHVISION_NORM:
        eps, momentum = _TORCHVISION_NORM[member]
        spec = replace(spec, norm_eps=eps, norm_momentum=momentum)
    return spec


def _chosen(
    library: Library, fitting: list[str], hint: str, own: Mapping[str, int], *, named: bool
) -> NetworkMatch:
    hinted = [name for name in fitting if name == hint.partition(".")[0]]
    tensorflow = [name for name in fitting if name.startswith("tf_")]
    plain = [name for name in fitting if not name.startswith("tf_")]
    first = hinted or (tensorflow if library in _SAME_PADDING else plain) or fitting
    member, others = first[0], [name for name in fitting if name != first[0]]
    spec = spec_of(library, member, **own)
    why = "as you say" if named else "it is named so" if hinted else f"as {library}'s are"
    summary = (
        f"{library}'s {member}: padding {spec.padding}, norm epsilon {spec.norm_eps:g} ({why})."
    )
    if others:
        summary += (
            f" It fits {' and '.join(others)} too: phiscale import --model {others[0]} takes that."
        )
    return NetworkMatch(library=library, member=member, spec=spec, summary=summary)


def _named(library: Library, tensors: Mapping[str, Tensor], ours: str) -> str | None:
    """The tensor there that our module's weight is in one of the library's namings."""
    names = (f"{naming.frame[ours]}.weight" for naming in _NAMINGS[library])
    return next((name for name in names if name in tensors), None)


def _length(library: Library, tensors: Mapping[str, Tensor], ours: str, axis: int) -> int | None:
    """Of that tensor along an axis; None where there is none such."""
    name = _named(library, tensors, ours)
    shape = tensors[name].shape if name else ()
    return int(shape[axis]) if len(shape) > axis else None


def _fits(library: Library, spec: Spec, given: Mapping[str, tuple[int, ...]]) -> bool:
    if not _likely(library, spec, given):
        return False
    try:
        return _wanted(library, spec) == dict(given)
    except WeightsError:
        return False


def _likely(library: Library, spec: Spec, given: Mapping[str, tuple[int, ...]]) -> bool:
    """Cheap: as wide a stem, a last block where there is one, and nothing that has no name."""
    try:
        modules = dict(paths(naming_of(library, spec), spec))
    except WeightsError:
        return False
    stem = given.get(f"{modules['stem.conv']}.weight", (0,))
    last = f"stages.{len(spec.stages) - 1}.{spec.stages[-1].repeats - 1}."
    present = {name.rpartition(".")[0] for name in given}
    return (
        stem[0] == spec.stem_channels
        and present <= set(modules.values())
        and any(theirs in present for ours, theirs in modules.items() if ours.startswith(last))
    )


def _nearest(
    library: Library,
    members: list[str],
    own: Mapping[str, int],
    given: Mapping[str, tuple[int, ...]],
) -> str:
    """What is missing, unknown or of another shape, against the member that lacks least."""
    found: list[tuple[int, str]] = []
    for name in members:
        spec = replace(MEMBERS[name].spec, **own)
        try:
            wanted = _wanted(library, spec)
        except WeightsError:
            continue
        missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        shapes = sorted(k for k in wanted.keys() & given.keys() if wanted[k] != given[k])
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])})"
            for what, names in (("missing", missing), ("unknown", extra), ("misshapen", shapes))
            if names
        ]
        found.append((len(missing) + len(extra) + len(shapes), f"{name}: {', '.join(parts)}"))
    return f"; nearest is {min(found)[1]}" if found else ""


def _wanted(library: Library, spec: Spec) -> dict[str, tuple[int, ...]]:
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

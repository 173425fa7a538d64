"""The door for timm's people: `import phiscale.compat as timm`, and a script runs.

Networks are the members; names of timm, torchvision, Keras and lukemelas are known. Tensors keep
our names in `state_dict` (`phiscale convert` writes theirs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from phiscale.arch.families import MEMBERS, get_spec
from phiscale.arch.spec import Spec
from phiscale.compat import data
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError, WeightsError
from phiscale.nn.init import Linear, initialise
from phiscale.nn.network import Network
from phiscale.weights.adapt import adapt_weights
from phiscale.weights.aliases import member_of
from phiscale.weights.locate import HUB, TORCHVISION
from phiscale.weights.peers import LIBRARIES, Library, library_of, spec_of, to_ours
from phiscale.weights.pretrained import (
    original_preprocessing,
    pretrained_weights,
    weights_of_member,
)
from phiscale.weights.sources import weights_file
from phiscale.weights.store import fill, read

__all__ = ["Model", "create_model", "data", "is_model", "list_models", "list_pretrained"]


class Model(Network):
    """A network with the methods and attributes that timm's networks have."""

    def __init__(
        self, spec: Spec, preprocessing: Preprocessing, *, drop_rate: float, drop_path: float
    ):
        super().__init__(spec, dropout=drop_rate, drop_path=drop_path)
        self.preprocessing = preprocessing
        self.trained_at: dict[str, Any] = {}  # where that differs
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = self.features
        self.num_classes = spec.classes
        self.feature_info = feature_info(spec)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, **data.config_of(self.preprocessing)}

    default_cfg = pretrained_cfg

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Ours, or those of timm, torchvision or lukemelas by their own names."""
        given = dict(state_dict)
        if not any(name.startswith("stages.") for name in given):
            with suppress(WeightsError):
                given = to_ours(library_of(given), self.spec, given)
        return super().load_state_dict(given, strict=strict, assign=assign)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier; with 0 classes pooled features come out."""
        if global_pool not in (None, "avg"):
            raise UsageError(f"global_pool={global_pool!r} is not built; pooling is the mean.")
        like = self.stem.conv.weight
        self.spec = replace(self.spec, classes=num_classes)
        self.num_classes = num_classes
        self.classifier = nn.Identity()
        if num_classes:
            self.classifier = Linear(self.features, num_classes).to(like.device, like.dtype)
            nn.Linear.reset_parameters(self.classifier)  # small, as timm's new heads are


class Features(nn.Module):
    """The last map of every reduction, in order: what detectors and segmenters take."""

    def __init__(self, model: Model, out_indices: Sequence[int] | None):
        super().__init__()
        self.model = model
        model.head = model.classifier = nn.Identity()  # no parameter without a gradient
        indices = range(len(model.feature_info)) if out_indices is None else out_indices
        try:
            self.feature_info = FeatureInfo(model.feature_info[i] for i in indices)
        except IndexError:
            raise UsageError(
                f"out_indices={tuple(indices)}: there are {len(model.feature_info)} maps. "
                f"Use 0 to {len(model.feature_info) - 1}."
            ) from None

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = {"stem": self.model.stem(x)}
        x = self.model.pool_stem(maps["stem"])
        for number, stage in enumerate(self.model.stages):
            maps[f"stages.{number}"] = x = stage(x)
        return [maps[info["module"]] for info in self.feature_info]


class FeatureInfo(list[dict[str, Any]]):
    """num_chs, reduction and module of each map."""

    def channels(self) -> list[int]:
        return [info["num_chs"] for info in self]

    def reduction(self) -> list[int]:
        return [info["reduction"] for info in self]

    def get_dicts(self) -> list[dict[str, Any]]:
        return list(self)

    def module_name(self) -> list[str]:
        return [info["module"] for info in self]


def feature_info(spec: Spec) -> FeatureInfo:
    """The last map before each halving."""
    maps = [{"num_chs": spec.stem_channels, "reduction": spec.stem_stride, "module": "stem"}]
    reduction = spec.stem_stride * (2 if spec.stem_pool else 1)
    for number, stage in enumerate(spec.stages):
        reduction *= stage.stride
        maps.append(
            {"num_chs": stage.channels, "reduction": reduction, "module": f"stages.{number}"}
        )
    return FeatureInfo({info["reduction"]: info for info in maps}.values())


def create_model(
    model_name: str,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int = 3,
    *,
    checkpoint_path: str = "",
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    global_pool: str | None = None,
) -> Model | Features:
    """A network by its name in timm (`efficientnet_b0`, `efficientnet_b0.ra_in1k`, `hf-hub:...`),
    torchvision, Keras or lukemelas. Random weights, or those of `pretrained`'s tag or of a
    checkpoint, whose classifier and input channels are made to fit. Raises PhiscaleError."""
    if global_pool not in (None, "avg"):
        raise UsageError(f"global_pool={global_pool!r} is not built; pooling is the mean.")
    model_name = model_name.replace("hf_hub:", HUB)
    library, name = ("timm", "") if model_name.startswith(HUB) else _member(model_name)
    tags = weights_of_member(model_name if "." in model_name else name) if name else ()
    if "." in model_name and not tags and library == "timm":
        raise UsageError(f"{model_name}: no such tag is known. See list_pretrained({name!r}).")
    source = checkpoint_path or (
        _source(library, name, model_name) if pretrained or not name else ""
    )
    metadata = None
    if source:
        path = weights_file(source, model=name if checkpoint_path else "")
        metadata, tensors = read(path)
        spec, preprocessing = metadata.spec, metadata.preprocessing
    else:
        path, tensors = Path(), {}
        spec, preprocessing = (
            spec_of(library, name),
            tags[0].preprocessing if tags else original_preprocessing(name),
        )
    if checkpoint_path and name:  # the name's flavour, where names and shapes fit several
        spec = spec_of(library, name, classes=spec.classes, in_channels=spec.in_channels)
    spec = replace(
        spec, in_channels=in_chans, classes=spec.classes if num_classes is None else num_classes
    )
    model = Model(spec, preprocessing, drop_rate=drop_rate, drop_path=drop_path_rate)
    if tags:
        side = tags[0].train_pixels
        model.trained_at = {"input_size": (3, side, side), "crop_pct": tags[0].train_crop}
    initialise(model)
    if metadata is not None:
        have = replace(metadata.spec, norm_eps=spec.norm_eps, norm_momentum=spec.norm_momentum)
        fill(model, adapt_weights(tensors, have, spec, model.state_dict()), path)
        model.metadata = metadata.for_spec(spec)
    return Features(model, out_indices) if features_only else model


def _source(library: Library, name: str, asked: str) -> str:
    """Of the weights that `pretrained` means: a hub's name, or the member's with its tag."""
    base, _, tag = asked.partition(".")
    if not name:
        return asked
    if library == "torchvision" and name != base:
        return f"{TORCHVISION}{asked}"
    return f"{name}.{tag}".rstrip(".")


def list_models(
    filter: str | Iterable[str] = "*",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = (),
) -> list[str]:
    """Names, or `name.tag` of known weights where `pretrained`."""
    return (
        list_pretrained(filter, exclude_filters)
        if pretrained
        else [
            name for name in sorted(MEMBERS, key=_natural) if _passes(name, filter, exclude_filters)
        ]
    )


def list_pretrained(
    filter: str | Iterable[str] = "*", exclude_filters: str | Iterable[str] = ()
) -> list[str]:
    """`name.tag` of all known weights."""
    names = [f"{each.member}.{each.tag}" for each in pretrained_weights()]
    return sorted((name for name in names if _passes(name, filter, exclude_filters)), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name count as numbers: resnet50 before resnet101."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def is_model(model_name: str) -> bool:
    """Whether `create_model` knows the name."""
    return any(member_of(library, model_name.partition(".")[0]) for library in LIBRARIES)


def _member(name: str) -> tuple[Library, str]:
    """Whose name it is, and our name for it. Raises SpecError."""
    base = name.partition(".")[0]
    for library in LIBRARIES:
        if member := member_of(library, base):
            return library, member
    get_spec(base)  # says which are near
    raise AssertionError(base)


def _passes(name: str, wanted: str | Iterable[str], unwanted: str | Iterable[str]) -> bool:
    """By the whole name or by what stands before its tag."""

    def meets(patterns: str | Iterable[str]) -> bool:
        each = [patterns] if isinstance(patterns, str) else patterns
        forms = (name, name.partition(".")[0])
        return any(fnmatchcase(form, pattern or "*") for pattern in each for form in forms)

    return meets(wanted) and not meets(unwanted)

"""timm's functions, so that a script for timm runs: `import phiscale.compat as timm`.

Networks are the registered models, under the names of timm, torchvision, Keras or lukemelas.
Tensors keep phiscale's names in `state_dict`; `phiscale convert` writes a library's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.compat import data
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError, WeightsError
from phiscale.nn.init import Linear, initialise
from phiscale.nn.network import Network
from phiscale.weights.adapt import adapt_weights
from phiscale.weights.aliases import member_of
from phiscale.weights.listing import list_models, list_pretrained
from phiscale.weights.locate import HUB, TORCHVISION
from phiscale.weights.peers import LIBRARIES, Library, library_of, spec_of, to_ours
from phiscale.weights.pretrained import original_preprocessing, weights_of_member
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
        self.trained_at: dict[str, Any] = {}  # size and crop of training, where they differ
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
        """Loads tensors under names of phiscale, timm, torchvision or lukemelas."""
        tensors = dict(state_dict)
        if not any(name.startswith("stages.") for name in tensors):
            with suppress(WeightsError):
                tensors = to_ours(library_of(tensors), self.spec, tensors)
        return super().load_state_dict(tensors, strict=strict, assign=assign)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Makes a new classifier. With 0 classes, the output is the pooled features."""
        if global_pool not in (None, "avg"):
            raise UsageError(f"global_pool={global_pool!r} is unknown. Use 'avg'.")
        stem = self.stem.conv.weight
        self.spec = replace(self.spec, classes=num_classes)
        self.num_classes = num_classes
        self.classifier = nn.Identity()
        if num_classes:
            self.classifier = Linear(self.features, num_classes).to(stem.device, stem.dtype)
            nn.Linear.reset_parameters(self.classifier)  # small, as timm's new heads are


class Features(nn.Module):
    """A network that returns its last map at each reduction, for detectors and segmenters."""

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
        maps = self.model.intermediates(x)
        return [maps[info["module"]] for info in self.feature_info]


class FeatureInfo(list[dict[str, Any]]):
    """`num_chs`, `reduction` and `module` of each map, as in timm."""

    def channels(self) -> list[int]:
        return [info["num_chs"] for info in self]

    def reduction(self) -> list[int]:
        return [info["reduction"] for info in self]

    def get_dicts(self) -> list[dict[str, Any]]:
        return list(self)

    def module_name(self) -> list[str]:
        return [info["module"] for info in self]


def feature_info(spec: Spec) -> FeatureInfo:
    """Returns the entries of the last map before each halving."""
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
    """Builds a network by its name in timm, torchvision, Keras or lukemelas.

    Names of timm are `efficientnet_b0`, `efficientnet_b0.ra_in1k` or `hf-hub:...`. Weights are
    random, those of the tag (`pretrained`), or those of a checkpoint; their classifier and input
    channels are adapted. PhiscaleError: an unknown name, or weights that do not fit.
    """
    if global_pool not in (None, "avg"):
        raise UsageError(f"global_pool={global_pool!r} is unknown. Use 'avg'.")
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
    if checkpoint_path and name:  # the name decides the padding, which shapes do not show
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


def _source(library: Library, name: str, model_name: str) -> str:
    """Returns the SOURCE of pretrained weights: a hub's name, or the model's with its tag."""
    base, _, tag = model_name.partition(".")
    if not name:
        return model_name
    if library == "torchvision" and name != base:
        return f"{TORCHVISION}{model_name}"
    return f"{name}.{tag}".rstrip(".")


def is_model(model_name: str) -> bool:
    """Tells whether `create_model` knows the name."""
    return any(member_of(library, model_name.partition(".")[0]) for library in LIBRARIES)


def _member(name: str) -> tuple[Library, str]:
    """Returns the library that has this name, and phiscale's name. SpecError: no library has it."""
    base = name.partition(".")[0]
    for library in LIBRARIES:
        if member := member_of(library, base):
            return library, member
    get_spec(base)  # its error lists similar names
    raise AssertionError(base)

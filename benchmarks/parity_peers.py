"""The two sides of benchmarks/parity.py: a peer's network full of random numbers, and ours with the
same ones, carried over by the keymaps.

Both kinds of pair answer the same images (`logits`) and take the same step of training (`step`).
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.arch.spec import Spec
from phiscale.nn.network import Network, build
from phiscale.weights.aliases import network_names
from phiscale.weights.formats import read_foreign
from phiscale.weights.layouts import our_tensor_name
from phiscale.weights.peers import Library, spec_of, to_ours
from phiscale.weights.pretrained import original_preprocessing

# Of everything that a default would hide: norms (scale, shift, mean, variance), biases.
RANGES = {
    "weight": (0.6, 1.2),
    "bias": (-0.2, 0.2),
    "running_mean": (-0.2, 0.2),
    "running_var": (0.5, 1.5),
}
# With these weights of norms the deepest network is chaotic: the last bit of its input changes its
# float64 logits by two thirds (docs/log.md), so that it differs from itself as much as from a peer.
GENTLE = {"EfficientNetV2L": RANGES | {"weight": (0.3, 0.9)}}
TRAIN_PIXELS, TRAIN_BATCH = 96, 4


@dataclass(frozen=True)
class Pair:
    """A member and the peer's network that should be the same."""

    library: Library
    theirs: str
    member: str

    @property
    def key(self) -> str:
        return f"{self.library}:{self.theirs}"

    @property
    def spec(self) -> Spec:
        return spec_of(self.library, self.member)


@dataclass(frozen=True)
class Step:
    """What one step of training found: gradients and running statistics by our names."""

    loss: float
    gradients: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]


def pairs() -> Iterator[Pair]:
    import timm
    from torchvision import models

    for theirs, member in network_names("timm").items():
        if timm.is_model(theirs) and theirs == member:
            yield Pair("timm", theirs, member)
    for theirs, member in network_names("torchvision").items():
        if theirs in models.list_models():
            yield Pair("torchvision", theirs, member)
    for library in ("lukemelas", "keras"):
        for theirs, member in network_names(library).items():
            yield Pair(library, theirs, member)


class TorchSides:
    """timm, torchvision, lukemelas."""

    def __init__(self, pair: Pair):
        torch.manual_seed(0)
        self.pair, self.theirs = pair, _made(pair)
        _randomise(self.theirs)
        norms = [m for m in self.theirs.modules() if isinstance(m, nn.BatchNorm2d)]
        self.momentum = round(_only({norm.momentum for norm in norms}), 9)
        self.ours = _ours(pair, self.theirs.state_dict())

    def logits(self, kind: torch.dtype, height: int, width: int) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(_pixels(height, width)).permute(0, 3, 1, 2).to(kind) / 128 - 1
        theirs, ours = self.theirs.to(kind).eval(), self.ours.to(kind).eval()
        with torch.inference_mode():
            return theirs(x), ours(x)

    def step(self) -> tuple[Step, Step]:
        pixels = torch.from_numpy(_pixels(TRAIN_PIXELS, TRAIN_PIXELS, TRAIN_BATCH))
        x = pixels.permute(0, 3, 1, 2).double() / 128 - 1
        theirs, ours = self.theirs.double(), self.ours.double()
        _silence(theirs)
        _with_momentum(ours, self.momentum)
        loss = _learn(theirs, x)
        gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
        spec, library = self.pair.spec, self.pair.library
        after = to_ours(library, spec, theirs.state_dict())
        running = {name: tensor for name, tensor in after.items() if "running_" in name}
        found = Step(loss, to_ours(library, spec, gradients), running)
        del theirs, after, self.theirs  # the largest would not fit twice with their gradients
        return found, _our_step(ours, x)


@cache
def _keep_doubles() -> None:
    """Keras takes float32 for the common type of float64 and float32, so a network of doubles would
    be rounded in every norm and every mean."""
    from keras.src import backend
    from keras.src.backend.common import dtypes

    usual = dtypes.result_type

    def result_type(*kinds: Any) -> str:
        doubles = any(str(kind).endswith("float64") for kind in kinds)
        return "float64" if doubles else usual(*kinds)

    dtypes.result_type = backend.result_type = result_type


class KerasSides:
    """Keras sees pixels, for its rescaling and normalisation are layers; we see what they become.

    Its padding is fixed when a network is made, so there is one for each size."""

    momentum = 0.0  # known from the first network that is made

    def __init__(self, pair: Pair):
        _keep_doubles()
        self.pair, preprocessing = pair, original_preprocessing(pair.member)
        if pair.theirs.startswith("EfficientNetB"):  # without ImageNet's weights: x / 255 alone
            preprocessing = replace(preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.mean, self.std = np.array(preprocessing.mean), np.array(preprocessing.std)

    def logits(self, kind: torch.dtype, height: int, width: int) -> tuple[Tensor, Tensor]:
        theirs, ours = self._made(kind, height, width)
        pixels, x = self._inputs(kind, height, width)
        with torch.inference_mode():
            return torch.as_tensor(theirs(pixels, training=False)), ours(x)

    def step(self) -> tuple[Step, Step]:
        theirs, ours = self._made(torch.float64, TRAIN_PIXELS, TRAIN_PIXELS)
        for layer in theirs.layers:
            if type(layer).__name__ == "Dropout":
                layer.rate = 0.0
        pixels, x = self._inputs(torch.float64, TRAIN_PIXELS, TRAIN_PIXELS, TRAIN_BATCH)
        loss = F.cross_entropy(theirs(pixels, training=True), torch.arange(TRAIN_BATCH))
        loss.backward()
        spec = self.pair.spec
        statistics = to_ours("keras", spec, _saved(theirs))
        for variable in theirs.trainable_variables:  # a gradient is laid out as its variable
            variable.assign(variable.value.grad)
        gradients = to_ours("keras", spec, _saved(theirs))
        counts = _counted(ours)
        _with_momentum(ours, self.momentum)
        before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
        mine = _our_step(ours, x)
        return Step(loss.item(), gradients, statistics), replace(
            mine, statistics=self._biased(mine.statistics, before, counts)
        )

    def _biased(
        self, after: Mapping[str, Tensor], before: Mapping[str, Tensor], counts: Mapping[str, int]
    ) -> dict[str, Tensor]:
        """Keras averages the variance over n values, torch (and TensorFlow) over n - 1."""
        found = dict(after)
        for name in after:
            if name.endswith("running_var"):
                n = counts[name.removesuffix(".running_var")]
                kept = (1 - self.momentum) * before[name]
                found[name] = kept + (after[name] - kept) * (n - 1) / n
        return found

    def _made(self, kind: torch.dtype, height: int, width: int) -> tuple[Any, Network]:
        import keras

        keras.backend.clear_session()
        keras.config.set_floatx(str(kind).removeprefix("torch."))
        try:
            keras.utils.set_random_seed(0)
            theirs = getattr(keras.applications, self.pair.theirs)(
                weights=None, input_shape=(height, width, 3), classifier_activation=None
            )
        finally:
            keras.config.set_floatx("float32")
        norms = [layer for layer in theirs.layers if type(layer).__name__ == "BatchNormalization"]
        self.momentum = round(1 - _only({norm.momentum for norm in norms}), 9)  # torch's meaning
        rng = np.random.default_rng(0)
        ranges = GENTLE.get(self.pair.theirs, RANGES)
        for variable in theirs.variables:
            word = our_tensor_name(variable.name)
            if word in ranges and len(variable.shape) == 1:
                variable.assign(rng.uniform(*ranges[word], variable.shape))
        return theirs, _ours(self.pair, _saved(theirs)).to(kind).eval()

    def _inputs(
        self, kind: torch.dtype, height: int, width: int, batch: int = 1
    ) -> tuple[Tensor, Tensor]:
        pixels = _pixels(height, width, batch)
        x = torch.from_numpy(((pixels / 255 - self.mean) / self.std).transpose(0, 3, 1, 2).copy())
        return torch.from_numpy(pixels).to(kind), x.to(kind)


def sides(pair: Pair) -> TorchSides | KerasSides:
    return KerasSides(pair) if pair.library == "keras" else TorchSides(pair)


def _made(pair: Pair) -> nn.Module:
    import timm
    from efficientnet_pytorch import EfficientNet
    from torchvision import models

    match pair.library:
        case "timm":
            return timm.create_model(pair.theirs)
        case "torchvision":
            return models.get_model(pair.theirs)
        case _:
            return EfficientNet.from_name(pair.theirs, image_size=None)  # pads by the image


def _randomise(network: nn.Module) -> None:
    """Norms and biases that no default hides; kernels are random as the library makes them."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        for name, (low, high) in RANGES.items():
            tensor = getattr(module, name, None)
            if isinstance(tensor, Tensor) and tensor.ndim == 1:
                drawn = torch.rand(tensor.shape, generator=generator)
                tensor.data.copy_(low + (high - low) * drawn)


def _ours(pair: Pair, tensors: Mapping[str, Tensor]) -> Network:
    network = build(pair.spec, initialised=False)
    network.load_state_dict(to_ours(pair.library, pair.spec, tensors), assign=True)
    return copy.deepcopy(network)  # memory of its own


def _pixels(height: int, width: int, batch: int = 1) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (batch, height, width, 3)).astype(np.float64)


def _saved(theirs: Any) -> dict[str, Tensor]:
    """Through a file, as a user's weights come."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.weights.h5"
        theirs.save_weights(path)
        return read_foreign(path).tensors


def _silence(network: nn.Module) -> None:
    """Training mode with every random rate at 0."""
    network.train()
    for module in network.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth", "DropPath"):
            module.eval()
    if (params := getattr(network, "_global_params", None)) is not None:  # lukemelas
        network._global_params = params._replace(drop_connect_rate=0.0)  # type: ignore[assignment]


def _learn(network: nn.Module, x: Tensor) -> float:
    loss = F.cross_entropy(network(x), torch.arange(len(x)))
    loss.backward()
    return loss.item()


def _our_step(ours: Network, x: Tensor) -> Step:
    _silence(ours)
    loss = _learn(ours, x)
    gradients = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    return Step(loss, gradients, {n: t for n, t in ours.state_dict().items() if "running_" in n})


def _with_momentum(ours: Network, momentum: float) -> None:
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def _counted(ours: Network) -> dict[str, int]:
    """Values of a channel that each norm sees in the step; filled when it is taken."""
    counts: dict[str, int] = {}

    def counting(name: str) -> Callable[..., None]:
        def see(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
            counts[name] = given[0].numel() // given[0].shape[1]

        return see

    for name, module in ours.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(counting(name))
    return counts


def _only(values: set[Any]) -> Any:
    (value,) = values
    return value

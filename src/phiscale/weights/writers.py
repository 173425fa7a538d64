"""Writes our weights as another library's file: what `formats.py` reads, the other way round."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from phiscale.arch.families import name_of
from phiscale.arch.spec import Spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import MissingExtra, UsageError
from phiscale.files import write_atomic
from phiscale.weights.aliases import network_names
from phiscale.weights.layouts import CONV, NORM, their_tensor_name, to_last
from phiscale.weights.peers import Library, to_theirs

SUFFIXES: Mapping[Library, tuple[str, ...]] = {
    "timm": (".safetensors", ".pth", ".bin"),
    "torchvision": (".pth", ".safetensors"),
    "lukemelas": (".pth", ".safetensors"),
    "keras": (".weights.h5",),
    "tf": (".ckpt",),
}


def write_foreign(
    path: Path,
    library: Library,
    spec: Spec,
    tensors: Mapping[str, Tensor],
    preprocessing: Preprocessing,
) -> None:
    """Writes `tensors` of `spec` under the library's names, in the format of the path's suffix."""
    suffix = next((s for s in SUFFIXES[library] if path.name.endswith(s)), None)
    if suffix is None:
        raise UsageError(
            f"out='{path}': {library} reads {' or '.join(SUFFIXES[library])}. "
            f"Name it {path.stem.split('.')[0]}{SUFFIXES[library][0]}."
        )
    named = {
        name: t.detach().cpu().contiguous() for name, t in to_theirs(library, spec, tensors).items()
    }
    back = {member: theirs for theirs, member in network_names(library).items()}
    name = back.get(name_of(spec), "")
    if suffix == ".safetensors":  # the name tells the flavour, which no tensor does
        about = {"format": "pt", **({"architecture": name} if name else {})}
        write_atomic(path, to_safetensors(named, metadata=about))
    elif suffix == ".weights.h5":
        write_atomic(path, _keras(spec, named, preprocessing))
    elif suffix == ".ckpt":
        _checkpoint(path, to_variables(named, name or "model"))
    else:
        content = io.BytesIO()
        torch.save(named, content)
        write_atomic(path, content.getvalue())


def _keras(spec: Spec, tensors: Mapping[str, Tensor], preprocessing: Preprocessing) -> bytes:
    """Keras 3's layout: layers by kind in the order of the network, variables by number."""
    try:
        import h5py
    except ImportError:
        raise MissingExtra("writing Keras's weights", "h5py", "keras") from None
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, word = name.rpartition(".")
        layers.setdefault(layer, {})[word] = tensor
    counts: Counter[str] = Counter()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:

        def write(kind: str, layer: str, values: list[Any]) -> None:
            number = counts[kind]
            counts[kind] += 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = layer
            for place, value in enumerate(values):
                group.create_dataset(str(place), data=value)

        if not any(stage.block == "fused_mbconv" for stage in spec.stages):  # V1 normalises itself
            mean, std = (
                np.array(preprocessing.mean, np.float32),
                np.array(preprocessing.std, np.float32),
            )
            write("normalization", "normalization", [mean, std**2, np.int32(0)])
        for layer, own in layers.items():
            norm, depthwise = "running_mean" in own, "dwconv" in layer
            words = [word for word in (NORM if norm else CONV) if word in own]
            if own["weight"].ndim == 2:
                kind = "dense"
            elif norm:
                kind = "batch_normalization"
            else:
                kind = "depthwise_conv2d" if depthwise else "conv2d"
            write(kind, layer, [to_last(own[word], depthwise=depthwise) for word in words])
    return content.getvalue()


def to_variables(tensors: Mapping[str, Tensor], model: str = "model") -> dict[str, np.ndarray]:
    """TensorFlow's variables by name, from tensors under its modules and our words."""
    norms = {name.rpartition(".")[0] for name in tensors if name.endswith(".running_mean")}
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        module, _, word = name.rpartition(".")
        depthwise = "depthwise" in module
        theirs = their_tensor_name(word, norm=module in norms, depthwise=depthwise)
        found[f"{model}/{module}/{theirs}"] = to_last(tensor, depthwise=depthwise)
    return found


def _checkpoint(path: Path, variables: Mapping[str, np.ndarray]) -> None:
    try:
        import tensorflow as tf  # type: ignore[import-not-found]
    except ImportError:
        raise MissingExtra("writing TensorFlow's checkpoints", "tensorflow", "tf") from None
    names = sorted(variables)
    with TemporaryDirectory(dir=path.parent) as folder:  # whole or not at all: the index comes last
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/{path.name}",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[variables[name] for name in names],
        )
        for part in sorted(Path(folder).iterdir()):
            part.replace(path.with_name(part.name))

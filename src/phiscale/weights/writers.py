"""Writes weights as files of another library: the inverse of `formats.py`."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    """Writes tensors under the library's names, in the format of the path's suffix.

    UsageError: the library does not read this suffix. MissingExtra: writing it needs a package.
    """
    suffix = next((s for s in SUFFIXES[library] if path.name.endswith(s)), None)
    if suffix is None:
        raise UsageError(
            f"out='{path}': {library} reads {' or '.join(SUFFIXES[library])}. "
            f"Name it {path.stem.split('.')[0]}{SUFFIXES[library][0]}."
        )
    named = {
        name: t.detach().cpu().contiguous() for name, t in to_theirs(library, spec, tensors).items()
    }
    library_names = {member: name for name, member in network_names(library).items()}
    name = library_names.get(name_of(spec), "")
    if suffix == ".safetensors":  # no tensor shows the padding, the name does
        metadata = {"format": "pt", **({"architecture": name} if name else {})}
        write_atomic(path, to_safetensors(named, metadata=metadata))
    elif suffix == ".weights.h5":
        write_atomic(path, _keras(spec, named, preprocessing))
    elif suffix == ".ckpt":
        _checkpoint(path, to_variables(named, name or "model"))
    else:
        content = io.BytesIO()
        torch.save(named, content)
        write_atomic(path, content.getvalue())


def _keras(spec: Spec, tensors: Mapping[str, Tensor], preprocessing: Preprocessing) -> bytes:
    """Returns a file in Keras 3's layout: layers by kind in network order, variables by number."""
    try:
        import h5py
    except ImportError:
        raise MissingExtra("writing Keras's weights", "h5py", "keras") from None
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, tensor_name = name.rpartition(".")
        layers.setdefault(layer, {})[tensor_name] = tensor
    counts: Counter[str] = Counter()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:

        def write(kind: str, layer: str, values: list[Any]) -> None:
            number = counts[kind]
            counts[kind] += 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = layer
            for number, value in enumerate(values):
                group.create_dataset(str(number), data=value)

        if not any(stage.block == "fused_mbconv" for stage in spec.stages):  # V1 normalises itself
            mean, std = (
                np.array(preprocessing.mean, np.float32),
                np.array(preprocessing.std, np.float32),
            )
            write("normalization", "normalization", [mean, std**2, np.int32(0)])
        for layer, parts in layers.items():
            norm, depthwise = "running_mean" in parts, "dwconv" in layer
            names = [name for name in (NORM if norm else CONV) if name in parts]
            if parts["weight"].ndim == 2:
                kind = "dense"
            elif norm:
                kind = "batch_normalization"
            else:
                kind = "depthwise_conv2d" if depthwise else "conv2d"
            write(kind, layer, [to_last(parts[name], depthwise=depthwise) for name in names])
    return content.getvalue()


def to_variables(tensors: Mapping[str, Tensor], model: str = "model") -> dict[str, NDArray[Any]]:
    """Returns TensorFlow's variables by name: the inverse of `formats.from_variables`."""
    norms = {name.rpartition(".")[0] for name in tensors if name.endswith(".running_mean")}
    variables: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        module, _, tensor_name = name.rpartition(".")
        depthwise = "depthwise" in module
        variable = their_tensor_name(tensor_name, norm=module in norms, depthwise=depthwise)
        variables[f"{model}/{module}/{variable}"] = to_last(tensor, depthwise=depthwise)
    return variables


def _checkpoint(path: Path, variables: Mapping[str, NDArray[Any]]) -> None:
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

"""Reads weights files of other libraries: safetensors, torch, Keras's HDF5, TensorFlow checkpoints.

The content decides, not the name. The result is a flat table of tensors in torch's layout, under
the library's names. Nothing in a file is executed: torch reads pickles with `weights_only`.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from phiscale.errors import MissingExtra, WeightsError
from phiscale.weights.layouts import CONV, NORM, from_last, our_tensor_name

LARGEST_BYTES = 8 * 2**30  # EfficientNet-L2, the largest model, needs 2 GiB
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_INNER = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net")
# keys of a checkpoint, the average first: published figures are those of the average
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
# of DistributedDataParallel, compile, Lightning, and of networks that hold a backbone
_COUNT = "n_averaged"  # which torch's AveragedModel keeps beside the averaged tensors
_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32)
_AVERAGE = "/ExponentialMovingAverage"
_SCALAR = np.float64(0).__reduce__()[0]  # the function whose name differs in numpy 1 and 2
_PATH_MODULES = ("pathlib", "pathlib._local")  # the second in Python 3.13
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_INERT: list[Any] = [
    argparse.Namespace,
    *((pathlib.PurePath, f"{module}.{name}") for module in _PATH_MODULES for name in _PATHS),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
]
"""What training scripts keep beside the tensors; making one of these runs nothing of the file's."""


@dataclass(frozen=True, kw_only=True)
class ForeignWeights:
    """Tensors and metadata of another library's file."""

    tensors: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)  # `architecture`: a network's name


def read_foreign(path: Path) -> ForeignWeights:
    """Reads the weights file of another library.

    WeightsError: it is no weights file, or its tensors cannot be trusted. MissingExtra: the
    library that reads it is not installed.
    """
    if path.with_name(f"{path.name}.index").is_file():
        weights = _tensorflow(path)
    elif not path.is_file():
        raise WeightsError(f"no weights at {path}. Give a file, hf-hub:NAME or torchvision:NAME.")
    else:
        weights = _by_content(path)
    _check_tensors(path, weights.tensors)
    return weights


def _by_content(path: Path) -> ForeignWeights:
    with path.open("rb") as file:
        start = file.read(9)
    if path.stat().st_size > LARGEST_BYTES:
        raise WeightsError(
            f"{path} has over {LARGEST_BYTES >> 30} GiB: no model is so large. "
            "Give one network's weights."
        )
    if start.startswith(_HDF5):
        return _hdf5(path)
    if start.startswith(_ZIP):
        return _torch(_stored_zip(path))
    if start[8:9] == b"{":
        return _safetensors(path)
    if start.startswith(b"\x80"):
        return _torch(path)
    raise WeightsError(
        f"{path} is no weights file that phiscale reads. "
        "Give safetensors, torch's .pth or .bin, Keras's .h5, or a TensorFlow checkpoint."
    )


def _safetensors(path: Path) -> ForeignWeights:
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({_line(error)}). Fetch it again."
        ) from None
    return ForeignWeights(tensors=tensors, metadata=metadata)


def _stored_zip(path: Path) -> Path:
    """Returns the path of an archive as torch writes it; WeightsError for any other.

    torch stores files without compression, so an archive that would grow is refused unread.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(
            f"{path} is a damaged archive ({_line(error)}). Fetch it again."
        ) from None
    if any("/code/" in e.filename or e.filename.endswith("/constants.pkl") for e in entries):
        raise WeightsError(
            f"{path} is a TorchScript program, which would have to be run. "
            "Save the network's state_dict()."
        )
    compressed = any(e.compress_type != zipfile.ZIP_STORED for e in entries)
    if compressed or sum(e.file_size for e in entries) > path.stat().st_size:
        raise WeightsError(f"{path} is a compressed archive, not torch's. Give a .pth of torch.")
    if not any(e.filename.endswith("/data.pkl") for e in entries):
        raise WeightsError(f"{path} is an archive without torch's tensors. Give a .pth of torch.")
    return path


def _torch(path: Path) -> ForeignWeights:
    try:
        with torch.serialization.safe_globals(_INERT):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle can fail in any way
        match = re.search(r"GLOBAL ([\w.]+)|Unsupported \w+ ([\w.]+)", str(error))
        what = f" ({next(filter(None, match.groups()))})" if match else ""
        raise WeightsError(
            f"{path} holds more than tensors{what}, or is damaged. Nothing in it was run. "
            "Save the network's state_dict(), or ask for safetensors."
        ) from None
    tensors = _flat(loaded)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name. Save a state_dict.")
    return ForeignWeights(tensors=tensors)


def _flat(loaded: Any) -> dict[str, Tensor]:
    for inner in _INNER:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(inner), Mapping):
            loaded = loaded[inner]
            break
    if not isinstance(loaded, Mapping):
        return {}
    named = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    named.pop(_COUNT, None)
    while prefix := _shared_prefix(named):
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _shared_prefix(names: Mapping[str, Any]) -> str | None:
    """Returns the wrapper's prefix that all names share; None where there is none."""
    shared = (p for p in _PREFIXES if names and all(name.startswith(p) for name in names))
    return next(shared, None)


def _hdf5(path: Path) -> ForeignWeights:
    """Reads Keras 3's `.weights.h5` and the older `.h5`.

    The first has a layer's name as an attribute of its variables, the second as a group's name.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra("reading Keras's weights", "h5py", "keras") from None
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer, variables in _layers(file, h5py, path.stat().st_size):
                if layer.startswith("normalization"):
                    values = dict(variables)
                    for name, number in (("mean", "0"), ("variance", "1")):
                        value = values.get(name, values.get(number))
                        if value is not None:
                            metadata[name] = " ".join(map(str, np.ravel(value).tolist()))
                    continue
                tensors |= _keras_layer(layer, variables)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise WeightsError(
            f"{path} is no readable HDF5 of Keras ({_line(error)}). Fetch it again."
        ) from None
    return ForeignWeights(tensors=tensors, metadata=metadata)


def _layers(
    file: Any, h5py: Any, most_bytes: int
) -> Iterator[tuple[str, list[tuple[str, NDArray[Any]]]]]:
    """Yields each layer with its variables, by number as in `.weights.h5` or by name."""
    groups: list[tuple[str, Any]] = []
    file.visititems(lambda path, item: groups.append((path, item)))
    for path, group in groups:
        if not isinstance(group, h5py.Group) or path.startswith("optimizer"):
            continue
        datasets = {
            key: group[key]
            for key in group
            if isinstance(group.get(key, getlink=True), h5py.HardLink)
            and isinstance(group[key], h5py.Dataset)
        }
        if not datasets:
            continue
        for data in datasets.values():
            most_bytes -= data.nbytes
            if data.external or data.is_virtual or most_bytes < 0:
                raise ValueError(f"{data.name} does not lie in the file")
        ordered = sorted(datasets, key=lambda key: (int(key), "") if key.isdigit() else (0, key))
        name = str(group.attrs.get("name", path.split("/")[-1]))
        yield name, [(key.split(":")[0], datasets[key][()]) for key in ordered]


def _keras_layer(layer: str, variables: list[tuple[str, NDArray[Any]]]) -> dict[str, Tensor]:
    words = list(NORM if len(variables) == len(NORM) else CONV)
    if len(variables) not in (1, 2, 4):
        raise ValueError(f"{layer} has {len(variables)} variables")
    return {
        f"{layer}.{words[int(key)] if key.isdigit() else our_tensor_name(key) or key}": from_last(
            value, depthwise="dwconv" in layer
        )
        for key, value in variables
    }


def _tensorflow(path: Path) -> ForeignWeights:
    """Reads a checkpoint by the prefix of its files; see `from_variables`."""
    try:
        from tensorflow.train import load_checkpoint  # type: ignore[import-not-found]
    except ImportError:
        raise MissingExtra("reading TensorFlow's checkpoints", "tensorflow", "tf") from None
    try:
        reader = load_checkpoint(str(path))
        variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow's own share no base but this
        raise WeightsError(
            f"{path} is no readable checkpoint ({_line(error)}). Fetch it again."
        ) from None
    return from_variables(variables)


def from_variables(variables: Mapping[str, NDArray[Any]]) -> ForeignWeights:
    """Returns TensorFlow's variables in torch's layout; see `writers.to_variables`.

    Names are such as `efficientnet-b0/stem/conv2d/kernel`. Moving averages replace the raw
    variables; an optimiser's slots are left out.
    """
    averaged = {name.removesuffix(_AVERAGE) for name in variables if name.endswith(_AVERAGE)}
    tensors: dict[str, Tensor] = {}
    for name, value in variables.items():
        plain = name.removesuffix(_AVERAGE)
        inside = plain.partition("/")[2]
        module, _, word = inside.rpartition("/")
        tensor_name = our_tensor_name(word)  # None for an optimiser's slots
        if not module or tensor_name is None or (plain in averaged and plain == name):
            continue
        depthwise = word.startswith("depthwise_")
        tensors[f"{module}.{tensor_name}"] = from_last(np.asarray(value), depthwise=depthwise)
    models = {name.partition("/")[0] for name in variables if "/stem/" in name}
    return ForeignWeights(tensors=tensors, metadata={"architecture": min(models, default="")})


def _check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises WeightsError for odd types, for values that are not finite, and for false strides.

    Strides are false where a tensor claims more values than its memory holds.
    """
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _TYPES:
            raise WeightsError(
                f"{path}: {name} is {tensor.dtype}, {tensor.layout}. Save plain "
                "tensors of 16, 32 or 64 bits."
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise WeightsError(f"{path}: {name} claims more values than it has. Fetch it again.")
    check_values(path, tensors)


def check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises WeightsError where a value is not finite."""
    bad = sorted(
        name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()
    )
    if bad:
        raise WeightsError(
            f"{path}: {len(bad)} tensors hold NaN or infinity ({', '.join(bad[:3])}). "
            "Use another file."
        )


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__

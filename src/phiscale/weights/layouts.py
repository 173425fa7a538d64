"""Converts single tensors between torch's layout and that of Keras and TensorFlow.

Those keep channels last and have other names for a layer's tensors. `formats.py` reads their files,
`writers.py` writes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

NORM = {  # torch's name -> Keras's name, in the order of a Keras layer's variables
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
CONV = {"weight": "kernel", "bias": "bias"}
_OURS = {theirs: ours for words in (NORM, CONV) for ours, theirs in words.items()}
_TO_LAST = {"dense": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1), "linear": (1, 0)}


def to_last(tensor: Tensor, *, depthwise: bool = False) -> NDArray[Any]:
    """Moves channels last: (out, in, h, w) -> (h, w, in, out).

    Depthwise: (c, 1, h, w) -> (h, w, c, 1). Matrices are transposed; vectors stay as they are.
    """
    array = tensor.detach().cpu().numpy()
    if array.ndim < 2:
        return array
    return np.ascontiguousarray(array.transpose(_TO_LAST[_kind(array.ndim, depthwise)]))


def from_last(array: NDArray[Any], *, depthwise: bool = False) -> Tensor:
    """The inverse of `to_last`."""
    if array.ndim >= 2:
        axes = np.argsort(_TO_LAST[_kind(array.ndim, depthwise)])
        array = np.ascontiguousarray(array.transpose(axes))
    return from_numpy(array)


def our_tensor_name(theirs: str) -> str | None:
    """Returns torch's name for a tensor: `weight` for `kernel`, `depthwise_kernel` and `gamma`.

    None: it is no tensor of a network.
    """
    return _OURS.get(theirs.removeprefix("depthwise_"))


def their_tensor_name(ours: str, *, norm: bool, depthwise: bool = False) -> str:
    """Returns TensorFlow's name for torch's: the inverse of `our_tensor_name`."""
    word = (NORM if norm else CONV)[ours]
    return f"depthwise_{word}" if depthwise and word == "kernel" else word


def _kind(ndim: int, depthwise: bool) -> str:
    if ndim == 2:
        return "linear"
    return "depthwise" if depthwise else "dense"

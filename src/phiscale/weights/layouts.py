"""How Keras and TensorFlow keep what torch keeps otherwise: channels last, and words of their own.

Both directions, one tensor at a time. Their files are read and written in `formats.py`.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, from_numpy

NORM = {  # our word -> theirs, in the order of a Keras layer's variables
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
CONV = {"weight": "kernel", "bias": "bias"}
_OURS = {theirs: ours for words in (NORM, CONV) for ours, theirs in words.items()}
_TO_LAST = {"dense": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1), "linear": (1, 0)}


def to_last(tensor: Tensor, *, depthwise: bool = False) -> np.ndarray:
    """out, in, h, w -> h, w, in, out; depthwise c, 1, h, w -> h, w, c, 1; linear transposed;
    vectors as they are."""
    array = tensor.detach().cpu().numpy()
    if array.ndim < 2:
        return array
    return np.ascontiguousarray(array.transpose(_TO_LAST[_kind(array.ndim, depthwise)]))


def from_last(array: np.ndarray, *, depthwise: bool = False) -> Tensor:
    """The inverse of `to_last`."""
    if array.ndim >= 2:
        axes = np.argsort(_TO_LAST[_kind(array.ndim, depthwise)])
        array = np.ascontiguousarray(array.transpose(axes))
    return from_numpy(array)


def our_tensor_name(theirs: str) -> str | None:
    """torch's word for theirs: `kernel`, `depthwise_kernel` and `gamma` are weights; None for what
    is no tensor of a network."""
    return _OURS.get(theirs.removeprefix("depthwise_"))


def their_tensor_name(ours: str, *, norm: bool, depthwise: bool = False) -> str:
    """The inverse of `our_word`."""
    word = (NORM if norm else CONV)[ours]
    return f"depthwise_{word}" if depthwise and word == "kernel" else word


def _kind(ndim: int, depthwise: bool) -> str:
    if ndim == 2:
        return "linear"
    return "depthwise" if depthwise else "dense"

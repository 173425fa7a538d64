"""The order of a training's samples and their random numbers: pure functions of (seed, index).

A sample index counts the images of a training from its first to its last. Nothing here has a state.
So a resumed training, or one with another number of workers, sees exactly the same images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 16  # groups that are read, and mixed, at a time


class Order:
    """Every epoch is a fresh permutation of the `size` samples.

    Where `groups` says which file each sample is in, an epoch takes the files in a fresh order,
    WINDOW at a time, and mixes the samples of those: nearly as random, and no file is needed
    again before the next epoch.
    """

    def __init__(self, size: int, seed: int, groups: NDArray[np.int64] | None = None):
        self.size, self.seed = size, seed
        self._files: list[
            NDArray[np.int64]
        ] = []  # the samples of each, if they are more than a window
        if groups is not None and len(np.unique(groups)) > WINDOW:
            members = np.argsort(groups, kind="stable")
            _, starts = np.unique(groups[members], return_index=True)
            self._files = np.split(members, starts[1:])
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def _permuted(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, epoch))
        if not self._files:
            return rng.permutation(self.size)
        order = rng.permutation(len(self._files))
        return np.concatenate(
            [
                rng.permutation(np.concatenate([self._files[i] for i in order[at : at + WINDOW]]))
                for at in range(0, len(order), WINDOW)
            ]
        )

    def samples(self, start: int, stop: int) -> NDArray[np.int64]:
        """Returns the indices into the split of the samples start..stop, across epochs."""
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self.size)
            if epoch != self._epoch:
                self._permutation = self._permuted(epoch)
                self._epoch = epoch
            part = self._permutation[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


def hash_numbers(*numbers: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    """One well-spread uint64 from several numbers or arrays (splitmix64, Steele et al. 2014)."""
    state = np.uint64(0)
    with np.errstate(over="ignore"):
        for number in numbers:
            state = state + np.asarray(number).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def draw_uniforms(
    seed: int, sample_indices: NDArray[np.int64], count: int, first: int = 0
) -> NDArray[np.float64]:
    """Returns the numbers `first` to `first + count` of each sample, in [0, 1).

    They depend on the seed and the sample alone. Shape (samples, count).
    """
    mixed = hash_numbers(seed, sample_indices[:, None], np.arange(first, first + count)[None, :])
    return (mixed >> np.uint64(11)) / 2.0**53

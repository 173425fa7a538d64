"""Which sample stands at which place, and its random numbers: pure functions of (seed, position).

A position counts the images of a training from its first to its last. Nothing here has a state, so
a resumed training, or one with another number of workers, sees exactly the same images.
"""

from __future__ import annotations

import numpy as np


class Order:
    """Every epoch is a fresh permutation of the `size` samples."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed = size, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def samples(self, start: int, stop: int) -> np.ndarray:
        """Sample indices at positions start..stop, across epochs if need be."""
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self.size)
            if epoch != self._epoch:
                self._permutation = np.random.default_rng((self.seed, epoch)).permutation(self.size)
                self._epoch = epoch
            part = self._permutation[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


def mix(*numbers: int | np.ndarray) -> np.ndarray:
    """One well-spread uint64 from several numbers or arrays (splitmix64, Steele et al. 2014)."""
    state = np.uint64(0)
    with np.errstate(over="ignore"):
        for number in numbers:
            state = state + np.asarray(number).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def uniforms(seed: int, positions: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """(positions, count) numbers in [0, 1) that belong to these places of this training: the
    `first` of each place and those after it."""
    mixed = mix(seed, positions[:, None], np.arange(first, first + count)[None, :])
    return (mixed >> np.uint64(11)) / 2.0**53

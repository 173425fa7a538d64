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
        return np.concatenate(parts)


def mix(*numbers: int) -> int:
    """One well-spread 64-bit number from several (splitmix64's finaliser, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def uniforms(seed: int, position: int, count: int) -> list[float]:
    """`count` numbers in [0, 1) that belong to this place of this training."""
    base = mix(seed, position)
    return [mix(base, index) / 2.0**64 for index in range(count)]


_MASK = (1 << 64) - 1

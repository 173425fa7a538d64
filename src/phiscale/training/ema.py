"""EMA of weights and batch-norm statistics. It is evaluated, and saved as the best weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Exponential moving average of a network's state.

    The decay at update n is min(cap, (1 + n) / (10 + n)), as with TensorFlow's `num_updates`. So
    the random start is forgotten fast, whatever the cap.
    """

    def __init__(self, network: nn.Module, cap: float):
        self.cap = cap
        self.updates = 0
        self.averages = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def decay(self) -> float:
        """Returns the decay of the next update."""
        return min(self.cap, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the averages towards the network's current state. Integer buffers are copied."""
        decay = self.decay()
        self.updates += 1
        floats, currents = [], []
        for name, current in network.state_dict().items():
            average = self.averages[name]
            if average.is_floating_point():
                floats.append(average)
                currents.append(current)
            else:
                average.copy_(current)
        get_ema_multi_avg_fn(decay)(floats, currents, None)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {"updates": self.updates, **{f"average.{k}": v for k, v in self.averages.items()}}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        self.updates = int(state["updates"])
        for name, average in self.averages.items():
            average.copy_(state[f"average.{name}"])  # type: ignore[arg-type]

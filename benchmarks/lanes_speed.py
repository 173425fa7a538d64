"""Images per second of a training step on a CPU: one thread, all threads of torch, lanes.

    python benchmarks/lanes_speed.py

Prints medians over interleaved repeats. The ratio is to torch's own threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.nn.network import build
from phiscale.training.parallel.replicas import Replicas, lanes_for

BATCH = 64
REPEATS, SECONDS = 5, 3.0
NETWORKS = (("small", 1.0, 32), ("small", 2.0, 24), ("efficientnet_b0", 0.5, 96))
KINDS = ("one thread", "torch's threads", "lanes")


def main() -> None:
    cores = torch.get_num_threads()
    print(f"{cores} threads, batch {BATCH}: " + ", ".join(KINDS) + ", lanes / torch's threads")
    for name, width, pixels in NETWORKS:
        spec = replace(scale(get_spec(name), Scaling(width=width)), resolution=pixels, classes=10)
        speeds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(REPEATS):
            for kind in KINDS:
                torch.set_num_threads(1 if kind == "one thread" else cores)
                speeds[kind].append(
                    images_per_s(
                        spec, lanes_for(BATCH, torch.device("cpu")) if kind == "lanes" else 1
                    )
                )
        torch.set_num_threads(cores)
        middle = {kind: statistics.median(values) for kind, values in speeds.items()}
        row = "  ".join(f"{middle[kind]:.0f}" for kind in KINDS)
        ratio = middle["lanes"] / middle["torch's threads"]
        print(f"{name} width {width:g} {pixels} px: {row}  x{ratio:.2f}", flush=True)


def images_per_s(spec: Spec, lanes: int) -> float:
    torch.manual_seed(0)
    network = build(spec).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    x = torch.randn(BATCH, 3, spec.resolution, spec.resolution)
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % spec.classes

    def loss_of(network: nn.Module, part: slice) -> Tensor:
        return F.cross_entropy(network(x[part]), labels[part], reduction="sum") / BATCH

    with closing(Replicas(network, lanes, seed=0)) as running:

        def step() -> None:
            running.gradients(loss_of, BATCH, at=0)
            optimizer.step()

        return BATCH / seconds_each(step)


def seconds_each(step: Callable[[], None]) -> float:
    for _ in range(3):
        step()
    steps, start = 0, time.perf_counter()
    while time.perf_counter() < start + SECONDS:
        step()
        steps += 1
    return (time.perf_counter() - start) / steps


if __name__ == "__main__":
    main()

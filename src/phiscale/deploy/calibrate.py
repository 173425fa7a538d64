"""Measures this machine in under a minute: latency of a prediction, seconds of a training image.

Both are fitted to scalings of two bases (for images up to 64 pixels, and for photographs), so
that `solve` and `fit` interpolate. Latency is ONNX Runtime's, on untrained networks of the same
shape; training is torch's.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from phiscale.arch.costs import Cost, cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.deploy.runtime import latency_ms, open_session
from phiscale.deploy.untrained_onnx import untrained_onnx
from phiscale.errors import full_install
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing
from phiscale.training.devices import compute_device, cpu_name

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

TRAINING_BATCH = 64

# (base, depth, width, pixels): corners and middles of the candidates of `fit`
_LATENCY = (
    ("small", 1, 1, 32),
    ("small", 1, 1, 16),
    ("small", 1, 2, 32),
    ("small", 2, 1, 32),
    ("small", 0.5, 1.5, 24),
    ("small", 1.5, 1.5, 24),
    ("small", 3, 0.75, 16),
    ("small", 1, 1, 64),
    ("small", 2, 2, 48),
    ("small", 1, 2.5, 16),
    ("efficientnet_b0", 1, 1, 224),
    ("efficientnet_b0", 0.5, 0.5, 96),
    ("efficientnet_b0", 1, 0.5, 160),
    ("efficientnet_b0", 0.5, 1, 128),
    ("efficientnet_b0", 1.4, 1.2, 160),
    ("efficientnet_b0", 0.25, 0.25, 64),
)
_TRAINING = (
    ("small", 1, 1, 32),
    ("small", 1, 1, 16),
    ("small", 1, 2, 24),
    ("small", 2, 1, 24),
    ("small", 0.5, 1.5, 32),
    ("efficientnet_b0", 0.5, 0.5, 96),
    ("efficientnet_b0", 1, 0.5, 64),
    ("efficientnet_b0", 0.25, 1, 64),
)


@full_install("phiscale.calibrate")
def calibrate(device: str | torch.device = "auto") -> DeviceModel:
    """Measures this machine in under a minute, for `solve` and `fit` here or elsewhere.

    `device`: where torch trains: "auto", "cpu", "cuda", "mps" or a torch device. Milliseconds and
    seconds in the result; `DeviceModel.write` keeps it as `device.json`.
    """
    if isinstance(device, str):
        device = compute_device(device)
    logger.info("measuring latency with ONNX Runtime")
    latencies = [(cost(spec), measure_latency_ms(spec, seconds=0.4)) for spec in _specs(_LATENCY)]
    logger.info("measuring training steps with torch")
    steps = [(cost(spec), measure_seconds_per_image(spec, device)) for spec in _specs(_TRAINING)]
    return DeviceModel(
        fingerprint=describe_device(device),
        latency=_fit_timing(latencies),
        training=_fit_timing(steps),
        training_batch=TRAINING_BATCH,
    )


def measure_latency_ms(spec: Spec, *, seconds: float = 1.0, threads: int = 0) -> float:
    """Measures the median milliseconds of an untrained export of a network for one image."""
    size = spec.resolution
    session = open_session(untrained_onnx(spec), threads)
    return latency_ms(session, (1, spec.in_channels, size, size), seconds)


def measure_seconds_per_image(
    spec: Spec,
    device: torch.device | None = None,
    *,
    batch: int = TRAINING_BATCH,
    seconds: float = 1.0,
) -> float:
    """Measures the median seconds of a training image: forward, backward, update, average."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from phiscale.nn.network import build
    from phiscale.training.ema import Ema
    from phiscale.training.optim import make_optimizer
    from phiscale.training.parallel.replicas import Replicas, lanes_for
    from phiscale.training.recipes.recipe import Optim

    device = device or torch.device("cpu")
    network = build(spec).to(device).to(memory_format=torch.channels_last).train()
    optimizer, ema = make_optimizer(network, Optim()), Ema(network, 0.99)
    x = torch.randn(batch, spec.in_channels, spec.resolution, spec.resolution)
    x = x.to(device).contiguous(memory_format=torch.channels_last)
    # labels that are all equal would end in denormals
    labels = torch.arange(batch, device=device) % spec.classes

    def loss_of(network: nn.Module, part: slice) -> torch.Tensor:
        return F.cross_entropy(network(x[part]), labels[part], reduction="sum") / batch

    times: list[float] = []
    end = time.perf_counter() + seconds
    with closing(Replicas(network, lanes_for(batch, device), seed=0)) as replicas:
        while len(times) < 4 or time.perf_counter() < end:
            start = time.perf_counter()
            replicas.gradients(loss_of, batch, at=0)
            optimizer.step()
            ema.update(network)
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / batch  # the first one plans its kernels


def describe_device(device: torch.device | None = None) -> DeviceFingerprint:
    """Describes this machine, so that its numbers are not used for another."""
    import onnxruntime
    import torch

    return DeviceFingerprint(
        device=cpu_name(),
        cores=os.cpu_count() or 1,  # of the machine, whatever this process may use
        threads=torch.get_num_threads(),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        torch=f"{torch.__version__} on {_device_name(device)}",
        date=date.today().isoformat(),
    )


def _fit_timing(measured: list[tuple[Cost, float]]) -> Timing:
    costs, times = zip(*measured, strict=True)
    return Timing.fit(list(costs), list(times))


def _specs(rows: tuple[tuple[str, float, float, int], ...]) -> Iterator[Spec]:
    for base, depth, width, pixels in rows:
        yield replace(scale(get_spec(base), Scaling(depth=depth, width=width)), resolution=pixels)


def _device_name(device: torch.device | None) -> str:
    import torch

    if device is None or device.type != "cuda":
        return "cpu" if device is None else device.type
    return torch.cuda.get_device_name(device)

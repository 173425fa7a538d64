"""How long it takes to count, predict and solve over half a million networks.

    python benchmarks/solve_speed.py

Prints seconds and asserts nothing. Without a limit, the exact Pareto front takes most of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from phiscale.arch.costs import cost, cost_grid
from phiscale.arch.families import get_spec
from phiscale.planning.budget import (
    Budget,
    PlanningTask,
    lattice_depths,
    lattice_resolutions,
    lattice_widths,
    solve,
)
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing, UnitTimes
from phiscale.planning.priors import published_law

# as of a desktop processor; the time to solve does not depend on them
RATES = UnitTimes(
    dense_macs=4e-9,
    depthwise_macs=8e-9,
    activations=2e-7,
    weight_bytes=3e-8,
    convs=0.08,
    constant=0.1,
)
DEVICE = DeviceModel(
    fingerprint=DeviceFingerprint(
        device="an example", cores=8, threads=8, runtime="-", torch="-", date="-"
    ),
    latency=Timing(rates=RATES, median_error=0.0, max_error=0.0),
)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Mean time of a call."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def main() -> None:
    base, b7 = get_spec("efficientnet_b0"), get_spec("efficientnet_b7")
    depths, resolutions = lattice_depths(base), lattice_resolutions(base)
    widths = lattice_widths(500_000 // (len(depths) * len(resolutions)))
    grid = cost_grid(base, depths, widths, resolutions)
    networks = grid.shape[0] * grid.shape[1] * grid.shape[2]
    print(f"{networks:,} scalings of efficientnet_b0: {grid.shape} depths, widths, resolutions")
    print(f"fit the published law     {seconds(published_law):6.2f} s")
    counting = seconds(lambda: cost_grid(base, depths, widths, resolutions))
    print(f"count all exactly         {counting:6.2f} s")
    budget, task = Budget(macs=1.83e9), PlanningTask(device_model=DEVICE)
    print(f"solve, MACs               {seconds(lambda: solve(base, budget)):6.2f} s")
    budget = Budget(macs=1.83e9, params=12.3e6, latency_ms=25.0)
    print(f"solve, with latency       {seconds(lambda: solve(base, budget, task=task)):6.2f} s")
    print(f"solve, no limit           {seconds(lambda: solve(base, task=task)):6.2f} s")
    print(f"cost of efficientnet_b7   {1000 * seconds(lambda: cost(b7), 200):6.2f} ms")


if __name__ == "__main__":
    main()

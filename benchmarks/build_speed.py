"""How long it takes to import phiscale and to build networks, beside timm, in one run.

    python benchmarks/build_speed.py

Interleaved repeats; medians, and ratios of medians. Times are of the process's CPU clock.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

REPEATS = 5

IMPORTS = {
    "torch": "import torch",
    "phiscale + build": "import phiscale; phiscale.build(phiscale.get_spec('small'))",
    "timm + build": "import timm; timm.create_model('efficientnet_b0')",
    "phiscale, no torch": "import phiscale; phiscale.cost(phiscale.get_spec('efficientnet_b7'))",
}


def child_seconds(code: str) -> float:
    """CPU seconds of a fresh interpreter that runs `code`."""
    timed = f"import time\n{code}\nprint(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", timed], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def seconds(make: Callable[[], object]) -> float:
    start = time.process_time()
    make()
    return time.process_time() - start


def main() -> None:
    imports: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(REPEATS):
        for name, code in IMPORTS.items():
            imports[name].append(child_seconds(code))
    median = {name: statistics.median(values) for name, values in imports.items()}
    for name, value in median.items():
        print(f"{name:<20} {value:6.2f} s")
    for name in ("phiscale + build", "timm + build"):
        print(f"{name}: {median[name] - median['torch']:+.2f} s over torch's own import")

    import timm

    import phiscale

    spec = phiscale.get_spec("efficientnet_b7")
    makers: dict[str, Callable[[], object]] = {
        "timm B7": lambda: timm.create_model("efficientnet_b7"),
        "phiscale B7": lambda: phiscale.build(spec),
        "phiscale B7, for loading": lambda: phiscale.build(spec, initialised=False),
        "phiscale cost(B7)": lambda: phiscale.cost(spec),
    }
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(REPEATS + 1):
        for name, make in makers.items():
            times[name].append(seconds(make))
    timm_s = statistics.median(times["timm B7"][1:])
    for name, values in times.items():
        value = statistics.median(values[1:])
        print(f"{name:<26} {1000 * value:8.1f} ms   {value / timm_s:5.2f} x timm")


if __name__ == "__main__":
    main()

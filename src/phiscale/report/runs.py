"""Trainings side by side: a table, and one page with their curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from phiscale.arch.families import name_of
from phiscale.arch.spec import Spec
from phiscale.errors import PhiscaleError
from phiscale.files import read_checked, write_atomic
from phiscale.files.run_files import DATA, RECIPE, SPEC
from phiscale.report.page import Drawing, Section, as_html
from phiscale.report.svg import BLUE, GOLD, GREEN, INK, ORANGE, PURPLE, SKY, STYLE, drawing
from phiscale.text import printable
from phiscale.training.log import best_evaluation, read_log
from phiscale.training.recipes.recipe import Recipe

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GOLD, SKY, INK)
DASHES = ("-", "--", ":", "-.")
CURVES = (
    ("validation_top1", "Validation top-1, %", 100.0),
    ("loss", "Training loss", 1.0),
    ("lr", "Learning rate", 1.0),
    ("images_per_s", "Images per second", 1.0),
)
POINTS = 300  # of a curve
MOST_DIFFERENCES = 8  # columns for what recipes differ in


@dataclass(frozen=True)
class RunSummary:
    """A run as its folder records it, finished or not."""

    name: str
    spec: Spec
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    folder: Path

    @property
    def planned(self) -> int:
        return Recipe.from_dict(self.recipe).images(self.data.get("train_images", 0))

    def row(self) -> dict[str, Any]:
        """Returns the run's row of the table; None where nothing is recorded yet."""
        steps = [r for r in self.log if "loss" in r]
        best = best_evaluation(self.log) or {}
        last = steps[-1] if steps else {}
        seen, planned = last.get("images_seen", 0), self.planned
        speed = last.get("images_per_s")
        return {
            "run": self.name,
            "network": name_of(self.spec) or f"{self.spec.blocks} blocks",
            "pixels": self.spec.resolution,
            "images": seen,
            "done": f"{100 * seen / planned:.0f} %" if planned else None,
            "left_s": round((planned - seen) / speed) if speed and planned > seen else None,
            "top1": best.get("validation_top1"),
            "raw_top1": best.get("raw_top1"),
            "loss": last.get("loss"),
            "lr": last.get("lr"),
            "images_per_s": speed,
            "wait_share": last.get("wait_share"),
            "memory_bytes": last.get("memory_bytes"),
            "minutes": round(last["seconds"] / 60, 1) if last else None,
            "seed": self.recipe.get("seed"),
        }


def rows_of(runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Returns a row for each run, with the recipe fields in which they differ."""
    flat = [dict(_flat(run.recipe)) for run in runs]
    names = dict.fromkeys(name for recipe in flat for name in recipe)
    differ = [n for n in names if n != "seed" and len({repr(r.get(n)) for r in flat}) > 1]
    return [
        run.row() | {name: recipe.get(name) for name in differ[:MOST_DIFFERENCES]}
        for run, recipe in zip(runs, flat, strict=True)
    ]


def _flat(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in recipe.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_runs(folders: Sequence[Path]) -> list[RunSummary]:
    """Reads the runs in these folders: each is a run or holds some.

    PhiscaleError: a folder is no run and holds none, or no training has begun.
    """
    paths = [path for folder in folders for path in _runs_in(folder)]
    if not paths:
        named = ", ".join(map(str, folders))
        raise PhiscaleError(f"{named}: no training has begun there yet. Try again in a minute.")
    runs = [_read(path) for path in paths]
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, name=str(path)) for path, run in zip(paths, runs, strict=True)]


def _runs_in(folder: Path) -> Iterator[Path]:
    """Those that have begun: data.json is the last of the files that a run writes first."""
    itself = [folder] if (folder / RECIPE).is_file() else []
    runs = itself or [path.parent for path in sorted(folder.glob(f"*/{RECIPE}"))]
    if not runs:
        raise PhiscaleError(f"{folder} is no run and holds none. Use folders that `train` made.")
    yield from (run for run in runs if (run / DATA).is_file())


def _read(folder: Path) -> RunSummary:
    fix = "Restore it, or leave this run out."
    spec, recipe, data = (read_checked(folder / name, fix) for name in (SPEC, RECIPE, DATA))
    read = Spec.from_dict(spec, str(folder / SPEC))
    return RunSummary(folder.name, read, recipe, data, tuple(read_log(folder)), folder)


def write_page(path: Path, runs: Sequence[RunSummary], command: str = "phiscale runs") -> None:
    """Writes one self-contained page with the runs' rows and curves, whole or not at all."""
    rows = [{key: _shown(value) for key, value in row.items()} for row in rows_of(runs)]
    sections = [
        Section(title="Networks and results", rows=rows),
        Section(title="Curves", figures=list(figures(runs))),
    ]
    write_atomic(path, as_html("Runs", command, sections))


def figures(runs: Sequence[RunSummary]) -> Iterator[Drawing]:
    """Yields an SVG for every quantity that at least one run has."""
    for key, title, times in CURVES:
        lines = [(run, _line(run, key, times)) for run in runs]
        if not any(x for _, (x, _) in lines):
            continue
        with rc_context(STYLE):
            figure = Figure(figsize=(6.4, 3.4), layout="constrained")
            axes = figure.subplots()
            axes.set(title=title, xlabel="images seen")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            for number, (run, (x, y)) in enumerate(lines):
                axes.plot(
                    x,
                    y,
                    DASHES[number // len(COLOURS) % len(DASHES)],
                    color=COLOURS[number % len(COLOURS)],
                    label=printable(run.name),
                    linewidth=1.4,
                )
            if len(runs) > 1:
                axes.legend(frameon=False, fontsize=8)
            yield drawing(figure, key, f"{title} of {len(runs)} runs against images seen")


def _line(run: RunSummary, key: str, times: float) -> tuple[list[float], list[float]]:
    points = [
        (r["images_seen"], times * r[key]) for r in run.log if key in r and math.isfinite(r[key])
    ]
    step = max(1, len(points) // POINTS)
    kept = [points[i : i + step] for i in range(0, len(points), step)]
    return [part[-1][0] for part in kept], [sum(v for _, v in part) / len(part) for part in kept]


def _shown(value: Any) -> str | None:
    return f"{value:.4g}" if isinstance(value, float) else None if value is None else str(value)

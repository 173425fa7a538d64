"""`phiscale.deviation`: how far costs depart from d w^2 r^2, as rows, sentences and a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.report.deviation import DeviationRow, list_rows, to_json
from phiscale.report.deviation_networks import ComparedNetwork, select_networks
from phiscale.report.latencies import Timings, measure_timings
from phiscale.report.page import Section, as_html, as_markdown
from phiscale.text import format_table, python_call

PathOrName = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class DeviationReport:
    """Networks compared with their bases, and the times that were measured."""

    rows: Sequence[DeviationRow]
    """A row for each network: ratios over its base, and the error of d w^2 r^2 by cause."""
    timings: Timings | None
    command: str
    """What made it, as the page says."""

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as plain data, with the powers that costs grow with."""
        return to_json(self.rows, self.timings)

    def __str__(self) -> str:
        from phiscale.report.deviation import format_table as columns
        from phiscale.report.deviation_page import conclusions

        table = format_table(columns(self.rows))
        return "\n".join([*table, "", *conclusions(self.rows, self.timings)])

    def to_markdown(self) -> str:
        """Returns the page as Markdown."""
        title, sections = self._page()
        return as_markdown(title, self.command, sections)

    def to_html(self) -> str:
        """Returns the page, with figures, as one HTML file."""
        title, sections = self._page()
        return as_html(title, self.command, sections)

    def _page(self) -> tuple[str, list[Section]]:
        from phiscale.report.deviation_page import TITLE, list_sections

        return TITLE, list_sections(self.rows, self.timings)


def deviation(
    networks: str | Spec | Sequence[str | Spec] = (),
    *,
    phi: float | Sequence[float] = (),
    coefficients: PathOrName | Coefficients | None = None,
    device_model: PathOrName | DeviceModel | None = None,
    measure: bool = False,
    timings: PathOrName | None = None,
    rounds: int = 7,
    command: str = "",
) -> DeviationReport:
    """Compares the costs of scaled networks with the rule MACs ~ d w^2 r^2.

    Args:
        networks: patterns of models, each compared with its family's base, or one network that is
            scaled by phi; by default EfficientNet-B1 to B7.
        phi: values of phi to scale one network by; by default 1 to 7 where no model scales it.
        coefficients: measured ones or their found.json, instead of 1.2, 1.1 and 1.15.
        device_model: of `calibrate`, or its device.json, to add predicted latencies.
        measure: times all of the networks on this machine, in turns.
        timings: JSON file of measured times: written with `measure`, read without.
        rounds: measurements of each network; its time is their median.
        command: what the page says made it, by default this call.

    `print` shows a table and the conclusions.

    Raises UsageError for patterns that match nothing or too much and for arguments out of range.
    """
    command = command or python_call(deviation, locals())
    listed = [networks] if isinstance(networks, str | Spec) else networks
    phis = tuple(phi) if isinstance(phi, Sequence) else (phi,)
    if rounds < 1:
        raise UsageError(f"rounds={rounds} is out of range. Use 1 or more.")
    if coefficients is not None and not listed:
        raise UsageError("`coefficients` scale one network. Name it, such as efficientnet_b0.")
    if isinstance(coefficients, str | os.PathLike):
        coefficients = Coefficients.read(Path(coefficients))
    if isinstance(device_model, str | os.PathLike):
        device_model = DeviceModel.read(Path(device_model))
    compared = select_networks(listed, phis, coefficients)
    file = None if timings is None else Path(timings)
    times = _measure(compared, rounds, command, file) if measure else file and Timings.read(file)
    rows = list_rows(compared, device_model, times and times.by_name)
    return DeviationReport(rows=rows, timings=times, command=command)


def _measure(
    networks: Sequence[ComparedNetwork], rounds: int, command: str, file: Path | None
) -> Timings:
    """Measures the networks, and keeps the times where there is a file for them."""
    times = measure_timings(networks, rounds, command)
    if file:
        times.write(file)
    return times

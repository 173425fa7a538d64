"""The files that a finished study leaves, and what a caller gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phiscale.errors import PhiscaleError
from phiscale.files import read_checked, write_atomic, write_checked, write_json
from phiscale.files.run_files import REPORT
from phiscale.search.engine.result import Results
from phiscale.search.study.verdict import StudyVerdict


@dataclass(frozen=True, kw_only=True)
class StudyOutput:
    """The result of a study."""

    lines: Sequence[str] = ()  # for a terminal; the last one is the path of the report
    data: Mapping[str, Any] = field(default_factory=dict)  # as in its JSON file
    report: Path | None = None  # None: only the plan was made
    verdict: StudyVerdict | None = None  # of a scaling study

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, kw_only=True)
class StudyFiles:
    """What a study writes when all its trainings are done."""

    json_name: str
    data: Mapping[str, Any]
    report: Mapping[str, str | bytes]  # files of the report, by name


def write_study(
    out: Path, files: StudyFiles, lines: Sequence[str] = (), verdict: StudyVerdict | None = None
) -> StudyOutput:
    """Writes the files of a study to `out`, its results in one file among them."""
    Results(out / "results").write_jsonl()
    write_json(out / files.json_name, dict(files.data))
    for name, content in files.report.items():
        write_atomic(out / name, content)
    page = out / REPORT
    return StudyOutput(
        lines=[*lines, str(page)],
        data={**files.data, "report": str(page)},
        report=page,
        verdict=verdict,
    )


def measure_once(path: Path, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Returns the measurement in a file. It is made only where the file is missing or damaged, so
    that a resumed study has the same report."""
    with suppress(PhiscaleError):
        return read_checked(path, "", required=False)  # earlier versions wrote no checksum
    write_checked(path, measure())
    return read_checked(path, "")

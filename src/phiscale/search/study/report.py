"""The report of a scaling study, and its runs as CSV, so that the statistics can be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phiscale.report.page import Section, page_files
from phiscale.search.caveats import interim_look_notes
from phiscale.search.study.arms import UNMATCHED
from phiscale.search.study.cams import draw_cams
from phiscale.search.study.check_design import check_design, check_results, under_trained
from phiscale.search.study.completed import CompletedStudy, describe_scope, failure_notes
from phiscale.search.study.contrasts import Contrast, estimate_contrast
from phiscale.search.study.csv_files import predictions_csv, runs_csv
from phiscale.search.study.figures import figure_sections
from phiscale.search.study.report_arms import arms_section, paper_section
from phiscale.search.study.report_protocol import protocol_section
from phiscale.search.study.report_verdict import (
    contrasts_section,
    describe_seeds,
    power_section,
    verdict_section,
)
from phiscale.search.study.rule import COMPOUND, INCONCLUSIVE
from phiscale.search.study.verdict import StudyVerdict, analyse_study

TITLE = "Does compound scaling pay on these images?"


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyReport:
    """The verdict of a study, and the files that explain it."""

    verdict: StudyVerdict
    unmatched: Mapping[str, Contrast]  # compound minus the arms of different compute
    scope: str
    files: Mapping[str, str | bytes]  # by name

    def summary(self) -> list[str]:
        """Returns the verdict with its scope, for a terminal."""
        primary = self.verdict.primary
        lines = [
            f"{self.verdict.verdict}: compound minus {self.verdict.best_single} is "
            f"{100 * primary.difference:+.2f} points "
            f"[{100 * primary.low:+.2f}, {100 * primary.high:+.2f}] of test accuracy; "
            f"scope: {self.scope}"
        ]
        if self.verdict.verdict.startswith(INCONCLUSIVE):
            seeds = describe_seeds(self.verdict)
            lines.append(f"a difference as large as the observed one needs {seeds}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for study.json."""
        return {
            "settled": self.verdict.to_dict(),
            "others": {name: vars(contrast) for name, contrast in self.unmatched.items()},
        }


def build_report(study: CompletedStudy, command: str) -> StudyReport:
    """Analyses a study and makes all its files but plan.json and its results."""
    verdict = analyse_study(study.matched, target_compute=study.target_compute)
    unmatched = {
        name: estimate_contrast(name, study.arms[COMPOUND], study.arms[name])
        for name in UNMATCHED
        if name in study.arms
    }
    scope = describe_scope(study, under_trained(verdict))
    maps = draw_cams(study.plan, study.outcome, study.runner)
    sections = [
        verdict_section(verdict, scope),
        *_caveats(study, verdict),
        arms_section(study),
        contrasts_section(verdict, unmatched, scope),
        paper_section(study, verdict),
        *figure_sections(study.plan, study.outcome, verdict),
        *([maps.section] if maps else []),
        power_section(verdict),
        protocol_section(study),
    ]
    files = {
        **page_files(TITLE, command, sections),
        "runs.csv": runs_csv(study.outcome),
        "predictions.csv": predictions_csv(study.outcome, study.dataset),
    }
    if maps:
        files["cams.html"] = maps.page
    return StudyReport(verdict=verdict, unmatched=unmatched, scope=scope, files=files)


def _caveats(study: CompletedStudy, verdict: StudyVerdict) -> Iterator[Section]:
    caveats = [*check_design(study.plan, study.dataset), *check_results(verdict)]
    text = [
        *(f"{caveat[0].upper()}{caveat[1:]}." for caveat in caveats),
        *interim_look_notes(study.interim_looks),
        *failure_notes(study),
    ]
    if text:
        yield Section(title="Caveats", text=text)

"""What `fit` measures, and what it says of the machine that it measures on."""

import logging
from pathlib import Path

import pytest

from phiscale.pipeline.measurements import busy_warning, system_load
from phiscale.pipeline.run import prepare_fit
from support.fits import fixed_measurements, request


@pytest.mark.parametrize(
    ("load", "cores", "busy"), [(0.2, 2, False), (1.0, 2, False), (2.4, 2, True), (5.0, 16, False)]
)
def test_a_machine_is_busy_where_others_use_more_than_half_of_its_cores(
    load: float, cores: int, busy: bool
):
    text = busy_warning(load, cores)
    assert bool(text) == busy and (f"{load:.1f} threads" in text) == busy
    assert system_load() >= 0


def test_fit_warns_on_a_busy_machine(
    plan_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, logger="phiscale"):
        prepare_fit(request(plan_files), tmp_path / "a", fixed_measurements(load=lambda: 99.0))
        prepare_fit(request(plan_files), tmp_path / "b", fixed_measurements())
    assert [r.message for r in caplog.records if "busy" in r.message][1:] == []
    assert "99.0 threads" in caplog.text

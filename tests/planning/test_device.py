"""Device models: fitted times, real ones included, and a file that is checked to the last field."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.costs import Cost, cost, cost_grid
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import PhiscaleError, UsageError
from phiscale.planning.device import (
    FEATURES,
    DeviceFingerprint,
    DeviceModel,
    Timing,
    UnitTimes,
    features,
    fit_linear,
)

FINGERPRINT = DeviceFingerprint(
    device="a test",
    cores=2,
    threads=1,
    runtime="onnxruntime 1.22",
    torch="2.14.1",
    date="2025-01-31",
)
RATES = UnitTimes(
    dense_macs=1e-8,
    depthwise_macs=5e-8,
    activations=1e-6,
    weight_bytes=1e-8,
    convs=0.01,
    constant=0.1,
)
DEVICE = DeviceModel(
    fingerprint=FINGERPRINT,
    latency=Timing(rates=RATES, median_error=0.03, max_error=0.1),
    training=Timing(rates=replace(RATES, constant=0.0), median_error=0.04, max_error=0.2),
    training_batch=64,
)
NETS = [
    scale(get_spec("small"), Scaling(depth=d, width=w, resolution=r))
    for d in (0.5, 1, 2)
    for w in (0.5, 1, 2)
    for r in (0.75, 1, 2)
]

# Milliseconds, batch 1, fp32, i9-10940X, torch 2.4 compiled: timm's
# results/benchmark-infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo.csv, every EfficientNet V1 row in it
# that has symmetric padding and no other change.
PUBLISHED_MS = [
    ("efficientnet_b0", 224, 9.945),
    ("efficientnet_b0", 256, 9.837),
    ("efficientnet_b1", 224, 13.974),
    ("efficientnet_b1", 240, 13.625),
    ("efficientnet_b1", 256, 14.119),
    ("efficientnet_b1", 288, 15.322),
    ("efficientnet_b2", 256, 14.655),
    ("efficientnet_b2", 288, 15.739),
    ("efficientnet_b3", 288, 19.224),
    ("efficientnet_b3", 320, 21.147),
    ("efficientnet_b4", 320, 26.128),
    ("efficientnet_b4", 384, 31.668),
    ("efficientnet_b5", 416, 48.433),
    ("efficientnet_b5", 448, 53.255),
    ("efficientnet_b6", 528, 107.544),
]


def at(name: str, pixels: int) -> Spec:
    return replace(get_spec(name), resolution=pixels)


# Fits


def test_published_latencies_of_a_processor_are_fitted_within_a_tenth() -> None:
    costs = [cost(at(name, pixels)) for name, pixels, _ in PUBLISHED_MS]
    timing = Timing.fit(costs, [time for *_, time in PUBLISHED_MS])
    assert timing.median_error <= 0.05
    assert timing.max_error <= 0.10


def test_published_latencies_of_unseen_sizes_between_are_predicted_within_a_tenth() -> None:
    shown = [row for row in PUBLISHED_MS if row[0] not in ("efficientnet_b2", "efficientnet_b4")]
    timing = Timing.fit([cost(at(name, px)) for name, px, _ in shown], [row[2] for row in shown])
    for name, pixels, time in PUBLISHED_MS:
        if name in ("efficientnet_b2", "efficientnet_b4"):
            assert timing.rates(cost(at(name, pixels))) == pytest.approx(time, rel=0.1)


rate = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


@given(st.tuples(rate, rate, rate, rate, rate, rate).filter(any))
def test_linear_times_are_fitted_exactly(scales: tuple[float, ...]) -> None:
    rows = [features(cost(net)) for net in NETS]
    rates = [scale / row for scale, row in zip(scales, np.mean(rows, axis=0), strict=True)]
    times = [sum(r * value for r, value in zip(rates, row, strict=True)) for row in rows]
    timing = Timing.fit([cost(net) for net in NETS], times)
    assert timing.max_error < 1e-6


def test_no_rate_is_negative_even_where_the_best_fit_would_be() -> None:
    counted = [cost(net) for net in NETS]
    times = [1e-6 * each.macs + 1.0 - 1e-9 * each.params for each in counted]
    rates = Timing.fit(counted, times).rates
    assert all(getattr(rates, name) >= 0 for name in FEATURES)


def test_the_errors_are_the_median_and_the_largest_of_the_fit() -> None:
    counted = [cost(net) for net in NETS[:4]]
    timing = Timing.fit(counted, [1.0, 1.0, 1.0, 1.0])
    errors = sorted(abs(float(timing.rates(each)) - 1) for each in counted)
    assert timing.max_error == errors[-1]
    assert timing.median_error == pytest.approx((errors[1] + errors[2]) / 2)


@pytest.mark.parametrize(
    ("rows", "times", "says"),
    [
        ([[1, 2]], [1.0], "Use 6 features for each time"),
        ([[1.0] * 6], [1.0, 2.0], "do not match 2 times"),
        ([], [], "Use 6 features for each time"),
        ([[1.0] * 6], [0.0], "Measure that network again"),
        ([[1.0] * 6], [math.nan], "Measure that network again"),
    ],
)
def test_measurements_that_cannot_be_fitted_are_refused(
    rows: list[list[float]], times: list[float], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        fit_linear(rows, times)


# A device


def test_one_network_and_a_grid_of_them_take_the_same_time() -> None:
    base = get_spec("small")
    grid = cost_grid(base, [1, 2], [0.5, 1, 2], [24, 32])
    latency = np.broadcast_to(DEVICE.latency_ms(grid.cost), grid.shape)
    speed = np.broadcast_to(DEVICE.train_images_per_s(grid.cost), grid.shape)
    for index in np.ndindex(grid.shape):
        one = cost(grid.spec(index))
        assert latency[index] == DEVICE.latency_ms(one)
        assert speed[index] == DEVICE.train_images_per_s(one)


def test_the_features_add_up_to_the_cost() -> None:
    counted = cost(get_spec("small"))
    named = dict(zip(FEATURES, features(counted), strict=True))
    assert named["dense_macs"] + named["depthwise_macs"] == counted.macs
    assert named["convs"] == len(counted.layers)
    assert named["constant"] == 1


@given(st.integers(0, len(NETS) - 1), st.integers(0, len(NETS) - 1))
def test_a_network_that_costs_more_of_everything_is_never_faster(one: int, other: int) -> None:
    small, large = cost(NETS[one]), cost(NETS[other])
    if all(a <= b for a, b in zip(features(small), features(large), strict=True)):
        assert DEVICE.latency_ms(small) <= DEVICE.latency_ms(large)
        assert DEVICE.train_images_per_s(small) >= DEVICE.train_images_per_s(large)


@pytest.mark.parametrize("part", ["latency", "training"])
def test_a_part_that_was_not_measured_is_named(part: str) -> None:
    device = DeviceModel(fingerprint=FINGERPRINT)
    predict = {"latency": device.latency_ms, "training": device.train_images_per_s}[part]
    with pytest.raises(
        UsageError, match=rf"no {part} times.*phiscale calibrate --out device\.json"
    ):
        predict(cost(get_spec("small")))
    assert device.errors == {}


def test_the_errors_of_both_parts_are_reported() -> None:
    assert DEVICE.errors == {"latency": (0.03, 0.1), "training": (0.04, 0.2)}


def test_training_times_come_with_their_batch() -> None:
    with pytest.raises(UsageError, match="Use both or neither"):
        replace(DEVICE, training_batch=None)


# The file

number = st.one_of(st.just(0.0), st.floats(1e-90, 1e6))


@given(st.lists(number, min_size=6, max_size=6).filter(any), number, number, st.booleans())
def test_a_device_survives_json(
    rates: list[float], median: float, most: float, training: bool
) -> None:
    timing = Timing(
        rates=UnitTimes(**dict(zip(FEATURES, rates, strict=True))),
        median_error=median,
        max_error=most,
    )
    device = DeviceModel(
        fingerprint=FINGERPRINT,
        latency=timing,
        training=timing if training else None,
        training_batch=32 if training else None,
    )
    assert DeviceModel.from_dict(json.loads(json.dumps(device.to_dict()))) == device


def test_a_device_is_written_to_a_file_and_read_back(tmp_path: Path) -> None:
    DEVICE.write(tmp_path / "device.json")
    assert DeviceModel.read(tmp_path / "device.json") == DEVICE


def set_in(data: dict[str, Any], where: str, value: object) -> None:
    *way, last = where.split(".")
    for step in way:
        data = data[step]
    if value is KeyError:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ("phiscale_device", 2, '"phiscale_device" is 2, not 1.*phiscale calibrate.*update'),
        ("phiscale_device", KeyError, '"phiscale_device" is None, not 1'),
        ("fingerprint", None, "fingerprint is None, not an object.*phiscale calibrate"),
        ("fingerprint.cores", 0, "cores=0.*1 or more"),
        ("fingerprint.cores", 2.5, "fingerprint.cores is 2.5, not a whole number"),
        ("fingerprint.threads", True, "fingerprint.threads is True, not a whole number"),
        ("fingerprint.date", 20250131, "fingerprint.date is 20250131, not a text"),
        ("fingerprint.gpu", "none", "fingerprint has unknown fields 'gpu'"),
        ("latency", [1, 2], r"latency is \[1, 2\], not an object"),
        ("latency.rates.convs", -1, "rate convs=-1 is not 0"),
        ("latency.rates.convs", "1", "latency.rates.convs is '1', not a number"),
        ("latency.rates.convs", math.inf, "latency.rates.convs is inf, not a finite number"),
        ("latency.rates.convs", KeyError, "latency.rates lacks 'convs'"),
        ("latency.rates", dict.fromkeys(FEATURES, 0), "all rates are 0"),
        ("latency.max_error", "large", "latency.max_error is 'large', not a number"),
        ("training.median_error", -0.1, "median_error=-0.1"),
        ("training_batch", 0, "training_batch=0"),
        ("training_batch", None, "Use both or neither"),
        ("training", KeyError, "it lacks 'training'"),
        ("speed", 1, "it has unknown fields 'speed'"),
    ],
)
def test_a_file_that_is_no_device_is_refused_with_the_reason(
    where: str, value: object, says: str, tmp_path: Path
) -> None:
    data = json.loads(json.dumps(DEVICE.to_dict()))
    set_in(data, where, value)
    path = tmp_path / "device.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=says):
        DeviceModel.read(path)


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhiscaleError, match=r"device\.json"):
        DeviceModel.read(tmp_path / "device.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UsageError, match=r"list\.json holds \[\] instead of a JSON.*calibrate"):
        DeviceModel.read(tmp_path / "list.json")


def test_a_cost_is_all_that_a_device_needs() -> None:
    totals = replace(cost(get_spec("small")), layers=())
    assert isinstance(totals, Cost)
    assert DEVICE.latency_ms(totals) > 0


@pytest.mark.parametrize("rate", [1e308, 1e13, 10**400, -1e-9, 1e-320])
def test_rates_whose_times_would_overflow_are_refused_and_the_file_is_named(
    tmp_path: Path, rate: float
) -> None:
    path, data = tmp_path / "device.json", DEVICE.to_dict()
    data["latency"]["rates"]["activations"] = rate
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"device\.json") as caught:
        DeviceModel.read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

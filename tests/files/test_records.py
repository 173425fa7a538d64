"""The codec: versioned, strict, and made so that formats can grow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.errors import UsageError
from phiscale.files import Format, added_field, canonical, read_checked, write_checked
from phiscale.planning.device import DeviceModel
from support.fits import made_up_device


@dataclass(frozen=True)
class Wheel:
    pixels: int
    name: str = "round"


@dataclass(frozen=True)
class Cart:
    wheels: tuple[Wheel, ...]
    weight: float
    colour: Literal["red", "blue"] = "red"
    notes: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (1, 2)
    owner: str | None = None
    hub: str | Wheel = "none"
    brakes: int = added_field(0)

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UsageError("weight is below 0. Use 0 or more.")


CART = Format(Cart, "test_cart", UsageError, "Build another.")
ONE = Cart(wheels=(Wheel(3), Wheel(4, "flat")), weight=2.0)


def test_a_value_comes_back_as_it_went():
    assert CART.decode(json.loads(json.dumps(CART.encode(ONE))), "it") == ONE


def test_an_added_field_is_written_only_where_it_differs_from_its_default():
    assert "brakes" not in CART.encode(ONE)
    braked = Cart(wheels=(), weight=1, brakes=2)
    assert CART.encode(braked)["brakes"] == 2
    assert CART.decode(CART.encode(braked), "it") == braked


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(test_cart=2), r'it: "test_cart" is 2, not 1\. Build another\.'),
        (lambda d: d.update(test_cart=True), r'"test_cart" is True, not 1'),
        (lambda d: d.pop("weight"), r"it: it lacks 'weight'\. Build another\."),
        (lambda d: d.pop("owner"), r"it lacks 'owner'"),
        (lambda d: d.update(speed=1), r"it has unknown fields 'speed' \(known: wheels, "),
        (lambda d: d.update(weight="2"), r"weight is '2', not a number"),
        (lambda d: d.update(weight=True), r"weight is True, not a number"),
        (lambda d: d.update(weight=float("nan")), r"weight is nan, not a finite number"),
        (lambda d: d.update(weight=-1), r"it: weight is below 0\. Use 0 or more\."),
        (lambda d: d.update(colour="green"), r"colour is 'green', not one of red, blue"),
        (lambda d: d.update(size=[1, 2, 3]), r"size is \[1, 2, 3\], not a list of 2"),
        (lambda d: d.update(wheels={}), r"wheels is \{\}, not a list"),
        (lambda d: d.update(notes=[]), r"notes is \[\], not an object"),
        (lambda d: d["wheels"][1].update(pixels=2.5), r"wheels\[1\]\.pixels is 2\.5, not a whole"),
        (lambda d: d["wheels"][0].pop("pixels"), r"wheels\[0\] lacks 'pixels'"),
        (lambda d: d.update(hub=3), r"hub is 3, not a text or a wheel\. Build another"),
        (lambda d: d.update(hub={"name": "a"}), r"hub lacks 'pixels'"),
        (lambda d: d["wheels"].append(7), r"wheels\[2\] is 7, not an object"),
        (lambda d: d.update(owner="a\x1b[31m" * 99), r"^(?!.*\x1b)"),
    ],
)
def test_a_value_that_does_not_match_is_named_with_its_path(edit: Any, message: str):
    data = CART.encode(ONE)
    edit(data)
    if data.get("owner"):
        data["owner"] = [data["owner"]]
    with pytest.raises(UsageError, match=message) as caught:
        CART.decode(data, "it")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_files_written_by_hand_may_leave_out_defaults():
    by_hand = Format(Wheel, "test_wheel", UsageError, "Write it again.", by_hand=True)
    assert by_hand.decode({"test_wheel": 1, "pixels": 3}, "it") == Wheel(3)


def test_an_older_version_is_upgraded():
    def from_1(values: dict[str, Any]) -> dict[str, Any]:
        values["pixels"] = values.pop("side")
        return values

    two = Format(Wheel, "test_wheel", UsageError, "Write it again.", 2, upgrades={1: from_1})
    assert two.decode({"test_wheel": 1, "side": 5, "name": "x"}, "it") == Wheel(5, "x")
    with pytest.raises(UsageError, match="is 3, not 2"):
        two.decode({"test_wheel": 3}, "it")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(plain)
def test_the_canonical_form_survives_json(value: Any):
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


def test_the_canonical_form_depends_neither_on_order_nor_on_the_type_of_whole_numbers():
    assert canonical({"b": 6.0, "a": (1, True)}) == canonical({"a": [1.0, True], "b": 6})
    assert canonical({"a": 0.5}) == '{"a":0.5}' and canonical(1) != canonical(True)


def test_an_edit_of_a_checked_file_is_detected(tmp_path: Path):
    path = tmp_path / "file.json"
    write_checked(path, {"a": 1, "b": [1.5, "x"]})
    assert read_checked(path, "Fix it.") == {"a": 1, "b": [1.5, "x"]}
    path.write_text(path.read_text().replace("1.5", "1.4"))
    with pytest.raises(Exception, match=r"file\.json is damaged: .* Fix it\.$"):
        read_checked(path, "Fix it.")
    with pytest.raises(Exception, match='delete its "sha256" line'):
        read_checked(path, "Fix it.", required=False)
    path.write_text('{"a": 1}')
    assert read_checked(path, "Fix it.", required=False) == {"a": 1}


def test_an_edited_file_is_refused_until_the_line_of_its_checksum_is_deleted(tmp_path: Path):
    path, device = tmp_path / "device.json", made_up_device()
    device.write(path)
    path.write_text(path.read_text().replace('"training_batch": 64', '"training_batch": 65'))
    with pytest.raises(UsageError, match=r'device\.json is damaged.*delete its "sha256" line'):
        DeviceModel.read(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if '"sha256"' not in line))
    assert DeviceModel.read(path) == replace(device, training_batch=65)

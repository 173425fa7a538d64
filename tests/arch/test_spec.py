"""Specs are data: what they refuse, and that they survive JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.families.efficientnet import B0
from phiscale.arch.families.resnet import RESNET
from phiscale.arch.spec import Spec, Stage, lite
from phiscale.errors import SpecError

STAGE = Stage("mbconv", 2, 3, 2, 6, 24, 0.25)
WRITE = "Write one with phiscale describe MODEL --save spec.json."
NEWER = f"{WRITE} Or update phiscale."
RESNET50 = next(member.spec for member in RESNET if member.name == "resnet50")


@given(spec=st.from_type(Spec))
def test_any_spec_survives_json(spec: Spec):
    assert Spec.from_json(spec.to_json()) == spec


@given(spec=st.from_type(Spec))
def test_equal_specs_have_equal_hashes_so_that_they_can_be_keys(spec: Spec):
    assert hash(Spec.from_json(spec.to_json())) == hash(spec)


@pytest.mark.parametrize(
    ("change", "wrong", "fix"),
    [
        ({"kernel": 4}, "kernel=4 is even", "use 3 or 5"),
        ({"stride": 3}, "stride=3", "use 1 or 2"),
        ({"repeats": 0}, "repeats=0", "use repeats=1 or more"),
        ({"channels": -8}, "channels=-8", "use channels=1 or more"),
        ({"channels": 24.0}, "channels=24.0 is not a positive whole number", "use channels=1"),
        ({"repeats": True}, "repeats=True", "use repeats=1 or more"),
        ({"expand": 0}, "expand=0", "use 1 or more"),
        ({"se_ratio": 4}, "se_ratio=4 is not a fraction", "use 0.25, or 0"),
        ({"block": "conv"}, "block='conv' is unknown", "mbconv, fused_mbconv, separable"),
        ({"block": "separable"}, "a separable block has no expansion", "use expand=1, se_ratio=0"),
        ({"group_width": 8}, "group_width=8 in mbconv", "leave it at 0"),
        ({"group_width": -1}, "is not a count", "=0 for none"),
        ({"expand_from": -1}, "is not a count", "=0 for none"),
    ],
)
def test_a_stage_that_no_network_has_is_refused_and_the_message_says_the_fix(
    change: dict, wrong: str, fix: str
):
    with pytest.raises(SpecError) as caught:
        replace(STAGE, **change)
    assert wrong in str(caught.value) and fix in str(caught.value)


def test_a_group_width_that_does_not_divide_is_refused_and_the_error_says_what_it_must_divide():
    with pytest.raises(SpecError, match=r"does not divide the 100 hidden channels; choose"):
        Stage("bottleneck", 1, 3, 1, 1, 100, group_width=24)


@pytest.mark.parametrize(
    ("change", "wrong", "fix"),
    [
        ({"stages": ()}, "without stages", "add a Stage"),
        ({"stages": ("ir_r2_k3",)}, "'ir_r2_k3' is not a Stage", "write Stage(...)"),
        ({"resolution": 0}, "resolution=0", "use resolution=1 or more"),
        ({"resolution": 224.0}, "resolution=224.0", "use resolution=1 or more"),
        ({"classes": -1}, "classes=-1", "use classes=0 for none"),
        ({"head_channels": -1}, "head_channels=-1", "use head_channels=0 for none"),
        ({"stem_kernel": 2}, "stem_kernel=2 is even", "use 1 or 3"),
        ({"stem_stride": 4}, "stem_stride=4", "use 1 or 2"),
        ({"activation": "swish"}, "activation='swish'", "use one of silu, relu, relu6"),
        ({"padding": "SAME"}, "padding='SAME'", "use one of symmetric, same"),
        ({"depth_rounding": "floor"}, "depth_rounding='floor'", "use one of ceil, round"),
        ({"channel_rounding": "up"}, "channel_rounding='up'", "at_least_90, nearest"),
        ({"norm_eps": 0}, "norm_eps=0", "use 1e-5 or 1e-3"),
        ({"norm_momentum": 0}, "norm_momentum=0", "torch's sense"),
    ],
)
def test_a_spec_that_no_network_has_is_refused_and_the_message_says_the_fix(
    change: dict, wrong: str, fix: str
):
    with pytest.raises(SpecError) as caught:
        replace(B0, **change)
    assert wrong in str(caught.value) and fix in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "wrong", "fix"),
    [
        (lambda data: data.pop("phiscale_spec"), 'spec: "phiscale_spec" is None, not 1', WRITE),
        (lambda data: data.update(phiscale_spec=2), '"phiscale_spec" is 2, not 1', NEWER),
        (lambda data: data.update(phiscale_spec=[1]), '"phiscale_spec" is [1], not 1', WRITE),
        (lambda data: data.update(depth=2), "it has unknown fields 'depth'", WRITE),
        (lambda data: data.pop("stem_channels"), "it lacks 'stem_channels'", WRITE),
        (lambda data: data.update(stages={}), "stages is {}, not a list", WRITE),
        (lambda data: data.update(stages=[3]), "stages[0] is 3, not an object", WRITE),
        (
            lambda data: data["stages"][1].update(se=0.25),
            "stages[1] has unknown fields 'se'",
            WRITE,
        ),
        (lambda data: data["stages"][2].pop("kernel"), "stages[2] lacks 'kernel'", WRITE),
        (
            lambda data: data["stages"][2].update(kernel=4),
            "stages[2]: kernel=4 is even",
            "use 3 or 5",
        ),
    ],
)
def test_json_that_is_nearly_a_spec_is_refused(edit, wrong: str, fix: str):
    data = json.loads(B0.to_json())
    edit(data)
    with pytest.raises(SpecError) as caught:
        Spec.from_json(json.dumps(data))
    assert wrong in str(caught.value) and fix in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "efficientnet_b0"])
def test_text_that_is_no_json_object_is_a_spec_error(text: str):
    with pytest.raises(SpecError):
        Spec.from_json(text)


def test_json_holds_every_field_so_that_a_default_may_change_without_changing_old_networks():
    data = json.loads(B0.to_json())
    assert data["phiscale_spec"] == 1
    assert data["padding"] == "symmetric" and data["stages"][0]["expand_from"] == 0


def test_blocks_are_counted_as_built_and_reduction_includes_stem_and_pool():
    assert (B0.blocks, B0.reduction) == (16, 32)
    assert (RESNET50.blocks, RESNET50.reduction) == (16, 32)


def test_lite_drops_squeeze_and_excite_uses_relu6_and_fixes_the_ends():
    changed = lite(B0)
    assert all(stage.se_ratio == 0 for stage in changed.stages)
    assert (changed.activation, changed.fixed_ends) == ("relu6", True)
    assert lite(changed) == changed


def test_a_notebook_shows_every_stage_and_a_terminal_one_line():
    assert str(B0) == "16 blocks in 7 stages, 224 px, 1,000 classes"
    html = B0._repr_html_()
    assert html.count("<tr>") == 1 + 1 + 7 + 1  # heads, stem, stages, head
    assert "<td>mbconv, 5x5</td><td>2</td><td>2</td><td>6</td><td>40</td><td>0.25</td>" in html


@pytest.mark.parametrize(
    "change",
    [
        {"stages": [asdict(STAGE)] * 100_000},
        {"stages": [{**asdict(STAGE), "repeats": 9_000}] * 2},
        *({"stages": [{**asdict(STAGE), name: 10**400}]} for name in ("repeats", "channels")),
        *({"stages": [{**asdict(STAGE), name: 10**9}]} for name in ("repeats", "expand")),
        *(
            {name: 10**400}
            for name in ("resolution", "classes", "stem_channels", "channel_divisor")
        ),
    ],
)
def test_a_spec_far_beyond_any_network_is_refused_at_once_in_one_line(change: dict):
    with pytest.raises(SpecError, match="any network") as caught:
        Spec.from_dict({**json.loads(B0.to_json()), **change})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_number_with_more_digits_than_python_reads_is_refused_too():
    text = B0.to_json().replace("224", "9" * 5000)
    with pytest.raises(SpecError, match="not a spec"):
        Spec.from_json(text)

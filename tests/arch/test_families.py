"""The registered models: exact published sizes, their origin, and the ways to name a spec."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path

import pytest

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, Member, get_spec, resolve_spec
from phiscale.arch.families.published import (
    HEADLINES,
    LAW_ROWS,
    RIVALS,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_7,
    TABLE_7_V1,
)
from phiscale.arch.scaling import Scaling, compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import SpecError, UnknownModel

# Parameters with batch norm's two a channel and without running statistics; multiply-adds of
# convolutions and linear layers of one image of `pixels` a side; million outputs of those layers.
SIZES = {
    #                     pixels params       MACs             activations
    "efficientnet_b0": (224, 5_288_548, 385_814_752, 6.75),
    "efficientnet_b1": (240, 7_794_184, 686_802_832, 10.88),
    "efficientnet_b2": (260, 9_109_994, 993_561_872, 13.83),
    "efficientnet_b3": (300, 12_233_232, 1_827_141_392, 23.83),
    "efficientnet_b4": (380, 19_341_616, 4_393_771_024, 49.49),
    "efficientnet_b5": (456, 30_389_784, 10_266_384_752, 98.86),
    "efficientnet_b6": (528, 43_040_704, 19_067_593_536, 167.39),
    "efficientnet_b7": (600, 66_347_960, 37_745_884_192, 289.94),
    "efficientnet_b8": (672, 87_413_142, 62_597_461_568, 442.89),
    "efficientnet_l2": (800, 480_309_308, 475_703_653_280, 1707.4),
    "efficientnet_lite0": (224, 4_652_008, 385_187_552, None),
    "efficientnet_lite1": (240, 5_416_680, 600_185_232, None),
    "efficientnet_lite2": (260, 6_092_072, 859_736_272, None),
    "efficientnet_lite3": (280, 8_197_096, 1_383_321_872, None),
    "efficientnet_lite4": (300, 13_006_568, 2_553_034_336, None),
    "efficientnetv2_b0": (224, 7_139_704, 718_086_176, None),
    "efficientnetv2_b1": (240, 8_141_052, 1_196_819_360, None),
    "efficientnetv2_b2": (260, 10_096_086, 1_697_542_832, None),
    "efficientnetv2_b3": (300, 14_358_406, 3_011_458_816, None),
    "efficientnetv2_s": (384, 21_458_488, 8_365_617_152, 35.8),
    "efficientnetv2_m": (480, 54_139_356, 24_582_460_384, 89.8),
    "efficientnetv2_l": (480, 118_515_272, 56_079_699_008, 158),
    "efficientnetv2_xl": (512, 208_119_808, 93_353_451_520, None),
    "resnet50": (224, 25_557_032, 4_089_184_256, 11.1),
    "resnet101": (224, 44_549_160, 7_801_405_440, None),
    "resnet152": (224, 60_192_808, 11_513_626_624, 22.6),
    "mobilenetv1_100": (224, 4_231_976, 568_740_352, None),
    "mobilenetv2_100": (224, 3_504_872, 300_774_272, 6.68),
    "semnasnet_100": (224, 3_887_038, 311_579_072, None),
    "mnasnet_100": (224, 4_383_312, 314_415_872, None),
    "wide_resnet50_2": (224, 68_883_240, 11_398_021_120, 14.4),
    "wide_resnet101_2": (224, 126_886_696, 22_753_050_624, None),
    "regnety_016": (224, 11_202_430, 1_612_076_160, None),
    "regnety_032": (224, 19_436_338, 3_176_482_752, None),
    "regnety_040": (224, 20_646_656, 3_973_288_448, 12.3),
    "regnety_080_tv": (224, 39_381_472, 8_473_070_592, None),
    "regnetx_040": (224, 22_118_248, 3_964_498_816, None),
}


@pytest.mark.parametrize("name", SIZES)
def test_members_have_the_published_parameters_and_macs(name: str):
    pixels, params, macs, activations = SIZES[name]
    counted = cost(get_spec(name))
    assert get_spec(name).resolution == pixels
    assert (counted.params, counted.macs) == (params, macs)
    if activations is not None:
        assert counted.activations / 1e6 == pytest.approx(activations, rel=5e-3)


def test_b0_has_the_published_activations():
    assert cost(get_spec("efficientnet_b0")).activations == 6_748_036


@pytest.mark.parametrize(
    ("name", "pixels", "macs"),
    [
        ("efficientnet_lite3", 300, 1_607_554_544),  # as timm runs it
        ("efficientnet_lite4", 380, 3_943_564_112),
        ("efficientnetv2_s", 300, 5_307_561_248),  # as it is trained
        ("efficientnetv2_m", 384, 15_736_775_680),
        ("efficientnetv2_l", 384, 35_899_418_624),
    ],
)
def test_members_at_another_size_have_the_published_macs(name: str, pixels: int, macs: int):
    assert cost(replace(get_spec(name), resolution=pixels)).macs == macs


# arXiv:1905.11946's coefficients and what they make of B0's stages.
V1 = {
    #     width depth stem, channels of stages 1 to 7, head, repeats, dropout
    "b0": (1.0, 1.0, 32, [16, 24, 40, 80, 112, 192, 320], 1280, [1, 2, 2, 3, 3, 4, 1], 0.2),
    "b1": (1.0, 1.1, 32, [16, 24, 40, 80, 112, 192, 320], 1280, [2, 3, 3, 4, 4, 5, 2], 0.2),
    "b2": (1.1, 1.2, 32, [16, 24, 48, 88, 120, 208, 352], 1408, [2, 3, 3, 4, 4, 5, 2], 0.3),
    "b3": (1.2, 1.4, 40, [24, 32, 48, 96, 136, 232, 384], 1536, [2, 3, 3, 5, 5, 6, 2], 0.3),
    "b4": (1.4, 1.8, 48, [24, 32, 56, 112, 160, 272, 448], 1792, [2, 4, 4, 6, 6, 8, 2], 0.4),
    "b5": (1.6, 2.2, 48, [24, 40, 64, 128, 176, 304, 512], 2048, [3, 5, 5, 7, 7, 9, 3], 0.4),
    "b6": (1.8, 2.6, 56, [32, 40, 72, 144, 200, 344, 576], 2304, [3, 6, 6, 8, 8, 11, 3], 0.5),
    "b7": (2.0, 3.1, 64, [32, 48, 80, 160, 224, 384, 640], 2560, [4, 7, 7, 10, 10, 13, 4], 0.5),
    "b8": (2.2, 3.6, 72, [32, 56, 88, 176, 248, 424, 704], 2816, [4, 8, 8, 11, 11, 15, 4], 0.5),
    "l2": (
        4.3,
        5.3,
        136,
        [72, 104, 176, 344, 480, 824, 1376],
        5504,
        [6, 11, 11, 16, 16, 22, 6],
        0.5,
    ),
}


@pytest.mark.parametrize("size", V1)
def test_the_v1_family_has_the_published_stages(size: str):
    width, depth, stem, channels, head, repeats, dropout = V1[size]
    member = MEMBERS[f"efficientnet_{size}"]
    spec = member.spec
    assert (member.scaling.width, member.scaling.depth, member.dropout) == (width, depth, dropout)
    assert (spec.stem_channels, spec.head_channels) == (stem, head)
    assert [stage.channels for stage in spec.stages] == channels
    assert [stage.repeats for stage in spec.stages] == repeats


def test_lite_keeps_the_repeats_of_its_first_and_last_stage():
    repeats = [[s.repeats for s in get_spec(f"efficientnet_lite{i}").stages] for i in range(5)]
    assert repeats == [
        [1, 2, 2, 3, 3, 4, 1],
        [1, 3, 3, 4, 4, 5, 1],
        [1, 3, 3, 4, 4, 5, 1],
        [1, 3, 3, 5, 5, 6, 1],
        [1, 4, 4, 6, 6, 8, 1],
    ]


def test_v2_rounds_channels_to_the_nearest_where_v1_keeps_nine_tenths():
    assert get_spec("efficientnetv2_b3").stages[0].channels == 16
    assert get_spec("efficientnet_b3").stages[0].channels == 24


@pytest.mark.parametrize(
    ("size", "train", "evaluate", "dropout"),
    [
        ("b0", 192, 224, 0.2),
        ("b1", 192, 240, 0.2),
        ("b2", 208, 260, 0.3),
        ("b3", 240, 300, 0.3),
        ("s", 300, 384, 0.2),
        ("m", 384, 480, 0.3),
        ("l", 384, 480, 0.4),
        ("xl", 384, 512, 0.4),
    ],
)
def test_v2_trains_on_fewer_pixels_than_it_evaluates_on(size, train, evaluate, dropout):
    member = MEMBERS[f"efficientnetv2_{size}"]
    assert (member.train_resolution, member.spec.resolution) == (train, evaluate)
    assert (member.dropout, member.drop_path) == (dropout, 0.2)


# facebookresearch/pycls, MODEL_ZOO.md: million activations of each size.
REGNET_ACTIVATIONS = {
    "x": [2.2, 3.1, 4.0, 5.1, 7.9, 11.4, 12.2, 16.4, 14.1, 21.4, 25.5, 36.3],
    "y": [2.2, 3.9, 4.3, 5.2, 8.0, 11.3, 12.3, 16.4, 18.0, 21.4, 23.0, 30.3],
}


@pytest.mark.parametrize("letter", "xy")
def test_regnets_have_the_published_activations(letter: str):
    sizes = ["002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160", "320"]
    counted = [cost(get_spec(f"regnet{letter}_{size}")).activations / 1e6 for size in sizes]
    assert counted == pytest.approx(REGNET_ACTIVATIONS[letter], abs=0.051)


def test_small_is_the_proxy_network_at_16_pixels_and_keeps_a_map_at_32():
    small = get_spec("small")
    proxy = cost(replace(small, resolution=16))
    assert (proxy.macs, proxy.params) == (838_464, 72_306)
    assert small.resolution // small.reduction == 4
    arms = {
        "depth": Scaling(depth=4),
        "width": Scaling(width=2.18),
        "resolution": Scaling(resolution=2),
        "compound": Scaling(depth=1.5, width=1.22, resolution=1.25),
    }
    ratios = {
        name: cost(scale(replace(small, resolution=16), by)).macs / proxy.macs
        for name, by in arms.items()
    }
    assert ratios == pytest.approx(
        {"depth": 3.89, "width": 4.11, "resolution": 3.96, "compound": 4.03}, abs=0.0075
    )


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_a_member_is_its_base_scaled_and_survives_json(member: Member):
    assert MEMBERS[member.name] is member
    assert scale(MEMBERS[member.base].spec, member.scaling) == member.spec
    assert (member.base == member.name) == (member.scaling == Scaling())
    assert Spec.from_json(member.spec.to_json()) == member.spec
    assert 0 < member.train_resolution <= member.spec.resolution
    assert 0 <= member.drop_path <= member.dropout + 0.2 <= 1


@pytest.mark.parametrize("name", [n for n in MEMBERS if n.startswith(("efficientnet", "tf_"))])
def test_a_tensorflow_model_differs_in_padding_epsilon_and_momentum_alone(name: str):
    if not name.startswith("tf_"):
        assert f"tf_{name}" in MEMBERS
        return
    tensorflow, plain = MEMBERS[name], MEMBERS[name.removeprefix("tf_")]
    momentum = 0.1 if "v2" in name else 0.01
    assert tensorflow.spec == replace(
        plain.spec, padding="same", norm_eps=1e-3, norm_momentum=momentum
    )
    assert (tensorflow.published, tensorflow.dropout) == (plain.published, plain.dropout)


def test_models_have_the_deployment_target_of_their_size():
    targets = [MEMBERS[f"efficientnet_b{size}"].target for size in range(8)]
    assert targets == ["mobile/edge"] * 3 + ["server"] * 3 + ["high accuracy"] * 2


def test_every_published_figure_is_a_fraction_with_a_source():
    figures = [figure for member in MEMBERS.values() for figure in member.published]
    assert all(0.6 < figure.top1 < 0.95 and figure.source for figure in figures)
    assert all(figure.top5 is None or figure.top1 < figure.top5 < 1 for figure in figures)
    assert [name for name, member in MEMBERS.items() if not member.published] == ["small"]


# What published coefficients imply: log(coefficient) / log(base) of 1.2, 1.1, 1.15.
IMPLIED_PHI = {
    "b1": (0.52, 0, 0.49),
    "b2": (1.00, 1.00, 1.07),
    "b3": (1.85, 1.91, 2.09),
    "b4": (3.22, 3.53, 3.78),
    "b5": (4.32, 4.93, 5.09),
    "b6": (5.24, 6.17, 6.14),
    "b7": (6.21, 7.27, 7.05),
    "b8": (7.03, 8.27, 7.86),
    "l2": (9.15, 15.3, 9.11),
}


@pytest.mark.parametrize("size", IMPLIED_PHI)
def test_the_published_members_do_not_sit_on_whole_phi(size: str):
    by = MEMBERS[f"efficientnet_{size}"].scaling
    implied = log(by.depth) / log(1.2), log(by.width) / log(1.1), log(by.resolution) / log(1.15)
    assert implied == pytest.approx(IMPLIED_PHI[size], abs=0.051 if size == "l2" else 0.0051)


@pytest.mark.parametrize(
    ("phi", "pixels", "params", "macs"),
    [
        (1, 258, 9.11, 0.993),
        (2, 296, 12.26, 1.811),
        (3, 341, 16.35, 3.251),
        (4, 392, 25.92, 6.320),
        (5, 451, 33.73, 11.37),
        (6, 518, 45.46, 20.09),
        (7, 596, 68.74, 39.66),
    ],
)
def test_the_pure_law_gives_these_networks(phi: int, pixels: int, params: float, macs: float):
    scaled = scale(get_spec("efficientnet_b0"), compound(phi))
    counted = cost(scaled)
    assert scaled.resolution == pixels
    assert counted.params / 1e6 == pytest.approx(params, abs=0.0051)
    assert counted.macs / 1e9 == pytest.approx(macs, rel=6e-4)


def test_phi_1_makes_b2_not_b1():
    scaled, b2 = scale(get_spec("efficientnet_b0"), compound(1)), get_spec("efficientnet_b2")
    assert replace(scaled, resolution=260) == b2
    assert cost(scaled).params == 9_109_994 != cost(get_spec("efficientnet_b1")).params


def test_the_first_phi_costs_more_than_twice_and_the_later_ones_less():
    macs = [cost(scale(get_spec("efficientnet_b0"), compound(phi))).macs for phi in range(8)]
    steps = [more / less for less, more in pairwise(macs)]
    assert steps[0] == pytest.approx(2.57, abs=0.01)
    assert all(1.76 < step < 1.98 for step in steps[1:])


# G multiply-adds of the scaled networks as literally built; the paper prints other ones.
BUILT = {
    ("mobilenetv1_100", "baseline"): 0.569,
    ("mobilenetv1_100", "width"): 2.216,
    ("mobilenetv1_100", "resolution"): 2.272,
    ("mobilenetv1_100", "compound"): 2.470,
    ("mobilenetv2_100", "baseline"): 0.301,
    ("mobilenetv2_100", "depth"): 1.220,
    ("mobilenetv2_100", "width"): 1.137,
    ("mobilenetv2_100", "resolution"): 1.199,
    ("resnet50", "baseline"): 4.089,
    ("resnet50", "depth"): 14.57,
    ("resnet50", "width"): 16.12,  # 15.87 with a stem that stays at 64 channels
    ("resnet50", "resolution"): 16.35,
    ("efficientnet_b0", "baseline"): 0.386,
    ("efficientnet_b0", "depth"): 1.575,
    ("efficientnet_b0", "width"): 1.450,
    ("efficientnet_b0", "resolution"): 1.538,
    ("efficientnet_b0", "compound"): 1.800,
}


@pytest.mark.parametrize("arm", [*TABLE_3, *TABLE_7], ids=lambda arm: f"{arm.base}-{arm.name}")
def test_the_arms_of_tables_3_and_7_cost_about_what_is_printed(arm):
    if arm.scaling is None:
        assert arm.name == "compound"  # the paper does not publish these coefficients
        return
    built = cost(scale(get_spec(arm.base), arm.scaling)).macs
    assert built == pytest.approx(arm.macs, rel=0.21)
    if (arm.base, arm.name) in BUILT:
        assert built / 1e9 == pytest.approx(BUILT[arm.base, arm.name], rel=1.5e-3)


def test_the_first_version_of_table_7_has_another_baseline_and_the_same_arms():
    assert [arm.top1 for arm in TABLE_7] == [0.773, 0.790, 0.789, 0.791, 0.811]
    assert [arm.top1 for arm in TABLE_7_V1] == [0.763, 0.790, 0.789, 0.791, 0.811]


def test_the_law_has_eight_members_and_three_arms_to_explain():
    assert [row.label for row in LAW_ROWS] == [
        *(f"efficientnet_b{size}" for size in range(8)),
        "depth",
        "width",
        "resolution",
    ]
    assert [row.error for row in LAW_ROWS] == [
        0.229,
        0.209,
        0.199,
        0.184,
        0.171,
        0.164,
        0.160,
        0.157,
        0.210,
        0.211,
        0.209,
    ]
    assert all(row.base == "efficientnet_b0" for row in LAW_ROWS)
    assert LAW_ROWS[0].scaling == Scaling() and LAW_ROWS[8].scaling == Scaling(depth=4)


def test_published_tables_name_registered_models():
    names = [
        *(row.member for row in TABLE_2),
        *(arm.base for arm in (*TABLE_3, *TABLE_7)),
        *(row.member for row in (*TABLE_4, *TABLE_5)),
        *(row.base for row in LAW_ROWS),
        *(rival.member for rival in RIVALS if rival.member),
        *(headline.member for headline in HEADLINES),
    ]
    assert set(names) <= set(MEMBERS)


def test_printed_sizes_of_table_2_are_ours_to_a_few_per_cent():
    for row in TABLE_2:
        counted = cost(get_spec(row.member))
        assert counted.params == pytest.approx(row.params, rel=0.03)
        assert counted.macs == pytest.approx(row.macs, rel=0.05)


# -- how a user names a spec ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("efficientnet-b0", "efficientnet_b0"),
        ("EfficientNet_B3", "efficientnet_b3"),
        ("resnet_50", "resnet50"),
        ("regnety_40", "regnety_040"),
        ("efficientnet_v2_s", "efficientnetv2_s"),
    ],
)
def test_an_unknown_name_gets_near_ones_and_the_command_that_lists_all(name: str, near: str):
    with pytest.raises(SpecError) as caught:
        get_spec(name)
    assert f"{name!r} is not a model" in str(caught.value)
    assert near in str(caught.value) and "`phiscale models`" in str(caught.value)


def test_a_name_that_resembles_nothing_still_gets_the_command():
    with pytest.raises(SpecError, match=r"^'zzz' is not a model\. `phiscale models` lists all"):
        get_spec("zzz")


def test_a_spec_is_named_by_member_json_file_or_python_name(tmp_path: Path):
    spec = scale(get_spec("small"), compound(1))
    (tmp_path / "spec.json").write_text(spec.to_json())
    (tmp_path / "helper.py").write_text("PHI = 1\n")
    (tmp_path / "net.py").write_text(
        "from phiscale import compound, get_spec, scale\n"
        "from helper import PHI\n"
        "SPEC = scale(get_spec('small'), compound(PHI))\n"
        "def make():\n    return SPEC\n"
    )
    assert resolve_spec("small") == get_spec("small")
    assert resolve_spec(str(tmp_path / "spec.json")) == spec
    assert resolve_spec(f"{tmp_path / 'net.py'}:SPEC") == spec
    assert resolve_spec(f"{tmp_path / 'net.py'}:make") == spec


NET = """
from phiscale.arch.spec import Spec, Stage
STAGE = Stage("mbconv", 1, 3, 2, 4, 16)
SPEC = Spec(stem_channels=8, stages=(STAGE,), head_channels=0, resolution=32)
NUMBER = 3
def wrong():
    return {"stem": 8}
def broken():
    raise RuntimeError("no luck\\nmore about it")
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "nothere.json",
            "nothere.json does not exist. Write one with phiscale describe MODEL --save",
        ),
        ("runs/nothere", "nothere does not exist."),
        ("folder", "folder is a folder. Name a file in it:"),
        ("bytes.json", "bytes.json is not JSON: 'utf-8' codec"),
        (
            "prose.json",
            "prose.json is not JSON: Expecting value: line 1 column 1 (char 0). Write one",
        ),
        ("even.json", "even.json: stages[0]: kernel=4 is even"),
        ("nothere.py:SPEC", "nothere.py does not exist. Write it path/to/file.py:NAME."),
        ("net.py", "net.py names no spec. Write"),
        ("net.py", "net.py:NAME; its specs are: SPEC."),
        ("net.py:OTHER", "net.py has no OTHER. Write"),
        ("net.py:NUMBER", "net.py:NUMBER is of type int. Make it a Spec"),
        ("net.py:wrong", "net.py:wrong returned a dict. Let it return a Spec."),
        ("net.py:broken", "net.py:broken failed: line 9, RuntimeError: no luck. Fix it."),
        ("bad.py:SPEC", "bad.py failed: line 2, NameError: name 'Spce' is not defined. Fix"),
        ("syntax.py:SPEC", "syntax.py failed: line 1, SyntaxError: "),
        ("exits.py:SPEC", "exits.py failed: line 1, SystemExit: 3. Fix the file."),
        ("even.py:SPEC", "even.py failed: line 2, SpecError: kernel=4 is even, so padding"),
        ("efficientnet_b9", "'efficientnet_b9' is not a model. Did you mean efficientnet_b"),
    ],
)
def test_each_way_to_name_a_spec_wrongly_is_a_spec_error_of_one_line(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    even = "from phiscale.arch.spec import Stage\nSPEC = Stage('mbconv', 1, 4, 1, 1, 8)\n"
    files = {
        "net.py": NET,
        "bad.py": "x = 1\nSPEC = Spce()\n",
        "syntax.py": "SPEC = = 1\n",
        "exits.py": "raise SystemExit(3)\n",
        "even.py": even,
        "prose.json": "a network",
        "even.json": get_spec("small").to_json().replace('"kernel": 3', '"kernel": 4'),
    }
    for name, content in files.items():
        Path(name).write_text(content)
    Path("bytes.json").write_bytes(b"\xff\xfe\x00")
    Path("folder").mkdir()
    with pytest.raises(SpecError) as caught:
        resolve_spec(text)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a" * 5000, "folder/" * 1000 + "spec.json", "a" * 300 + ".py:X"])
def test_a_path_that_is_too_long_is_one_short_line(text: str):
    with pytest.raises(SpecError, match=r"\.\.\. cannot be read: File name too long\.") as caught:
        resolve_spec(text)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_a_models_name_is_accepted_where_a_spec_is():
    spec = get_spec("efficientnet_b0")
    assert cost("efficientnet_b0") == cost(spec)
    assert scale("efficientnet_b0", compound(1)) == scale(spec, compound(1))


@pytest.mark.parametrize("model", [3, None, b"small"])
def test_what_is_neither_a_spec_nor_a_name_is_refused_in_one_line(model: object):
    with pytest.raises(SpecError) as caught:
        cost(model)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{model!r} is neither a Spec nor a model's name. Use")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("b0", "efficientnet_b0"),
        ("b3a", "efficientnet_b3"),
        ("EfficientNet_B0", "efficientnet_b0"),
        ("EfficientNetV2S", "efficientnetv2_s"),
        ("efficientnet_b0.ra_in1k", "efficientnet_b0"),
        ("tf_efficientnet_b0_ns", "tf_efficientnet_b0"),
        ("tf_efficientnetv2_s_in21ft1k", "tf_efficientnetv2_s"),
    ],
)
def test_an_old_or_tagged_name_proposes_only_the_model_that_it_means(name: str, meant: str):
    with pytest.raises(UnknownModel, match=rf"Did you mean {meant}\? "):
        get_spec(name)

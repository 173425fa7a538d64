"""A built network is what its spec's cost says, layer by layer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, reject, settings
from torch import nn

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec, Stage
from phiscale.errors import SpecError
from phiscale.nn.network import build

LIGHT = [name for name, member in MEMBERS.items() if cost(member.spec).macs < 1.2e9]
HEAVY = [name for name in MEMBERS if name not in LIGHT]


def measured_layers(spec: Spec) -> dict[str, tuple[int, int]]:
    """Path -> (params, MACs) of the built network on the meta device, MACs by forward hooks."""
    with torch.device("meta"):
        network = build(spec).eval()
        images = torch.empty(1, spec.in_channels, spec.resolution, spec.resolution)
    macs: dict[str, int] = {}

    def hook(path: str):  # type: ignore[no-untyped-def]
        def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
            weight = module.weight
            assert isinstance(weight, torch.Tensor)
            positions = output.numel() // output.shape[1]
            macs[path] = weight.numel() * positions

        return count

    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook(path.removesuffix(".conv")))
    network(images)
    modules = dict(network.named_modules())
    return {path: (sum(p.numel() for p in modules[path].parameters()), macs[path]) for path in macs}


def assert_costs_match(spec: Spec) -> None:
    total = cost(spec)
    measured = measured_layers(spec)
    assert {layer.path: (layer.params, layer.macs) for layer in total.layers} == measured
    assert total.params == sum(params for params, _ in measured.values())
    assert total.macs == sum(macs for _, macs in measured.values())


@pytest.mark.parametrize("name", LIGHT)
def test_params_and_macs_of_every_layer_are_those_of_its_cost(name: str):
    assert_costs_match(get_spec(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_params_and_macs_of_every_layer_of_the_heavy_members_are_those_of_its_cost(name: str):
    assert_costs_match(get_spec(name))


@given(...)
@settings(max_examples=40)
def test_any_spec_is_built_with_the_layers_of_its_cost(spec: Spec):
    assert_costs_match(spec)


def saved_bytes(spec: Spec) -> int:
    network = build(spec).train()
    state = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(1, spec.in_channels, spec.resolution, spec.resolution))
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
    return sum(size for pointer, size in storages.items() if pointer not in state)


B0, B2, SMALL = get_spec("efficientnet_b0"), get_spec("efficientnet_b2"), get_spec("small")


@pytest.mark.parametrize(
    "spec",
    [
        B0,
        B2,
        get_spec("tf_efficientnet_b0"),
        replace(B0, activation="relu"),
        get_spec("efficientnet_lite0"),
        get_spec("efficientnet_es"),
        get_spec("mobilenetv1_100"),
        scale(get_spec("efficientnetv2_b0"), Scaling(resolution=0.5)),
        get_spec("resnet18"),
        scale(get_spec("resnet50"), Scaling(resolution=0.5)),
        get_spec("regnety_002"),
    ],
)
def test_saved_bytes_are_within_two_per_cent_of_what_torch_keeps(spec: Spec):
    assert cost(spec).saved_bytes == pytest.approx(saved_bytes(spec), rel=0.02)


@pytest.mark.parametrize(
    "stage",
    [
        # a shortcut keeps the map that no ReLU kept, beside a padded copy of it
        Stage("basic", repeats=1, kernel=3, stride=2, expand=1, channels=8),
        # sums with maps that a ReLU kept are maps of their own; where a stage changes the
        # channels, its first block adds none
        Stage("fused_mbconv", repeats=3, kernel=3, stride=1, expand=1, channels=8),
        Stage("fused_mbconv", repeats=3, kernel=3, stride=1, expand=1, channels=16),
    ],
)
def test_saved_bytes_count_the_maps_that_no_relu_keeps(stage: Stage):
    changed = {"activation": "relu", "padding": "same", "stem_pool": True, "stages": (stage,)}
    spec = replace(SMALL, **changed)
    assert cost(spec).saved_bytes == saved_bytes(spec)


@given(...)
@settings(max_examples=60)
def test_saved_bytes_of_any_spec_are_what_torch_keeps_or_one_map_more(spec: Spec):
    try:
        kept = saved_bytes(spec)
    except ValueError:  # batch norm refuses one pixel of one image
        reject()
    excess = cost(spec).saved_bytes - kept
    assert 0 <= excess <= 4 * max(layer.activations for layer in cost(spec).layers)


def test_stochastic_depth_grows_linearly_from_zero_and_counts_every_block():
    network = build(get_spec("efficientnet_b0"), drop_path=0.2)
    rates = [block.drop_path.rate for stage in network.stages for block in stage]
    assert rates == pytest.approx([0.2 * i / 16 for i in range(16)])


def test_dropped_branches_are_whole_samples_and_the_rest_is_scaled_up():
    from phiscale.nn.blocks import DropPath

    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(1000, 2, 3, 3))
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    assert out.mean().item() == pytest.approx(1.0, abs=0.06)
    assert torch.equal(DropPath(0.25).eval()(out), out)


def test_initial_weights_have_the_published_spread():
    network = build(get_spec("efficientnet_b0"))
    depthwise = network.get_submodule("stages.5.1.depthwise.conv").weight
    expand = network.get_submodule("stages.5.1.expand.conv").weight
    assert depthwise.std().item() == pytest.approx(2**0.5 / 5, rel=0.05)
    assert expand.std().item() == pytest.approx((2 / 1152) ** 0.5, rel=0.02)
    assert network.classifier.weight.abs().max().item() <= 1000**-0.5
    assert network.classifier.bias.abs().max().item() == 0
    assert (network.stem.norm.running_var == 1).all() and (network.stem.norm.weight == 1).all()


def test_intermediates_are_every_map_by_its_name():
    network = build(SMALL).eval()
    images = torch.randn(2, 3, 32, 32)
    maps = network.intermediates(images)
    assert list(maps) == ["stem", *(f"stages.{i}" for i in range(5)), "head"]
    assert maps["stem"].shape == (2, 8, 32, 32) and maps["head"].shape == (2, 128, 4, 4)
    assert torch.equal(maps["head"], network.forward_features(images))
    assert torch.equal(network.forward_head(maps["head"]), network(images))


@pytest.mark.parametrize("shape", [(33, 47), (64, 32), (7, 7)])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_b0", "resnet18"])
def test_any_image_size_and_rectangle_is_accepted(name: str, shape: tuple[int, int]):
    assert build(get_spec(name), classes=5).eval()(torch.randn(2, 3, *shape)).shape == (2, 5)


def test_tensorflow_padding_puts_the_odd_pixel_right_and_below():
    from phiscale.nn.blocks import pad_same

    padded = pad_same(torch.ones(1, 1, 4, 4), kernel=3, stride=2)
    assert padded.shape == (1, 1, 5, 5)
    assert padded[0, 0, :4, :4].min() == 1 and padded[0, 0, 4].max() == 0


def test_a_models_name_or_a_file_builds_the_network_of_its_spec(tmp_path: Path):
    assert build("efficientnet_b0", initialised=False).spec == get_spec("efficientnet_b0")
    (tmp_path / "spec.json").write_text(SMALL.to_json())
    assert build(str(tmp_path / "spec.json"), classes=7).spec == replace(SMALL, classes=7)
    with pytest.raises(SpecError, match="'efficientnet_b9' is not a model"):
        build("efficientnet_b9")


def test_classes_and_channels_can_be_set_when_building():
    network = build(SMALL, classes=7, in_channels=1)
    assert network.spec == replace(SMALL, classes=7, in_channels=1)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_the_same_seed_builds_the_same_network():
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build(SMALL).state_dict())
    assert all(torch.equal(networks[0][k], networks[1][k]) for k in networks[0])


EXPORTED = [
    "small",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "efficientnetv2_b0",
    "efficientnet_es",
    "mobilenetv1_100",
    "semnasnet_100",
    "resnet18",
    "regnety_002",
]


def export_and_compile(name: str) -> None:
    spec = replace(get_spec(name), resolution=min(64, get_spec(name).resolution))
    with torch.device("meta"):
        network = build(spec).eval()
        images = torch.empty(2, 3, spec.resolution, spec.resolution)
    program = torch.export.export(network, (images,))
    assert tuple(program.graph_signature.user_outputs)
    network = build(spec).train()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    compiled(torch.randn(2, 3, 32, 32)).sum().backward()
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", EXPORTED[:3])
def test_members_export_and_compile_without_a_graph_break(name: str):
    export_and_compile(name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in EXPORTED[:3]])
def test_all_members_export_and_compile_without_a_graph_break(name: str):
    export_and_compile(name)


def test_inductor_computes_what_eager_does():
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler: apt-get install g++")
    network = build(replace(SMALL, stages=SMALL.stages[:1]), classes=3).eval()
    images = torch.randn(1, 3, 16, 16)
    import warnings

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        assert torch.allclose(torch.compile(network)(images), network(images), atol=1e-5)
    torch.compiler.reset()


def test_building_on_the_meta_device_costs_no_memory():
    with torch.device("meta"):
        network = build(get_spec("efficientnet_l2"))
    assert all(p.is_meta for p in (*network.parameters(), *network.buffers()))

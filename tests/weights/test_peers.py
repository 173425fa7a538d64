"""Weights of other libraries: whose they are, what they are called, both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision.models as tv
from efficientnet_pytorch import EfficientNet
from torch import Tensor, nn

from phiscale.arch.families import MEMBERS, get_spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError, WeightsError
from phiscale.nn.network import Network, build
from phiscale.weights.aliases import member_of, network_names
from phiscale.weights.formats import from_variables, read_foreign
from phiscale.weights.peers import LIBRARIES, Library, recognise, tensor_names, to_ours, to_theirs
from phiscale.weights.writers import to_variables, write_foreign

Tensors = dict[str, Tensor]


def randomised(network: nn.Module) -> nn.Module:
    """In float64, with batch norms that no default hides."""
    generator = torch.Generator().manual_seed(0)
    network = network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.0),
                (module.bias.data, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                uniforms = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(low + (high - low) * uniforms)
    return network


def ours(library: Library, tensors: Tensors, hint: str = "") -> tuple[str, Network]:
    recognised = recognise(tensors, hint=hint)
    network = build(recognised.spec, initialised=False)
    network.load_state_dict(to_ours(library, recognised.spec, tensors), assign=True)
    return recognised.member, network.eval()


def relative_difference(theirs: Tensor, ours: Tensor) -> float:
    return float((theirs - ours).norm() / theirs.norm())


def of_lukemelas(name: str) -> nn.Module:
    return EfficientNet.from_name(name, image_size=None)


PEERS: tuple[tuple[Library, str, Callable[[str], nn.Module], str], ...] = (
    # library, its network, how it is made, the member that it is
    ("timm", "efficientnet_b0", timm.create_model, "efficientnet_b0"),
    ("timm", "tf_efficientnet_lite0", timm.create_model, "tf_efficientnet_lite0"),
    ("timm", "efficientnet_es", timm.create_model, "efficientnet_es"),
    ("timm", "tf_efficientnetv2_b0", timm.create_model, "tf_efficientnetv2_b0"),
    ("timm", "semnasnet_100", timm.create_model, "semnasnet_100"),
    ("timm", "mobilenetv1_100", timm.create_model, "mobilenetv1_100"),
    ("timm", "mobilenetv2_100", timm.create_model, "mobilenetv2_100"),
    ("timm", "resnet18", timm.create_model, "resnet18"),
    ("timm", "regnety_002", timm.create_model, "regnety_002"),
    ("torchvision", "efficientnet_b0", tv.get_model, "efficientnet_b0"),
    ("torchvision", "efficientnet_b5", tv.get_model, "efficientnet_b5"),
    ("torchvision", "efficientnet_v2_s", tv.get_model, "efficientnetv2_s"),
    ("torchvision", "mobilenet_v2", tv.get_model, "mobilenetv2_100"),
    ("torchvision", "wide_resnet50_2", tv.get_model, "wide_resnet50_2"),
    ("torchvision", "regnet_x_400mf", tv.get_model, "regnetx_004_tv"),
    ("lukemelas", "efficientnet-b0", of_lukemelas, "tf_efficientnet_b0"),
)


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.parametrize(
    ("library", "name", "make", "member"), PEERS, ids=[f"{p[0]}-{p[1]}" for p in PEERS]
)
def test_a_peers_weights_give_its_logits_and_go_back_as_they_came(
    library: Library, name: str, make: Callable[[str], nn.Module], member: str
):
    theirs = randomised(make(name))
    tensors = theirs.state_dict()
    recognised_member, network = ours(library, tensors, hint=member)
    assert recognised_member == member
    image = torch.randn(1, 3, 97, 64, dtype=torch.float64)
    with torch.inference_mode():
        assert relative_difference(theirs(image), network(image)) < 1e-8
    back = to_theirs(library, network.spec, network.state_dict())
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


KINDS = (
    "tf_efficientnet_b0",
    "tf_efficientnetv2_s",
    "efficientnet_es",
    "semnasnet_100",
    "mobilenetv2_100",
    "resnet18",
    "resnet50",
    "regnetx_002",
    "regnety_002",
    "mobilenetv1_100",
)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("member", KINDS)
def test_names_map_one_to_one_wherever_a_library_has_such_networks(member: str, library: Library):
    spec = get_spec(member)
    try:
        names = tensor_names(library, spec)
    except WeightsError as error:
        assert "has no" in str(error)
        return
    shapes = build(spec).state_dict()
    tensors = {name: torch.full(t.shape, i) for i, (name, t) in enumerate(shapes.items())}
    assert len(set(names.values())) == len(names)
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    assert names.keys() in (tensors.keys(), tensors.keys() - counters)
    back = to_ours(library, spec, to_theirs(library, spec, tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors.keys() - counters)


def network_of_member(member: str) -> Network:
    torch.manual_seed(0)
    network = build(get_spec(member))
    for name, value in network.state_dict().items():
        if "running" in name or (".norm." in name and value.is_floating_point()):
            value.uniform_(0.9, 1.1)
    return network.eval()


SUFFIXES = (
    ("timm", "w.safetensors"),
    ("timm", "w.pth"),
    ("timm", "w.bin"),
    ("torchvision", "w.pth"),
    ("lukemelas", "w.safetensors"),
    ("keras", "w.weights.h5"),
)


@pytest.mark.parametrize(("library", "file"), SUFFIXES)
def test_what_is_written_for_a_library_is_read_as_its_own(
    tmp_path: Path, library: Library, file: str
):
    network = network_of_member("tf_efficientnet_b0")
    path = tmp_path / file
    write_foreign(path, library, network.spec, network.state_dict(), Preprocessing(size=224))
    foreign = read_foreign(path)
    recognised = recognise(foreign.tensors, hint="tf_efficientnet_b0")
    assert (recognised.library, recognised.member) == (library, "tf_efficientnet_b0")
    back = to_ours(library, recognised.spec, foreign.tensors)
    assert all(torch.equal(back[k], v) for k, v in network.state_dict().items())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("ignore")  # Keras's own
@pytest.mark.parametrize(
    ("member", "application"),
    [
        ("tf_efficientnet_b0", "EfficientNetB0"),
        ("tf_efficientnetv2_b0", "EfficientNetV2B0"),
        ("tf_efficientnetv2_s", "EfficientNetV2S"),
    ],
)
def test_keras_gives_our_logits_with_its_own_rescaling_and_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, application: str
):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    theirs = getattr(keras.applications, application)(
        weights=None, input_shape=(97, 64, 3), classifier_activation=None
    )
    network = network_of_member(member)
    half = member == "tf_efficientnetv2_s"  # pixels / 128 - 1
    norm = {"mean": (128 / 255,) * 3, "std": (128 / 255,) * 3} if half else {}
    preprocessing = Preprocessing(size=224, **norm)
    write_foreign(
        tmp_path / "w.weights.h5", "keras", network.spec, network.state_dict(), preprocessing
    )
    theirs.load_weights(tmp_path / "w.weights.h5")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 97, 64, 3), np.uint8)
    with torch.inference_mode():
        a = torch.from_numpy(np.asarray(theirs(pixels.astype(np.float32)).cpu()))
        b = network(torch.from_numpy(preprocessing.normalise(pixels)))
    assert (
        relative_difference(a, b) < 1e-4
    )  # float32 through 40 blocks; docs/parity.md decides in float64
    theirs.save_weights(tmp_path / "again.weights.h5")
    foreign = read_foreign(tmp_path / "again.weights.h5")
    back = to_ours("keras", recognise(foreign.tensors).spec, foreign.tensors)
    assert all(torch.equal(back[k], v) for k, v in network.state_dict().items())


def test_an_older_h5_of_keras_names_its_variables(tmp_path: Path):
    h5py = pytest.importorskip("h5py", reason="pip install 'phiscale[keras]'")
    network = network_of_member("tf_efficientnet_b0")
    path = tmp_path / "new.weights.h5"
    write_foreign(path, "keras", network.spec, network.state_dict(), Preprocessing(size=224))
    by_count = {4: ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")}
    with h5py.File(path) as new, h5py.File(tmp_path / "old.h5", "w") as old:
        for group in new["layers"].values():
            layer, values = str(group["vars"].attrs["name"]), group["vars"]
            kernel = "depthwise_kernel:0" if "dwconv" in layer else "kernel:0"
            names = by_count.get(len(values), (kernel, "bias:0"))
            if layer == "normalization":
                names = ("mean:0", "variance:0", "count:0")
            for key, name in zip(values, names, strict=False):
                old.create_dataset(f"{layer}/{layer}/{name}", data=values[key][()])
    a, b = read_foreign(path), read_foreign(tmp_path / "old.h5")
    assert a.metadata == b.metadata and a.tensors.keys() == b.tensors.keys()
    assert all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)


@pytest.mark.parametrize(
    "member",
    ["tf_efficientnet_b0", "tf_efficientnetv2_s", "tf_efficientnet_lite0", "tf_efficientnet_es"],
)
def test_variables_of_tensorflow_prefer_the_average_and_leave_the_slots(member: str):
    network = network_of_member(member)
    theirs = to_theirs("tf", network.spec, network.state_dict())
    averaged = to_variables(theirs, "some-model")
    variables: dict[str, Any] = {"global_step": np.array(7)}
    for name, value in averaged.items():
        variables |= {
            name: value + 1,
            f"{name}/ExponentialMovingAverage": value,
            f"{name}/RMSProp": value,
            f"{name}/Momentum": value,
        }
    fused = member in ("tf_efficientnetv2_s", "tf_efficientnet_es")
    kernel = "conv2d/kernel" if fused else "depthwise_conv2d/depthwise_kernel"
    assert f"some-model/blocks_0/{kernel}" in variables
    foreign = from_variables(variables)
    assert foreign.metadata == {"architecture": "some-model"}
    recognised = recognise(foreign.tensors)
    assert (recognised.library, recognised.member) == ("tf", member)
    back = to_ours("tf", recognised.spec, foreign.tensors)
    assert all(torch.equal(back[k], v) for k, v in network.state_dict().items())


def test_a_checkpoint_of_tensorflow_goes_there_and_back(tmp_path: Path):
    pytest.importorskip("tensorflow", reason="pip install 'phiscale[tf]'")
    network = network_of_member("tf_efficientnet_b0")
    path = tmp_path / "model.ckpt"
    write_foreign(path, "tf", network.spec, network.state_dict(), Preprocessing(size=224))
    foreign = read_foreign(path)
    back = to_ours("tf", recognise(foreign.tensors).spec, foreign.tensors)
    assert all(torch.equal(back[k], v) for k, v in network.state_dict().items())


def test_padding_leaves_no_trace_so_both_flavours_are_named():
    tensors = build(get_spec("efficientnet_b0")).state_dict()
    theirs = to_theirs("timm", get_spec("efficientnet_b0"), tensors)
    plain = recognise(theirs)
    assert plain.member == "efficientnet_b0" and plain.spec.padding == "symmetric"
    assert "It fits tf_efficientnet_b0 too: phiscale import --model tf_" in plain.summary
    assert recognise(theirs, hint="tf_efficientnet_b0.ns_jft_in1k").spec.padding == "same"
    assert recognise(theirs, model="tf_efficientnet_b0").spec.norm_eps == 1e-3


def test_a_backbone_without_a_classifier_has_no_classes():
    spec = get_spec("resnet18")
    theirs = to_theirs("timm", spec, build(spec).state_dict())
    body = {name: t for name, t in theirs.items() if not name.startswith("fc.")}
    recognised = recognise(body)
    assert (recognised.member, recognised.spec.classes) == ("resnet18", 0)


def broken(change: Callable[[Tensors], Any]) -> Tensors:
    spec = get_spec("resnet18")
    tensors = to_theirs("timm", spec, build(spec).state_dict())
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("layer1.0.conv1.weight"),
            r"nearest is resnet18: 1 missing \(layer1.0.conv1",
        ),
        (lambda t: t.update(more=torch.zeros(1)), r"resnet18: 1 unknown \(more\)"),
        (lambda t: t.update({"bn1.weight": torch.zeros(65)}), r"1 misshapen \(bn1.weight\)"),
    ],
)
def test_a_file_of_no_known_network_names_the_nearest_and_what_differs(
    change: Callable[[Tensors], Any], message: str
):
    with pytest.raises(WeightsError, match=message):
        recognise(broken(change))


def test_tensor_names_of_no_library_are_refused():
    with pytest.raises(WeightsError, match="belong to no library that phiscale knows: timm, torch"):
        recognise({"encoder.layer.0": torch.zeros(1)})


def test_a_file_name_that_a_library_does_not_read_is_refused(tmp_path: Path):
    network = network_of_member("resnet18")
    with pytest.raises(UsageError, match="keras reads"):
        write_foreign(tmp_path / "w.pth", "keras", network.spec, {}, Preprocessing(size=224))


ALIASES = (
    ("torchvision", "efficientnet_v2_s", "efficientnetv2_s"),
    ("torchvision", "regnet_y_1_6gf", "regnety_016"),
    ("torchvision", "regnet_x_400mf", "regnetx_004_tv"),
    ("keras", "EfficientNetV2B3", "tf_efficientnetv2_b3"),
    ("lukemelas", "efficientnet-b7", "tf_efficientnet_b7"),
    ("tf", "efficientnet-edgetpu-M", "tf_efficientnet_em"),
    ("timm", "mobilenetv1_100", "mobilenetv1_100"),
)


@pytest.mark.parametrize(("library", "theirs", "member"), ALIASES)
def test_other_libraries_names_are_known(library: Library, theirs: str, member: str):
    assert member_of(library, theirs) == member


def test_every_alias_of_torchvision_is_a_network_that_it_has():
    assert set(network_names("torchvision")) <= set(tv.list_models())
    assert all(
        member in MEMBERS for library in LIBRARIES for member in network_names(library).values()
    )


def test_torchvisions_own_epsilon_is_kept():
    spec = get_spec("efficientnet_b5")
    tensors = to_theirs("torchvision", spec, build(spec).state_dict())
    assert recognise(tensors).spec == replace(spec, norm_eps=1e-3, norm_momentum=0.01)

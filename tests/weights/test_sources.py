"""Where weights come from: files of others, hubs, and what must never be believed or run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from phiscale.arch.families import get_spec
from phiscale.cli import main
from phiscale.cli.output import log_to
from phiscale.data.preprocessing import Preprocessing
from phiscale.deploy.inference import evaluate_model
from phiscale.errors import PhiscaleError, UsageError, WeightsError
from phiscale.nn.network import build
from phiscale.weights import hub, imagenet
from phiscale.weights.adapt import adapt_weights, over_channels
from phiscale.weights.formats import read_foreign
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.peers import to_theirs
from phiscale.weights.pretrained import (
    original_preprocessing,
    pretrained_weights,
    weights_of_member,
)
from phiscale.weights.sources import import_weights, load, weights_file, weights_files
from phiscale.weights.store import read, save

SPEC = replace(get_spec("resnet18"), classes=4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "cache"


def timms() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return to_theirs("timm", SPEC, build(SPEC).state_dict())


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    save_file(timms(), tmp_path / "theirs.safetensors", {"architecture": "resnet18"})
    return tmp_path / "theirs.safetensors"


# --- in -------------------------------------------------------------------------------------------


def test_an_import_says_whose_weights_they_are_and_keeps_it_in_the_card(
    theirs: Path, tmp_path: Path
):
    said: list[str] = []
    with log_to(said.append):
        metadata = import_weights(str(theirs), tmp_path / "ours.safetensors")
    assert said == [
        "theirs.safetensors: timm's resnet18: padding symmetric, norm epsilon 1e-05 "
        "(it is named so). Images: 224 px, the central 0.875, bicubic, "
        "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225."
    ]
    assert metadata.member == "resnet18" and metadata.spec == SPEC
    assert "timm's resnet18" in metadata.origin
    network = load(tmp_path / "ours.safetensors")
    assert network.metadata == metadata and network.preprocessing == Preprocessing(size=224)


def test_any_source_is_imported_once_and_then_found_in_the_cache(theirs: Path, own_cache: Path):
    first = weights_file(theirs)
    assert first.parent == own_cache and weights_file(str(theirs)) == first
    before = first.stat().st_mtime_ns
    assert weights_file(theirs).stat().st_mtime_ns == before
    save_file({k: t + 1 if t.is_floating_point() else t for k, t in timms().items()}, theirs)
    assert weights_file(theirs) != first  # the file has changed


def test_imagenets_thousand_classes_have_names(tmp_path: Path):
    spec = replace(SPEC, classes=1000)
    save_file(to_theirs("timm", spec, build(spec).state_dict()), tmp_path / "w.safetensors")
    classes = load(tmp_path / "w.safetensors").metadata.classes
    assert len(classes) == 1000 and classes[0] == "tench" and classes[-1] == "toilet tissue"


def test_a_folder_laid_out_as_a_repository_is_a_source(tmp_path: Path):
    folder = tmp_path / "repo"
    folder.mkdir()
    save_file(timms(), folder / "model.safetensors")
    config = {
        "architecture": "resnet18",
        "num_classes": 4,
        "label_names": ["a", "b", "c", "d"],
        "pretrained_cfg": {
            "input_size": [3, 160, 160],
            "test_input_size": [3, 192, 192],
            "crop_pct": 0.95,
            "interpolation": "bilinear",
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "license": "mit",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    network = load(folder)
    assert network.preprocessing == Preprocessing(
        size=192, crop=0.95, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert network.metadata.classes == ("a", "b", "c", "d") and network.metadata.licence == "mit"


def test_what_we_push_is_read_by_timm_and_by_us(tmp_path: Path):
    torch.manual_seed(0)
    metadata = ModelMetadata(
        spec=SPEC,
        preprocessing=Preprocessing(size=128),
        classes=("a", "b", "c", "d"),
        metrics={"validation": {"top1": 0.5}},
        licence="apache-2.0",
    )
    network = build(SPEC).eval()
    save(tmp_path / "w.safetensors", network.state_dict(), metadata)
    calls: list[tuple[str, dict[str, Any]]] = []
    folder = tmp_path / "pushed"

    def upload(**given: Any) -> None:
        calls.append(("upload", given))
        folder.mkdir()
        for file in Path(given["folder_path"]).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())

    client = SimpleNamespace(
        create_repo=lambda repo, **given: calls.append((repo, given)) or "https://hub/me/mine",
        upload_folder=upload,
    )
    assert hub.push(tmp_path / "w.safetensors", "me/mine", client=client) == "https://hub/me/mine"
    assert calls[0] == ("me/mine", {"private": False, "exist_ok": True})
    assert {"config.json", "README.md", "model.safetensors", "phiscale.safetensors"} == {
        file.name for file in folder.iterdir()
    }
    assert "license: apache-2.0" in (folder / "README.md").read_text()
    x = torch.randn(1, 3, 64, 64)
    theirs = timm.create_model("resnet18", num_classes=4)
    theirs.load_state_dict(load_file(folder / "model.safetensors"))
    theirs.eval()
    with torch.inference_mode():
        assert torch.allclose(theirs(x), network(x), atol=1e-5)
        assert torch.allclose(load(folder)(x), network(x), atol=1e-5)
    assert load(folder).metadata == metadata


def test_the_hub_is_asked_by_its_own_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    save_file(timms(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    asked: list[tuple[str, str, str | None]] = []

    def download(repo: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append((repo, file, revision))
        if not (tmp_path / file).exists():
            raise huggingface_hub.errors.EntryNotFoundError("404")
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: True)
    assert load("hf-hub:timm/resnet18.mine@v1").spec == SPEC
    files = ("config.json", "phiscale.safetensors", "model.safetensors")
    assert asked == [("timm/resnet18.mine", file, "v1") for file in files]


def test_offline_the_hub_gives_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: False)
    with pytest.raises(WeightsError, match=r"hub cannot be reached\. Connect once, or fetch"):
        load("hf-hub:timm/resnet18.a1_in1k")
    with pytest.raises(WeightsError, match="cannot be reached"):
        hub.push(Path("x"), "me/mine")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/b/c",
        "timm",
        "a/..",
        "/a/b",
        "a/b\0",
        "http://x/y",
        "ä/b",
        "a//b",
        ".a/b",
    ],
)
def test_names_that_are_none_on_the_hub_are_refused_before_asking(name: str):
    with pytest.raises(UsageError, match="is no name on the hub"):
        hub.fetch(name)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.safetensors", "no weights at nowhere.safetensors. Give a file"),
        ("resnet18.none", "Known tags: a1_in1k"),
        ("torchvision:resnet19", "none of ours"),
        ("small", "no pretrained weights small are known. Known tags: none"),
    ],
)
def test_a_source_that_is_not_there_is_said_in_a_line(source: str, said: str):
    with pytest.raises(PhiscaleError, match=said):
        load(source)


def test_the_table_of_known_weights_is_complete_enough_to_use():
    assert len(pretrained_weights()) > 200
    assert {each.source.partition(":")[0] for each in pretrained_weights()} == {
        "hf-hub",
        "torchvision",
    }
    assert (
        weights_of_member("tf_efficientnet_b0.ns_*")[0].source
        == "hf-hub:timm/tf_efficientnet_b0.ns_jft_in1k"
    )
    lite = weights_of_member("tf_efficientnet_lite0")[0].preprocessing
    assert (lite.size, lite.crop) == (224, 0.875)
    assert original_preprocessing("tf_efficientnet_lite0").mean == pytest.approx((127 / 255,) * 3)


def test_a_folder_of_weights_files_offers_them_all_by_name(theirs: Path, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "b.safetensors").write_bytes(theirs.read_bytes())
    import_weights(str(theirs), folder / "a.safetensors")
    (folder / "notes.txt").write_text("no weights")
    assert list(weights_files(str(folder))) == ["a", "b"]
    assert list(weights_files(str(theirs))) == ["theirs"]


def test_the_same_file_cannot_be_both_ends_of_an_import(theirs: Path):
    before = theirs.read_bytes()
    with pytest.raises(UsageError, match="is the file to read"):
        import_weights(str(theirs), theirs.parent / "." / theirs.name)
    assert theirs.read_bytes() == before


@pytest.mark.parametrize(
    ("file", "said", "member"),
    [
        ("tf_efficientnet_b0_ns-4a1f.pth", "it is named so", "tf_efficientnet_b0"),
        ("efficientnet_b0-ra.pth", "it is named so", "efficientnet_b0"),
        ("weights.pth", "as timm's are", "efficientnet_b0"),
    ],
)
def test_the_name_of_a_file_tells_its_flavour(tmp_path: Path, file: str, said: str, member: str):
    spec = replace(get_spec("efficientnet_b0"), classes=4)
    theirs = to_theirs("timm", spec, build(spec).state_dict())
    half = {name: t.half() if t.is_floating_point() else t for name, t in theirs.items()}
    torch.save(half, tmp_path / file)
    heard: list[str] = []
    with log_to(heard.append):
        metadata = import_weights(str(tmp_path / file), tmp_path / "ours.safetensors")
    assert metadata.member == member and said in heard[0] and "It fits" in heard[0]
    _, tensors = read(tmp_path / "ours.safetensors")  # halves become singles
    assert tensors["stem.conv.weight"].dtype == torch.float32


def test_a_network_of_other_input_channels_is_recognised(tmp_path: Path):
    model = timm.create_model("efficientnet_b0", in_chans=2, num_classes=3)
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}},
        tmp_path / "two.pth",
    )
    (tmp_path / "names.txt").write_text("ant\nbee\n\ncat\n")
    out = tmp_path / "two.safetensors"
    main(
        [
            "import",
            str(tmp_path / "two.pth"),
            "--out",
            str(out),
            "--classes",
            str(tmp_path / "names.txt"),
        ]
    )
    network = load(out)
    assert (network.spec.in_channels, network.metadata.classes) == (2, ("ant", "bee", "cat"))
    with pytest.raises(UsageError, match=r"takes 2 channels; images are read in 3"):
        evaluate_model(str(out), "digits", "test")


def test_files_that_share_a_name_are_told_apart(theirs: Path, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(theirs.read_bytes())
    torch.save(timms(), folder / "a.pth")
    assert list(weights_files(str(folder))) == ["a.pth", "a.safetensors"]


def test_what_is_ours_already_is_not_imported_again(theirs: Path, tmp_path: Path):
    ours = tmp_path / "best.safetensors"
    import_weights(str(theirs), ours)
    with pytest.raises(UsageError, match="is phiscale's already"):
        import_weights(str(ours), tmp_path / "again.safetensors")
    with pytest.raises(UsageError, match="is phiscale's already"):
        import_weights(str(tmp_path), tmp_path / "again.safetensors")


def test_numbers_that_single_precision_lacks_are_refused(tmp_path: Path):
    tensors = {k: t.double() if t.is_floating_point() else t for k, t in timms().items()}
    tensors["fc.bias"][0] = 1e300
    save_file(tensors, tmp_path / "large.safetensors")
    with pytest.raises(WeightsError, match="hold NaN or infinity"):
        import_weights(str(tmp_path / "large.safetensors"), tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_cache_of_timms_without_a_config_is_enough(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub

    def cached(repo: str, file: str, **_: Any) -> str:
        if file != "model.safetensors":
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        return str(theirs)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: False)
    network = load("hf-hub:timm/resnet18.a1_in1k")
    assert network.metadata.licence == "apache-2.0" and network.preprocessing.size == 288


def test_torchvisions_weights_offline_give_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(hub, "_reachable", lambda url: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"download\.pytorch\.org cannot be reached\. Connect"):
        load("torchvision:resnet18")


def test_a_file_for_timm_says_its_flavour(tmp_path: Path):
    spec = replace(get_spec("tf_efficientnet_b0"), classes=3)
    metadata = ModelMetadata(
        spec=spec, preprocessing=Preprocessing(size=224), classes=("a", "b", "c")
    )
    save(tmp_path / "ours.safetensors", build(spec).state_dict(), metadata)
    main(
        [
            "convert",
            str(tmp_path / "ours.safetensors"),
            "--to",
            "timm",
            "--out",
            str(tmp_path / "theirs.safetensors"),
        ]
    )
    assert load(tmp_path / "theirs.safetensors").spec == spec
    with pytest.raises(SystemExit):
        main(
            [
                "convert",
                str(tmp_path / "ours.safetensors"),
                "--to",
                "timm",
                "--out",
                str(tmp_path / "ours.safetensors"),
            ]
        )
    assert load(tmp_path / "ours.safetensors").metadata == metadata  # it is still ours


def test_classes_are_matched_by_name_or_by_wordnet_id():
    ids = ("n01440764", "n02102040")  # tench, English springer
    assert imagenet.class_indices(imagenet.imagenet_classes(), ids) == [0, 217]
    assert [imagenet.imagenet_classes()[place] for place in (0, 217)] == [
        "tench",
        "English springer",
    ]
    assert imagenet.class_indices(("b", "a"), ("a", "b")) == [1, 0]
    assert imagenet.class_indices(("b", "a"), ("a", "c")) is None
    assert imagenet.class_indices(("b", "a"), ids) is None
    assert len(set(imagenet.imagenet_classes())) == 1000


def test_an_imagenet_network_is_evaluated_on_folders_named_by_wordnet_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for name in ("n01440764", "n02102040"):
        for number in range(10):
            path = tmp_path / "val" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(
                np.random.default_rng(number).integers(0, 255, (40, 40, 3)).astype(np.uint8)
            ).save(path)
    spec = replace(get_spec("small"), classes=1000)
    torch.manual_seed(0)
    network = build(spec)
    with torch.no_grad():
        network.classifier.get_parameter("bias")[0] = 9  # tench among the two ...
        network.classifier.get_parameter("bias")[999] = 99  # ... whatever the others say
    metadata = ModelMetadata(
        spec=spec, preprocessing=Preprocessing(size=32), classes=imagenet.imagenet_classes()
    )
    save(tmp_path / "net.safetensors", network.state_dict(), metadata)
    caplog.set_level("INFO", "phiscale.deploy")
    evaluation = evaluate_model(tmp_path / "net.safetensors", tmp_path / "val", device="cpu")
    labels = evaluation.split.labels
    assert evaluation.classes == ("n01440764", "n02102040")
    assert evaluation.logits.shape == (len(labels), 2)
    assert evaluation.metrics.top1 == np.mean(labels == 0)
    messages = caplog.messages
    assert "answers among the data's 2 classes alone" in messages[0] and "knows 1000" in messages[0]
    assert "10 % test" in messages[1]  # nobody had split them


# --- what must not pass ---------------------------------------------------------------------------


class Payload:
    """Would leave a file behind if anybody ran it."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.mark), "w"))


def raw(payload: Any) -> bytes:
    return pickle.dumps({"conv1.weight": payload})


def as_torch(payload: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"conv1.weight": payload}, file)
    return file.getvalue()


def as_legacy_torch(payload: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"conv1.weight": payload}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def as_zip(payload: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", raw(payload))
        archive.writestr("archive/version", "3")
    return file.getvalue()


def as_bomb(payload: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    return file.getvalue()


def as_numpy(payload: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([payload], dtype=object), allow_pickle=True)
    return file.getvalue()


def as_numpy_zip(payload: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.array([payload], dtype=object))
    return file.getvalue()


def as_yaml(payload: Any) -> bytes:
    return f'!!python/object/apply:builtins.open ["{payload.mark}", "w"]'.encode()


COATS = (raw, as_torch, as_legacy_torch, as_zip, as_bomb, as_numpy, as_numpy_zip, as_yaml)
NAMES = ("w.pth", "w.safetensors", "w.bin", "w.h5", ".metadata")


@pytest.mark.parametrize("coat", COATS, ids=[coat.__name__ for coat in COATS])
@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_in_any_coat_is_refused_and_never_run(
    coat: Callable[[Any], bytes], name: str, tmp_path: Path
):
    mark = tmp_path / "executed"
    (tmp_path / name).write_bytes(coat(Payload(mark)))
    with pytest.raises(WeightsError) as refused:
        load(tmp_path / name)
    assert not mark.exists()
    assert "\n" not in str(refused.value)


@given(data=st.data())
def test_a_damaged_file_of_ours_is_refused(data: st.DataObject, tmp_path_factory: Any):
    path = _OURS.setdefault("path", tmp_path_factory.mktemp("ours") / "w.safetensors")
    if not path.exists():
        small = replace(get_spec("small"), stages=get_spec("small").stages[:1])
        about = ModelMetadata(
            spec=small, preprocessing=Preprocessing(size=32), classes=tuple("abcdefghij")
        )
        save(path, build(small).state_dict(), about)
        _OURS["bytes"] = path.read_bytes()
    whole = _OURS["bytes"]
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del damaged[data.draw(st.integers(0, len(whole) - 1)) :]
    other = path.with_name("damaged.safetensors")
    other.write_bytes(damaged)
    try:
        metadata, tensors = read(other)
    except PhiscaleError as error:
        assert "\n" not in str(error)
    else:  # nothing that is read has changed: spaces of the header, say
        assert all(torch.equal(t, read(path)[1][k]) for k, t in tensors.items())
        assert metadata == read(path)[0]


_OURS: dict[str, Any] = {}


def test_strides_cannot_claim_more_values_than_there_are(tmp_path: Path):
    torch.save({"conv1.weight": torch.zeros(1).expand(10**12)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="claims more values than it has"):
        read_foreign(tmp_path / "w.pth")


def test_nan_in_a_foreign_file_is_counted_and_named(tmp_path: Path):
    tensors = timms()
    tensors["bn1.weight"][3] = float("nan")
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors hold NaN or infinity \(bn1.weight\)"):
        load(tmp_path / "w.safetensors")


def test_an_hdf5_that_points_elsewhere_is_refused(tmp_path: Path):
    h5py = pytest.importorskip("h5py", reason="pip install 'phiscale[keras]'")
    (tmp_path / "secret").write_bytes(b"\0" * 64)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("stem_conv")
        group.create_dataset(
            "kernel", shape=(16,), dtype="f4", external=[(str(tmp_path / "secret"), 0, 64)]
        )
    with pytest.raises(WeightsError, match="does not lie in the file"):
        read_foreign(tmp_path / "w.h5")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_group("stem_conv").create_dataset(
            "kernel", shape=(10**12,), dtype="f4", chunks=True
        )
    with pytest.raises(WeightsError, match="does not lie in the file"):
        read_foreign(tmp_path / "huge.h5")


# --- made to fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_other_input_channels_keep_one_response(channels: int):
    kernel = torch.randn(8, 3, 3, 3)
    made = over_channels(kernel, channels)
    assert made.shape == (8, channels, 3, 3)
    if channels < 3:  # a grey image, given in every channel
        grey = torch.rand(1, 1, 9, 9)
        a, b = (grey.expand(-1, n, -1, -1) for n in (3, channels))
    else:  # colours that repeat
        a = torch.rand(1, 3, 9, 9)
        b = a[:, torch.arange(channels) % 3]
    before, after = (torch.nn.functional.conv2d(x, k) for x, k in ((a, kernel), (b, made)))
    assert torch.allclose(before, after, atol=1e-5)


def test_only_the_classifier_and_the_stem_may_change():
    tensors = build(SPEC).state_dict()
    want = replace(SPEC, classes=7, in_channels=1, resolution=96)
    fresh = build(want).state_dict()
    made = adapt_weights(tensors, SPEC, want, fresh)
    changed = {k for k in made if made[k] is not tensors.get(k)}
    assert changed == {"stem.conv.weight", "classifier.weight", "classifier.bias"}
    assert torch.equal(made["classifier.weight"], fresh["classifier.weight"])
    without = adapt_weights(tensors, SPEC, replace(SPEC, classes=0), {})
    assert tensors.keys() - without.keys() == {"classifier.weight", "classifier.bias"}
    with pytest.raises(WeightsError, match="it differs in activation"):
        adapt_weights(tensors, SPEC, replace(SPEC, activation="silu"), {})


def test_a_loaded_network_takes_other_classes_channels_and_any_size(theirs: Path):
    network = load(theirs, classes=2, in_channels=4)
    assert network(torch.randn(1, 4, 97, 130)).shape == (1, 2)
    assert network.metadata.spec == network.spec
    assert load(theirs, classes=0)(torch.randn(1, 3, 64, 64)).shape == (1, 512)

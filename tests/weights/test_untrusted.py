"""Weights files that are damaged or hostile."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from phiscale.arch.families import get_spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError, WeightsError
from phiscale.nn.network import build
from phiscale.weights.formats import read_foreign
from phiscale.weights.header import read_metadata
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.sources import load
from phiscale.weights.store import read, save
from support.timm_weights import timm_tensors

pytestmark = pytest.mark.usefixtures("empty_cache")


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
def test_a_pickle_in_any_container_is_refused_and_never_run(
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
        read_metadata(other)
        assert len(damaged) == len(whole), "a cut file was read"
    except PhiscaleError as error:
        assert "\n" not in str(error)
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
    tensors = timm_tensors()
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


@pytest.mark.parametrize(
    ("inner", "prefix"),
    [
        ("state_dict_ema", ""),  # timm's train.py
        ("model", "module."),  # torchvision's references
        ("model_ema", "module."),
        ("ema", "module._orig_mod."),
        ("state_dict", "backbone."),
        ("state_dict", "encoder."),
    ],
)
def test_checkpoints_of_training_scripts_are_read_with_what_they_keep_beside_the_tensors(
    tmp_path: Path, inner: str, prefix: str
):
    arguments = argparse.Namespace(lr=np.float32(0.1), out=tmp_path, epochs=np.int64(3))
    tensors = {f"{prefix}conv1.weight": torch.ones(2)}
    if inner == "model_ema":
        tensors["n_averaged"] = torch.tensor(3)
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({inner: tensors, "args": arguments, "metric": np.float64(71.2)}, path)
    assert list(read_foreign(path).tensors) == ["conv1.weight"]


def test_a_namespace_does_not_let_code_in(tmp_path: Path):
    path, mark = tmp_path / "checkpoint.pth", tmp_path / "mark"
    path.write_bytes(as_torch(argparse.Namespace(inside=Payload(mark))))
    with pytest.raises(WeightsError, match="Nothing in it was run"):
        read_foreign(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["pipe.safetensors", "run"])
def test_a_named_pipe_given_as_weights_is_refused_at_once(tmp_path: Path, name: str):
    pipe = tmp_path / name
    if name == "run":
        pipe.mkdir()
        pipe = pipe / "best.safetensors"
    os.mkfifo(pipe)
    with pytest.raises(WeightsError, match="is a pipe, a device or a socket"):
        load(str(tmp_path / name))

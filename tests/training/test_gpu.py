"""What only a GPU can show: the same bits after a kill, and norms of processes that share it.

Skipped without one; what they decide without a GPU is tested in test_stops.py and test_sync.py.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.augment.augment import Augment
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.nn.network import build
from phiscale.nn.norm import BatchNorm2d, synchronise
from phiscale.training.callbacks import Progress
from phiscale.training.loop import train
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from support.logs import log_without_times
from support.runs import child_environment, network_weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=16)
PREPROCESSING = Preprocessing(size=16, crop=1.0)
RECIPE = Recipe(
    epochs=20 * 24 / 1438,
    batch=24,
    micro_batch=12,
    evaluations=2,
    dropout=0.2,
    drop_path=0.2,
    optim=Optim(name="rmsprop_tf", lr_peak=0.01),
    augment=Augment(mixup=0.4, erase=0.3),
)
CUDA = torch.device("cuda")


def main(task: str, out: str) -> None:
    """What each process of a torchrun does."""
    if task == "train":
        runtime = Runtime(device=CUDA, save_every_s=0)
        train(
            Path(out),
            SPEC,
            open_dataset("digits"),
            replace(RECIPE, precision="fp64"),
            PREPROCESSING,
            runtime,
        )
        return
    dist.init_process_group("gloo")
    x, push = (torch.randn(6, 5, 4, 4, generator=torch.manual_seed(s)).double() for s in (1, 2))
    rows = slice(0, 4) if dist.get_rank() == 0 else slice(4, 6)  # unequal parts
    results: list[list[Tensor]] = []
    for device in ("cpu", "cuda"):
        network = nn.Sequential(BatchNorm2d(5)).double()
        network[0].weight.data, network[0].bias.data = torch.linspace(0.5, 2, 5), torch.zeros(5)
        network[0].running_mean, network[0].running_var = torch.zeros(5), torch.ones(5)
        network[0].num_batches_tracked = torch.zeros((), dtype=torch.int64)
        network = network.double().to(device)
        assert dist.group.WORLD is not None
        synchronise(network, dist.group.WORLD)
        inputs = x[rows].to(device).requires_grad_()
        network(inputs).backward(push[rows].to(device))
        assert inputs.grad is not None
        learned = {
            **dict(network.named_buffers()),
            "x": inputs.grad,
            "weight": network[0].get_parameter("weight").grad,
        }
        results.append([tensor.cpu() for tensor in learned.values() if tensor is not None])
    assert type(network[0]) is nn.SyncBatchNorm
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def torchrun(processes: int, task: str, out: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
    ]
    process = subprocess.run(
        [sys.executable, *(start if processes > 1 else ()), __file__, task, str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env=child_environment(),
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_deterministic_training_resumes_to_the_bit(precision: str, tmp_path: Path):
    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.images_seen == 8 * 24:
            raise Stopped

    recipe = replace(RECIPE, precision=precision)  # type: ignore[arg-type]
    runtime = Runtime(device=CUDA, deterministic=True, save_every_s=0)
    arguments = SPEC, open_dataset("digits"), recipe, PREPROCESSING
    train(tmp_path / "undisturbed", *arguments, runtime)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", *arguments, replace(runtime, callbacks=[stop]))
    train(tmp_path / "stopped", *arguments, runtime)
    for name, tensor in network_weights(tmp_path / "undisturbed").items():
        assert torch.equal(network_weights(tmp_path / "stopped")[name], tensor), name
    assert log_without_times(tmp_path / "undisturbed") == log_without_times(tmp_path / "stopped")


def test_a_gpu_gives_the_cpus_logits():
    network = build(SPEC).double()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(network.eval()(x), network.to(CUDA)(x.to(CUDA)).cpu())


def test_our_norms_over_two_processes_are_torchs_on_a_gpu_that_both_share(tmp_path: Path):
    torchrun(2, "norms", tmp_path)


def test_two_processes_on_one_gpu_train_the_weights_of_one(tmp_path: Path):
    torchrun(1, "train", tmp_path / "one")
    torchrun(2, "train", tmp_path / "two")
    one, two = network_weights(tmp_path / "one"), network_weights(tmp_path / "two")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-7, atol=1e-9)


@pytest.fixture
def nccl() -> Iterator[object]:
    dist.init_process_group("nccl", store=HashStore(), rank=0, world_size=1, device_id=CUDA)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_nccl_sums_gradients_and_norms_of_a_group_of_one(nccl: object):
    group = ProcessGroup(0, 2)  # its barriers; the sums are the group's
    group.everyone = nccl
    gradients = [torch.randn(3, 4, device=CUDA), torch.randn(7, device=CUDA)]
    before = [g.clone() for g in gradients]
    group.all_reduce_(gradients)
    assert all(torch.equal(a, b) for a, b in zip(gradients, before, strict=True))
    network, unsynchronised = build(SPEC).to(CUDA), build(SPEC).to(CUDA)
    unsynchronised.load_state_dict(network.state_dict())
    synchronise(network, nccl)  # type: ignore[arg-type]
    x = torch.randn(8, 3, 16, 16, device=CUDA)
    torch.testing.assert_close(network.train()(x), unsynchronised.train()(x), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main(*sys.argv[1:])

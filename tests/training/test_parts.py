"""Order, random numbers, schedules, optimisers, averages, metrics: each checked against its law."""

import copy
import itertools
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phiscale.arch.families import get_spec
from phiscale.data.augment.augment import RANDOM_NUMBERS, Augment, augment_images
from phiscale.data.datasets.open import open_dataset
from phiscale.data.loader import ImageCache, TrainingBatchPlan, training_batches
from phiscale.data.order import Order, draw_uniforms, hash_numbers
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import differences
from phiscale.nn.network import build
from phiscale.training.ema import Ema
from phiscale.training.metrics import measure, wilson
from phiscale.training.optim import Muon, RMSpropTF, make_optimizer, orthogonalize
from phiscale.training.recipes.recipe import Growth, Optim, Recipe, Schedule
from phiscale.training.recipes.table import RECIPES
from phiscale.training.schedule import learning_rate


@given(st.integers(1, 50), st.integers(0, 3), st.lists(st.integers(0, 200), min_size=2, max_size=6))
def test_the_order_of_samples_does_not_depend_on_the_start(size: int, seed: int, cuts: list[int]):
    cuts = sorted(cuts)
    whole = Order(size, seed).samples(cuts[0], cuts[-1]) if cuts[-1] > cuts[0] else np.empty(0)
    parts = [Order(size, seed).samples(a, b) for a, b in itertools.pairwise(cuts) if b > a]
    assert np.array_equal(whole, np.concatenate(parts) if parts else np.empty(0))


def test_every_epoch_shows_every_image_once_and_in_another_order():
    epochs = Order(100, 0).samples(0, 300).reshape(3, 100)
    assert all(sorted(epoch) == list(range(100)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_random_numbers_belong_to_their_place_and_spread_evenly():
    numbers = draw_uniforms(1, np.arange(4000), 4)
    assert np.array_equal(draw_uniforms(1, np.array([17]), 4)[0], numbers[17])
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.abs(numbers.mean(0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.05
    assert hash_numbers(1, 2) != hash_numbers(2, 1)


IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
SAMPLE_INDICES = np.arange(40)


@pytest.mark.parametrize("frame", ["shift", "area"])
@pytest.mark.parametrize("policy", ["none", "randaugment", "v0", "paper"])
def test_augmentation_is_a_function_of_image_and_random_numbers(frame: str, policy: str):
    how = Augment(frame=frame, policy=policy, erase=0.3)  # type: ignore[arg-type]
    preprocessing = Preprocessing(size=24, crop=1.0)
    u = draw_uniforms(0, SAMPLE_INDICES, RANDOM_NUMBERS)
    batch = augment_images([IMAGE] * 40, how, preprocessing, u)
    assert batch.shape == (40, 24, 24, 3) and batch.dtype == np.uint8
    for index in SAMPLE_INDICES:  # alone or in a batch: the same
        single = augment_images([IMAGE], how, preprocessing, u[index : index + 1])[0]
        assert np.array_equal(single, batch[index])
    assert len({pixels.tobytes() for pixels in batch}) > 30


def test_a_shift_moves_the_image_and_a_flip_mirrors_it():
    preprocessing, u = Preprocessing(size=40, crop=1.0), np.full((1, RANDOM_NUMBERS), 0.5)
    square = IMAGE[:, :40]
    u[0, 4] = 0.999  # down by 5, and 0.5 leaves the columns where they are
    moved = augment_images([square], Augment(shift=0.125, flip=False), preprocessing, u)[0]
    assert np.array_equal(moved[:35], square[5:])
    u[0, 4], u[0, 6] = 0.5, 0.0
    mirrored = augment_images([square], Augment(shift=0.125), preprocessing, u)[0]
    assert np.array_equal(mirrored, square[:, ::-1])


def test_without_augmentation_training_images_equal_evaluation_images():
    preprocessing = Preprocessing(size=24, crop=1.0)
    u = draw_uniforms(0, SAMPLE_INDICES[:1], RANDOM_NUMBERS)
    pixels = augment_images([IMAGE], Augment(shift=0, flip=False), preprocessing, u)[0]
    assert np.array_equal(pixels, np.asarray(preprocessing.crop_and_resize(Image.fromarray(IMAGE))))


@given(index=st.integers(0, 10**6))
def test_a_square_that_is_cut_out_has_the_mean_colour_and_may_stand_over_the_edge(index: int):
    how, preprocessing = (
        Augment(shift=0.0, flip=False, cutout=0.5),
        Preprocessing(size=16, crop=1.0),
    )
    image = np.full((16, 16, 3), 7, np.uint8)
    (result,) = augment_images(
        [image], how, preprocessing, draw_uniforms(0, np.array([index]), RANDOM_NUMBERS)
    )
    cut = (result == np.round(np.array(preprocessing.mean) * 255)).all(2)
    assert (result[~cut] == 7).all() and 4 * 4 <= cut.sum() <= 8 * 8
    assert cut.sum() == cut.any(1).sum() * cut.any(0).sum()  # one rectangle


def test_cached_images_stay_within_their_bytes_and_equal_uncached_ones():
    train = open_dataset("digits").train
    one = ImageCache(train, 8).pixels(0).nbytes
    some, all_ = ImageCache(train, 8, cache_bytes=5 * one), ImageCache(train, 8)
    for index in [*range(20), *range(20)]:
        assert (some.pixels(index) == all_.pixels(index)).all()
    assert (len(some), len(all_)) == (5, 20)


@given(st.integers(0, 10_000))
def test_a_random_area_is_inside_the_image(index: int):
    from phiscale.data.augment.augment import random_area

    left, top, right, bottom = random_area(50, 40, 0.08, *draw_uniforms(0, np.array([index]), 4)[0])
    assert 0 <= left < right <= 50 and 0 <= top < bottom <= 40.0001


def test_cosine_warms_up_peaks_and_ends_at_nothing():
    def rate(seen: int) -> float:
        schedule = Schedule(warmup_fraction=0.1)
        return learning_rate(seen, total=1000, train_images=100, peak=0.4, schedule=schedule)

    assert rate(0) == 0 and rate(50) == pytest.approx(0.2) and rate(100) == pytest.approx(0.4)
    assert rate(550) == pytest.approx(0.2) and rate(999) < 1e-5


def test_the_step_schedule_counts_its_exponent_from_the_first_image():
    schedule = Schedule(shape="step", warmup_fraction=5 / 350)
    train_images = 1000

    def rate(epoch: float) -> float:
        return learning_rate(
            int(epoch * train_images),
            total=350 * train_images,
            train_images=train_images,
            peak=0.256,
            schedule=schedule,
        )

    assert rate(2.5) == pytest.approx(0.128)
    assert rate(5.0) == pytest.approx(0.256 * 0.97**2)  # 2.4 and 4.8 epochs have passed
    assert rate(240) == pytest.approx(0.256 * 0.97**100)


def test_tensorflow_rmsprop_is_its_literal_transcription():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 4))
    parameter = torch.nn.Parameter(torch.tensor(weight))
    optimizer = RMSpropTF(
        [{"params": [parameter], "weight_decay": 1e-2}], lr=0.05, decay=0.9, momentum=0.8, eps=1e-3
    )
    square, buffer = np.ones_like(weight), np.zeros_like(weight)
    for _ in range(5):
        gradient = rng.normal(size=weight.shape)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        gradient = gradient + 1e-2 * weight
        square = 0.9 * square + 0.1 * gradient**2
        buffer = 0.8 * buffer + 0.05 * gradient / np.sqrt(square + 1e-3)
        weight = weight - buffer
    assert np.allclose(parameter.detach().numpy(), weight, rtol=1e-12)


OPTIMIZERS = get_args(get_type_hints(Optim)["name"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_norms_and_biases_do_not_decay(name: str):
    network = build(get_spec("small"))
    optimizer = make_optimizer(network, Optim(name=name, weight_decay=0.1))  # type: ignore[arg-type]
    decayed, free, *orthogonal = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and free["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in free["params"])
    assert bool(orthogonal) == (name == "muon") and all(g["weight_decay"] == 0 for g in orthogonal)
    every = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in every}) == len(every) == len(list(network.parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_from_its_saved_state_to_the_bit(name: str):
    first = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def start():
        torch.manual_seed(0)
        network = build(replace(get_spec("small"), classes=5))
        optim = Optim(name=name, lr_peak=0.01, weight_decay=1e-3)  # type: ignore[arg-type]
        return network, make_optimizer(network, optim)

    def steps(network: torch.nn.Module, optimizer: torch.optim.Optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            network(first).square().mean().backward()
            optimizer.step()

    whole, optimizer = start()
    steps(whole, optimizer)
    saved = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
    steps(whole, optimizer)
    resumed, again = start()
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    steps(resumed, again)
    pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("shape", [(8, 12), (12, 8), (40, 8)])
def test_orthogonalised_matrices_keep_singular_vectors_and_even_out_singular_values(
    shape: tuple[int, int],
):
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    left = torch.linalg.qr(torch.randn(shape[0], rank, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(shape[1], rank, generator=generator)).Q
    singular_values = torch.logspace(0, -1, rank)
    result = orthogonalize((left @ singular_values.diag() @ right.T)[None], steps=5)[0]
    along = left.T @ result @ right
    assert (along - along.diag().diag()).abs().max() < 1e-4
    assert along.diag().min() > 0.6 and along.diag().max() < 1.3


def test_muon_is_its_literal_transcription():
    rng = np.random.default_rng(0)
    matrix, vector = rng.normal(size=(16, 8)), rng.normal(size=5)
    parameters = [
        torch.nn.Parameter(torch.tensor(matrix)[..., None, None]),
        torch.nn.Parameter(torch.tensor(vector)),
    ]
    groups = [
        {"params": parameters[1:], "weight_decay": 1e-2},
        {"params": parameters[:1], "momentum": 0.6, "orthogonal": True},
    ]
    optimizer = Muon(groups, lr=0.05, momentum=0.9)
    slow, fast, norm = np.zeros_like(vector), np.zeros_like(matrix), np.linalg.norm(matrix)
    for _ in range(4):
        pushes = rng.normal(size=matrix.shape), rng.normal(size=vector.shape)
        parameters[0].grad = torch.tensor(pushes[0])[..., None, None]
        parameters[1].grad = torch.tensor(pushes[1])
        optimizer.step()
        gradient = pushes[1] + 1e-2 * vector
        slow = 0.9 * slow + gradient
        vector = vector - 0.05 * (gradient + 0.9 * slow)
        fast = 0.6 * fast + pushes[0]
        update = (pushes[0] + 0.6 * fast).T
        update = update / np.linalg.norm(update)
        for _ in range(3):
            square = update @ update.T
            update = (3.4445 * np.eye(8) - 4.7750 * square + 2.0315 * square @ square) @ update
        matrix = matrix * norm / np.linalg.norm(matrix) - 0.05 * 0.2 * np.sqrt(2) * update.T
    assert np.allclose(parameters[0].detach().numpy()[..., 0, 0], matrix, rtol=1e-9)
    assert np.allclose(parameters[1].detach().numpy(), vector, rtol=1e-12)


def test_a_matrix_that_starts_at_nothing_still_learns():
    zero = torch.nn.Parameter(torch.zeros(8, 8, 1, 1))
    optimizer = Muon([{"params": [zero], "orthogonal": True}], lr=0.1, momentum=0.6)
    for _ in range(2):
        zero.grad = torch.eye(8)[..., None, None]
        optimizer.step()
    assert zero.isfinite().all() and zero.norm() > 0


def test_the_average_forgets_its_random_start_and_covers_batch_norm():
    network = build(replace(get_spec("small"), stages=get_spec("small").stages[:1]))
    ema = Ema(network, 0.5**0.001)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.fill_(1.0)
    for update in range(60):
        assert ema.decay() == pytest.approx(min(0.5**0.001, (1 + update) / (10 + update)))
        ema.update(network)
    left = max(float((a - 1).abs().max()) for a in ema.averages.values() if a.is_floating_point())
    assert left < 1e-6
    assert "stem.norm.running_var" in ema.averages


def test_metrics_of_a_small_table():
    logits = np.array([[2.0, 1, 0], [0, 2, 1], [0, 2, 1], [1, 0, 2]])
    metrics = measure(logits, np.array([0, 1, 2, 2]), ("a", "b", "c"))
    assert metrics.top1 == 0.75 and metrics.top5 == 1.0
    assert metrics.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 1))
    f1 = {row["name"]: row["f1"] for row in metrics.per_class}
    assert f1 == {"a": 1.0, "b": pytest.approx(2 / 3), "c": pytest.approx(2 / 3)}
    assert metrics.macro_f1 == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert metrics.majority == 0.5


def test_constant_logits_score_nothing():
    metrics = measure(np.zeros((10, 20)), np.arange(10) + 5, tuple("abcdefghijklmnopqrst"))
    assert metrics.top1 == 0.0 and metrics.top5 == 0.0


def test_wilsons_interval_is_the_published_one():
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.278), abs=5e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name: str):
    import json

    recipe = RECIPES[name]
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_recipe_with_an_unknown_field_is_refused_by_name():
    with pytest.raises(PhiscaleError, match="colour"):
        Recipe.from_dict({**Recipe().to_dict(), "colour": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": float("nan")},
        {"batch": 0},
        {"dropout": 1.5},
        {"label_smoothing": -0.1},
    ],
)
def test_recipes_that_train_nothing_are_refused(wrong: dict[str, float]):
    with pytest.raises(UsageError, match=r"use"):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_differences_name_the_flag_and_both_values():
    a, b = Recipe().to_dict(), replace(Recipe(), optim=Optim(lr_peak=0.5)).to_dict()
    assert [str(each) for each in differences(a, b)] == ["optim.lr_peak: 0.1 -> 0.5"]


def test_images_grow_in_steps_of_4_to_the_full_side() -> None:
    growing = Recipe(growth=Growth(first_size=0.75, until=0.6))
    sides = [growing.pixels(32, percent / 100) for percent in range(100)]
    assert sides == sorted(sides)
    assert sorted(set(sides)) == [24, 28, 32]
    assert (sides[29], sides[30], sides[60], sides[99]) == (24, 28, 32, 32)
    assert {Recipe().pixels(30, percent / 100) for percent in range(100)} == {30}


@given(full=st.integers(4, 600), first=st.floats(0.01, 1), progress=st.floats(0, 1))
def test_training_images_are_never_larger_than_the_networks(
    full: int, first: float, progress: float
) -> None:
    recipe = Recipe(growth=Growth(first_size=first))
    assert 4 <= recipe.pixels(full, progress) <= full
    assert recipe.pixels(full, 1.0) == full


def test_a_smaller_image_at_the_start_is_the_whole_image() -> None:
    images = open_dataset("digits")
    cache, preprocessing = ImageCache(images.train, 16), Preprocessing(size=16, crop=1.0)
    plain = Augment(frame="shift", shift=0.0, flip=False)
    batches = training_batches(
        cache,
        preprocessing,
        TrainingBatchPlan(
            seed=0,
            batch=8,
            start=0,
            stop=32,
            augment_at=lambda sample: plain,
            size_at=lambda sample: 8 if sample < 16 else 16,
        ),
    )
    sides = [tuple(batch.pixels.shape[2:]) for batch in batches]
    assert sides == [(8, 8), (8, 8), (16, 16), (16, 16)]

"""The named recipes against the tables they come from, and rules for trainings of any length."""

from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.families import MEMBERS, get_spec
from phiscale.arch.scaling import compound, scale
from phiscale.training.recipes.recipe import Growth, Recipe, Schedule
from phiscale.training.recipes.sizing import IMAGENET_IMAGES, scale_recipe
from phiscale.training.recipes.table import RECIPE_ENTRIES, RECIPES, long_enough
from phiscale.training.schedule import find_problems, initial_share, learning_rate, rate_left

IMAGENET = RECIPES["efficientnet-imagenet"]
V2 = RECIPES["efficientnetv2-imagenet"]


def test_the_imagenet_recipe_is_the_published_one():
    assert IMAGENET.lr_peak == pytest.approx(0.256)  # 0.016 per 256 images, of 4096
    assert replace(IMAGENET, batch=2048).lr_peak == pytest.approx(0.128)
    assert IMAGENET.epochs == 350 and IMAGENET.schedule.warmup_fraction * 350 == pytest.approx(5)
    optim = IMAGENET.optim
    assert (optim.name, optim.momentum, optim.eps, optim.weight_decay) == (
        "rmsprop_tf",
        0.9,
        1e-3,
        1e-5,
    )
    assert (IMAGENET.ema_decay, IMAGENET.label_smoothing, IMAGENET.drop_path) == (0.9999, 0.1, 0.2)
    assert round(IMAGENET.images(IMAGENET_IMAGES) / 2048) == pytest.approx(218_949, abs=10)


def test_biases_decay_in_the_first_efficientnets_recipe_and_not_in_the_seconds():
    assert (IMAGENET.optim.decayed, V2.optim.decayed) == ("all-but-norms", "weights")


# RandAugment's and mixup's first and last strength, pixels of the four stages, last dropout
STAGES = [
    ("efficientnetv2-imagenet", "efficientnetv2_s", (171, 214, 257, 300), (5, 10), 0, (0.2, 0.2)),
    ("efficientnetv2-imagenet", "efficientnetv2_m", (192, 256, 320, 384), (5, 15), 0.2, (0.3, 0.3)),
    ("efficientnetv2-imagenet", "efficientnetv2_l", (192, 256, 320, 384), (5, 20), 0.5, (0.4, 0.4)),
    ("efficientnetv2-paper", "efficientnetv2_s", (128, 185, 242, 300), (5, 15), 0, (0.1, 0.3)),
    ("efficientnetv2-paper", "efficientnetv2_m", (128, 212, 296, 380), (5, 20), 0.2, (0.1, 0.4)),
    ("efficientnetv2-paper", "efficientnetv2_l", (128, 212, 296, 380), (5, 25), 0.5, (0.1, 0.5)),
]


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize(("name", "member", "pixels", "magnitude", "mixup", "dropout"), STAGES)
def test_progressive_learning_has_the_numbers_that_its_code_and_its_paper_print(
    name: str,
    member: str,
    pixels: tuple[int, ...],
    magnitude: tuple[float, float],
    mixup: float,
    dropout: tuple[float, float],
    as_published: bool,
):
    entry, spec = RECIPE_ENTRIES[name], get_spec(member)
    assert entry.scaling is not None
    recipe = scale_recipe(
        entry.recipe,
        entry.recipe,
        spec,
        entry.scaling,
        IMAGENET_IMAGES,
        as_published=as_published,
    )
    times = [0.0, 0.25, 0.5, 0.99]
    assert tuple(recipe.pixels(spec.resolution, time) for time in times) == pixels
    first, last = recipe.augment_at(0), recipe.augment_at(0.99)
    assert (first.magnitude, last.magnitude) == pytest.approx(magnitude)
    cutmix = mixup if name == "efficientnetv2-imagenet" else 0  # the paper has none
    assert (first.mixup, last.mixup) == (0, mixup) and (first.cutmix, last.cutmix) == (0, cutmix)
    assert (recipe.dropout_at(0), recipe.dropout_at(0.99)) == pytest.approx(dropout)


@pytest.mark.parametrize("member", ["efficientnetv2_b0", "tf_efficientnetv2_b3"])
def test_the_small_second_versions_are_trained_as_the_first_ones(member: str):
    entry = RECIPE_ENTRIES["efficientnetv2-imagenet"]
    assert entry.scaling is not None
    scaled = scale_recipe(
        entry.recipe, entry.recipe, get_spec(member), entry.scaling, IMAGENET_IMAGES
    )
    assert scaled.augment.policy == "v0" and scaled.augment.mixup == 0
    assert scaled.growth == Growth() and scaled.dropout == MEMBERS[member].dropout
    assert scaled.pixels(get_spec(member).resolution, 0) == MEMBERS[member].train_resolution


@pytest.mark.parametrize("member", ["efficientnet_b1", "efficientnet_b4", "tf_efficientnet_b7"])
def test_published_members_take_the_numbers_printed_for_them(member: str):
    entry = RECIPE_ENTRIES["efficientnet-imagenet"]
    assert entry.scaling is not None
    scaled = scale_recipe(
        entry.recipe, entry.recipe, get_spec(member), entry.scaling, IMAGENET_IMAGES
    )
    assert scaled == replace(entry.recipe, dropout=MEMBERS[member].dropout)


@pytest.mark.parametrize(
    ("member", "magnitude"),
    [("efficientnet_b0", 10), ("efficientnet_b5", 17), ("efficientnet_b7", 28)],
)
def test_requested_randaugment_has_the_published_magnitude(member: str, magnitude: float):
    entry = RECIPE_ENTRIES["efficientnet-imagenet"]
    assert entry.scaling is not None
    requested = replace(entry.recipe, augment=replace(entry.recipe.augment, policy="randaugment"))
    scaled = scale_recipe(requested, entry.recipe, get_spec(member), entry.scaling, IMAGENET_IMAGES)
    assert scaled.augment.magnitude == magnitude
    with_magnitude = replace(requested, augment=replace(requested.augment, magnitude=3.0))
    assert (
        scale_recipe(
            with_magnitude, entry.recipe, get_spec(member), entry.scaling, IMAGENET_IMAGES
        ).augment
        == with_magnitude.augment
    )


def test_as_published_uses_what_is_printed_for_a_member_and_nothing_computed():
    entry = RECIPE_ENTRIES["efficientnet-imagenet"]
    assert entry.scaling is not None
    b7, odd = get_spec("efficientnet_b7"), scale(get_spec("efficientnet_b0"), compound(2.5))
    scaled = scale_recipe(entry.recipe, entry.recipe, b7, entry.scaling, 50_000, as_published=True)
    assert scaled == replace(entry.recipe, dropout=0.5)
    same = scale_recipe(entry.recipe, entry.recipe, odd, entry.scaling, 50_000, as_published=True)
    assert same == entry.recipe


def test_the_second_versions_tuning_takes_ten_thousand_updates_at_least():
    entry = RECIPE_ENTRIES["efficientnetv2-finetune"]
    assert entry.published is not None
    printed = replace(entry, recipe=entry.published)
    few = long_enough(entry.published, printed, 50_000)
    assert few.images(50_000) // few.batch == 10_000
    assert few.schedule.warmup_fraction * few.epochs == pytest.approx(1)
    assert long_enough(entry.published, printed, IMAGENET_IMAGES) == entry.published
    requested = replace(entry.published, epochs=3)
    assert long_enough(requested, printed, 50_000) == requested


@pytest.mark.parametrize("images", [30_000, 200_000, IMAGENET_IMAGES, 10**7])
def test_the_average_forgets_its_start_in_a_training_of_any_length(images: int):
    """0.9999 was made for 350 epochs of ImageNet; fewer updates, a half-life of the same share."""
    scaling = RECIPE_ENTRIES["efficientnet-imagenet"].scaling
    assert scaling is not None
    scaled = scale_recipe(IMAGENET, IMAGENET, scaling.base, scaling, images)
    updates = scaled.images(images) // scaled.batch
    assert initial_share(scaled.ema_decay, updates) < 0.01
    assert scaled.ema_decay <= 0.9999
    assert (scaled.ema_decay == 0.9999) == (images >= 0.9 * IMAGENET_IMAGES)


def test_progressive_learning_of_the_paper_begins_at_128_px_and_lets_dropout_grow():
    paper = RECIPES["efficientnetv2-paper"]
    assert (paper.pixels(384, 0), paper.pixels(384, 0.9)) == (128, 300)
    assert (paper.dropout_at(0), paper.dropout_at(0.9)) == (0.1, 0.3)
    assert paper.augment_at(0.9).magnitude == 15


# dropout, RandAugment's magnitude where it was used, mixup
PUBLISHED = [
    ("efficientnet_b0", 0.2, None, 0),
    ("efficientnet_b1", 0.2, None, 0),
    ("efficientnet_b2", 0.3, None, 0),
    ("efficientnet_b3", 0.3, None, 0),
    ("efficientnet_b4", 0.4, None, 0),
    ("efficientnet_b5", 0.4, 17, 0),
    ("efficientnet_b6", 0.5, None, 0),
    ("efficientnet_b7", 0.5, 28, 0),
    ("efficientnetv2_s", 0.2, 10, 0),
    ("efficientnetv2_m", 0.3, 15, 0.2),
    ("efficientnetv2_l", 0.4, 20, 0.5),
]


@pytest.mark.parametrize(("member", "dropout", "magnitude", "mixup"), PUBLISHED)
def test_what_grows_with_the_network_grows_through_the_published_numbers(
    member: str, dropout: float, magnitude: float | None, mixup: float
):
    name = "efficientnetv2-imagenet" if "v2" in member else "efficientnet-imagenet"
    entry = RECIPE_ENTRIES[name]
    assert entry.scaling is not None
    scaling = replace(entry.scaling, published={})  # by the functions alone
    requested = entry.recipe
    if magnitude is not None:
        requested = replace(requested, augment=replace(requested.augment, policy="randaugment"))
    scaled = scale_recipe(requested, entry.recipe, get_spec(member), scaling, IMAGENET_IMAGES)
    assert scaled.dropout == pytest.approx(dropout, abs=0.05)
    assert magnitude is None or scaled.augment.magnitude == pytest.approx(magnitude, abs=4)
    assert scaled.augment.mixup == pytest.approx(mixup, abs=0.07)
    assert scaled.drop_path == 0.2  # of all of them
    assert scaled.lr_peak == entry.recipe.lr_peak  # the published one is the same for all members


@given(phi=st.floats(-4, 8), images=st.integers(1000, 10_000_000))
def test_any_phi_has_a_recipe_that_can_be_trained(phi: float, images: int):
    scaling = RECIPE_ENTRIES["efficientnet-imagenet"].scaling
    assert scaling is not None
    spec = scale(get_spec("efficientnet_b0"), compound(phi))
    scaled = scale_recipe(IMAGENET, IMAGENET, spec, scaling, images)
    assert 0 <= scaled.dropout <= 0.6 and 0 <= scaled.drop_path <= 0.2
    assert 0 <= scaled.augment.magnitude <= 30 and scaled.schedule.warmup_fraction <= 0.1


def test_requested_values_stay_and_the_other_changes_are_logged(
    caplog: pytest.LogCaptureFixture,
):
    requested = replace(V2, dropout=0.35)
    scaling, spec = RECIPE_ENTRIES["efficientnetv2-imagenet"].scaling, get_spec("efficientnetv2_m")
    assert scaling is not None
    with caplog.at_level("INFO", logger="phiscale"):
        scaled = scale_recipe(requested, V2, spec, scaling, IMAGENET_IMAGES)
    assert scaled.dropout == 0.35 and scaled.augment.mixup == 0.2
    [message] = caplog.messages
    assert "augment.mixup: 0.0 -> 0.2" in message and "dropout" not in message


def test_a_base_network_on_its_own_images_keeps_its_recipe():
    for entry in RECIPE_ENTRIES.values():
        if entry.scaling is not None and entry.recipe.images(entry.scaling.images) > 10**6:
            scaling = entry.scaling
            same = scale_recipe(entry.recipe, entry.recipe, scaling.base, scaling, scaling.images)
            assert same == entry.recipe


@pytest.mark.parametrize("name", RECIPE_ENTRIES)
def test_every_recipe_says_where_it_comes_from_and_what_it_reaches(name: str):
    entry = RECIPE_ENTRIES[name]
    assert len(entry.source) > 20
    assert any(word in entry.expected for word in ("not run", "CPU", "published"))


@pytest.mark.parametrize(
    "name", [n for n, entry in RECIPE_ENTRIES.items() if entry.recipe.epochs >= 8]
)
@pytest.mark.parametrize("images", [3000, 45_000, IMAGENET_IMAGES])
def test_named_recipes_end_near_nothing_on_sets_that_they_are_for(name: str, images: int):
    recipe = RECIPES[name]
    if recipe.images(images) / recipe.batch < 100:
        pytest.skip("too few updates for this batch")
    assert find_problems(recipe, images) == []
    assert rate_left(recipe, images) < 0.05


def test_the_published_replication_has_one_problem_its_learning_rate_ends_at_64_percent():
    published = RECIPE_ENTRIES["cifar10-35"].published
    assert published is not None
    (problem,) = find_problems(published, 45_000)
    assert "ends at 6" in problem and "schedule.step_epochs=" in problem
    assert 0.6 < rate_left(published, 45_000) < 0.66


def test_the_suggested_step_epochs_solve_the_problem():
    short = replace(IMAGENET, epochs=35, batch=256)
    (problem,) = find_problems(short, 45_000)
    epochs = float(problem.split("schedule.step_epochs=")[1].split(",")[0])
    fixed = replace(short, schedule=replace(short.schedule, step_epochs=epochs))
    assert find_problems(fixed, 45_000) == []


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(schedule=Schedule(shape="constant")),
        Recipe(schedule=Schedule(final_fraction=0.2)),
    ],
)
def test_a_rate_that_stays_high_is_refused_whatever_its_shape(recipe: Recipe):
    (problem,) = find_problems(recipe, 10_000)
    assert "of its peak; use schedule." in problem


@given(cap=st.floats(0, 0.99999), updates=st.integers(0, 3000))
def test_the_weight_of_the_random_start_is_the_product_of_all_decays(cap: float, updates: int):
    exact = prod(min(cap, (1 + n) / (10 + n)) for n in range(updates))
    assert initial_share(cap, updates) == pytest.approx(exact, rel=1e-6, abs=1e-300)


def test_an_average_that_keeps_its_random_start_is_refused():
    few = Recipe(epochs=1, batch=64, ema_decay=0.9999)
    assert any("random start" in problem for problem in find_problems(few, 128))
    assert find_problems(few, 64 * 20) == []


def test_smooth_growth_ends_where_it_should_and_stages_are_equal():
    smooth, staged = Growth(first_size=0.5, until=0.8), Growth(first_size=0.5, stages=4)
    assert [smooth.along(p) for p in (0, 0.4, 0.8, 1)] == [0, 0.5, 1, 1]
    assert [staged.along(p) for p in (0, 0.24, 0.25, 0.5, 0.75, 0.99)] == pytest.approx(
        [0, 0, 1 / 3, 2 / 3, 1, 1]
    )


def test_a_constant_rate_stays_after_its_warm_up():
    schedule = Schedule(shape="constant", warmup_fraction=0.1)
    rates = [
        learning_rate(seen, total=100, train_images=50, peak=2.0, schedule=schedule)
        for seen in (0, 5, 10, 99)
    ]
    assert rates == pytest.approx([0, 1, 2, 2])

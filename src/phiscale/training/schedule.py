"""Learning rate as a function of images seen, and checks of a training's length."""

from __future__ import annotations

from math import ceil, cos, exp, lgamma, log, pi

from phiscale.training.recipes.recipe import Recipe, Schedule

MOST_LEFT = 0.05  # maximum final learning rate over the peak: more costs accuracy
MOST_INITIAL = 0.01  # maximum weight of the random start in the final EMA


def learning_rate(
    images_seen: int, *, total: int, train_images: int, peak: float, schedule: Schedule
) -> float:
    """Returns the learning rate of the step that starts at `images_seen` of `total`."""
    progress = images_seen / total
    warmup = schedule.warmup_fraction
    if progress < warmup:
        return peak * progress / warmup
    match schedule.shape:
        case "cosine":
            along = (progress - warmup) / (1 - warmup)
            floor = schedule.final_fraction
            return peak * (floor + (1 - floor) * 0.5 * (1 + cos(pi * along)))
        case "step":
            steps = int(images_seen / train_images / schedule.step_epochs)
            return peak * schedule.step_factor**steps
        case "constant":
            return peak


def rate_left(recipe: Recipe, train_images: int) -> float:
    """Returns the learning rate of the last step over the peak."""
    total = recipe.images(train_images)
    if total == 0:
        return 0.0
    last = max(0, total - recipe.batch)
    return learning_rate(
        last, total=total, train_images=train_images, peak=1.0, schedule=recipe.schedule
    )


def ema_cap(recipe: Recipe, updates: int) -> float:
    """Returns the maximum decay of the EMA in a training of so many updates."""
    if recipe.ema_decay:
        return recipe.ema_decay
    half_life = recipe.ema_half_life_fraction * updates
    return 0.5 ** (1 / half_life) if half_life > 0 else 0.0


def initial_share(cap: float, updates: int) -> float:
    """Returns the EMA's weight on its start: the product of min(cap, (1 + n) / (10 + n))."""
    if cap <= 0.1 or updates == 0:
        return cap**updates
    reached = min(updates, ceil((10 * cap - 1) / (1 - cap)))  # updates until the cap
    # (1/10)(2/11)...(m/(m+9)) = m! 9! / (m + 9)!
    growing = lgamma(reached + 1) + lgamma(10) - lgamma(reached + 10)
    return exp(growing + (updates - reached) * log(cap))


def find_problems(recipe: Recipe, train_images: int) -> list[str]:
    """Returns what is wrong with this length of training, each with its fix."""
    problems: list[str] = []
    schedule, left = recipe.schedule, rate_left(recipe, train_images)
    ends = schedule.shape == "cosine" and schedule.final_fraction <= MOST_LEFT
    if (
        left > MOST_LEFT and not ends
    ):  # cosine ends at 0, but the last of few updates may be far from the end
        fix = "schedule.shape='cosine'"
        if schedule.shape == "step":
            epochs = recipe.epochs * log(schedule.step_factor) / log(MOST_LEFT / 2)
            fix = f"schedule.step_epochs={epochs:.2g}, or {fix}"
        elif schedule.shape == "cosine":
            fix = "schedule.final_fraction=0"
        problems.append(f"the learning rate ends at {100 * left:.0f} % of its peak; use {fix}")
    updates = recipe.images(train_images) // recipe.batch
    share = initial_share(ema_cap(recipe, updates), updates)
    if updates and share > MOST_INITIAL:
        problems.append(
            f"the EMA ends with {100 * share:.0f} % of its weight on the random start "
            f"({updates} updates); train longer, use a smaller `batch` or a lower `ema_decay`"
        )
    return problems

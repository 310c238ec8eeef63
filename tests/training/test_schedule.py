"""The learning rate of each epoch."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.training.schedule import LearningRate

modest = settings(deadline=None, max_examples=60)
kinds = st.sampled_from([None, "cosine", "step", "plateau"])


def rates(kind: str | None, warmup: int, epochs: int, base: float = 1.0) -> list[float]:
    schedule = LearningRate(base, kind, warmup, epochs)
    return [schedule.at(epoch) for epoch in range(1, epochs + 1)]


def test_without_a_scheduler_the_rate_is_constant():
    assert rates(None, 0, 5, base=0.3) == [0.3] * 5


@pytest.mark.parametrize("kind", [None, "cosine", "step", "plateau"])
def test_warm_up_rises_linearly_to_the_rate_of_the_settings(kind):
    assert rates(kind, 3, 100, base=8.0)[:4] == [2.0, 4.0, 6.0, 8.0]


def test_cosine_falls_from_the_whole_rate_along_half_a_cosine():
    expected = [0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)]
    assert rates("cosine", 0, 10) == pytest.approx(expected)
    assert rates("cosine", 2, 12)[2:] == pytest.approx(expected)


def test_step_falls_tenfold_after_each_three_tenths_of_the_epochs():
    expected = [1.0] * 3 + [0.1] * 3 + [0.01] * 3 + [0.001]
    assert rates("step", 0, 10) == pytest.approx(expected)


def test_plateau_halves_the_rate_after_five_validations_without_improvement():
    schedule = LearningRate(1.0, "plateau", 0, 100)
    found = []
    for loss in [1.0, 0.5, *[0.5] * 5, *[0.49999] * 5, 0.4, *[0.6] * 4]:
        schedule.observe(loss)
        found.append(schedule.at(1))
    assert found == [1.0] * 6 + [0.5] * 5 + [0.25] * 6


def test_only_plateau_listens_to_validations():
    for kind in (None, "cosine", "step"):
        schedule = LearningRate(1.0, kind, 0, 10)
        before = schedule.at(2)
        for _ in range(20):
            schedule.observe(1.0)
        assert schedule.at(2) == before


@modest
@given(kinds, st.integers(0, 30), st.integers(1, 40), st.floats(1e-6, 10))
def test_every_rate_is_positive_and_at_most_that_of_the_settings(kind, warmup, epochs, base):
    found = rates(kind, warmup, epochs, base)
    assert all(0 < rate <= base for rate in found)
    assert found[warmup:] == sorted(found[warmup:], reverse=True)


@modest
@given(st.lists(st.floats(0, 2), max_size=40), st.data())
def test_a_schedule_goes_on_from_its_state(losses, data):
    cut = data.draw(st.integers(0, len(losses)))
    whole = LearningRate(1.0, "plateau", 2, 50)
    first, second = (LearningRate(1.0, "plateau", 2, 50) for _ in range(2))
    for loss in losses:
        whole.observe(loss)
    for loss in losses[:cut]:
        first.observe(loss)
    second.load_state_dict(first.state_dict())
    for loss in losses[cut:]:
        second.observe(loss)
    assert second.state_dict() == whole.state_dict()
    assert second.at(10) == whole.at(10)


def test_a_gain_of_a_thousandth_is_one_for_plateau():
    schedule = LearningRate(1.0, "plateau", 0, 100)
    for validation in range(20):
        schedule.observe(0.999**validation)
    assert schedule.at(1) == 1.0

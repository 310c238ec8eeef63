"""The design: which operators a dataset holds, each decided by the seed and its number."""

from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

from spinlock.operators.design import (
    ACTIVATIONS,
    ARCHITECTURE_NAMES,
    KERNELS,
    MIN_WIDTH,
    UNBOUNDED_SHARE,
    DesignSpace,
    OperatorSpec,
    operator_specs,
)
from spinlock.operators.design_points import DIMENSIONS, design_points

RANGES = {
    "depth": (1, 4),
    "width": (MIN_WIDTH, 8),
    "gain": (0.6, 1.8),
    "bias_scale": (0, 0.5),
    "dropout": (0, 0.2),
    "noise_scale": (0, 0.1),
    "step_size": (0, 0.4),
    "mixing_rate": (0, 0.95),
    "kernel_decay": (0, 1.5),
    "anisotropy": (0, 1),
    "channel_coupling": (0, 1),
    "damping": (0, 0.15),
    "forcing": (0, 0.4),
    "saturation": (0, 10**-0.2),
    "initial_scale": (0.05, 0.4),
    "initial_amplitude": (10**-0.5, 10**0.5),
}
SPACE = DesignSpace(
    max_depth=4,
    max_width=8,
    policies=("autoregressive", "residual", "convex"),
    initial_conditions=("gaussian_field", "band_noise", "sinusoids", "blobs"),
)
MANY = list(operator_specs(SPACE, 42, 0, 1024))
CHOICES = {
    "activation": ACTIVATIONS,
    "policy": SPACE.policies,
    "initial_kind": SPACE.initial_conditions,
}
OF_POLICY = {"step_size": "residual", "mixing_rate": "convex"}


def place_of(name: str, spec: OperatorSpec) -> float | None:
    """Return what rises with the dimension of a property; None where the policy has no such."""
    value = getattr(spec, name)
    if name in CHOICES:
        return CHOICES[name].index(value)
    if name == "saturation":  # the amplitude rises, whose inverse it is
        return 1 / value if value else 0
    return value if OF_POLICY.get(name, spec.policy) == spec.policy else None


def test_operators_know_their_number_and_do_not_depend_on_the_shard():
    shard = list(operator_specs(SPACE, 42, 500, 20))
    assert [spec.index for spec in shard] == list(range(500, 520))
    assert shard == MANY[500:520]


@pytest.mark.parametrize("name", RANGES)
def test_properties_stay_in_their_range_and_use_it(name):
    low, high = RANGES[name]
    found = np.array([getattr(spec, name) for spec in MANY])
    assert found.min() >= low
    assert found.max() <= high
    assert found.max() - found.min() > 0.9 * (high - low)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_property_follows_the_dimension_of_its_name(dimension):
    """The points are kept as parameters/vectors, which name their columns so."""
    points = design_points(42, 0, len(MANY))[:, DIMENSIONS.index(dimension)]
    places = [place_of(dimension, MANY[i]) for i in np.argsort(points)]
    places = [place for place in places if place is not None]
    assert len(set(places)) > 1
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("depth", (1, 2, 3, 4)),
        ("width", (4, 5, 6, 7, 8)),
        ("kernel_size", KERNELS),
        ("activation", ACTIVATIONS),
        ("normalization", (False, True)),
        ("policy", SPACE.policies),
        ("initial_kind", SPACE.initial_conditions),
    ],
)
def test_choices_are_equally_frequent(name, options):
    counts = Counter(getattr(spec, name) for spec in MANY)
    assert set(counts) == set(options)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_a_property_of_another_policy_is_zero():
    for spec in MANY:
        assert (spec.step_size > 0) == (spec.policy == "residual")
        assert (spec.mixing_rate > 0) == (spec.policy == "convex")


def test_the_stated_share_of_operators_is_unbounded():
    share = np.mean([spec.saturation == 0 for spec in MANY])
    assert abs(share - UNBOUNDED_SHARE) < 2 / len(MANY)
    bounds = [1 / spec.saturation for spec in MANY if spec.saturation]
    assert min(bounds) >= 10**0.2 - 1e-9
    assert max(bounds) <= 10 + 1e-9


def test_some_operators_have_no_noise_and_some_no_dropout_or_forcing():
    for name in ("noise_scale", "dropout", "forcing"):
        assert 0.2 < np.mean([getattr(spec, name) == 0 for spec in MANY]) < 0.4, name


@pytest.mark.parametrize("policy", SPACE.policies)
def test_a_space_of_one_choice_makes_only_that(policy):
    space = replace(SPACE, policies=(policy,), initial_conditions=("blobs",), max_depth=1)
    for spec in operator_specs(space, 0, 0, 32):
        assert (spec.policy, spec.initial_kind, spec.depth) == (policy, "blobs", 1)


def test_the_smallest_space_has_operators():
    space = DesignSpace(1, MIN_WIDTH, ("residual",), ("blobs",))
    assert {(spec.depth, spec.width) for spec in operator_specs(space, 0, 0, 32)} == {(1, 4)}


def test_the_architecture_has_21_names_of_its_own_and_a_value_for_each():
    assert len(ARCHITECTURE_NAMES) == len(set(ARCHITECTURE_NAMES)) == 21
    for spec in MANY[:50]:
        values = dict(zip(ARCHITECTURE_NAMES, spec.architecture(), strict=True))
        assert spec.architecture().dtype == np.float32
        for name in ARCHITECTURE_NAMES:
            kind, _, option = name.partition("_")
            if kind in ("activation", "policy"):
                assert values[name] == (getattr(spec, kind) == option)
            else:
                assert values[name] == np.float32(getattr(spec, name))


def test_the_architecture_tells_all_that_the_operator_is():
    told = {name.split("_")[0] if "ation_" in name else name for name in ARCHITECTURE_NAMES}
    own = {field.name for field in fields(OperatorSpec)} - {"index", "activation", "policy"}
    assert {name for name in own if not name.startswith("initial_")} <= told
    for a, b in pairwise(MANY[:200]):
        assert (a.architecture() != b.architecture()).any()

"""Simulation: what a step means under each policy, same bits always, divergence flagged."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf

from spinlock.operators.initial_conditions import initial_fields
from spinlock.operators.randomness import operator_generator
from spinlock.operators.simulation import (
    ACTIVATIONS,
    VARIANCE_GAIN,
    SimulationPlan,
    apply_operator,
    draw_weights,
    simulate,
)

SILENT = {"gain": 0.0, "bias_scale": 0.0}  # an operator whose output is zero
POLICIES = {
    "autoregressive": {},
    "residual": {"step_size": 0.3},
    "convex": {"mixing_rate": 0.4},
}


def drawn(spec, seed=7, grid=8, channels=2, realizations=2):
    """Return the initial state and the weights that a simulation of the operator draws."""
    generator = operator_generator(seed, spec.index)
    shape = (realizations, channels, grid)
    scale, amplitude = spec.initial_scale, spec.initial_amplitude
    initial = initial_fields(spec.initial_kind, shape, scale, amplitude, generator)
    return initial, draw_weights(spec, channels, grid, generator), generator


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        ("autoregressive", lambda u, f: f),
        ("residual", lambda u, f: u + 0.3 * f),
        ("convex", lambda u, f: 0.6 * u + 0.4 * f),
    ],
)
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("forcing", [0.0, 0.2])
def test_a_step_is_the_policy_then_damping_then_forcing(
    plain, run, policy, after, damping, forcing
):
    spec = replace(plain, policy=policy, damping=damping, forcing=forcing, **POLICIES[policy])
    trajectories = run(spec)
    u, weights, generator = drawn(spec)
    np.testing.assert_array_equal(trajectories.initial, u)
    for t in range(6):
        proposed = apply_operator(spec, weights, u, generator)
        expected = (1 - damping) * after(u, proposed) + weights.forcing
        np.testing.assert_allclose(trajectories.states[:, t], expected, atol=1e-5)
        u = trajectories.states[:, t]


@pytest.mark.parametrize("policy", ["residual", "convex"])
def test_a_step_of_size_zero_keeps_the_state_bit_by_bit(plain, run, policy):
    trajectories = run(replace(plain, policy=policy))
    for t in range(6):
        np.testing.assert_array_equal(trajectories.states[:, t], trajectories.initial)


def test_full_mixing_is_the_autoregressive_policy(plain, run):
    mixed = run(replace(plain, policy="convex", mixing_rate=1.0))
    np.testing.assert_allclose(mixed.states, run(plain).states, atol=1e-5)


def test_damping_alone_shrinks_the_state(plain, run):
    trajectories = run(replace(plain, policy="residual", damping=0.1))
    expected = trajectories.initial * np.float32(0.9) ** 6
    np.testing.assert_allclose(trajectories.states[:, -1], expected, rtol=1e-5)


def test_forcing_is_one_pattern_for_all_steps_and_realizations(plain, run):
    states = run(replace(plain, forcing=0.3, **SILENT)).states
    np.testing.assert_array_equal(states, np.broadcast_to(states[:1, :1], states.shape))
    np.testing.assert_allclose(states[0, 0].std(axis=(-2, -1)), 0.3, rtol=1e-4)


def test_noise_is_white_and_new_at_every_step_and_realization(plain, run):
    states = run(replace(plain, noise_scale=0.05, **SILENT), steps=20, grid=16).states
    assert abs(states.std() - 0.05) < 0.002
    assert abs(states.mean()) < 0.001
    flat = states.reshape(40, -1)
    correlation = np.corrcoef(flat)[np.triu_indices(40, 1)]
    assert np.abs(correlation).max() < 0.25


def test_saturation_bounds_the_state_softly(plain, run):
    spec = replace(plain, gain=30.0, saturation=0.5, activation="relu")
    states = run(spec).states
    assert np.abs(states).max() <= 2
    assert np.abs(states).max() > 1.9
    weak = replace(plain, gain=0.01, bias_scale=0.0)
    np.testing.assert_allclose(
        run(replace(weak, saturation=0.5)).states, run(weak).states, atol=1e-4
    )


def test_dropout_keeps_the_mean(plain):
    spec = replace(plain, dropout=0.3, width=5)
    u, weights, generator = drawn(spec, realizations=1)
    many = np.repeat(u, 4000, axis=0)
    noisy = apply_operator(spec, weights, many, generator)
    expected = apply_operator(replace(spec, dropout=0.0), weights, u, generator)[0]
    spread = noisy.std(axis=0)
    assert spread.max() > 0.1
    assert (np.abs(noisy.mean(axis=0) - expected) < 6 * spread / np.sqrt(4000) + 1e-4).all()


def test_dropout_silences_whole_channels(plain):
    spec = replace(plain, dropout=0.9, width=4, bias_scale=0.0)
    u, weights, generator = drawn(spec, realizations=200)
    silent = np.abs(apply_operator(spec, weights, u, generator)).max(axis=(1, 2, 3)) < 1e-12
    assert abs(silent.mean() - 0.9**4) < 0.15


def test_normalization_makes_the_size_of_the_state_irrelevant(plain):
    spec = replace(plain, normalization=True, bias_scale=0.0)
    u, weights, generator = drawn(spec)
    small, large = (apply_operator(spec, weights, size * u, generator) for size in (1, 100))
    np.testing.assert_allclose(small, large, atol=1e-3)
    unnormalised = replace(spec, normalization=False)
    apart = [apply_operator(unnormalised, weights, size * u, generator) for size in (1, 100)]
    assert np.abs(apart[0] - apart[1]).max() > 0.1


def test_normalization_gives_hidden_fields_zero_mean_and_unit_variance(plain):
    spec = replace(plain, normalization=True)
    u, weights, generator = drawn(spec)
    hidden = weights.layers[0](u).astype(np.float64)
    hidden -= hidden.mean(axis=(-2, -1), keepdims=True)
    hidden /= hidden.std(axis=(-2, -1), keepdims=True)
    expected = weights.layers[1](np.tanh(hidden).astype(np.float32))
    np.testing.assert_allclose(apply_operator(spec, weights, u, generator), expected, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_gain_is_the_norm_of_what_an_output_channel_reads(plain, activation, kernel_size):
    spec = replace(
        plain, activation=activation, kernel_size=kernel_size, depth=2, gain=1.3, bias_scale=0.0
    )
    _, weights, _ = drawn(spec)
    assert len(weights.layers) == 3
    for layer, (n_in, n_out) in zip(weights.layers, [(2, 4), (4, 4), (4, 2)], strict=True):
        points = np.zeros((n_in, n_in, 8, 8), np.float32)
        points[np.arange(n_in), np.arange(n_in), 4, 4] = 1
        norm = np.sqrt((layer(points).astype(np.float64) ** 2).sum(axis=(0, 2, 3)))
        np.testing.assert_allclose(norm, np.full(n_out, 1.3 * VARIANCE_GAIN[activation]), rtol=1e-5)


def test_uncoupled_channels_of_the_first_layer_read_their_own_field(plain):
    spec = replace(plain, channel_coupling=0.0, bias_scale=0.0)
    u, weights, _ = drawn(spec)
    changed = u.copy()
    changed[:, 1] += 1
    first = weights.layers[0]
    same = (first(changed) == first(u)).all(axis=(0, 2, 3))
    assert same.tolist() == [True, False, True, False]


def test_uncoupled_channels_of_the_last_layer_are_written_by_their_own(plain):
    last = drawn(replace(plain, channel_coupling=0.0, bias_scale=0.0))[1].layers[-1]
    points = np.zeros((4, 4, 8, 8), np.float32)
    points[np.arange(4), np.arange(4), 4, 4] = 1
    written = np.abs(last(points)).max(axis=(2, 3)) > 0  # [hidden, output]
    assert written.tolist() == [[True, False], [False, True]] * 2


def first_kernels(spec):
    """Return what the first layer makes of a point in the first channel, [width, 5, 5]."""
    wide = replace(spec, kernel_size=5, width=8, bias_scale=0.0)
    point = np.zeros((1, 2, 8, 8), np.float32)
    point[0, 0, 4, 4] = 1
    return drawn(wide)[1].layers[0](point)[0, :, 2:7, 2:7].astype(np.float64)


def odd_share(kernels, axis):
    return ((kernels - np.flip(kernels, axis)) ** 2).sum() / (4 * (kernels**2).sum())


def test_anisotropy_is_the_part_that_is_odd_along_the_first_axis_alone(plain):
    spec = replace(plain, kernel_decay=0.0)
    even, odd = (first_kernels(replace(spec, anisotropy=part)) for part in (0.0, 1.0))
    assert odd_share(even, -2) < 0.15
    assert odd_share(odd, -2) > 0.85
    for kernels in (even, odd):
        assert 0.25 < odd_share(kernels, -1) < 0.75


def test_weights_fall_with_the_distance_from_the_centre(plain):
    flat, falling = (first_kernels(replace(plain, kernel_decay=decay)) for decay in (0.0, 1.0))
    distance = np.hypot(*np.mgrid[-2:3, -2:3])
    ratio = falling / flat
    relative = ratio / ratio[:, 2:3, 2:3]  # each kernel is scaled to its gain
    np.testing.assert_allclose(relative, np.broadcast_to(np.exp(-distance), (8, 5, 5)), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("tanh", np.tanh),
        ("sin", np.sin),
        ("relu", lambda x: x * (x > 0)),
        ("gelu", lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2)))),
    ],
)
def test_activations_are_what_they_are_called(name, formula):
    x = np.linspace(-6, 6, 1001, dtype=np.float32)
    np.testing.assert_allclose(ACTIVATIONS[name](x), formula(x.astype(np.float64)), atol=1e-3)
    assert ACTIVATIONS[name](x).dtype == np.float32


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_operator_has_the_same_bits_after_any_other(plain, run, policy):
    spec = replace(plain, policy=policy, noise_scale=0.05, dropout=0.1, **POLICIES[policy])
    alone = run(spec)
    run(replace(spec, index=4, width=7, kernel_size=5))
    again = run(spec)
    np.testing.assert_array_equal(again.states, alone.states)
    np.testing.assert_array_equal(again.initial, alone.initial)


@pytest.mark.parametrize("change", [{"seed": 8}, {"index": 4}])
def test_another_seed_or_number_is_another_operator(plain, run, change):
    index = change.pop("index", plain.index)
    other = run(replace(plain, index=index), **change)
    assert (other.initial != run(plain).initial).any()
    assert (other.states != run(plain).states).any()


def test_a_longer_simulation_begins_like_a_shorter_one(plain, run):
    spec = replace(plain, noise_scale=0.05, dropout=0.1)
    np.testing.assert_array_equal(run(spec, steps=12).states[:, :6], run(spec, steps=6).states)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_shapes_are_those_of_the_plan(plain, channels, depth, kernel_size):
    trajectories = simulate(
        replace(plain, depth=depth, kernel_size=kernel_size, width=5),
        SimulationPlan(
            seed=0, grid=9, channels=channels, steps=4, realizations=3, divergence_bound=1e6
        ),
    )
    assert trajectories.initial.shape == (3, channels, 9, 9)
    assert trajectories.states.shape == (3, 4, channels, 9, 9)
    assert trajectories.states.dtype == trajectories.initial.dtype == np.float32
    assert np.isfinite(trajectories.states).all()
    assert trajectories.diverged is False


@pytest.mark.parametrize("bound", [100.0, 1e4, 1e30, 3e38])
def test_divergence_is_flagged_and_missing_from_its_step_on(plain, run, bound):
    spec = replace(plain, activation="relu", gain=2.0)
    trajectories = run(spec, steps=200, divergence_bound=bound)
    assert trajectories.diverged is True
    missing = np.isnan(trajectories.states).all(axis=(0, 2, 3, 4))
    first = int(missing.argmax())
    assert first > 0
    assert missing[first:].all()
    before = trajectories.states[:, :first]
    assert np.isfinite(before).all()
    assert np.abs(before).max() <= bound
    assert np.isfinite(trajectories.initial).all()
    _, weights, generator = drawn(spec)
    with np.errstate(over="ignore", invalid="ignore"):
        beyond = apply_operator(spec, weights, before[:, -1], generator)
    assert not np.abs(beyond).max() <= bound, "the step that is missing is the one that diverged"


def test_a_bound_below_the_first_state_leaves_no_state(plain, run):
    trajectories = run(plain, divergence_bound=1e-9)
    assert trajectories.diverged
    assert np.isnan(trajectories.states).all()


def test_a_state_exactly_at_the_bound_has_not_diverged(plain, run):
    spec = replace(plain, policy="residual")
    bound = float(np.abs(run(spec).initial).max())
    assert not run(spec, divergence_bound=bound).diverged
    assert run(spec, divergence_bound=np.nextafter(np.float32(bound), np.float32(0))).diverged

"""Settings of a dataset of simulated operators, `configs/datasets/<name>.yaml`."""

from typing import Any, Literal

from spinlock.settings.section import Section, setting

GENERATE = ("generate",)
SIZE_ONLY = {"num_operators", "shard_size"}
InitialCondition = Literal["gaussian_field", "band_noise", "sinusoids", "blobs"]
EvolutionPolicy = Literal["autoregressive", "residual", "convex"]


class OperatorDatasetSettings(Section):
    """A dataset of stochastic neural operators on a periodic grid."""

    num_operators: int = setting(..., "operators of the whole dataset", stages=GENERATE, ge=1)
    shard_size: int = setting(
        500, "operators of one file, made by one job", stages=GENERATE, ge=1, le=100_000
    )
    grid_size: int = setting(32, "points along each axis", stages=GENERATE, ge=8, le=512)
    channels: int = setting(3, "fields of a state", stages=GENERATE, ge=1, le=16)
    steps: int = setting(64, "time steps of a trajectory", stages=GENERATE, ge=8, le=4096)
    realizations: int = setting(
        3,
        "trajectories of an operator, each with its own initial state and noise",
        stages=GENERATE,
        ge=2,
        le=64,
    )
    initial_conditions: list[InitialCondition] = setting(
        ["gaussian_field", "band_noise", "sinusoids", "blobs"],
        "kinds that operators are started from",
        stages=GENERATE,
        min_length=1,
    )
    evolution_policies: list[EvolutionPolicy] = setting(
        ["autoregressive", "residual", "convex"],
        "how a step makes the next state",
        stages=GENERATE,
        min_length=1,
    )
    max_width: int = setting(8, "largest number of hidden channels", stages=GENERATE, ge=4, le=64)
    max_depth: int = setting(4, "largest number of hidden layers", stages=GENERATE, ge=1, le=8)
    divergence_bound: float = setting(
        1e4, "an operator whose state exceeds this is flagged as diverged", stages=GENERATE, gt=0
    )
    random_seed: int = setting(
        42, "operator i has the same bits for the same seed", stages=GENERATE, ge=0, lt=2**31
    )


def simulation_settings(settings: OperatorDatasetSettings) -> dict[str, Any]:
    """Return what an operator depends on: not how many there are, nor in how many files."""
    return settings.model_dump(mode="json", exclude=SIZE_ONLY)


def join_command(shards: str = "FILES", output: str = "FILE.h5") -> str:
    """Return the command that makes one file of shards."""
    return f"python -m spinlock.stages.concatenate --shards {shards} --output {output}"

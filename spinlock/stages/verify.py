"""verify: recompute the digests of what a model was made from, and compare.

Reads a result folder; writes nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from spinlock.files import file_digest
from spinlock.stages.program import execute, experiment_of_model, stage_parser
from spinlock.stages.train import training_inputs, training_settings
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.token_file import open_tokens
from spinlock.training.provenance import files_digest, settings_digest

SAME, DIFFERS, MISSING = "same", "DIFFERS", "not there"


def run(results: Path) -> dict[str, str]:
    """Return what became of settings, data and tokens since the model was trained."""
    model = results / "best_model.pt"
    checkpoint = Checkpoint.load(model)
    recorded = checkpoint.provenance
    experiment = experiment_of_model(checkpoint.config, model)
    inputs = training_inputs(results)
    states = {
        "settings": _state(
            settings_digest(training_settings(experiment)), recorded.get("settings")
        ),
        "data": MISSING,
        "tokens": MISSING,
    }
    if all(path.is_file() for path in inputs):
        states["data"] = _state(files_digest(inputs), recorded.get("data"))
    tokens = results / "tokens.h5"
    if tokens.is_file():
        with open_tokens(tokens) as file:
            states["tokens"] = _state(file_digest(model), file.attrs["model_digest"])
    return states


def _state(found: str, recorded: object) -> str:
    return SAME if found == recorded else DIFFERS


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage as a program."""
    parser = stage_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True)
    execute(run, parser, argv)


if __name__ == "__main__":
    main()

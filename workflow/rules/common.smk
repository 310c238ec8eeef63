# What rules share: settings and code as tracked parameters, resources. No rules here.
import json
import re
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard
from snakemake.logging import logger

from spinlock.errors import SpinlockError, listed
from spinlock.files import file_sample
from spinlock.settings import (
    doubtful_settings,
    load_dataset_settings,
    load_experiment,
    simulation_settings,
    stage_settings,
)
from spinlock.operators.dataset_files import (
    configured_dataset,
    dataset_config,
    dataset_files,
    generated_shards,
    given_datasets,
    shards,
)
from spinlock.settings.experiment import EXPERIMENTS, RESULTS
from spinlock.source import source_digest

INNER_FOLDERS = ("benchmarks", "figures", "logs", "state")  # of a result folder

if config:  # of Snakemake, which no rule reads
    raise WorkflowError(
        f"--config and --configfile ({', '.join(config)}) change nothing here: settings are those of "
        f"{EXPERIMENTS}/<experiment>.yaml; write another one, and ask for its results"
    )


# a dot stands between other characters: neither `..` nor a hidden file
NAME = r"\w[\w-]*(\.[\w-]+)*"
EXPERIMENT_NAME = rf"{NAME}(/{NAME})*"


wildcard_constraints:
    experiment=EXPERIMENT_NAME,
    dataset=NAME,
    shard=r"\d{5}|[1-9]\d{5}\d*",  # braces with a comma would end the wildcard


@contextmanager
def mistakes_told():
    """Give the message of a user's mistake to Snakemake, without a traceback."""
    try:
        yield
    except SpinlockError as error:
        raise WorkflowError(str(error)) from None


def config_of(wildcards):
    """Return the configuration file of an experiment."""
    path = EXPERIMENTS / f"{wildcards.experiment}.yaml"
    if not path.is_file():
        names = (
            str(one.relative_to(EXPERIMENTS).with_suffix("")) for one in EXPERIMENTS.rglob("*.yaml")
        )
        known = sorted(name for name in names if re.fullmatch(EXPERIMENT_NAME, name))
        near = get_close_matches(wildcards.experiment, known)
        known = near + [name for name in known if name not in near]
        other = path.with_suffix(".yml")
        raise WorkflowError(
            f"no experiment {wildcards.experiment!r}: {path} does not exist; "
            + (f"rename {other}" if other.is_file() else f"known: {listed(known)}")
        )
    for above in Path(wildcards.experiment).parents:
        inner = Path(wildcards.experiment).relative_to(above).parts[0]
        if inner in INNER_FOLDERS and (EXPERIMENTS / f"{above}.yaml").is_file():
            raise WorkflowError(
                f"{path}: the results would stand in {RESULTS / above / inner}, which belongs to the "
                f"experiment {str(above)!r}: move or rename the file"
            )
    folder = (RESULTS / wildcards.experiment).resolve()
    if not folder.is_relative_to(RESULTS.resolve()):
        raise WorkflowError(
            f"{RESULTS / wildcards.experiment} is a link to {folder}, outside {RESULTS}: "
            "remove the link, or name the experiment otherwise"
        )
    return str(path)


def each_attempt(amount):
    """Return a resource of which the first attempt gets `amount`, the second twice that, and so on."""
    return lambda wildcards, attempt: attempt * amount


@cache
@mistakes_told()
def settings_of(config):
    """Return the settings of an experiment; read when a rule first needs them."""
    experiment = load_experiment(config)
    for sentence in doubtful_settings(experiment):
        logger.warning(f"{config}: {sentence}")
    return experiment


def settings(stage):
    """Return a function of wildcards: what the results of a stage depend on, as sorted JSON."""
    return lambda wildcards: json.dumps(
        stage_settings(settings_of(config_of(wildcards)), stage), sort_keys=True
    )


def code(stage):
    """Return a function of wildcards: a digest of the code that a stage runs."""

    def digest(wildcards):
        try:
            return source_digest(f"spinlock.stages.{stage}")
        except SyntaxError as error:
            raise WorkflowError(f"{error.filename}, line {error.lineno}: {error.msg}") from None

    return digest


@mistakes_told()
def files_of_experiment(wildcards):
    """Return the dataset files that an experiment reads."""
    return [as_it_is(path) for path in dataset_files(settings_of(config_of(wildcards)))]


@mistakes_told()
def content_of_dataset(wildcards):
    """Return what tells a given dataset from an older one, which Snakemake's dates do not."""
    experiment = settings_of(config_of(wildcards))
    given = [] if generated_shards(experiment) else dataset_files(experiment)
    if experiment.allow_external_data:
        from spinlock.features.links import linked_files  # HDF5, which hardly any dry run needs

        given += [linked for path in given for linked in linked_files(path)]
    return " ".join(file_sample(path) for path in given)


@mistakes_told()
def simulation_of_experiment(wildcards):
    """Return what simulated operators are configured to be: their files may be older."""
    experiment = settings_of(config_of(wildcards))
    configured = configured_dataset(Path(experiment.dataset_path))
    if configured is None:
        return ""
    chosen = simulation_settings(configured)
    if not generated_shards(experiment):  # a single file holds them all
        chosen["num_operators"] = configured.num_operators
    return json.dumps(chosen, sort_keys=True)


@mistakes_told()
def mapping_of_experiment(wildcards):
    """Return the file of manual categories, where an experiment has one."""
    path = settings_of(config_of(wildcards)).training.manual_mapping
    if path is None or not path.is_file():  # which is a mistake that the stage explains
        return []
    made = RESULTS / wildcards.experiment / "categories.json"
    if path.resolve() == made.resolve():
        raise SpinlockError(
            "the experiment writes over its own category_mapping_file",
            where=path,
            remedy="copy the file to another place, and name that",
        )
    return [as_it_is(path)]


def content_of_mapping(wildcards):
    """Return what tells a mapping from an older one, which Snakemake's dates do not."""
    return " ".join(file_sample(path) for path in mapping_of_experiment(wildcards))


def as_it_is(path):
    """Return a user's path as text; Snakemake knows no way to write a brace that is only a brace."""
    if contains_wildcard(path):
        raise SpinlockError(
            "Snakemake takes what stands in braces for a wildcard",
            where=path,
            remedy="name the file without braces, or train with `spinlock train-vqvae`",
        )
    # a name that begins with a dash would be taken for an option
    return f"./{path}" if str(path).startswith("-") else str(path)


@cache
@mistakes_told()
def settings_of_dataset(name):
    """Return the settings of a generated dataset."""
    return load_dataset_settings(dataset_config(name))


def dataset_to_join():
    """Return a pattern of the datasets that are joined from shards: a given file stays as it is."""
    given = "|".join(re.escape(name) for name in given_datasets() if re.fullmatch(NAME, name))
    return rf"(?!({given})\.h5$){NAME}" if given else NAME


def shards_of_dataset(wildcards):
    """Return all shards of a generated dataset."""
    all_of_it = shards(wildcards.dataset, settings_of_dataset(wildcards.dataset))
    return [str(shard.path) for shard in all_of_it]


def operators_of_shard(wildcards):
    """Return the options that say which operators a shard holds."""
    all_of_it = shards(wildcards.dataset, settings_of_dataset(wildcards.dataset))
    if int(wildcards.shard) >= len(all_of_it):
        raise WorkflowError(
            f"{wildcards.dataset} has {len(all_of_it)} shards, the last one is {all_of_it[-1].path}"
        )
    shard = all_of_it[int(wildcards.shard)]
    return f"--first {shard.first} --count {shard.count}"


def simulation(wildcards):
    """Return what the operators of a dataset depend on, as sorted JSON."""
    chosen = simulation_settings(settings_of_dataset(wildcards.dataset))
    return json.dumps(chosen, sort_keys=True)

"""What the documentation says is so: links, commands, configurations and code."""

import importlib.util
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from spinlock import cli
from spinlock.settings import OperatorDatasetSettings, load_dataset_settings, load_experiment
from spinlock.settings.documentation import dataset_yaml

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "configs/vqvae/README.md",
    ROOT / "examples/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"results/([\w/-]+)/([\w.]+)$")
# of a page that is run: a block of code or of settings, or an indented command
STEP = re.compile(r"^```(python|yaml)\n(.*?)^```|^    spinlock ([^\n]*)$", re.DOTALL | re.MULTILINE)
MADE = {"best_model.pt", "metrics.json", "tokens.h5", "tokens.parquet", "report.html"}


def fenced(page, language):
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """Return the commands of a page, from blocks of bash and from indented lines."""
    text = page.read_text()
    lines = re.findall(r"^    (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    blocks = ["\n".join(lines), *fenced(page, "bash")]
    joined = "\n".join(blocks).replace("\\\n", " ")
    split = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [words for words in split if words[:1] in (["spinlock"], ["snakemake"])]


ALL = [
    pytest.param(words, id=f"{page.parent.name}/{page.name}-{' '.join(words)[:90]}")
    for page in PAGES
    for words in commands(page)
]
SPINLOCK = [one for one in ALL if one.values[0][0] == "spinlock"]
SNAKEMAKE = [one for one in ALL if one.values[0][0] == "snakemake"]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("words", SPINLOCK)
def test_the_command_line_takes_every_command(words):
    command = get_command(cli.app).commands[words[1]]
    with command.make_context(words[1], words[2:]) as context:
        config = context.params.get("config")
    assert (
        config is None
        or config.is_file()
        or config.stem in ("my_experiment", "my_series", "tumours")
    )


@pytest.mark.parametrize(
    "words",
    [
        one
        for one in SPINLOCK
        if one.values[0][1] == "train-vqvae" and "validation" in " ".join(one.values[0][:4])
    ],
)
def test_trainings_are_valid_up_to_the_first_epoch(words, monkeypatch):
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    if "--resume-from" in words:  # of a training that a fresh clone has not run
        at = words.index("--resume-from")
        words = [*words[:at], *words[at + 2 :]]
    done = CliRunner().invoke(cli.app, [*words[1:], "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "would write: checkpoints/validation/1k_arch_summary" in done.output
    if "--batch-size" in words:
        assert "batch_size: 128" in done.output


@pytest.mark.parametrize("words", SNAKEMAKE)
def test_every_target_is_of_an_experiment_that_is_there(words):
    targets = [TARGET.match(word) for word in words if word.startswith("results/")]
    assert targets
    for match in targets:
        assert match[2] in MADE
        known = (ROOT / f"configs/vqvae/{match[1]}.yaml").is_file()
        assert known or match[1] in ("my_experiment", "tumours")


def test_pictures_are_small_and_shown():
    pictures = sorted((ROOT / "docs/images").iterdir())
    assert pictures
    text = "".join(page.read_text() for page in PAGES)
    for picture in pictures:
        assert picture.stat().st_size < 150_000
        assert f"images/{picture.name})" in text


def test_there_are_commands_of_every_kind():
    named = {one.values[0][1] for one in SPINLOCK}
    assert named == {command.name or command.callback.__name__
                     for command in cli.app.registered_commands} - {"verify"}  # fmt: skip
    assert len(SNAKEMAKE) > 3


def test_the_configuration_on_the_page_is_valid(tmp_path):
    (block,) = fenced(ROOT / "configs/vqvae/README.md", "yaml")
    path = tmp_path / "page.yaml"
    path.write_text(block)
    experiment = load_experiment(path)
    assert experiment.training.num_epochs == 500
    assert set(experiment.families) == {"summary", "architecture"}


def test_the_settings_of_datasets_on_the_page_are_what_the_settings_generate(tmp_path):
    (block,) = fenced(ROOT / "docs/dataset-layout.md", "yaml")
    assert block == dataset_yaml() + "\n", "run `make docs`"
    path = tmp_path / "page.yaml"
    path.write_text(block)
    assert load_dataset_settings(path) == OperatorDatasetSettings(num_operators=1000)


def test_the_reference_is_what_the_docstrings_say():
    spec = importlib.util.spec_from_file_location("make", ROOT / "docs/make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    page = (ROOT / "docs/api.md").read_text()
    assert page == make.with_block(page, "api", make.tokenizer_tables()), "run `make docs`"
    assert page == make.with_block(page, "series", make.series_table()), "run `make docs`"
    assert "\n| `encode(" in page
    assert "\n| `restore_series(" in page


def test_every_configuration_is_in_the_table_once():
    folder = ROOT / "configs/vqvae"
    files = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    rows = re.findall(r"^\| `([\w/]+)` \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(files)


def test_the_worked_example_of_an_encoder_trains(
    monkeypatch, tmp_path, planted_features, write_dataset
):
    from spinlock.commands import train_vqvae
    from spinlock.settings import families
    from spinlock.tokenizer.network import encoders
    from spinlock.tokenizer.tokenizer import Tokenizer

    monkeypatch.setattr(families, "ENCODER_PARAMS", dict(families.ENCODER_PARAMS))
    monkeypatch.setattr(encoders, "REGISTRY", dict(encoders.REGISTRY))
    page = ROOT / "docs/encoders.md"
    for block in fenced(page, "python"):
        exec(compile(block, str(page), "exec"), {"__name__": "worked_example"})
    (used,) = fenced(page, "yaml")
    config = tmp_path / "small.yaml"
    config.write_text(
        f"dataset_path: {write_dataset(planted_features(80))}\n{used}"
        "model: {bits: 24, group_hidden_dim: 4}\n"
        "training: {num_epochs: 1, batch_size: 64, num_categories_auto: 2, max_clusters: 3,\n"
        "  use_torch_compile: false}\nlogging: {verbose: false}\n"
    )
    monkeypatch.chdir(tmp_path)
    model = train_vqvae.run(load_experiment(config), tmp_path / "made", None)
    tokenizer = Tokenizer.load(model)
    network = tokenizer._model.encoder.networks["summary"]
    assert type(network).__name__ == "QuadraticEncoder"
    assert network.output_dim == 8
    assert os.listdir(tmp_path / "made")  # noqa: PTH208


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """Run the page on own data from top to bottom, and give its folder and its variables."""
    from spinlock import program

    page, folder = ROOT / "docs/own-data.md", tmp_path_factory.mktemp("own_data")
    names, runner = {}, CliRunner()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("logging.basicConfig", lambda **_: None)
        patch.setattr(program, "limit_threads", lambda _: None)
        for language, block, command in STEP.findall(page.read_text()):
            if language == "python":
                exec(compile(block, str(page), "exec"), names)
            elif language == "yaml":
                config = folder / re.match(r"# (\S+\.yaml)", block)[1]
                config.parent.mkdir(parents=True, exist_ok=True)
                config.write_text(block)
            else:
                done = runner.invoke(cli.app, shlex.split(command))
                assert done.exit_code == 0, f"{command}: {done.exception or done.output}"
    return folder, names


def test_the_page_on_own_data_runs_from_top_to_bottom(own_data):
    _, names = own_data
    frame, again, test = names["frame"], names["again"], names["test"]
    assert list(again.columns) == list(frame.columns)
    left = ((again - frame) ** 2).sum().to_numpy() / ((frame - frame.mean()) ** 2).sum().to_numpy()
    assert np.median(left) < 0.1
    assert names["coarse"].shape == frame.shape
    np.testing.assert_array_equal(names["values"], again)
    assert list(names["joined"]["diagnosis"]) == list(names["diagnosis"])
    assert names["words"].shape == (569, names["tokens"][0].size)
    assert len(np.unique(names["words"])) <= names["n_words"]
    assert names["loss"].item() < 0.7
    assert names["dense"].shape[0] == 569
    assert names["pipeline"].score(frame.iloc[test], names["diagnosis"][test]) > 0.8


def test_series_of_the_page_come_back_as_curves(own_data):
    folder, names = own_data
    given, found = names["waves"], names["curves"]
    assert ((given - found) ** 2).sum() < 0.1 * ((given - given.mean(axis=0)) ** 2).sum()
    read = names["wave_tok"].encode(folder / "waves.h5")
    np.testing.assert_array_equal(read, names["wave_tokens"])


def test_the_readme_shows_the_quality_that_was_measured_last():
    (shown,) = re.findall(
        r"<!-- quality:begin -->\n(.*?)\n<!-- quality:end -->", PAGES[0].read_text(), re.DOTALL
    )
    assert f"## Summary\n\n{shown}\n\n" in (ROOT / "docs/quality.md").read_text(), "run `make docs`"


def test_the_mistakes_that_survive_are_counted_as_they_are_listed():
    page = (ROOT / "docs/reliability.md").read_text()
    shown = dict(re.findall(r"^\| (\S+) \| \d+ \| (\d+) \|$", page, re.MULTILINE))
    listed = yaml.safe_load((ROOT / "tests/mutation/survivors.yaml").read_text())
    assert {f"spinlock/{module}.py": int(count) for module, count in shown.items()} == {
        path: len(mistakes) for path, mistakes in listed.items()
    }

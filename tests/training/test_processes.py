"""Two processes end as one process on the whole batch, and as each other."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.processes import made_once, process_group
from spinlock.tokenizer.rows import Rows
from spinlock.training.loop import Trainer

PROGRAM = Path(__file__).with_name("two_processes.py")
NORMALISED = ENCODER_PARAMS["MLPEncoder"](
    hidden_dims=[6], output_dim=4, dropout=0.0, batch_norm=True
).model_dump()


def test_two_processes_end_with_the_books_of_one(
    make_model, make_plan, train, validation, tmp_path
):
    encoders = {"summary": {"encoder": "MLPEncoder", "encoder_params": NORMALISED}}
    model = make_model(encoders=encoders, dropout=0.0).double()
    # 129 rows: batches of odd size, shared unevenly
    rows = Rows(train.x[:129].double())
    held_out = Rows(validation.x.double())
    plan = make_plan(
        num_epochs=4,
        batch_size=43,
        optimizer="sgd",
        learning_rate=0.05,
        dead_code_threshold=1.0,  # codes used less than others count as dead
    )
    start = (model.shape, model.state_dict(), rows.x, held_out.x, plan)
    torch.save(start, tmp_path / "start.pt")
    command = [sys.executable, str(PROGRAM)]
    running = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in (0, 1)]
    alone = Trainer(model, rows, held_out, plan)
    for _ in alone.run():
        pass
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    (first, history), (second, _) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)
    )
    assert any(entry.get("codes_reset") for entry in history)
    for name, values in alone.model.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], values, rtol=1e-9, atol=1e-10, msg=name)
    for entry, expected in zip(history, alone.history, strict=True):
        assert entry.keys() == expected.keys()
        for key in expected.keys() - {"step"}:
            measured, wanted = (torch.tensor(one[key]).double() for one in (entry, expected))
            torch.testing.assert_close(measured, wanted, rtol=1e-6, atol=0, msg=key)


def test_a_process_without_a_gpu_is_told(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "train")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(SpinlockError, match="process 3 of this machine has no GPU: there are 2"),
        process_group(torch.device("cuda")),
    ):
        pass


def test_one_process_alone_makes_everything_itself(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some clusters do in every job
    with process_group(torch.device("cpu")):
        assert made_once(lambda: "made") == "made"

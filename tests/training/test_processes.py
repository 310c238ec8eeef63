"""Several processes end as one process on the whole batch, and as each other."""

import copy
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.processes import made_once, process_group
from spinlock.tokenizer.network.rows import Rows
from spinlock.training.loop import Trainer

PROGRAM = Path(__file__).with_name("one_of_several_processes.py")
NORMALISED = ENCODER_PARAMS["MLPEncoder"](
    hidden_dims=[6], output_dim=4, dropout=0.0, batch_norm=True
).model_dump()


@pytest.mark.parametrize(
    ("n_processes", "n_rows", "batch_size", "begun"),
    [
        (2, 129, 43, 0),  # batches of odd size, shared unevenly
        (3, 88, 43, 0),  # and a last one with fewer rows than processes
        (2, 129, 43, 5),  # begun by one process, which stopped within an epoch
    ],
)
def test_several_processes_end_with_the_books_of_one(
    make_model, make_plan, train, validation, tmp_path, caplog, n_processes, n_rows, batch_size,
    begun,
):  # fmt: skip
    encoders = {"summary": {"encoder": "MLPEncoder", "encoder_params": NORMALISED}}
    model = make_model(encoders=encoders, dropout=0.0).double()
    rows = Rows(train.x[:n_rows].double())
    held_out = Rows(validation.x.double())
    plan = make_plan(
        num_epochs=4,
        batch_size=batch_size,
        optimizer="sgd",
        learning_rate=0.05,
        dead_code_threshold=1.0,  # codes used less than others count as dead
        log_interval=1,
        eval_interval=2,
    )
    one = Trainer(copy.deepcopy(model), rows, held_out, plan)
    state = _state_after(begun, one) if begun else None
    start = (model.shape, model.state_dict(), rows.x, held_out.x, plan, state)
    torch.save(start, tmp_path / "start.pt")
    command = [sys.executable, str(PROGRAM)]
    ranks = range(n_processes)
    running = [
        subprocess.Popen([*command, str(rank), str(n_processes), str(tmp_path)]) for rank in ranks
    ]
    alone = Trainer(model, rows, held_out, plan)
    with caplog.at_level(logging.INFO, logger="spinlock.training.loop"):
        for _ in alone.run():
            pass
    assert [process.wait(timeout=300) for process in running] == [0] * n_processes
    (first, history, told), *others = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in ranks
    )
    assert any(entry.get("codes_reset") for entry in history)
    for name, values in alone.model.state_dict().items():
        assert all(torch.equal(first[name], other[name]) for other, *_ in others), name
        torch.testing.assert_close(first[name], values, rtol=1e-9, atol=1e-10, msg=name)
    assert told == caplog.messages[-len(told) :]  # in one that was begun, those that are left
    assert len(told) > 6
    assert [messages for *_, messages in others] == [[]] * (n_processes - 1)
    for entry, expected in zip(history, alone.history, strict=True):
        assert entry.keys() == expected.keys()
        for key in expected.keys() - {"step"}:
            measured, wanted = (torch.tensor(one[key]).double() for one in (entry, expected))
            torch.testing.assert_close(measured, wanted, rtol=1e-6, atol=0, msg=key)


def _state_after(batches: int, trainer: Trainer) -> dict:
    def stop() -> None:
        if trainer.batches == batches:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(trainer.run(stop))
    assert trainer.place.done
    return trainer.state_dict()


def test_a_process_without_a_gpu_is_told(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "train")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(SpinlockError, match="process 3 of this machine has no GPU: there are 2"),
        process_group(torch.device("cuda")),
    ):
        pass


def test_one_gpu_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "train")
    with (
        pytest.raises(SpinlockError, match="a GPU of its own, and device is 'cuda:1'"),
        process_group(torch.device("cuda", 1)),
    ):
        pass


def test_one_process_alone_makes_everything_itself(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some clusters do in every job
    with process_group(torch.device("cpu")):
        assert made_once(lambda: "made") == "made"

"""A block that is asked to end leaves when its work is at rest, and soon in any case."""

import signal
import threading
import time
from contextlib import suppress

import pytest

from spinlock import program, termination
from spinlock.termination import TERMINATED, delayed_termination

ASKING = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers_are_as_before():
    # a shell lets what it runs in the background ignore Ctrl-C
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in ASKING]
    yield
    assert [signal.getsignal(number) for number in ASKING] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.signal(signal.SIGINT, ignored)


@pytest.mark.parametrize("number", ASKING)
def test_the_block_is_told_and_leaves_when_it_likes(number):
    def work() -> None:
        with delayed_termination() as asked:
            assert asked() is None
            signal.raise_signal(number)
            if asked() == number:
                raise SystemExit(128 + number)

    with pytest.raises(SystemExit) as caught:
        work()
    assert caught.value.code == 128 + number


def test_a_second_signal_does_not_wait():
    def work() -> None:
        with delayed_termination():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the block went on")

    with pytest.raises(SystemExit) as caught:
        work()
    assert caught.value.code == 128 + signal.SIGTERM


def test_a_block_that_never_comes_to_rest_is_left_after_the_time_of_grace(monkeypatch):
    monkeypatch.setattr(termination, "GRACE_SECONDS", 0.05)

    def work() -> None:
        with delayed_termination():
            signal.raise_signal(signal.SIGTERM)
            time.sleep(20)
            pytest.fail("the block went on")

    with pytest.raises(SystemExit):
        work()


def test_a_block_that_ends_by_itself_passes_the_signal_on():
    with pytest.raises(KeyboardInterrupt), delayed_termination():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("terminated", [True, False])
def test_an_exception_that_compiled_code_makes_of_the_termination_ends_the_stage_alike(terminated):
    def run() -> None:
        try:
            if terminated:
                signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            pass
        raise RuntimeError("in a callback")

    expected = SystemExit if terminated else RuntimeError
    with pytest.raises(expected) as caught:
        program.execute(run, program.stage_parser("a stage"), [])
    assert not terminated or caught.value.code == TERMINATED


def test_a_termination_that_is_lost_in_a_callback_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(termination, "AGAIN_SECONDS", 0.05)

    def run() -> None:
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        time.sleep(20)
        pytest.fail("the program went on")

    with pytest.raises(SystemExit) as caught:
        program.execute(run, program.stage_parser("a stage"), [])
    assert caught.value.code == TERMINATED


def test_what_a_program_does_on_its_way_out_is_not_disturbed(monkeypatch):
    monkeypatch.setattr(termination, "AGAIN_SECONDS", 0.02)
    cleaned = []

    def run() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(0.1)
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    with pytest.raises(SystemExit):
        program.execute(run, program.stage_parser("a stage"), [])
    assert cleaned


def test_a_termination_that_was_lost_before_a_training_ends_it(monkeypatch):
    monkeypatch.setattr(termination, "AGAIN_SECONDS", 0.05)

    def run() -> None:
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        with delayed_termination():
            time.sleep(20)
            pytest.fail("the program went on")

    with pytest.raises(SystemExit) as caught:
        program.execute(run, program.stage_parser("a stage"), [])
    assert caught.value.code == TERMINATED


def test_in_another_thread_signals_are_not_touched():
    answers = []

    def work() -> None:
        with delayed_termination() as asked:
            answers.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [None]

"""The one exception for users: what it says, and what it leaves out."""

import pickle

import pytest

from spinlock.errors import SpinlockError


def test_message_says_problem_place_and_remedy_in_this_order():
    error = SpinlockError("it broke", where="data.h5", remedy="mend it")
    assert str(error).splitlines() == ["it broke", "  where: data.h5", "  what to do: mend it"]


@pytest.mark.parametrize(
    ("details", "lines"),
    [({}, 1), ({"where": 0}, 2), ({"remedy": "mend it"}, 2), ({"where": "", "remedy": ""}, 3)],
)
def test_only_what_is_given_gets_a_line(details, lines):
    assert len(str(SpinlockError("it broke", **details)).splitlines()) == lines


def test_it_crosses_process_borders_whole():
    error = pickle.loads(pickle.dumps(SpinlockError("it broke", where="a.h5", remedy="mend it")))
    assert str(error) == str(SpinlockError("it broke", where="a.h5", remedy="mend it"))


def test_a_message_gives_a_terminal_no_orders():
    error = SpinlockError("no family \x1b[31mred\r", where="\x9b1m.h5", remedy="é\nmend it")
    assert str(error).splitlines() == [
        "no family \\x1b[31mred\\x0d",
        "  where: \\x9b1m.h5",
        "  what to do: é",
        "mend it",
    ]

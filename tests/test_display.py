"""What the command line prints of values that users name and measure."""

import json

from spinlock.display import out, print_summary, print_table


def test_names_in_brackets_are_shown_as_they_are(capsys):
    print_table(["metric", "[red] run"], [["[bold]", 1.0]])
    print_summary({"written": "results/[1]/tokens.h5"}, as_json=False)
    shown = capsys.readouterr().out
    for name in ("[red] run", "[bold]", "written: results/[1]/tokens.h5"):
        assert name in shown


def test_numbers_are_short_and_gaps_are_told(capsys):
    print_table(["metric", "run"], [["quality", 0.123456], ["rows", 100000], ["probe", None]])
    shown = capsys.readouterr().out
    for value in ("0.1235", "100000", "–"):
        assert value in shown


def test_json_is_nothing_but_json(capsys):
    values = {"text": "[red]✓", "number": 0.1, "gap": None}
    print_summary(values, as_json=True)
    assert json.loads(capsys.readouterr().out) == values


def test_names_give_a_terminal_no_orders(capsys):
    order = "\x1b]0;title\x07 \x9b31m"
    print_table(["metric", order], [[order, 1.0]])
    print_summary({order: order}, as_json=False)
    out.print(order)
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    assert shown.count("\\x1b]0;title\\x07 \\x9b31m") == 5

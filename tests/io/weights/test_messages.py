"""What a file holds is told in few words, however much it is."""

from gan2shape_jax.io.weights.messages import listed, printable, short


def test_names_are_counted_rather_than_all_listed():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(100)), 3) == "0, 1, 2 and 97 more"
    assert len(listed(["x" * 10**6] * 1000)) < 10_000


def test_values_are_never_unfolded():
    nested: list = [1]
    for _ in range(100):
        nested = [nested, nested]
    assert short(nested) == "a list" and short({"a": nested}) == "a dict"
    assert short("relu") == "'relu'" and short(3.5) == "3.5" and short(None) == "None"
    assert len(short("x" * 10**6)) < 200 and len(short(10**4000)) < 300


def test_control_characters_do_not_reach_the_terminal():
    assert printable("a\x1b[2J\nb\ud800", 100) == "a?[2J?b?"
    assert printable("x" * 1000, 10) == "x" * 10

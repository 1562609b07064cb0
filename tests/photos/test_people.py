"""Who is in all photographs, by the albedos of those who are in each."""

import numpy as np
import pytest
from helpers.plain_result import plain_result
from scipy import ndimage

from gan2shape_jax.photos.people import same_person

_RANDOM = np.random.default_rng(0)
_PEOPLE = {name: ndimage.gaussian_filter(_RANDOM.normal(size=(16, 16, 3)), (1, 1, 0)) for name in "abcdef"}


def _seen(name: str, number: int):
    """Returns a result of somebody, in the light of a photograph of this number, and a little different in each."""
    random = np.random.default_rng(number)
    exposure = random.uniform(0.6, 1.1, 3)
    albedo = np.clip(0.5 * np.exp(0.5 * _PEOPLE[name] + 0.05 * random.normal(size=(16, 16, 3))) * exposure, 0, 1)
    return plain_result(name, signed_albedo=albedo * 2 - 1)


def _photos(*people: str):
    return [[_seen(name, k) for name in each] for k, each in enumerate(people)]


def _sides(*people: str, large: str = ""):
    return [[2.0 if name in large else 1.0 for name in each] for each in people]


@pytest.mark.parametrize(
    "people", [("ab", "ca", "ad"), ("a", "bca", "ad"), ("ab", "ba", "ac"), ("cab", "dae", "fba", "ac", "ab")]
)
def test_the_one_who_is_in_all_is_found_whatever_the_light_and_the_size(people):
    found, sure = same_person(_photos(*people), _sides(*people, large="bcd"))
    assert "".join(each[k] for each, k in zip(people, found, strict=True)) == "a" * len(people) and sure


def test_of_two_who_are_in_all_it_is_the_larger_one_and_not_sure():
    people = ("ab", "ba", "ab")
    for large in "ab":
        found, sure = same_person(_photos(*people), _sides(*people, large=large))
        assert "".join(each[k] for each, k in zip(people, found, strict=True)) == 3 * large and not sure


def test_of_a_single_photograph_it_is_the_largest():
    assert same_person(_photos("abc"), _sides("abc", large="b")) == ([1], False)
    assert same_person(_photos("a"), _sides("a")) == ([0], True)
    assert same_person([], []) == ([], True)

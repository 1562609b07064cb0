"""Choosing and calibrating a direction, on yaws known in closed form."""

import numpy as np

from gan2shape_jax.apps.evaluate.identity import Candidate, calibrate, find_yaw_direction, style_ranges

TARGETS = np.linspace(-20, 20, 20)


def test_calibration_inverts_the_measured_yaw():
    steps = np.linspace(-10, 10, 401)
    calibrated, reached = calibrate(steps, 40 * np.tanh(0.2 * steps) + 3, TARGETS)
    assert reached.all()
    np.testing.assert_allclose(40 * np.tanh(0.2 * calibrated) + 3, TARGETS, atol=0.02)
    assert (np.diff(calibrated) > 0).all()


def test_a_falling_yaw_is_walked_the_other_way():
    steps = np.linspace(-10, 10, 41)
    rising, _ = calibrate(steps, 5 * steps, TARGETS)
    falling, reached = calibrate(steps, -5 * steps, TARGETS)
    np.testing.assert_allclose(falling, -rising, atol=1e-12)
    assert reached.all()


def test_only_the_stretch_around_the_start_is_used():
    steps = np.linspace(-10, 10, 41)
    yaws = 15 * np.sin(steps / 2)  # turns back at +-pi
    calibrated, reached = calibrate(steps, yaws, TARGETS)
    assert np.abs(calibrated).max() <= 3.5 and (np.diff(calibrated) >= 0).all()
    np.testing.assert_array_equal(reached, np.abs(TARGETS) <= np.abs(yaws[np.abs(steps) <= 3]).max())


def test_what_does_not_turn_stays_where_it_is():
    calibrated, reached = calibrate(np.linspace(-1, 1, 5), np.full(5, 7.0), TARGETS)
    assert not calibrated.any() and not reached.any()


def test_the_candidate_that_turns_most_is_found_and_its_yaw_is_monotone():
    strength = [0.5, -4.0, 3.0, 0.0]
    candidates = [Candidate(np.eye(4)[i], 1.0, 0, 2, i) for i in range(4)]

    def yaw_of(some, steps):
        return np.array([60 * np.tanh(strength[c.number] * steps / 30) - 2 for c in some])

    best, steps, reached = find_yaw_direction(candidates, yaw_of, TARGETS)
    assert best.number == 1 and reached.all()
    seen = yaw_of([best], steps)[0]
    assert (np.diff(seen) > 0).all()
    np.testing.assert_allclose(seen, TARGETS, atol=0.1)


def test_style_ranges_lie_within_the_generator_and_hold_all_of_it():
    for count in (4, 10, 18):
        ranges = style_ranges(count)
        assert (0, count) in ranges and len(set(ranges)) == len(ranges)
        assert all(0 <= first < last <= count for first, last in ranges)

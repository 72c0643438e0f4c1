"""When a worker that has died is replaced: at once, after a delay that grows and falls again, or never."""

from __future__ import annotations

from cog_server.worker.restarts import AT_ONCE, MAX_DELAY_S, Restarts


def test_the_first_crashes_are_answered_at_once_and_then_ever_later_up_to_a_bound() -> None:
    restarts = Restarts(None)

    delays = [restarts.die(0.0, was_ready=True) for _ in range(14)]

    assert delays == [0.0] * AT_ONCE + [1.0, 2.0, 4.0, 8.0, 16.0, MAX_DELAY_S, MAX_DELAY_S, MAX_DELAY_S, MAX_DELAY_S]


def test_success_makes_the_delay_fall() -> None:
    restarts = Restarts(None)
    for _ in range(9):
        before = restarts.die(0.0, was_ready=True)

    for _ in range(3):
        restarts.succeed()

    assert (before, restarts.die(0.0, was_ready=True)) == (8.0, 2.0)


def test_time_without_a_crash_makes_the_delay_fall() -> None:
    restarts = Restarts(None)
    for _ in range(9):
        restarts.die(0.0, was_ready=True)

    assert restarts.die(3600.0, was_ready=True) == 0.0


def test_crashes_that_are_far_apart_are_all_answered_at_once() -> None:
    restarts = Restarts(None)

    assert {restarts.die(12.0 * number, was_ready=True) for number in range(1000)} == {0.0}


def test_a_worker_that_does_not_get_ready_is_given_time_and_never_given_up() -> None:
    restarts = Restarts(None)

    delays = [restarts.die(100.0 * number, was_ready=False) for number in range(2000)]

    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert set(delays[10:]) == {MAX_DELAY_S}


def test_with_a_limit_one_death_more_within_a_minute_is_the_last() -> None:
    restarts = Restarts(2)

    assert [restarts.die(moment, was_ready=True) for moment in (0.0, 50.0, 61.0, 62.0)] == [0.0, 0.0, 0.0, None]


def test_no_delay_is_longer_than_was_asked() -> None:
    restarts = Restarts(None, max_delay_s=0.0)

    assert {restarts.die(0.0, was_ready=number % 2 == 0) for number in range(100)} == {0.0}

"""Who is handed which tasks, with places that do what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from harness.engine.executors import Begun, Done, Event, Job, Json, Lost, Task
from harness.engine.executors.dispatch import PlaceError, dispatch

JOB = Job("no:where", {})


class Scripted:
    """A place that answers with its name; ``does`` is called before."""

    def __init__(self, name: str, does: Callable[[Task], object] = lambda task: None) -> None:
        self.name = name
        self.done: list[int] = []
        self._does = does

    def ask(self, job: Job, task: Task) -> Json:
        self._does(task)
        self.done.append(task.place)
        return {"by": self.name}


def tasks(*places: int) -> list[Task]:
    return [Task(f"task {place}", place, {}) for place in places]


def in_step() -> list[Scripted]:
    """Two places that do their tasks at the same time, one each."""
    both = threading.Barrier(2)
    return [Scripted("one", lambda task: both.wait(20)), Scripted("two", lambda task: both.wait(20))]


def ends(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Begun)]


def test_each_group_stays_in_one_place() -> None:
    places = in_step()
    found = ends(list(dispatch(JOB, [tasks(0, 1, 2), tasks(3, 4, 5)], lambda: places)))
    assert len(found) == 6
    assert [place.done for place in places] == [[0, 1, 2], [3, 4, 5]]


def test_the_later_half_of_a_group_moves_to_a_place_that_has_nothing_to_do() -> None:
    places = in_step()
    found = ends(list(dispatch(JOB, [tasks(*range(8))], lambda: places)))
    assert len(found) == 8
    assert [place.done for place in places] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def large(*places: int) -> list[Task]:
    return [Task(f"task {place}", place, {}, large=True) for place in places]


def watched_places(now: set[int], most: list[int]) -> list[Scripted]:
    """Two places; ``most`` is told how many large tasks, those below 10, are done at the same time."""
    lock = threading.Lock()

    def does(task: Task) -> None:
        with lock:
            now.add(task.place)
            most.append(sum(place < 10 for place in now))
        time.sleep(0.02)
        with lock:
            now.remove(task.place)

    return [Scripted("one", does), Scripted("two", does)]


def test_of_large_tasks_one_is_done_at_a_time_on_a_machine_and_small_ones_beside_it() -> None:
    most: list[int] = []
    places = watched_places(set(), most)
    groups = [large(0, 1, 2), large(3, 4), tasks(10, 11)]
    found = ends(list(dispatch(JOB, groups, lambda: places)))
    assert sorted(event.task.place for event in found) == [0, 1, 2, 3, 4, 10, 11]
    assert max(most) == 1
    # A group stays whole, and the place that may not help with it does the small ones.
    assert places[0].done[:3] == [0, 1, 2]
    assert places[1].done[:2] == [10, 11]


def test_places_on_several_machines_do_large_tasks_at_the_same_time() -> None:
    places = in_step()
    found = ends(list(dispatch(JOB, [large(0, 1), large(2, 3)], lambda: places, one_machine=False)))
    assert len(found) == 4
    assert [place.done for place in places] == [[0, 1], [2, 3]]


def test_a_large_task_that_is_lost_waits_until_the_other_one_is_done() -> None:
    most: list[int] = []
    places = watched_places(set(), most)
    lost: list[int] = []

    def lose(task: Task, does=places[0]._does) -> None:
        does(task)
        if task.place == 0 and not lost:
            lost.append(0)
            raise PlaceError("lost", alive=True)

    places[0]._does = lose
    found = ends(list(dispatch(JOB, [large(0, 1), large(2, 3)], lambda: places)))
    assert sorted(event.task.place for event in found) == [0, 1, 2, 3]
    assert all(isinstance(event, Done) for event in found)
    assert max(most) == 1


def test_a_group_is_asked_for_when_somebody_has_nothing_to_do() -> None:
    asked: list[int] = []

    def groups():
        for first in (0, 2, 4):
            asked.append(first)
            yield tasks(first, first + 1)

    place = Scripted("one")
    for event in dispatch(JOB, groups(), lambda: [place]):
        if isinstance(event, Done) and event.task.place == 0:
            assert asked == [0]
    assert asked == [0, 2, 4]
    assert place.done == [0, 1, 2, 3, 4, 5]


def test_what_is_lost_in_one_place_is_tried_in_the_other_one() -> None:
    def lose(task: Task) -> None:
        if task.place == 1:
            raise PlaceError("lost", alive=True)

    one, two = Scripted("one", lose), Scripted("two")
    found = {event.task.place: event for event in ends(list(dispatch(JOB, [tasks(1)], lambda: [one, two])))}
    assert found[1] == Done(tasks(1)[0], {"by": "two"})


def test_a_place_that_is_gone_is_asked_no_more_and_the_rest_of_its_tasks_go_elsewhere() -> None:
    def go(task: Task) -> None:
        raise PlaceError("gone", alive=False)

    one, two = Scripted("one", go), Scripted("two")
    found = ends(list(dispatch(JOB, [tasks(0, 1, 2, 3)], lambda: [one, two])))
    assert all(isinstance(event, Done) for event in found)
    assert sorted(two.done) == [0, 1, 2, 3]


def test_a_task_is_tried_twice_and_no_third_time() -> None:
    tried: list[str] = []

    def lose(task: Task) -> None:
        tried.append(task.name)
        raise PlaceError(f"try {len(tried)}", alive=True)

    place = Scripted("one", lose)
    assert ends(list(dispatch(JOB, [tasks(7)], lambda: [place]))) == [Lost(tasks(7)[0], "try 2")]
    assert len(tried) == 2


def test_a_place_that_comes_later_is_used() -> None:
    looks: list[int] = []
    place = Scripted("late")

    def places() -> list[Scripted]:
        looks.append(0)
        return [place] if len(looks) > 2 else []

    assert len(ends(list(dispatch(JOB, [tasks(0)], places)))) == 1


def test_without_any_place_everything_is_lost_after_a_while() -> None:
    found = list(dispatch(JOB, [tasks(0, 1), tasks(2)], list, patience_s=0.2))
    assert [event.task.place for event in found] == [0, 1, 2]
    assert all("no worker is left" in event.why for event in found if isinstance(event, Lost))

"""When and in which order webhook messages go, with a clock that jumps and a receiver that is a function."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cog_server.network.retry_delays import delay_s, read_retry_after
from cog_server.predictions.prediction import Prediction, Status
from cog_server.predictions.store.base import Message
from cog_server.webhooks.delivery import Line
from cog_server.webhooks.feed import Feed
from cog_server.webhooks.hook import Hook, HookError, read_hook
from cog_server.webhooks.retries import MAX_TRIES, Answer, Verdict, judge
from tests.fakes.virtual_time import run

OK = Answer(Verdict.DELIVERED)
DOWN = Answer(Verdict.RETRY, "503")
Try = tuple[float, Message]


class Receiver:
    """Takes the place of the HTTP calls: `answer` decides, from the time and the message."""

    def __init__(self, answer: Callable[[float, Message], Answer]) -> None:
        self.slots = asyncio.Semaphore(64)
        self.answer = answer
        self.tries: list[Try] = []

    async def call(self, message: Message, headers: tuple[tuple[str, str], ...]) -> Answer:
        now = asyncio.get_running_loop().time()
        self.tries.append((now, message))
        return self.answer(now, message)

    def at(self, event: str) -> list[float]:
        return [now for now, message in self.tries if message.event == event]

    @property
    def order(self) -> list[str]:
        """The events, each message once."""
        first = {message.id: message.event for _, message in self.tries}
        return list(first.values())


def tell(
    answer: Callable[[float, Message], Answer],
    story: Callable[[Prediction], Coroutine[Any, Any, None]],
    *,
    events: tuple[str, ...] = ("start", "output", "logs", "completed"),
) -> Receiver:
    """Let `story` happen to a prediction, end it, and give what the receiver saw until nothing was left to say."""

    async def play() -> Receiver:
        receiver = Receiver(answer)
        prediction = Prediction("p", {}, is_iterator=True)
        feed = Feed(prediction, Hook("http://hook.test/", events), interval_s=0.5, on_end=lambda feed: None)
        line = Line(receiver, feed)  # type: ignore[arg-type]  # it has what a Caller has
        delivery = asyncio.create_task(line.run(feed))
        await story(prediction)
        prediction.finish(Status.SUCCEEDED)
        feed.last_message()
        prediction.announce()
        await delivery
        return receiver

    return run(play())


async def quick(prediction: Prediction) -> None:
    prediction.start()
    await asyncio.sleep(0.1)
    prediction.append_output(b"1")
    await asyncio.sleep(0.1)


def test_start_and_end_go_at_once_and_what_lies_between_twice_a_second() -> None:
    async def story(prediction: Prediction) -> None:
        prediction.start()
        for number in range(100):
            await asyncio.sleep(0.02)
            prediction.append_output(b"%d" % number)
            prediction.append_log(f"{number}\n")

    receiver = tell(lambda now, message: OK, story)

    assert receiver.at("start") == [0.0]
    assert receiver.at("output") == pytest.approx([0.02, 0.52, 1.02, 1.52], abs=0.021)
    assert receiver.at("completed") == pytest.approx([2.0])
    sizes = [len(json.loads(message.body)["output"] or []) for _, message in receiver.tries]
    assert sizes == [0, 1, 26, 51, 76, 100]


@given(
    st.lists(st.tuples(st.floats(0, 1.5), st.sampled_from(["output", "log"])), max_size=30),
    st.booleans(),
)
def test_for_any_times_gaps_are_kept_and_the_last_state_is_said(story: list[tuple[float, str]], ends: bool) -> None:
    async def play(prediction: Prediction) -> None:
        prediction.start()
        for pause, what in story:
            await asyncio.sleep(pause)
            if what == "output":
                prediction.append_output(b"1")
            else:
                prediction.append_log("x")

    wanted = ("start", "output", "logs", "completed") if ends else ("start", "output", "logs")
    receiver = tell(lambda now, message: OK, play, events=wanted)

    between = sorted(receiver.at("output") + receiver.at("logs"))
    assert all(later - earlier >= 0.5 - 1e-9 for earlier, later in itertools.pairwise(between))
    assert receiver.order[0] == "start"
    assert receiver.order.count("completed") == ends
    assert not ends or receiver.order[-1] == "completed"
    last = json.loads(receiver.tries[-1][1].body)
    assert (len(last["output"] or []), len(last["logs"])) == (
        sum(what == "output" for _, what in story),
        sum(what == "log" for _, what in story),
    )


@pytest.mark.parametrize(
    ("events", "order"),
    [
        (("start",), ["start"]),
        (("output",), ["output"]),
        (("logs",), []),
        (("completed",), ["completed"]),
        ((), []),
        (("start", "completed"), ["start", "completed"]),
    ],
    ids=str,
)
def test_only_the_events_of_the_filter_are_said(events: tuple[str, ...], order: list[str]) -> None:
    assert tell(lambda now, message: OK, quick, events=events).order == order


def test_a_message_is_tried_again_before_the_next_goes() -> None:
    receiver = tell(lambda now, message: DOWN if now < 10 else OK, quick)

    assert receiver.order == ["start", "completed"]
    ids = [message.id for _, message in receiver.tries]
    assert ids == sorted(ids, key=ids.index)
    assert len({message.body for _, message in receiver.tries}) == 2
    assert 10 <= receiver.at("completed")[0] <= 13
    assert len(receiver.at("completed")) == 1


def test_an_end_is_given_up_after_twelve_tries_and_some_minutes() -> None:
    receiver = tell(lambda now, message: DOWN, quick, events=("completed",))

    tries = receiver.at("completed")
    assert len(tries) == MAX_TRIES
    assert 240 <= tries[-1] - tries[0] <= 380


def test_an_end_waits_no_longer_than_a_minute_behind_what_fails() -> None:
    receiver = tell(lambda now, message: DOWN if message.event == "start" else OK, quick)

    assert receiver.order == ["start", "completed"]
    assert len(receiver.at("start")) <= MAX_TRIES
    assert receiver.at("completed")[0] <= 65


def test_a_long_wait_is_cut_short_when_the_prediction_ends() -> None:
    async def story(prediction: Prediction) -> None:
        prediction.start()
        await asyncio.sleep(100)

    receiver = tell(lambda now, message: DOWN if now < 90 else OK, story)

    assert receiver.at("start")[-1] <= 102
    assert receiver.at("completed")[0] <= 102.5


def test_retry_after_is_waited_for_and_holds_for_later_messages_too() -> None:
    busy = Answer(Verdict.RETRY, "429", retry_after_s=20)
    receiver = tell(lambda now, message: busy if now == 0 else OK, quick)

    assert [now for now, _ in receiver.tries] == pytest.approx([0, 20, 20])


def test_what_asks_for_more_patience_than_the_end_has_is_given_up_for_it() -> None:
    busy = Answer(Verdict.RETRY, "429", retry_after_s=200)
    receiver = tell(lambda now, message: busy if now == 0 else OK, quick)

    assert [(now, message.event) for now, message in receiver.tries] == [(0, "start"), (200, "completed")]


def test_a_refused_message_is_not_tried_again_and_the_next_goes() -> None:
    refused = Answer(Verdict.REFUSED, "400")
    receiver = tell(lambda now, message: refused if message.event == "start" else OK, quick)

    assert [message.event for _, message in receiver.tries] == ["start", "output", "completed"]


def test_gone_ends_it_for_the_prediction() -> None:
    receiver = tell(lambda now, message: Answer(Verdict.GONE, "410"), quick)

    assert [message.event for _, message in receiver.tries] == ["start"]


@given(st.integers(1, MAX_TRIES), st.floats(0, 1))
def test_delays_double_within_their_bounds(tries: int, jitter: float) -> None:
    middle = min(0.2 * 2 ** (tries - 1), 102.4)

    assert middle * 0.8 - 1e-9 <= delay_s(tries, jitter) <= middle * 1.2 + 1e-9


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((200, 201, 204, 299), Verdict.DELIVERED),
        ((408, 425, 429, 500, 502, 503, 504, 599), Verdict.RETRY),
        ((301, 302, 304, 307, 308, 400, 401, 403, 404, 413, 422), Verdict.REFUSED),
        ((410,), Verdict.GONE),
    ],
)
def test_what_a_status_means(statuses: tuple[int, ...], verdict: Verdict) -> None:
    assert {judge(status) for status in statuses} == {verdict}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(
            (None, 0),
            ("", 0),
            ("2", 2),
            ("999999", 300),
            ("9" * 5000, 300),
            ("-5", 0),
            ("1e3", 0),
            ("soon", 0),
            ("٣", 0),
        ),
        *((email.utils.formatdate(1_000_030, usegmt=True), 30), (email.utils.formatdate(999_000, usegmt=True), 0)),
        *((email.utils.formatdate(2_000_000, usegmt=True), 300), ("Fri, 99 Foo 2020 00:00:00 GMT", 0)),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_capped(text: str | None, seconds: float) -> None:
    assert read_retry_after(text, 1_000_000) == pytest.approx(seconds)


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"traceparent": PARENT, "tracestate": "a=1"}, (("traceparent", PARENT), ("tracestate", "a=1"))),
        ({"traceparent": PARENT}, (("traceparent", PARENT),)),
        ({"traceparent": "garbage", "tracestate": "a=1"}, ()),
        ({"tracestate": "a=1"}, ()),
        ({"traceparent": PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)}, ()),
        ({"traceparent": PARENT, "tracestate": "é"}, (("traceparent", PARENT),)),
    ],
)
def test_the_trace_context_goes_along_if_it_is_one(headers: dict[str, str], kept: tuple[tuple[str, str], ...]) -> None:
    hook = read_hook("https://hook.test/", None, headers)

    assert hook is not None
    assert hook.headers == kept
    assert Hook.from_json(hook.to_json()) == hook


@pytest.mark.parametrize("url", ["http://x", "HTTPS://x:8443/a?b=c#d", "http://[::1]:80/", "http://bücher.test/ü?ü"])
def test_a_url_is_taken(url: str) -> None:
    assert read_hook(url, None, {}) == Hook(url)


@given(st.one_of(st.text(), st.text().map(lambda text: f"http://{text}"), st.integers(), st.lists(st.text())))
def test_any_other_value_is_refused_in_words_or_can_be_sent(value: Any) -> None:
    try:
        hook = read_hook(value, None, {})
    except HookError as error:
        assert error.place == ("webhook",)
        return
    assert hook is not None
    assert hook.url.lower().startswith("http")

"""Ids, shares and turns: the same in every run, and complete."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vtcli.ask import Question
from vtcli.batch.items import Item, Shard, content_id, in_turn, settings_of, share
from vtcli.engines.base import SamplingOptions
from vtcli.prompt import Prompt

ASKED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.sampled_from([8, 16])), unique=True, max_size=40)


def items_of(asked: list[tuple[int, int, int]]) -> list[Item]:
    return [
        Item(f"{video}-{number}-{frames}", Question(f"{video}.mp4", f"q{number}?", "m", frames=frames))
        for video, number, frames in asked
    ]


@given(ASKED)
def test_turns_hold_every_item_once_and_a_video_in_a_row(asked: list[tuple[int, int, int]]) -> None:
    items = items_of(asked)
    clips = in_turn(items)
    assert sorted(item.id for clip in clips for item in clip.items) == sorted(item.id for item in items)
    videos = [clip.items[0].question.video for clip in clips]
    assert len(set(videos)) == sum(a != b for a, b in zip(videos, [None, *videos], strict=False))
    for clip in clips:
        assert len({(item.question.video, item.question.frames) for item in clip.items}) == 1


@given(ASKED, st.integers(1, 7))
def test_shares_are_disjoint_and_complete_and_keep_videos_together(
    asked: list[tuple[int, int, int]], count: int
) -> None:
    items = items_of(asked)
    shares = [share(items, Shard(index, count)) for index in range(1, count + 1)]
    assert sorted(item.id for part in shares for item in part) == sorted(item.id for item in items)
    videos = [{item.question.video for item in part} for part in shares]
    assert sum(map(len, videos)) == len(set().union(*videos))
    assert max(map(len, videos)) - min(map(len, videos)) <= 1


def test_an_id_changes_with_what_is_asked_and_with_nothing_else() -> None:
    asked = Question("a\udcff.mp4", "why?", "m", ("x", "y"))
    others = [
        replace(asked, video="b.mp4"),
        replace(asked, question="who?"),
        replace(asked, choices=()),
        replace(asked, start=1.0),
    ]
    same = [replace(asked, model="other"), replace(asked, frames=4), replace(asked, device="cuda")]
    assert len({content_id(each) for each in (asked, *others)}) == 5
    assert {content_id(each) for each in same} == {content_id(asked)} == {"de8c19951aab6ca4"}


def test_settings_tell_what_decides_an_answer() -> None:
    asked = Question("a.mp4", "why?", "m")
    others = [
        replace(asked, frames=8),
        replace(asked, frames=None, fps=1.0),
        replace(asked, max_pixels=784),
        replace(asked, sampling=SamplingOptions(seed=1)),
        replace(asked, prompt=Prompt("s", "u")),
        replace(asked, prompt=Prompt("s", "v")),
    ]
    found = [str(settings_of(Item("x", each), "w", "e", "s")) for each in (asked, *others)]
    assert len(set(found)) == len(found)
    assert settings_of(Item("x", asked), "w", "e", "other") != settings_of(Item("x", asked), "w", "e", "s")
    assert settings_of(Item("x", replace(asked, device="cuda", choices=("a", "b"))), "w", "e", "s") == settings_of(
        Item("y", asked), "w", "e", "s"
    )

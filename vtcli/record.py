"""Build the JSON records for scripts: `vt.answer/1` and `vt.plan/1`, field by field as in docs/schema/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vtcli.errors import first_line
from vtcli.trace.answers import settle
from vtcli.trace.model import Segment, Trace
from vtcli.video.reader import choose_reader

if TYPE_CHECKING:
    from vtcli.ask import Plan, Question
    from vtcli.engines.base import Engine, StreamStats
    from vtcli.layout import Layout
    from vtcli.models.checkpoint import Checkpoint
    from vtcli.video.probe import VideoInfo
    from vtcli.video.reader import Frames


def answer_record(
    plan: Plan,
    frames: Frames,
    layout: Layout,
    trace: Trace,
    engine: Engine,
    stats: StreamStats,
    timing: Mapping[str, float],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Builds `vt.answer/1`. Segment times are seconds in the file: the window's start is added to the model's times."""
    question, offset = plan.question, frames.plan.offset
    answer, choice = settle(trace, question.choices)
    return {
        "schema": "vt.answer/1",
        "video": plan.info.as_json(),
        "question": question.question,
        "choices": list(question.choices) or None,
        "answer": answer,
        "choice": choice,
        "segments": [_moved(segment, offset).as_json() for segment in trace.segments],
        "reasoning": trace.reasoning,
        "text": trace.text,
        "format_ok": trace.format_ok,
        "finish": stats.finish,
        "model": _model(plan.checkpoint, engine),
        "sampling": frames.as_json(),
        "usage": {
            "prompt_tokens": int(layout.input_ids.size),
            "video_tokens": layout.video_tokens,
            "completion_tokens": stats.completion_tokens,
            "cached_tokens": stats.cached_tokens,
        },
        "timing": {name: round(seconds, 4) for name, seconds in timing.items()},
        "warnings": list(dict.fromkeys((*warnings, *_outcome(trace, answer, choice, stats, plan)))),
        "error": None,
    }


def failed_record(
    question: Question, name: str, info: VideoInfo | None, checkpoint: Checkpoint, engine: Engine, error: Exception
) -> dict[str, Any]:
    """Builds the record of a failed question. `name` is the video's path; `info` is None if it was not probed."""
    unknown = dict.fromkeys(("duration", "fps", "width", "height", "frames"))
    return {
        "schema": "vt.answer/1",
        "video": info.as_json() if info else {"path": name, **unknown},
        "question": question.question,
        "choices": list(question.choices) or None,
        "answer": None,
        "choice": None,
        "segments": [],
        "reasoning": "",
        "text": "",
        "format_ok": False,
        "finish": None,
        "model": _model(checkpoint, engine),
        "sampling": None,
        "usage": None,
        "timing": None,
        "warnings": list(info.warnings) if info else [],
        "error": {"type": type(error).__name__, "message": first_line(error)},
    }


def _model(checkpoint: Checkpoint, engine: Engine) -> dict[str, Any]:
    return {
        "name": checkpoint.name,
        "revision": checkpoint.revision,
        "engine": engine.name,
        "device": engine.device,
        "dtype": engine.dtype,
        "quant": engine.quant,
    }


def plan_record(plan: Plan, layout: Layout, memory: Mapping[str, int], warnings: Sequence[str]) -> dict[str, Any]:
    """Builds `vt.plan/1`: what `ask` would send to the model. Raises the errors of `choose_reader`."""
    times = tuple(plan.info.times[index] for index in plan.frames.indices)
    return {
        "schema": "vt.plan/1",
        "model": {"name": plan.checkpoint.name, "revision": plan.checkpoint.revision},
        "video": plan.info.as_json(),
        "sampling": plan.frames.as_json(times, _reader(plan)),
        "prompt": plan.prompt,
        "layout": {
            "input_ids": layout.input_ids.tolist(),
            "positions": layout.positions.tolist(),
            "video_tokens": layout.video_tokens,
        },
        "memory": dict(memory),
        "warnings": list(warnings),
    }


def _reader(plan: Plan) -> str:
    source, name = plan.info.source, plan.question.reader
    if source is not None and source.is_pictures:
        from vtcli.video.readers.images import choose_picture_reader

        return choose_picture_reader(source, name)
    return choose_reader(name)


def _moved(segment: Segment, offset: float) -> Segment:
    """Returns `segment` in file time, rounded to microseconds so that the sum shows no rounding error."""
    if segment.start is None or segment.end is None:
        return segment
    return replace(segment, start=round(segment.start + offset, 6), end=round(segment.end + offset, 6))


def _outcome(trace: Trace, answer: str, choice: str | None, stats: StreamStats, plan: Plan) -> list[str]:
    """Returns warnings about the answer itself."""
    notes = []
    if stats.finish == "length":
        notes.append(f"the output was cut at {stats.completion_tokens} tokens; raise --max-tokens")
    if not answer:
        notes.append("the model gave no answer")
    elif plan.question.choices and choice is None:
        notes.append("none of the choices can be read from the model's answer")
    return notes

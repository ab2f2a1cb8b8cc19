"""The pipeline of one question: file → frames → prompt → layout → engine → events → record.

`prepare` runs the part that needs no weights (`vt ask --dry-run`); `ask` runs all of it. Library use:

    record = ask(Question(video="clip.mp4", question="what moves?", model="tiny"))
    print(record["answer"])
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from vtcli.background import Background
from vtcli.engines.base import Compile, Engine, Request, SamplingOptions, StreamStats
from vtcli.engines.device import VALUE_BYTES
from vtcli.engines.prefix import PrefixStore
from vtcli.errors import ModelError, UsageError
from vtcli.layout import Layout, build_layout
from vtcli.memory import Clip, check_fit, memory_by_part
from vtcli.models.checkpoint import Checkpoint, open_checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.prompt import Prompt, build_prompt
from vtcli.record import answer_record, plan_record
from vtcli.trace.model import Trace, build_trace
from vtcli.trace.parser import Event, TraceParser
from vtcli.video.guard import READ_LIMIT, Guard
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.reader import Frames, read_frames
from vtcli.video.sampling import FramePlan, FrameRequest, check_request, plan_frames
from vtcli.video.source import Source, resolve


@dataclass(frozen=True)
class Question:
    """One question: the video, the text, the model and all options.

    - `video`: a file, an address, "-" for standard input, or a folder of pictures.
    - `choices`: the option texts without letters; () for an open question.
    - `prompt`: the texts sent to the model; None puts `question` and `choices` into the model's training prompt.
    - `frames` or `fps` (frames per second): which frames to sample. For a folder of pictures, `fps` is the pictures'
      own frame rate, and only `frames` selects.
    - `start` and `end`: bounds of the part of the video to sample, in seconds.
    - `max_pixels`: the limit for one frame; None for the paper's 128·28·28.
    - `stream`: the file's video stream; None for FFmpeg's choice.
    - `reader`: one of auto, pyav, decord, torchcodec.
    - `read_timeout`: seconds after which reading the video is aborted; None for no limit.
    - `model`: a folder, a GGUF file or a catalogue name.
    - `projector`: the GGUF file of the vision tower, if it is not beside the model's file.
    - `engine`: one of auto, transformers, llama-cpp.
    - `device`: one of auto, cuda, mps, cpu.
    - `compile`: see `TransformersEngine`.
    - `store`: keeps computed video prefixes between processes.
    """

    video: str | Path
    question: str
    model: str | Path
    choices: tuple[str, ...] = ()
    prompt: Prompt | None = None
    frames: int | None = 16
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    max_pixels: int | None = None
    stream: int | None = None
    reader: str = "auto"
    read_timeout: float | None = READ_LIMIT
    projector: Path | None = None
    engine: str = "auto"
    device: str = "auto"
    compile: Compile = "auto"
    store: PrefixStore | None = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)

    def wording(self, style: str = "video-thinker") -> Prompt:
        """Returns the prompt; `style` is a `Checkpoint.prompt`. Raises UsageError for invalid question or choices."""
        return self.prompt or build_prompt(self.question, self.choices, style)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything decided before weights are needed. `prompt` is the text as the chat template renders it."""

    question: Question
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    info: VideoInfo
    request: FrameRequest
    frames: FramePlan
    prompt: str
    prompt_ids: tuple[int, ...]

    def asking(self, question: Question) -> Plan:
        """Returns a plan that asks another question about the same frames. Raises UsageError."""
        text, ids = _encode(self.checkpoint, self.tokenizer, question.wording(self.checkpoint.prompt))
        return replace(self, question=question, prompt=text, prompt_ids=ids)

    def layout(self, frames: FramePlan | None = None) -> Layout:
        """Returns tokens and positions for `frames`: by default the planned frames, though fewer may be readable."""
        frames = frames or self.frames
        checkpoint = self.checkpoint
        return build_layout(
            self.prompt_ids,
            checkpoint.grid(len(frames.indices), frames.height, frames.width),
            frames.second_per_grid,
            video_token_id=checkpoint.video_token_id,
            merge_size=checkpoint.merge_size,
            tokens_per_second=checkpoint.tokens_per_second,
        )

    def clip(self) -> Clip:
        """Returns the sizes that determine how much memory the question takes."""
        text = len(self.prompt_ids) - 1 + self.question.sampling.max_tokens
        return Clip(len(self.frames.indices), self.frames.height, self.frames.width, text)


@dataclass(frozen=True)
class Spent:
    """Seconds spent loading the model and reading the video, and the `perf_counter` value at the start."""

    load: float
    read: float
    begin: float


class Listener(Protocol):
    """Callbacks while a question is answered; every method may do nothing."""

    def planned(self, plan: Plan) -> None:
        """Called when the frames are planned; loading the model and reading the video are still running."""

    def generating(self, engine: Engine, frames: Frames) -> None:
        """Called when the model is loaded and the frames are read, before the first event."""

    def event(self, event: Event) -> None:
        """Called for each piece of the trace as the model writes it."""


def prepare(question: Question, guard: Guard | None = None, weights: bool = True) -> Plan:
    """Checks the question and plans its frames and prompt, without torch; with `weights` False, weights may be missing.

    `guard` probes the file; without a guard, this process probes it with no time limit. Raises UsageError (question,
    flags), ModelError (checkpoint), VideoError (file).
    """
    question.wording()  # fail before opening the model and the video
    checkpoint = open_checkpoint(question.model, weights, question.projector)
    with resolve(question.video, question.fps, question.stream, question.read_timeout) as source:
        return make_plan(question, source, checkpoint, Tokenizer(checkpoint.path), guard)


def dry_run(question: Question) -> dict[str, Any]:
    """Returns the plan as `vt ask --dry-run --json` prints it (docs/schema/plan.schema.json)."""
    with Guard(question.read_timeout) as guard:
        plan = prepare(question, guard, weights=False)
    memory = memory_by_part(plan.checkpoint, plan.clip())
    return plan_record(plan, plan.layout(), memory, _notes(plan, plan.frames))


def ask(question: Question, listener: Listener | None = None) -> dict[str, Any]:
    """Answers one question; returns the record `vt.answer/1` (docs/schema/answer.schema.json).

    The model is loaded in the background while a separate process probes and reads the video. A question that does not
    fit on the device is not started. Raises every kind of VtError, and KeyboardInterrupt as soon as it arrives.
    """
    begin = perf_counter()
    question.wording()
    with Guard(question.read_timeout) as guard:
        checkpoint = open_checkpoint(question.model, projector=question.projector)
        tokenizer = Tokenizer(checkpoint.path)
        engine = choose_engine(checkpoint, tokenizer, question)
        planned = Future[Plan]()
        loading = Background(partial(_load, engine, planned))
        try:
            with resolve(question.video, question.fps, question.stream, question.read_timeout) as source:
                plan = make_plan(question, source, checkpoint, tokenizer, guard)
                planned.set_result(plan)
                if listener:
                    listener.planned(plan)
                frames, request = read(plan, guard)
        except BaseException:
            planned.cancel()  # planning failed: the loading thread must not wait for a plan
            Background(partial(_discard, engine, loading))
            raise
    seconds_read = perf_counter() - begin
    loading.result()
    try:
        return answer(engine, plan, frames, request, Spent(loading.seconds, seconds_read, begin), listener)
    finally:
        engine.close()


def answer(
    engine: Engine, plan: Plan, frames: Frames, request: Request, spent: Spent, listener: Listener | None = None
) -> dict[str, Any]:
    """Answers a question whose frames are read with an open engine; returns the record. Raises EngineError."""
    if listener:
        listener.generating(engine, frames)
    trace, stats = reply(engine, request, listener)
    timing = {
        "load": spent.load,
        "read": spent.read,
        "encode": stats.encode,
        "prefill": stats.prefill,
        "generate": stats.generate,
        "total": perf_counter() - spent.begin,
    }
    far = _beyond(plan.checkpoint, request)
    warnings = (*_notes(plan, frames.plan), *frames.warnings, *far, *engine.warnings)
    return answer_record(plan, frames, request.layout, trace, engine, stats, timing, warnings)


def read(plan: Plan, guard: Guard | None = None) -> tuple[Frames, Request]:
    """Reads the plan's frames, with `guard` or otherwise in this process, and lays them out for an engine.

    Raises VideoError.
    """
    read_by = guard.read_frames if guard else read_frames
    frames = read_by(plan.info, plan.frames, plan.request, plan.question.reader)
    return frames, lay_out(plan, frames)


def lay_out(plan: Plan, frames: Frames) -> Request:
    """Builds the engine request for the plan's question about `frames`."""
    layout = plan.layout(frames.plan)
    return Request(layout, frames.pixels, frames.plan.second_per_grid, plan.question.sampling)


def reply(engine: Engine, request: Request, listener: Listener | None = None) -> tuple[Trace, StreamStats]:
    """Answers `request` with an open engine; passes events to `listener` as they arrive."""
    parser, events = TraceParser(), list[Event]()

    def heard(new: list[Event]) -> None:
        events.extend(new)
        if listener:
            for event in new:
                listener.event(event)

    for piece in engine.stream(request):
        heard(parser.feed(piece))
    heard(parser.close())
    assert engine.stats is not None  # set once the stream has ended
    return build_trace(events), engine.stats


def choose_engine(checkpoint: Checkpoint, tokenizer: Tokenizer, question: Question) -> Engine:
    """Returns the engine that runs the checkpoint: llama.cpp for GGUF files, transformers for checkpoint folders.

    Raises UsageError if the question asks for the other engine, EngineError if the engine's libraries are missing.
    """
    if question.engine not in ("auto", "transformers", "llama-cpp"):
        raise UsageError(f"--engine {question.engine}: choose one of auto, transformers, llama-cpp")
    if checkpoint.is_gguf:
        if question.engine == "transformers":
            raise UsageError(f"--engine transformers does not run GGUF files: {checkpoint.path} needs llama-cpp")
        if question.compile != "auto":
            raise UsageError("--compile is of the transformers engine: llama.cpp's steps are compiled already")
        from vtcli.engines.llama_cpp import LlamaCppEngine
        from vtcli.engines.llama_cpp.library import require_library

        require_library()  # fail before the video is read
        return LlamaCppEngine(checkpoint, tokenizer, question.device, question.store)
    if question.engine == "llama-cpp":
        raise UsageError(
            f"--engine llama-cpp runs GGUF files: make one with vt export {checkpoint.path} DIR --quant Q8_0"
        )
    from vtcli.engines.loading import require_libraries
    from vtcli.engines.transformers import TransformersEngine

    require_libraries()  # fail before the video is read
    return TransformersEngine(checkpoint, tokenizer, question.device, question.compile, question.store)


def make_plan(
    question: Question, source: Source, checkpoint: Checkpoint, tokenizer: Tokenizer, guard: Guard | None = None
) -> Plan:
    """Plans as `prepare` does, from an already resolved video and opened model."""
    prompt = question.wording(checkpoint.prompt)
    request = _frame_request(question, checkpoint, *source.sampling(question.frames, question.fps))
    info = guard.probe(source) if guard else probe(source)
    frames = plan_frames(info, request)
    text, ids = _encode(checkpoint, tokenizer, prompt)
    return Plan(question, checkpoint, tokenizer, info, request, frames, text, ids)


def check_frames(question: Question, checkpoint: Checkpoint) -> None:
    """Raises UsageError if no video can satisfy the frame request: no frames at all, or an end before the start."""
    check_request(_frame_request(question, checkpoint, question.frames, question.fps))


def _frame_request(question: Question, checkpoint: Checkpoint, frames: int | None, fps: float | None) -> FrameRequest:
    low, high = checkpoint.frame_pixels(question.max_pixels)
    return FrameRequest(frames, fps, question.start, question.end, low, high)


def _encode(checkpoint: Checkpoint, tokenizer: Tokenizer, prompt: Prompt) -> tuple[str, tuple[int, ...]]:
    """Returns the rendered prompt and its ids. Raises ModelError unless they hold exactly one video token."""
    text, ids = tokenizer.encode_prompt(prompt)
    video = checkpoint.video_token_id
    if (count := ids.count(video)) != 1:
        raise ModelError(
            f"{checkpoint.name}: tokenizer and chat template place the video {count} times, not once "
            f"(token {video} of config.json)"
        )
    return text, tuple(ids)


def _notes(plan: Plan, frames: FramePlan) -> tuple[str, ...]:
    """Returns warnings about the video, the sampled frames and the model, independent of the answer."""
    notes = [*plan.info.warnings, *frames.warnings]
    if plan.checkpoint.scope:
        notes.append(f"{plan.checkpoint.name}: {plan.checkpoint.scope}")
    return tuple(dict.fromkeys(notes))


def _discard(engine: Engine, loading: Background[None]) -> None:
    """Waits for an abandoned load to end and frees the engine."""
    loading.wait()
    engine.close()


def _beyond(checkpoint: Checkpoint, request: Request) -> tuple[str, ...]:
    """Returns a warning if a reply may exceed the model's `max_position_embeddings`."""
    most = checkpoint.text_config.get("max_position_embeddings")
    last = request.layout.next_position + request.sampling.max_tokens
    if not isinstance(most, int) or last <= most:
        return ()
    return (f"{checkpoint.name} was made for {most} positions, this question may reach {last}: take fewer frames",)


def _load(engine: Engine, planned: Future[Plan]) -> None:
    """Opens `engine` once the plan is known and fits on the device. Raises EngineError."""
    engine.prepare()  # takes longer than planning
    plan = planned.result()
    check_fit(plan.checkpoint, plan.clip(), VALUE_BYTES[engine.dtype], engine.device, engine.free_memory())
    engine.open()

"""The way of one question: file → frames → prompt → layout → engine → events → record.

`prepare` goes as far as one can without weights (`vt ask --dry-run`); `ask` goes all the way. Library use:

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
    """What is asked about which video, of which model, and how.

    `video` is a file, an address, "-" for standard input, or a folder of pictures; of a folder `fps` says how many a
    second they are, and `frames` chooses. `stream` is the file's video stream, None for FFmpeg's choice. `choices` are
    the options' texts without letters, () for an open question; `prompt` what the model is told, None for the
    words around the two that it was trained with. `frames` or `fps` (frames a second) choose the frames;
    `start` and `end` (seconds) bound the part looked at; `max_pixels` bounds one frame, None for the paper's
    128·28·28. `model` is a folder, a GGUF file or a catalogue name; `projector` the GGUF file of its vision tower where
    that does not lie beside it. `engine` is one of auto, transformers, llama-cpp; `device` one of auto, cuda, mps, cpu;
    `compile` as of `TransformersEngine`; `store` keeps what is computed of videos between processes; `reader` one of
    auto, pyav, decord, torchcodec. `read_timeout` (seconds, None for none) ends the reading of a video that takes
    longer.
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
        """The texts the model is given, `style` as of `Checkpoint.prompt`. Raises UsageError for no real question."""
        return self.prompt or build_prompt(self.question, self.choices, style)


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is decided before weights are needed. `prompt` is the text as the chat template renders it."""

    question: Question
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    info: VideoInfo
    request: FrameRequest
    frames: FramePlan
    prompt: str
    prompt_ids: tuple[int, ...]

    def asking(self, question: Question) -> Plan:
        """The same frames for another question about them. Raises UsageError."""
        text, ids = _encode(self.checkpoint, self.tokenizer, question.wording(self.checkpoint.prompt))
        return replace(self, question=question, prompt=text, prompt_ids=ids)

    def layout(self, frames: FramePlan | None = None) -> Layout:
        """Tokens and positions for `frames`, by default those planned (fewer may turn out to be readable)."""
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
        """What decides how much memory the question takes."""
        text = len(self.prompt_ids) - 1 + self.question.sampling.max_tokens
        return Clip(len(self.frames.indices), self.frames.height, self.frames.width, text)


@dataclass(frozen=True)
class Spent:
    """Seconds that went into loading the model and reading the video, and when, on `perf_counter`, all began."""

    load: float
    read: float
    begin: float


class Listener(Protocol):
    """Follows a question while it is answered; every method may do nothing."""

    def planned(self, plan: Plan) -> None:
        """The video is known and the frames are chosen; loading and reading go on."""

    def generating(self, engine: Engine, frames: Frames) -> None:
        """The model is loaded, the frames are read; the first event follows."""

    def event(self, event: Event) -> None:
        """A piece of the trace, as the model writes it."""


def prepare(question: Question, guard: Guard | None = None, weights: bool = True) -> Plan:
    """Checks the question and plans its frames and prompt, without torch; without `weights` these may be missing.

    The file is probed by `guard`, or else in this process and for as long as it takes. Raises UsageError (question,
    flags), ModelError (checkpoint), VideoError (file).
    """
    question.wording()  # before the model and the video are looked at in vain
    checkpoint = open_checkpoint(question.model, weights, question.projector)
    with resolve(question.video, question.fps, question.stream, question.read_timeout) as source:
        return make_plan(question, source, checkpoint, Tokenizer(checkpoint.path), guard)


def dry_run(question: Question) -> dict[str, Any]:
    """The plan as `vt ask --dry-run --json` prints it (docs/schema/plan.schema.json)."""
    with Guard(question.read_timeout) as guard:
        plan = prepare(question, guard, weights=False)
    memory = memory_by_part(plan.checkpoint, plan.clip())
    return plan_record(plan, plan.layout(), memory, _notes(plan, plan.frames))


def ask(question: Question, listener: Listener | None = None) -> dict[str, Any]:
    """Answers one question; returns the record `vt.answer/1` (docs/schema/answer.schema.json).

    The model is loaded in the background while a process of its own probes and reads the video; what does not fit the
    device is not begun. Raises VtError in its kinds, and KeyboardInterrupt as soon as it arrives.
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
            planned.cancel()  # where planning failed, loading waits for nothing
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
    """Has an open engine answer a question whose frames are read; returns the record. Raises EngineError."""
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
    """Reads the plan's frames, by `guard` or else in this process, and lays them out for an engine.

    Raises VideoError.
    """
    read_by = guard.read_frames if guard else read_frames
    frames = read_by(plan.info, plan.frames, plan.request, plan.question.reader)
    return frames, lay_out(plan, frames)


def lay_out(plan: Plan, frames: Frames) -> Request:
    """The plan's question about `frames`, as engines take it."""
    layout = plan.layout(frames.plan)
    return Request(layout, frames.pixels, frames.plan.second_per_grid, plan.question.sampling)


def reply(engine: Engine, request: Request, listener: Listener | None = None) -> tuple[Trace, StreamStats]:
    """Has an open engine answer `request`; events go to `listener` as they arrive."""
    parser, events = TraceParser(), list[Event]()

    def heard(new: list[Event]) -> None:
        events.extend(new)
        if listener:
            for event in new:
                listener.event(event)

    for piece in engine.stream(request):
        heard(parser.feed(piece))
    heard(parser.close())
    assert engine.stats is not None  # streamed to the end
    return build_trace(events), engine.stats


def choose_engine(checkpoint: Checkpoint, tokenizer: Tokenizer, question: Question) -> Engine:
    """The engine that runs the checkpoint: llama.cpp for GGUF files, transformers for the rest.

    Raises UsageError where another is asked for, EngineError where its libraries are missing.
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

        require_library()  # before the video is read in vain
        return LlamaCppEngine(checkpoint, tokenizer, question.device, question.store)
    if question.engine == "llama-cpp":
        raise UsageError(
            f"--engine llama-cpp runs GGUF files: make one with vt export {checkpoint.path} DIR --quant Q8_0"
        )
    from vtcli.engines.loading import require_libraries
    from vtcli.engines.transformers import TransformersEngine

    require_libraries()  # before the video is read in vain
    return TransformersEngine(checkpoint, tokenizer, question.device, question.compile, question.store)


def make_plan(
    question: Question, source: Source, checkpoint: Checkpoint, tokenizer: Tokenizer, guard: Guard | None = None
) -> Plan:
    """As `prepare`, of a video and a model that are at hand."""
    prompt = question.wording(checkpoint.prompt)
    request = _frame_request(question, checkpoint, *source.sampling(question.frames, question.fps))
    info = guard.probe(source) if guard else probe(source)
    frames = plan_frames(info, request)
    text, ids = _encode(checkpoint, tokenizer, prompt)
    return Plan(question, checkpoint, tokenizer, info, request, frames, text, ids)


def check_frames(question: Question, checkpoint: Checkpoint) -> None:
    """Raises UsageError where the question asks for frames that no video has: none at all, or an end before a start."""
    check_request(_frame_request(question, checkpoint, question.frames, question.fps))


def _frame_request(question: Question, checkpoint: Checkpoint, frames: int | None, fps: float | None) -> FrameRequest:
    low, high = checkpoint.frame_pixels(question.max_pixels)
    return FrameRequest(frames, fps, question.start, question.end, low, high)


def _encode(checkpoint: Checkpoint, tokenizer: Tokenizer, prompt: Prompt) -> tuple[str, tuple[int, ...]]:
    """The prompt as the model's template renders it, and its ids. Raises ModelError unless the video is in it once."""
    text, ids = tokenizer.encode_prompt(prompt)
    video = checkpoint.video_token_id
    if (count := ids.count(video)) != 1:
        raise ModelError(
            f"{checkpoint.name}: tokenizer and chat template place the video {count} times, not once "
            f"(token {video} of config.json)"
        )
    return text, tuple(ids)


def _notes(plan: Plan, frames: FramePlan) -> tuple[str, ...]:
    """What the user must know about the video, the frames taken and the model, whatever it answers."""
    notes = [*plan.info.warnings, *frames.warnings]
    if plan.checkpoint.scope:
        notes.append(f"{plan.checkpoint.name}: {plan.checkpoint.scope}")
    return tuple(dict.fromkeys(notes))


def _discard(engine: Engine, loading: Background[None]) -> None:
    """Frees what is still being loaded, for nobody."""
    loading.wait()
    engine.close()


def _beyond(checkpoint: Checkpoint, request: Request) -> tuple[str, ...]:
    """A warning where a reply may reach positions that the model was not made for."""
    most = checkpoint.text_config.get("max_position_embeddings")
    last = request.layout.next_position + request.sampling.max_tokens
    if not isinstance(most, int) or last <= most:
        return ()
    return (f"{checkpoint.name} was made for {most} positions, this question may reach {last}: take fewer frames",)


def _load(engine: Engine, planned: Future[Plan]) -> None:
    """Opens `engine` as soon as it is known that the planned question fits its device. Raises EngineError."""
    engine.prepare()  # takes longer than planning
    plan = planned.result()
    check_fit(plan.checkpoint, plan.clip(), VALUE_BYTES[engine.dtype], engine.device, engine.free_memory())
    engine.open()

"""Finds everything that can be wrong with training data before training begins, counts it and lists it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from vtcli.errors import VideoError, VtError
from vtcli.tokens import video_token_count
from vtcli.train.encode import Encoder
from vtcli.train.frames import FrameStore
from vtcli.train.operations import Grid, Size
from vtcli.train.recipe import Data, Sft
from vtcli.train.records import Problem, Read, Record, shown_files

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Checked:
    """Records to train on, records held out for evaluation, and the problems of records that cannot be used.

    train_sizes, held_out_sizes: sizes of these records, in the same order. notes: warnings from reading the videos,
    each once.
    """

    train: tuple[Record, ...]
    held_out: tuple[Record, ...]
    problems: tuple[Problem, ...]
    total: int
    train_sizes: tuple[Size, ...]
    held_out_sizes: tuple[Size, ...]
    notes: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the longest prompt."""
        return max((size.prompt for size in (*self.train_sizes, *self.held_out_sizes)), default=0)

    @property
    def whole(self) -> int:
        """Tokens of the longest prompt and reply together."""
        return max((size.prompt + size.reply for size in (*self.train_sizes, *self.held_out_sizes)), default=0)

    def counts(self) -> dict[str, int]:
        """Counts problems by kind, the most frequent kind first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())


def check(read: Read, encoder: Encoder, data: Data, sft: Sft | None, progress: Progress | None = None) -> Checked:
    """Opens every video and measures every prompt.

    With data.check "decode" it also decodes all frames, which fills the frame cache if there is one.
    """
    problems, notes = list(read.problems), dict[str, None]()
    videos = _videos(read.records, encoder, data, progress)
    good: list[tuple[Record, Size]] = []
    for record in read.records:
        found = [videos[file, bool(record.pictures)] for file in record.shown]
        if bad := next((each for each in found if isinstance(each, str)), None):
            kind = "missing" if bad.startswith("no such file") else "broken"
            problems.append(Problem(record.place, kind, bad))
            continue
        shown = [each for each in found if isinstance(each, _Shown)]
        grids = tuple(each.grid for each in shown)
        beyond = sum(video_token_count(grid, encoder.checkpoint.merge_size) - 1 for grid in grids)
        tokens = len(encoder.prompt_ids(record)) + beyond  # prompt_ids holds one placeholder token for each
        reply = len(encoder.reply_ids(record))
        if tokens > data.max_prompt_tokens:
            problems.append(Problem(record.place, "long", f"{tokens} prompt tokens, data.max_prompt_tokens allows "
                                    f"{data.max_prompt_tokens}"))  # fmt: skip
        elif sft is not None and tokens + reply > sft.max_tokens:
            problems.append(
                Problem(record.place, "long", f"{tokens + reply} tokens, sft.max_tokens allows {sft.max_tokens}")
            )
        else:
            good.append((record, Size(tokens, reply, grids)))
            notes |= dict.fromkeys(note for each in shown for note in each.warnings)
    kept = min(data.held_out, len(good) // 2)
    step = len(good) / kept if kept else 0
    apart = {int(i * step) for i in range(kept)}  # spread evenly over the files
    train = [each for i, each in enumerate(good) if i not in apart]
    held_out = [each for i, each in enumerate(good) if i in apart]
    return Checked(
        train=tuple(record for record, _ in train),
        held_out=tuple(record for record, _ in held_out),
        problems=tuple(problems),
        total=read.total,
        train_sizes=tuple(size for _, size in train),
        held_out_sizes=tuple(size for _, size in held_out),
        notes=tuple(notes),
    )


def list_problems(problems: Sequence[Problem], file: Path) -> None:
    """Writes all problems to `file`, one JSON object per line; removes the file if there are none."""
    if not problems:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(asdict(problem)) + "\n" for problem in problems), encoding="utf-8")


@dataclass(frozen=True)
class _Shown:
    """What the model is shown of a video, and the warnings from reading it."""

    grid: Grid
    warnings: tuple[str, ...]


def _videos(
    records: Iterable[Record], encoder: Encoder, data: Data, progress: Progress | None
) -> dict[tuple[Path, bool], _Shown | str]:
    """Maps every video, and every picture (True), to what is shown of it or to the reason it cannot be read."""
    store = encoder.store
    videos = shown_files(records)
    stores: SimpleQueue[FrameStore] = SimpleQueue()
    workers = max(1, min(data.workers, len(videos)))
    every = [FrameStore(store.request, store.folder, store.pixels) for _ in range(workers)]
    for each in every:
        stores.put(each)

    def look(video: tuple[Path, bool]) -> _Shown | str:
        mine = stores.get()
        try:
            return _look(*video, mine, encoder, data.check == "decode")
        except (VideoError, VtError) as error:
            return str(error)
        finally:
            stores.put(mine)

    found: dict[tuple[Path, bool], _Shown | str] = {}
    try:
        with ThreadPoolExecutor(workers) as pool:
            for video, result in zip(videos, pool.map(look, videos), strict=True):
                found[video] = result
                if progress:
                    progress(len(found), len(videos))
    finally:
        for each in every:
            each.close()
    return found


def _look(file: Path, is_picture: bool, store: FrameStore, encoder: Encoder, decode: bool) -> _Shown:
    if not file.is_file():
        raise VideoError(f"no such file: {file}")
    if decode or is_picture:
        clip = store.clip(file, is_picture)
        frames, height, width, _ = clip.pixels.shape
        return _Shown(encoder.checkpoint.grid(frames, height, width), clip.warnings)
    plan = store.probe(file)
    return _Shown(encoder.checkpoint.grid(len(plan.indices), plan.height, plan.width), plan.warnings)

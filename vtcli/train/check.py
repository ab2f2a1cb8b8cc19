"""Everything that can be wrong with training data, found before anything is trained: counted, and listed."""

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
from vtcli.train.recipe import Data, Sft
from vtcli.train.records import Problem, Read, Record

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Checked:
    """What may be trained on, what is kept apart for evaluation, and what neither can be.

    tokens: the most a prompt has, and `whole` with the reply to learn. notes: what reading the videos found, each once.
    """

    train: tuple[Record, ...]
    held_out: tuple[Record, ...]
    problems: tuple[Problem, ...]
    total: int
    tokens: int
    whole: int
    notes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Problems by kind, the commonest first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())


def check(read: Read, encoder: Encoder, data: Data, sft: Sft | None, progress: Progress | None = None) -> Checked:
    """Opens every video and measures every prompt; with data.check "decode" reads all frames too, which keeps them."""
    problems, notes = list(read.problems), dict[str, None]()
    longest, longest_whole = 0, 0
    sizes = _videos(read.records, encoder.store, data, progress)
    good: list[Record] = []
    for record in read.records:
        found = [sizes[video] for video in record.videos]
        if bad := next((each for each in found if isinstance(each, str)), None):
            kind = "missing" if bad.startswith("no such file") else "broken"
            problems.append(Problem(record.place, kind, bad))
            continue
        tokens = len(encoder.prompt_ids(record)) + sum(
            _tokens(encoder, each) for each in found if isinstance(each, _Size)
        )
        whole = tokens + (len(encoder.reply_ids(record)) if sft is not None else 0)
        if tokens > data.max_prompt_tokens:
            problems.append(Problem(record.place, "long", f"{tokens} prompt tokens, data.max_prompt_tokens allows "
                                    f"{data.max_prompt_tokens}"))  # fmt: skip
        elif sft is not None and whole > sft.max_tokens:
            problems.append(Problem(record.place, "long", f"{whole} tokens, sft.max_tokens allows {sft.max_tokens}"))
        else:
            good.append(record)
            longest, longest_whole = max(longest, tokens), max(longest_whole, whole)
            notes |= dict.fromkeys(note for each in found if isinstance(each, _Size) for note in each.warnings)
    kept = min(data.held_out, len(good) // 2)
    step = len(good) / kept if kept else 0
    apart = {int(i * step) for i in range(kept)}  # spread over the files
    return Checked(
        train=tuple(record for i, record in enumerate(good) if i not in apart),
        held_out=tuple(record for i, record in enumerate(good) if i in apart),
        problems=tuple(problems),
        total=read.total,
        tokens=longest,
        whole=longest_whole,
        notes=tuple(notes),
    )


def list_problems(problems: Sequence[Problem], file: Path) -> None:
    """Writes all problems, a JSON object a line; where there are none, no such file is left."""
    if not problems:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(asdict(problem)) + "\n" for problem in problems), encoding="utf-8")


@dataclass(frozen=True)
class _Size:
    frames: int
    height: int
    width: int
    warnings: tuple[str, ...]


def _tokens(encoder: Encoder, size: _Size) -> int:
    """Tokens a clip takes beyond the one that stands for it."""
    of = encoder.checkpoint
    return video_token_count(of.grid(size.frames, size.height, size.width), of.merge_size) - 1


def _videos(
    records: Iterable[Record], store: FrameStore, data: Data, progress: Progress | None
) -> dict[Path, _Size | str]:
    """Every video's size, or why it cannot be read."""
    videos = list(dict.fromkeys(video for record in records for video in record.videos))
    stores: SimpleQueue[FrameStore] = SimpleQueue()
    workers = max(1, min(data.workers, len(videos)))
    every = [FrameStore(store.request, store.folder) for _ in range(workers)]
    for each in every:
        stores.put(each)

    def size(video: Path) -> _Size | str:
        mine = stores.get()
        try:
            return _size(video, mine, data.check == "decode")
        except (VideoError, VtError) as error:
            return str(error)
        finally:
            stores.put(mine)

    found: dict[Path, _Size | str] = {}
    try:
        with ThreadPoolExecutor(workers) as pool:
            for video, result in zip(videos, pool.map(size, videos), strict=True):
                found[video] = result
                if progress:
                    progress(len(found), len(videos))
    finally:
        for each in every:
            each.close()
    return found


def _size(video: Path, store: FrameStore, decode: bool) -> _Size:
    if not video.is_file():
        raise VideoError(f"no such file: {video}")
    if decode:
        clip = store.clip(video)
        frames, height, width, _ = clip.pixels.shape
        return _Size(frames, height, width, clip.warnings)
    plan = store.probe(video)
    return _Size(len(plan.indices), plan.height, plan.width, plan.warnings)

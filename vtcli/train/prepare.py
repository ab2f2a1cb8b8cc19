"""Prepares the checked records of a run, and the encoder for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtcli.disk import free_bytes
from vtcli.errors import DataError, TrainError, UsageError
from vtcli.models.checkpoint import Checkpoint
from vtcli.scoring.rewards import mean_rouge
from vtcli.settings import cache_folder
from vtcli.train import hub
from vtcli.train.check import Checked, check, list_problems
from vtcli.train.encode import Encoder
from vtcli.train.frames import FrameStore
from vtcli.train.identity import told_before
from vtcli.train.job import Follower, Job
from vtcli.train.recipe import StageName
from vtcli.train.records import Record, read_records, shown_files


def prepare(
    job: Job, base: Checkpoint, stages: Sequence[StageName], is_main: bool, follower: Follower | None
) -> tuple[Encoder, Checked, dict[str, str]]:
    """Returns the encoder, the records that may be used, and the commits of those from the hub."""
    recipe = job.recipe
    files, fetched = _files(job, is_main, follower)
    if not files and recipe.data.shapes:
        from vtcli.train.shapes import write_shapes

        files = [write_shapes(cache_folder() / "shapes", recipe.data.shapes, workers=recipe.data.workers)]
    if not files:
        raise UsageError("no training data: give --data FILE (JSON, JSON lines or Parquet), or OWNER/NAME of the hub")
    read = read_records(files, recipe.data.roots)
    if not read.total:
        raise DataError(f"{', '.join(map(str, files))}: no records")
    hub.check_videos(fetched, read.records)
    kept = cache_folder() / "frames" if recipe.data.cache else None
    encoder = Encoder.of(base, recipe, kept)
    if kept is not None:
        _check_frames(read.records, encoder.store, kept)
    if any(record.kind == "free-form" for record in read.records):
        mean_rouge("", "")  # fails now if it is not installed: rewards and held-out scores need it
    checked = check(read, encoder, recipe.data, recipe.sft, follower.checking if follower else None)
    if is_main:
        list_problems(checked.problems, job.out / "problems.jsonl")
    if follower:
        follower.checked(checked)
    unusable = checked.problems
    if unusable and not job.skip_bad:
        raise DataError(
            f"{len(unusable)} of {checked.total} records cannot be used, first {unusable[0]} (all are in "
            f"{job.out / 'problems.jsonl'}): mend them, or give --skip-bad to train without them"
        )
    if not checked.train:
        raise DataError(f"none of {checked.total} records can be trained on")
    for name in stages:
        batch = recipe.stage(name).batch
        if len(checked.train) < batch:
            raise DataError(f"{len(checked.train)} records to train on are fewer than {name}.batch, {batch}")
    return encoder, checked, {each.source.text: each.commit for each in fetched}


def _files(job: Job, is_main: bool, follower: Follower | None) -> tuple[list[str | Path], list[hub.Fetched]]:
    """Returns the files of records, and what came from the hub; a resumed run keeps to its commits."""
    told = told_before(job.out).get("hub")
    pinned = {name: str(commit) for name, commit in told.items()} if isinstance(told, dict) else {}
    files: list[str | Path] = []
    fetched: list[hub.Fetched] = []
    for name in job.recipe.data.files:
        source = hub.parse(name)
        if source is None:
            files.append(name)
            continue
        fetched.append(hub.fetch(source, pinned.get(name), is_main, follower.fetching if follower else lambda *_: None))
        files += fetched[-1].files
        if follower:
            follower.fetched(fetched[-1])
    return files, fetched


def _check_frames(records: Sequence[Record], store: FrameStore, folder: Path) -> None:
    """Raises TrainError if the disk has no room for the frames that are not cached yet."""
    missing = [each for each in shown_files(records) if not store.is_kept(*each)]
    a_clip, a_picture = 3 * (store.request.frames or 64) * store.request.max_pixels, 3 * store.pixels[1]
    need, free = sum(a_picture if is_picture else a_clip for _, is_picture in missing), free_bytes(folder)
    if need > free:
        raise TrainError(
            f"the frames of {len(missing)} videos and pictures take up to {need / 1e9:.1f} GB in {folder} and "
            f"{free / 1e9:.1f} GB are free: make room, set VT_HOME to another disk, or --set data.cache=false"
        )

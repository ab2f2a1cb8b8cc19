"""Writes frames as a folder of pictures: numbered files, a contact sheet, and `frames.json`, which describes them.

A folder holds the frames of one run. Frames of an earlier run, which its `frames.json` names, are replaced; nothing
else is overwritten or removed. Everything is first written to a temporary folder, so a folder never holds half a run;
temporary folders of killed runs are removed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from vtcli.errors import VtError
from vtcli.signals import terminable, uninterrupted
from vtcli.video.probe import VideoInfo
from vtcli.video.reader import Frames
from vtcli.video.sheet import contact_sheet
from vtcli.video.staging import remove_stale, staged
from vtcli.video.text import shown

Format = Literal["png", "jpeg"]

SCHEMA = "vt.frames/1"
RECORD = "frames.json"
SHEET = "sheet.jpg"
_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
_OPTIONS: dict[str, dict[str, Any]] = {"png": {}, "jpeg": {"quality": 95, "subsampling": 0}}
_SHEET_OPTIONS: dict[str, Any] = {"quality": 90, "subsampling": 0}  # colours at full resolution: the text is small
_PICTURE = re.compile(r"[0-9]{3,}_[0-9]+\.[0-9]{3}s\.(?:png|jpg)")


def export_frames(
    info: VideoInfo,
    frames: Frames,
    folder: Path,
    picture_format: Format = "png",
    with_sheet: bool = True,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes `frames` of `info` into `folder`, created if missing; returns the record `vt.frames/1`.

    The record's paths are `folder` / name; the `frames.json` beside the pictures has bare names, so that the folder can
    be moved (docs/schema/frames.schema.json). Raises VtError where the frames cannot be written to the folder.
    """
    names = _names(frames.times, _SUFFIXES[picture_format])
    sheet = SHEET if with_sheet else None
    earlier = check_folder(folder)

    def write(place: Path) -> None:
        for name, picture in zip(names, frames.pixels, strict=True):
            Image.fromarray(picture).save(place / name, **_OPTIONS[picture_format])
        if sheet:
            contact_sheet(frames.pixels, frames.times, frames.indices).save(place / sheet, **_SHEET_OPTIONS)
        text = json.dumps(_record(info, frames, names, sheet, warnings), indent=2)  # ASCII: no terminal codes
        (place / RECORD).write_text(text + "\n", encoding="utf-8")

    try:
        # The record comes last: it names only what is there.
        _replace(folder, [*names, *([sheet] if sheet else []), RECORD], earlier, write)
    except OSError as error:
        raise VtError(f"the frames cannot be written to {shown(folder)}: {error.strerror or error}") from None
    paths = [str(folder / name) for name in names]
    return _record(info, frames, paths, str(folder / sheet) if sheet else None, warnings)


def check_folder(folder: Path) -> set[str]:
    """Returns the names of an earlier run's files in `folder`.

    Raises VtError where writing there would overwrite files that vt did not write, or mix its frames with others.
    """
    try:
        there = set(os.listdir(folder))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise VtError(f"the frames cannot be written to {shown(folder)}: {error.strerror or error}") from None
    earlier = _named_by_record(folder / RECORD) if RECORD in there else set()
    if earlier is None:
        raise VtError(f"{shown(folder)} holds a {RECORD} that is not of vt; give another folder")
    foreign = sorted(name for name in there - earlier if name == SHEET or _PICTURE.fullmatch(name))
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise VtError(f"{shown(folder)} holds {foreign[0]}{more}, which no {RECORD} there names; give another folder")
    return earlier & there


def _names(times: Sequence[float], suffix: str) -> list[str]:
    digits = max(3, len(str(len(times) - 1)))
    return [f"{number:0{digits}}_{time:.3f}s{suffix}" for number, time in enumerate(times)]


def _record(
    info: VideoInfo, frames: Frames, files: Sequence[str], sheet: str | None, warnings: Sequence[str]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "video": info.as_json(),
        "sampling": frames.as_json(),
        "files": list(files),
        "sheet": sheet,
        "warnings": list(warnings),
    }


def _named_by_record(file: Path) -> set[str] | None:
    """Returns the possible vt files that a `frames.json` names, and itself; None where it is not vt's."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            return None
        names = [*record["files"], record["sheet"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {RECORD} | {n for n in names if isinstance(n, str) and _is_ours(n)}


def _replace(folder: Path, names: Sequence[str], earlier: set[str], write: Callable[[Path], None]) -> None:
    """Lets `write` create the files `names` in an empty folder, then moves them to `folder` in place of `earlier`."""
    made = not folder.exists()
    with terminable():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_stale(folder, _is_ours)
            with staged(folder) as place:
                write(place)
                with uninterrupted():
                    for name in names:
                        os.replace(place / name, folder / name)
                    for name in earlier - set(names):
                        os.unlink(folder / name)
        finally:
            if made:
                with uninterrupted(), suppress(OSError):  # not empty: the run succeeded
                    folder.rmdir()


def _is_ours(name: str) -> bool:
    """Whether vt gives this name to a file that it writes."""
    return name in (RECORD, SHEET) or _PICTURE.fullmatch(name) is not None

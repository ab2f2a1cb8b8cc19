"""The results of a run: one record per choice of frames, and tables, made from the run's folder alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from vtcli.evals.benchmarks.published import BENCHMARKS, TABLE_1, published
from vtcli.evals.captions import WORDNET, caption_record
from vtcli.evals.runs import Run, item_id
from vtcli.evals.scores import Judged, judge_all, score_record
from vtcli.evals.tables import Row, markdown_table, markdown_text, range_text
from vtcli.scoring.official import rules_named

SCHEMA = "vt.report/1"
MOST_WARNINGS = 5


@dataclass(frozen=True)
class Setting:
    """One choice of frames: its record, and the judged replies it was made from."""

    frames: Any
    record: dict[str, Any]
    judged: Judged
    answers: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Report:
    """A run, judged by `rules`; the first one counts."""

    run: Run
    rules: tuple[str, ...]
    settings: tuple[Setting, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "run": dict(self.run.config),
            "settings": [setting.record for setting in self.settings],
        }


def make_report(run: Run, extract: Sequence[str] | None = None) -> Report:
    """Judges a run's answers so far, by the run's own rules or by `extract`. Raises DataError, UsageError."""
    rules = rules_named(extract or run.config["extract"])
    answers = run.answers()
    return Report(run, tuple(rules), tuple(_setting(run, frames, answers, rules) for frames in run.frames))


def _setting(run: Run, frames: Any, answers: Mapping[str, Mapping[str, Any]], rules: Sequence[str]) -> Setting:
    predictions = list(run.predictions(frames, answers))
    judged = judge_all(predictions, rules)
    samples = run.config["samples"]
    ids = {item_id(asked.task.id, frames, sample): asked for asked in run.asked for sample in range(samples)}
    given = {id: answers[id] for id in ids if id in answers}
    missing = sum(asked.path is None and id not in given for id, asked in ids.items())
    correct = sum(item.score for item in judged.scored)
    record = {
        "frames": frames,
        "asked": len(ids),
        "missing": missing,
        "failed": sum(answer.get("error") is not None for answer in given.values()),
        "unanswered": len(ids) - len(given) - missing,
        "accuracy_all": round(100 * correct / len(ids), 4) if ids else None,
        "chance": _chance(run),
        "score": score_record(judged) if judged.scored else None,
        "captioning": None,
        "used": _used(list(given.values())),
        "published": published(run.config["benchmark"], frames if isinstance(frames, int) else None),
    }
    if run.config["kind"] == "captioning" and predictions:
        references = {asked.task.id: asked.task.captions[0] for asked in run.asked if asked.task.captions}
        replies = [prediction.response or "" for prediction in predictions]
        record["captioning"] = caption_record(replies, [references[prediction.id] for prediction in predictions])
    return Setting(frames, record, judged, given)


def _chance(run: Run) -> float | None:
    """Returns the accuracy of guessing, in percent; None where any question is open."""
    options = [len(asked.task.gold.options) for asked in run.asked]
    if not options or 0 in options or run.config["kind"] != "choice":
        return None
    return round(100 * sum(1 / count for count in options) / len(options), 4)


def _used(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarises what the answers used: frames read, tokens, truncated replies, seconds; and the commonest warnings."""
    whole = [answer for answer in answers if answer.get("error") is None]
    told = Counter(str(text) for answer in whole for text in answer.get("warnings") or ())
    frames = Counter(answer["sampling"]["frames"] for answer in whole)
    tokens = [answer["usage"]["completion_tokens"] for answer in whole]
    seconds = [
        answer["timing"]["generate"] + answer["timing"]["prefill"] + answer["timing"]["encode"] for answer in whole
    ]
    return {
        "frames": {str(count): number for count, number in sorted(frames.items())},
        "completion_tokens": round(sum(tokens) / len(tokens), 1) if tokens else None,
        "cut": sum(answer.get("finish") == "length" for answer in whole),
        "model_seconds": round(sum(seconds) / len(seconds), 3) if seconds else None,
        "devices": sorted({str(answer["model"].get("device")) for answer in whole}),
        "warnings": [{"text": text, "n": number} for text, number in told.most_common(MOST_WARNINGS)],
    }


def frames_text(frames: object) -> str:
    """Returns the name of a choice of frames: "16 frames", "1 fps"."""
    return f"{frames} frames" if isinstance(frames, int) else str(frames)


def headline(kind: str, record: Mapping[str, Any]) -> str:
    """Summarises one choice of frames in one line."""
    score, frames = record["score"], frames_text(record["frames"])
    if score is None:
        return f"{frames}: nothing answered yet"
    if kind == "captioning":
        captions = record["captioning"]
        meteor = "-" if captions["meteor"] is None else f"{captions['meteor']:.2f}"
        return (
            f"{frames}: BLEU@1 {captions['bleu@1']:.2f}, METEOR {meteor}, "
            f"ROUGE-L {captions['rouge_l']:.2f} over {captions['n']}"
        )
    grounding = score["grounding"]
    times = f"mIoU {grounding['miou']:.2f}, R@0.5 {grounding['r@0.5']:.2f}" if grounding else ""
    if kind == "grounding":
        return f"{frames}: {times} over {score['n']}"
    line = (
        f"{frames}: {score['accuracy']:.2f} % right "
        f"({score['correct']} of {score['n']}, 95 % interval {range_text(score['interval'])})"
    )
    return f"{line}, {times}" if times else line


def shortfalls(record: Mapping[str, Any], samples: int = 1) -> Iterator[str]:
    """Yields the caveats that a reader must know before trusting the number. `samples`: replies per question."""
    things = "questions" if samples == 1 else "replies"
    if record["missing"]:
        yield (
            f"{record['missing']} of {record['asked']} {things} have no video: "
            f"{record['accuracy_all']:.2f} % over all of them, those counted as wrong"
        )
    if record["unanswered"]:
        yield f"{record['unanswered']} of {record['asked']} {things} are not answered yet: run the same command again"
    if record["failed"]:
        yield f"{record['failed']} could not be answered and count as wrong"
    if record["captioning"] and record["captioning"]["meteor"] is None:
        yield WORDNET
    if record["used"]["cut"]:
        yield f"{record['used']['cut']} replies were cut at the token limit"
    for warning in record["used"]["warnings"]:
        yield f"{warning['n']} answer{'s' * (warning['n'] > 1)}: {warning['text']}"


def overview_rows(kind: str, report: Report) -> tuple[Row, list[Row]]:
    """Returns the table's head and one row per choice of frames."""
    rows: list[Row] = []
    for setting in report.settings:
        record, score = setting.record, setting.record["score"]
        if score is None:
            continue
        grounding = score["grounding"] or {}
        row: list[object] = [str(setting.frames), score["n"]]
        if kind == "choice":
            row += [score["accuracy"], range_text(score["interval"]), record["accuracy_all"], score["unreadable"]]
        if score["grounding"]:
            row += [grounding["miou"], grounding["r@0.3"], grounding["r@0.5"], grounding["r@0.7"]]
        if record["captioning"]:
            row += [record["captioning"][name] for name in ("bleu@1", "meteor", "rouge_l")]
        rows.append([*row, score["format_ok"], record["used"]["completion_tokens"]])
    head: list[object] = ["frames", "n"]
    if kind == "choice":
        head += ["right %", "95 % interval", "of all %", "unreadable"]
    if any(setting.record["score"] and setting.record["score"]["grounding"] for setting in report.settings):
        head += ["mIoU", "R@0.3", "R@0.5", "R@0.7"]
    if kind == "captioning":
        head += ["BLEU@1", "METEOR", "ROUGE-L"]
    return [*head, "format %", "tokens"], rows


def category_rows(record: Mapping[str, Any]) -> tuple[Row, list[Row]]:
    """Returns the table's head and one row per category."""
    rows: list[Row] = [
        (name, part["n"], part["accuracy"], range_text(part["interval"]), part["unreadable"])
        for name, part in record["score"]["by_category"].items()
    ]
    return ("category", "n", "right %", "95 % interval", "unreadable"), rows


def published_rows(name: str, record: Mapping[str, Any]) -> tuple[Row, list[Row]]:
    """Returns the table's head and rows: this run's figure among the published ones, best first."""
    own = record["score"]
    rows: list[tuple[str, float, str]] = [
        (f"{model} (published)", value, "") for model, value in record["published"].items()
    ]
    rows.append((f"{name} (this run)", own["accuracy"], range_text(own["interval"])))
    rows.sort(key=lambda row: -row[1])
    return ("model", "right %", "95 % interval"), list(rows)


def markdown(report: Report) -> str:
    """Returns the content of report.md."""
    config = report.run.config
    model = config["model"]
    lines = [
        f"# {markdown_text(config['title'])}",
        "",
        markdown_table(
            ("", ""),
            [
                ("model", f"{model['name']}, revision {model['revision'] or 'unknown'}, {model['engine']}"),
                ("prompt", config["prompt"]),
                ("answers read by", ", ".join(report.rules)),
                ("annotations", f"{config['annotations']['name']}, SHA-256 {config['annotations']['sha256'] or '-'}"),
                ("made with", ", ".join(f"{name} {version}" for name, version in config["environment"].items())),
            ],
        ),
        "",
        markdown_table(*overview_rows(config["kind"], report)),
    ]
    if config["note"]:
        lines += ["", markdown_text(config["note"])]
    for setting in report.settings:
        record = setting.record
        notes = list(shortfalls(record, config["samples"]))
        if record["score"] is None:
            continue
        lines += [
            "",
            f"## {markdown_text(frames_text(setting.frames))}",
            "",
            *(f"- {markdown_text(note)}" for note in notes),
        ]
        if record["chance"] is not None:
            lines += [f"- guessing would give {record['chance']:.2f} %"]
        if config["kind"] == "choice" and len(record["score"]["by_extract"]) > 1:
            lines += ["", markdown_table(("read by", "right %"), list(record["score"]["by_extract"].items()))]
        if config["kind"] == "choice" and record["score"]["by_category"]:
            lines += ["", markdown_table(*category_rows(record))]
        if record["published"]:
            lines += ["", markdown_table(*published_rows(report.run.name, record))]
    return "\n".join(lines) + "\n"


def _figure(kind: str, record: Mapping[str, Any]) -> str:
    """Returns the main figure of a run: accuracy, or ROUGE-L for captioning, or mIoU for grounding."""
    if kind == "captioning":
        return f"{record['captioning']['rouge_l']:.2f} ROUGE-L"
    if kind == "grounding" and record["score"]["grounding"]:
        return f"{record['score']['grounding']['miou']:.2f} mIoU"
    return f"{record['score']['accuracy']:.2f}"


def _row_names(model: str, folder: str) -> Iterator[str]:
    """Yields names for the row of a run, for the second and further runs of the same model with its folder's name."""
    yield model
    yield f"{model} ({folder})"
    yield from (f"{model} ({folder} {number})" for number in count(2))


def paper_table(reports: Sequence[Report]) -> tuple[Row, list[Row]]:
    """Arranges runs of several models and benchmarks like the paper's table 1, with the published rows first."""
    names = [name for name in BENCHMARKS if any(r.run.config["benchmark"] == name for r in reports)]
    others = [r.run.config["benchmark"] for r in reports if r.run.config["benchmark"] not in BENCHMARKS]
    columns = [*names, *dict.fromkeys(others)]
    found: dict[tuple[str, str], dict[str, str]] = {}
    prompts = {(report.run.name, report.run.config["prompt"]) for report in reports}
    several = {name for name, times in Counter(name for name, _ in prompts).items() if times > 1}
    for report in reports:
        name, config = report.run.name, report.run.config
        model = f"{name}, {config['prompt']} prompt" if name in several else name
        for setting in report.settings:
            if setting.record["score"] is None:
                continue
            frames, labels = str(setting.frames), _row_names(model, report.run.folder.name)
            free = next(each for each in labels if config["benchmark"] not in found.get((each, frames), {}))
            cells = found.setdefault((free, frames), {})
            cells[config["benchmark"]] = _figure(config["kind"], setting.record)
    rows: list[Row] = [
        (
            f"{model} (published)",
            "16",
            *(f"{row[BENCHMARKS.index(name)]:.2f}" if name in names else "-" for name in columns),
        )
        for model, row in (TABLE_1.items() if names else ())
    ]
    rows += [(model, frames, *(cells.get(name, "-") for name in columns)) for (model, frames), cells in found.items()]
    return ("model", "frames", *columns), rows

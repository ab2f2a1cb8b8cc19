"""The report as one HTML file: no scripts, no external resources, all foreign text escaped, plots as SVG."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vtcli.evals.report import (
    Report,
    Setting,
    category_rows,
    frames_text,
    headline,
    overview_rows,
    published_rows,
    shortfalls,
)
from vtcli.evals.scores import Scored
from vtcli.evals.tables import Row
from vtcli.trace.text import sanitise

MOST_REPLIES = 1000
"""Limit on the replies shown; predictions*.jsonl has all."""
LONGEST_REPLY = 4000

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}
.figures{display:block;max-width:100%;overflow-x:auto;white-space:nowrap;font-variant-numeric:tabular-nums}
.replies th,.replies td{text-align:left;max-width:16rem}.replies td:last-child{max-width:none}
.legend{font-size:.85em;margin-top:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;text-align:left}
summary{cursor:pointer;margin:.5rem 0} .right{color:#176d2a} .wrong{color:#a11d1d} .note{color:#7a4b00}
svg{max-width:100%;height:auto} svg text{font:12px system-ui,sans-serif;fill:#222}
@media(prefers-color-scheme:dark){body,svg text{color:#ddd;fill:#ddd;background:#16181c}th,td{border-color:#444}
.right{color:#7bd08f}.wrong{color:#ff9c9c}.note{color:#f0c070}}
"""
_MEASURES = {"choice": "% right", "grounding": "mIoU", "captioning": "ROUGE-L"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_BLUE, _GREY, _ORANGE = "#3b78c3", "#8a8f98", "#e08a1e"


def page(report: Report) -> str:
    """Returns the content of report.html."""
    config = report.run.config
    model = config["model"]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(config['title'])}: {_text(report.run.name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(config['title'])}</h1>",
        f"<p>{_text(model['name'])}, revision {_text(model['revision'] or 'unknown')}, {_text(model['engine'])}; "
        f"prompt {_text(config['prompt'])}; answers read by {_text(', '.join(report.rules))}.</p>",
        _table(*overview_rows(config["kind"], report)),
    ]
    if config["note"]:
        parts.append(f"<p>{_text(config['note'])}</p>")
    if len(report.settings) > 1:
        measure = _MEASURES[config["kind"]]
        parts.append(f"<h3>{measure} by number of frames</h3>")
        parts.append(_frames_plot(config["kind"], report.settings))
        if config["kind"] != "captioning":
            parts.append('<p class="legend">Orange: 95 % interval.</p>')
    for setting in report.settings:
        if setting.record["score"] is not None:
            parts += _section(config["kind"], report, setting)
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def _section(kind: str, report: Report, setting: Setting) -> Iterable[str]:
    record = setting.record
    yield f"<h2>{_text(frames_text(setting.frames))}</h2><p>{_text(headline(kind, record))}</p>"
    for note in shortfalls(record, report.run.config["samples"]):
        yield f'<p class="note">{_text(note)}</p>'
    if record["chance"] is not None:
        yield f"<p>Guessing would give {record['chance']:.2f} %.</p>"
    if kind == "choice" and len(record["score"]["by_extract"]) > 1:
        yield _table(("read by", "right %"), list(record["score"]["by_extract"].items()))
    if kind == "choice" and record["score"]["by_category"]:
        yield "<h3>By category, % right</h3>"
        yield _bars(record["score"]["by_category"], record["chance"])
        guess = "" if record["chance"] is None else "; dashed: guessing"
        yield f'<p class="legend">Orange: 95 % interval{guess}.</p>'
        yield _table(*category_rows(record))
    if record["published"]:
        yield _table(*published_rows(report.run.name, record))
    ious = [iou for item in setting.judged.scored if item.grounding for iou in item.grounding.best]
    if ious:
        yield _histogram("Best overlap (IoU) with each true span", ious, 0, 1)
    lengths = [float(item.length) for item in setting.judged.scored]
    yield _histogram("Length of replies, characters", lengths, 0, max(lengths) or 1)
    yield _replies(report, setting)


def _replies(report: Report, setting: Setting) -> str:
    """Shows the replies with their gold answers; replies to choice questions are marked, wrong ones first."""
    kind = report.run.config["kind"]
    questions = {each.task.id: each.task.question for each in report.run.asked}
    shown = sorted(setting.judged.scored, key=lambda item: item.score)[:MOST_REPLIES]
    texts = {(item.id, item.sample): _reply_of(setting, item) for item in shown}
    marks = ("wrong", "right") if kind == "choice" else ("", "")
    rows = "".join(
        f"<tr><td>{_text(item.id)}<p>{_text(questions[item.id])}</p></td><td>{_text(item.truth)}</td>"
        f'<td class="{marks[item.score >= 1]}">{_text(_cell(item.answer))}</td>'
        f"<td><pre>{_text(texts[item.id, item.sample][:LONGEST_REPLY])}</pre></td></tr>"
        for item in shown
    )
    left = len(setting.judged.scored) - len(shown)
    order = ", wrong ones first" if kind == "choice" else ""
    more = f" ({left} more in predictions)" if left else ""
    return (
        f'<details><summary>{len(shown)} replies{order}{more}</summary><table class="replies">'
        f"<tr><th>question</th><th>truth</th><th>read</th><th>reply</th></tr>{rows}</table></details>"
    )


def _reply_of(setting: Setting, item: Scored) -> str:
    from vtcli.evals.runs import item_id

    answer = setting.answers.get(item_id(item.id, setting.frames, item.sample), {})
    error = answer.get("error")
    return f"({error['message']})" if error else str(answer.get("text", ""))


def _bars(categories: Mapping[str, Mapping[str, Any]], chance: float | None) -> str:
    """Draws accuracy by category, with its interval and a line at chance level."""
    left, width, step = 260, 420, 22
    drawn = []
    for number, (name, part) in enumerate(categories.items()):
        y = 8 + number * step
        drawn.append(_label(left - 8, y + 12, name, 36, "end"))
        drawn.append(
            f'<rect x="{left}" y="{y}" width="{part["accuracy"] * width / 100:.1f}" height="15" fill="{_BLUE}"/>'
        )
        if part["interval"]:
            low, high = (left + end * width / 100 for end in part["interval"])
            drawn.append(f'<path d="M{low:.1f} {y + 7.5}H{high:.1f}" stroke="{_ORANGE}" stroke-width="3"/>')
        drawn.append(f'<text x="{left + width + 8}" y="{y + 12}">{part["accuracy"]:.1f} (n={part["n"]})</text>')
    height = 16 + len(categories) * step
    if chance is not None:
        x = left + chance * width / 100
        drawn.append(f'<path d="M{x:.1f} 4V{height - 4}" stroke="{_GREY}" stroke-dasharray="4 3"/>')
    return _svg(left + width + 110, height, "Accuracy by category, in percent; orange: 95 % interval", drawn)


def _frames_plot(kind: str, settings: Sequence[Setting]) -> str:
    """Draws the score at each choice of frames, with its interval."""
    points = []
    for setting in settings:
        score = setting.record["score"]
        if score is None:
            continue
        if kind == "choice":
            points.append((str(setting.frames), score["accuracy"], score["interval"]))
        elif kind == "captioning":
            points.append((str(setting.frames), setting.record["captioning"]["rouge_l"], None))
        elif score["grounding"]:
            points.append((str(setting.frames), score["grounding"]["miou"], score["grounding"]["miou_interval"]))
    left, top, height, step = 50, 24, 180, 90
    drawn, path = [], []
    for value in (0, 25, 50, 75, 100):
        y = top + height * (1 - value / 100)
        drawn.append(f'<path d="M{left} {y}h{step * max(1, len(points))}" stroke="#ccc"/>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value}</text>')
    for number, (name, value, interval) in enumerate(points):
        x, y = left + step * (number + 0.5), top + height * (1 - value / 100)
        path.append(f"{x:.1f} {y:.1f}")
        if interval:
            low, high = (top + height * (1 - end / 100) for end in interval)
            drawn.append(f'<path d="M{x} {low:.1f}V{high:.1f}" stroke="{_ORANGE}" stroke-width="3"/>')
        drawn.append(f'<circle cx="{x}" cy="{y:.1f}" r="4" fill="{_BLUE}"/>')
        drawn.append(_label(x, top + height + 18, name, 12, "middle"))
        drawn.append(f'<text x="{x + 8}" y="{y - 6:.1f}">{value:.1f}</text>')
    if path:
        drawn.insert(0, f'<path d="M{"L".join(path)}" fill="none" stroke="{_BLUE}"/>')
    return _svg(
        left + step * max(1, len(points)) + 20, top + height + 28, "Score by number of frames, in percent", drawn
    )


def _histogram(title: str, values: Sequence[float], low: float, high: float, bins: int = 20) -> str:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    left, width, height = 50, 480, 110
    bar, most = width / bins, max(counts)
    drawn = [
        f'<rect x="{left + number * bar:.1f}" y="{height - count / most * height + 8:.1f}" width="{bar - 1:.1f}" '
        f'height="{count / most * height:.1f}" fill="{_BLUE}"><title>{count}</title></rect>'
        for number, count in enumerate(counts)
    ]
    drawn.append(f'<text x="{left - 4}" y="18" text-anchor="end">{most}</text>')
    drawn.append(f'<text x="{left}" y="{height + 24}">{low:g}</text>')
    drawn.append(f'<text x="{left + width}" y="{height + 24}" text-anchor="end">{high:g}</text>')
    drawn.append(f'<text x="{left + width / 2}" y="{height + 24}" text-anchor="middle">{len(values)} values</text>')
    return f"<h3>{_text(title)}</h3>" + _svg(left + width + 20, height + 32, title, drawn)


def _svg(width: float, height: float, title: str, drawn: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'role="img" aria-label="{_text(title)}"><title>{_text(title)}</title>{"".join(drawn)}</svg>'
    )


def _label(x: float, y: float, text: str, most: int, anchor: str) -> str:
    shown = text if len(text) <= most else text[: most - 1] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(shown)}</text>'


def _table(head: Row, rows: Sequence[Row]) -> str:
    def cells(row: Row, tag: str) -> str:
        return "".join(f"<{tag}>{_text(_cell(cell))}</{tag}>" for cell in row)

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<table class="figures"><tr>{cells(head, "th")}</tr>{lines}</table>'


def _cell(cell: object) -> str:
    return "-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _text(value: object) -> str:
    """Makes foreign text safe: no control characters, no markup."""
    return html.escape(sanitise(str(value)))

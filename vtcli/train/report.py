"""Writes the outcome of a run: report.json, and report.html with curves as SVG, one file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtcli.trace.text import sanitise
from vtcli.train.duration import spell
from vtcli.train.journal import Journal
from vtcli.train.recipe import StageName

if TYPE_CHECKING:
    from vtcli.train.check import Checked
    from vtcli.train.duration import Planned
    from vtcli.train.job import Job

Curve = list[list[float]]  # [step, value]

#: Curves to draw, in this order, if they were logged.
_DRAWN = (
    "held_out/accuracy", "held_out/format", "held_out/iou", "loss", "mean_token_accuracy", "reward",
    "rewards/accuracy/mean", "rewards/format/mean", "kl", "entropy", "completions/mean_length", "grad_norm",
    "learning_rate",
)  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _FOOT = 420, 180, 68, 22
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;background:#fff}
figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{font-weight:600}table{border-collapse:collapse}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;font-variant-numeric:tabular-nums}
svg text{font:11px system-ui,sans-serif;fill:#57606a}pre{overflow:auto;background:#f6f8fa;padding:1rem}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{background:#161b22}svg text{fill:#9198a1}}
"""


def make_report(
    job: Job,
    stages: Sequence[StageName],
    checked: Checked,
    commits: Mapping[str, str],
    begun: Mapping[str, Any],
    planned: Mapping[StageName, Planned],
) -> dict[str, Any]:
    """Builds a `vt.train/1` report.

    commits: of the data sets on the hub that the records came from. planned: of stages that were not done yet. In the
    report, curves map a name to [step, value] pairs as they were logged.
    """
    return {
        "schema": "vt.train/1",
        "recipe": job.name or job.recipe.description,
        "out": str(job.out),
        "data": {
            "total": checked.total,
            "train": len(checked.train),
            "held_out": len(checked.held_out),
            "left_out": checked.counts(),
            "hub": dict(commits),
        },
        "stages": {name: _stage(job.out / name, planned.get(name)) for name in stages},
        "settings": job.recipe.as_json(),
        "versions": begun.get("versions", {}),
    }


def _stage(folder: Path, planned: Planned | None) -> dict[str, Any]:
    curves: dict[str, Curve] = {}
    for row in Journal(folder / "log.jsonl").rows():
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                curves.setdefault(name, []).append([row["step"], value])
    held_out = {name.removeprefix("held_out/"): curve for name, curve in curves.items() if name.startswith("held_out/")}
    final = folder / "final"
    return {
        "model": str(final) if final.is_dir() else None,
        "planned": _kept_plan(folder) or (asdict(planned) if planned else None),
        "steps": int(max((curve[-1][0] for curve in curves.values()), default=0)),
        "before": {name: curve[0][1] for name, curve in held_out.items() if curve[0][0] == 0},
        "after": {name: curve[-1][1] for name, curve in held_out.items() if curve[-1][0] > 0},
        "curves": curves,
    }


def _kept_plan(folder: Path) -> dict[str, Any] | None:
    """Reads the plan that a stage began with; None if there is none that can be read."""
    try:
        plan: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        return plan if all(isinstance(each, float | int) for each in plan["seconds"].values()) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """Writes report.json and report.html to `out`."""
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (out / "report.html").write_text(_page(report), encoding="utf-8")


def _page(report: Mapping[str, Any]) -> str:
    title = _text(f"vt train {report['recipe']}")
    data = report["data"]
    left = ", ".join(f"{count} {kind}" for kind, count in data["left_out"].items()) or "none"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
        "<meta name=viewport content='width=device-width'><meta http-equiv=Content-Security-Policy "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<h1>{title}</h1><p>{data['total']} records: {data['train']} trained on, {data['held_out']} held out, "
        f"left out: {_text(left)}.</p>",
        *(f"<p>{_text(name)} at commit {_text(commit)}</p>" for name, commit in data["hub"].items()),
    ]
    for name, stage in report["stages"].items():
        parts.append(f"<h2>{_text(name)}: {stage['steps']} steps</h2>")
        if stage["planned"]:
            seconds = stage["planned"]["seconds"]
            shown = ", ".join(f"{part} {spell(s)}" for part, s in seconds.items() if part != "total" and s)
            parts.append(f"<p>Planned: about {spell(seconds['total'])} ({_text(shown)}).</p>")
        if stage["after"]:
            rows = "".join(
                f"<tr><td>{_text(key)}<td>{_number(stage['before'].get(key))}<td>{_number(value)}"
                for key, value in stage["after"].items()
            )
            parts.append(f"<table><tr><th>held out<th>before<th>after{rows}</table>")
        parts += [_figure(key, stage["curves"][key]) for key in _DRAWN if len(stage["curves"].get(key, ())) > 1]
    parts.append(f"<h2>Settings</h2><pre>{_text(json.dumps(report['settings'], indent=1))}</pre>")
    parts.append(f"<p>{_text(', '.join(f'{k} {v}' for k, v in report['versions'].items()))}</p></html>\n")
    return "\n".join(parts)


def _figure(name: str, curve: Sequence[Sequence[float]]) -> str:
    """Draws one curve, with its least and most value and its last step at the axes.

    A constant curve is drawn midway.
    """
    steps, values = [point[0] for point in curve], [point[1] for point in curve]
    low, high, last = min(values), max(values), max(steps[-1], 1)
    spread = high - low
    points = " ".join(
        f"{_LEFT + step / last * (_WIDTH - _LEFT - 8):.1f},"
        f"{8 + (1 - (value - low) / spread if spread else 0.5) * (_HEIGHT - _FOOT - 16):.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    foot = _HEIGHT - _FOOT
    marks = {foot: low, 14: high} if spread else {(foot + 8) // 2: low}
    labels = "".join(f"<text x='{_LEFT - 4}' y='{y}' text-anchor='end'>{_number(v)}</text>" for y, v in marks.items())
    return (
        f"<figure><figcaption>{_text(name)}</figcaption><svg width={_WIDTH} height={_HEIGHT} role=img "
        f"aria-label='{_text(name)}'><path d='M{_LEFT} 4V{foot}H{_WIDTH - 4}' stroke='#9198a1' fill='none'/>"
        f"<polyline points='{points}' fill='none' stroke='#0969da' stroke-width='1.5'/>"
        f"{labels}"
        f"<text x='{_WIDTH - 4}' y='{_HEIGHT - 6}' text-anchor='end'>step {int(last)}</text></svg></figure>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _text(text: str) -> str:
    return escape(sanitise(text), quote=True)

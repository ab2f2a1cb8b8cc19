"""How fast training steps are: SFT (all weights, LoRA) and GRPO, with prompts shared by their groups and not.

    python benchmarks/gpu/train.py               # tiny, on what there is
    python benchmarks/gpu/train.py --seven       # the 7B's shape, random weights, one H200

Every case is a process of its own and runs `vt train`'s own trainers. The first two steps are not counted; figures are
medians of the rest.

"not shared": every completion computes its own prompt and video, when it is drawn and in every pass over it, and each
kernel of a step is launched separately. "by generate" is TRL's way, which also draws with transformers' generate, given
vt's positions. "shared, not captured" differs from "shared" only in how kernels are launched.

Utilisation counts six operations per trained weight and token, four per frozen one. With --seven, SFT keeps activations
for the backward pass and GRPO's rows recompute them. Nothing is written but the log.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bfloat16 operations a second, as NVIDIA states them."""
RATIO_BAR, USE_BAR = 0.5, 0.4
SKIPPED = 2
TRL = "by generate"


def settings(options: argparse.Namespace, case: str) -> list[str]:
    """Returns the recipe settings that the case changes."""
    stage, _, kind = case.partition(" ")
    steps = f"{stage}.max_steps={SKIPPED + options.steps}"
    common = [steps, f"{stage}.log_every=1", f"{stage}.save_every=100000", "data.held_out=0"]
    common += ["grpo.per_device=1", f"grpo.batch={options.prompts}", f"grpo.group={options.group}"]
    common += [f"grpo.max_tokens={options.tokens}", "grpo.top_p=0.95"]
    common += ["sft.per_device=1", f"sft.batch={options.examples}"]
    if options.seven:
        common += [
            "frames.max_pixels=100352",
            "data.max_prompt_tokens=16384",
            "sft.max_tokens=16384",
            "compute=bfloat16",
        ]
        # Weights in float32 with AdamW take 122 GB alone. SFT has room for activations, GRPO's rows have not.
        common += [f"{stage}.gradient_checkpointing={str(stage == 'grpo').lower()}", "weights=bfloat16"]
        common += ["sft.optimizer=adamw_torch_fused", "grpo.optimizer=adamw_torch_fused"]
    if kind == "LoRA":
        common += ["lora.rank=64", "train_vision=false"]
    if kind in ("not shared", TRL):
        common += ["grpo.share=false"]
    if stage == "grpo" and kind != "shared":
        common += ["grpo.captured=false"]
    return common


def once(options: argparse.Namespace, model: Path | str, case: str, folder: Path) -> dict[str, float]:
    """Returns the figures of one case; {} if it fails, after printing why."""
    code = Path(__file__).with_name("_train_once.py")
    arguments = [sys.executable, str(code), str(model), case, str(folder), *settings(options, case)]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8")
    if done.returncode:
        print(f"{case} fails: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return {}
    rows = json.loads(done.stdout.splitlines()[-1])
    steps = [
        after["seconds"] - before["seconds"] for before, after in zip(rows["log"][1:-1], rows["log"][2:], strict=True)
    ]
    tokens = [
        after["tokens"] - before["tokens"] for before, after in zip(rows["log"][1:-1], rows["log"][2:], strict=True)
    ]
    found = {"step": statistics.median(steps), "tokens": sum(tokens) / sum(steps), "memory": rows["memory"]}
    peak = next((rate for name, rate in PEAK.items() if name in rows["device"]), None)
    if peak and case.startswith("sft"):
        found["use"] = found["tokens"] * (4 * rows["parameters"] + 2 * rows["trained"]) / peak
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seven", action="store_true", help="the 7B's shape instead of tiny")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=1, help="a step")
    parser.add_argument(
        "--examples", type=int, default=None, help="a step of SFT; 16, as the recipes have it, or 2 of tiny"
    )
    parser.add_argument("--tokens", type=int, default=None, help="of a completion; 1024, or 256 of tiny")
    parser.add_argument("--steps", type=int, default=5, help="counted ones")
    parser.add_argument("--rounds", type=int, default=1, help="the cases take turns; ratios are of medians")
    parser.add_argument("--cases", nargs="+", help="by default all that differ on this machine")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where weights and clips are kept")
    options = parser.parse_args()
    uncaptured = ["grpo shared, not captured"] if options.seven else []
    grpo = ["grpo shared", *uncaptured, "grpo not shared", f"grpo {TRL}"]
    options.cases = options.cases or ["sft all", "sft LoRA", *grpo]
    options.tokens = options.tokens or (1024 if options.seven else 256)
    options.examples = options.examples or (16 if options.seven else 2)
    options.folder.mkdir(parents=True, exist_ok=True)
    model: Path | str = "tiny"
    if options.seven:
        from _wide import make_checkpoint

        model = make_checkpoint(options.folder / "wide-28-32", 28, 32)
    os.environ["VT_HOME"] = str(options.folder.absolute() / "home")
    rounds: dict[str, list[dict[str, float]]] = {}
    missed = 0
    print("| case | s a step | tokens/s | GPU memory GB | utilisation % |\n|---|---|---|---|---|")
    for _ in range(options.rounds):
        for case in options.cases:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                found = once(options, model, case, Path(folder))
            if not found:
                missed += 1
                continue
            rounds.setdefault(case, []).append(found)
            use = f"{100 * found['use']:.1f}" if "use" in found else "-"
            memory = f"{found['memory'] / 1e9:.1f}" if found["memory"] else "-"
            print(f"| {case} | {found['step']:.2f} | {found['tokens']:.0f} | {memory} | {use} |", flush=True)
    figures = {
        case: {name: statistics.median(each[name] for each in found) for name in found[0]}
        for case, found in rounds.items()
    }
    if "grpo shared" in figures:
        for case in ("not shared", TRL):
            if other := figures.get(f"grpo {case}"):
                ratio = figures["grpo shared"]["step"] / other["step"]
                print(f"\nshared / {case}: {ratio:.2f} (bar: at most {RATIO_BAR})")
                missed += ratio > RATIO_BAR
    missed += sum(found["use"] < USE_BAR for found in figures.values() if "use" in found)
    return min(1, missed)


if __name__ == "__main__":
    sys.exit(main())

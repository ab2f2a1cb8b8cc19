"""Published figures for comparison: tables of arXiv 2510.23473 (Video-Thinker), accuracy in percent."""

from __future__ import annotations

BENCHMARKS = (
    "video-holmes", "cg-bench-reasoning", "vrbench", "activitynet", "star", "scalelong", "youcook2", "lvbench"
)  # fmt: skip

#: Table 1: 16 frames.
TABLE_1: dict[str, tuple[float, ...]] = {
    "InternVL-2.5-8B": (20.52, 19.39, 26.74, 45.52, 49.85, 26.81, 40.84, 23.91),
    "InternVL-3-8B": (18.67, 24.23, 41.14, 48.56, 51.34, 29.34, 51.15, 25.93),
    "Qwen2.5-VL-7B": (34.02, 27.10, 63.42, 70.96, 69.25, 40.06, 63.74, 33.33),
    "Qwen2.5-Omni-7B": (29.99, 23.85, 49.04, 63.92, 59.40, 36.91, 54.58, 31.65),
    "Temporal-R1-7B": (33.81, 25.27, 60.92, 70.88, 70.15, 39.75, 63.74, 32.66),
    "Open-R1-Video-7B": (21.83, 16.46, 50.15, 55.76, 44.48, 31.86, 50.76, 26.94),
    "TW-GRPO-7B": (33.32, 22.11, 53.46, 70.00, 71.04, 39.12, 63.74, 29.97),
    "Video-R1-7B": (38.54, 27.81, 69.25, 76.00, 67.76, 47.32, 65.65, 34.68),
    "Time-R1-7B": (34.73, 28.28, 66.48, 72.00, 70.44, 44.47, 64.50, 32.65),
    "VideoChat-R1-7B": (35.65, 29.26, 67.65, 70.88, 73.13, 40.69, 69.08, 32.99),
    "VideoChat-R1-Thinking-7B": (37.45, 29.44, 67.81, 70.88, 71.64, 41.95, 66.79, 35.01),
    "GRPO-CARE-7B": (34.34, 27.49, 66.39, 70.96, 71.34, 40.69, 68.32, 33.33),
    "Video-Thinker-SFT-7B": (31.52, 24.95, 62.40, 70.80, 64.18, 43.22, 56.11, 35.69),
    "Video-Thinker-7B": (43.22, 33.25, 80.69, 78.72, 70.66, 49.53, 73.66, 37.04),
}

#: Table 2: 32 and 64 frames.
TABLE_2: dict[tuple[str, int], tuple[float, ...]] = {
    ("Qwen2.5-VL-7B", 32): (34.89, 30.33, 64.45, 73.36, 71.04, 43.53, 64.89, 36.36),
    ("Qwen2.5-VL-7B", 64): (37.56, 32.16, 65.91, 74.40, 74.03, 45.18, 68.32, 39.39),
    ("Video-R1-7B", 32): (40.56, 29.29, 69.44, 77.20, 70.15, 49.84, 66.03, 37.37),
    ("Video-R1-7B", 64): (40.94, 30.12, 70.23, 77.76, 72.54, 50.26, 66.79, 37.04),
    ("Video-Thinker-7B", 32): (43.39, 33.88, 80.91, 79.68, 72.24, 51.74, 74.05, 38.38),
    ("Video-Thinker-7B", 64): (44.15, 35.59, 81.29, 78.96, 72.24, 52.04, 74.05, 37.71),
}


def published(benchmark: str, frames: int | None) -> dict[str, float]:
    """Returns the published accuracies on a benchmark with this number of frames, by model; {} if there are none."""
    if benchmark not in BENCHMARKS:
        return {}
    column = BENCHMARKS.index(benchmark)
    if frames == 16:
        return {model: row[column] for model, row in TABLE_1.items()}
    return {model: row[column] for (model, count), row in TABLE_2.items() if count == frames}

"""The table of benchmarks: one entry each, with everything that distinguishes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from vtcli.errors import DataError, UsageError
from vtcli.evals.benchmarks import choice, grounding, prompts
from vtcli.evals.benchmarks.prompts import Wording
from vtcli.evals.benchmarks.tasks import Task, once
from vtcli.video.text import shown

Kind = Literal["choice", "grounding", "captioning"]
Known = Literal["file", "source", "description"]
Loader = Callable[[Path], Iterable[Task]]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    `files`: names of its annotations in a folder; the first one found is used. `annotations`, `videos`: where to get
    them; `hub`: the data set on the Hugging Face hub that has `files`. `known`: whether the format was checked on the
    official file, read in the benchmark's own code or card, or taken from descriptions only. `rule`: its own scorer,
    `strict` if none was read. `official`: its own prompt, None if none was read. `by`: what its categories are.
    """

    name: str
    title: str
    kind: Kind
    load: Loader
    files: tuple[str, ...]
    annotations: str
    videos: str
    licence: str
    known: Known
    by: str
    rule: str = "strict"
    official: Wording | None = None
    hub: str | None = None
    note: str = ""

    def tasks(self, path: Path) -> list[Task]:
        """Returns its questions, from a file or a folder that holds the file. Raises DataError."""
        return once(self.load(self.file(path)))

    def file(self, path: Path) -> Path:
        """Returns the annotations at `path`: the first of `files` in a folder, else `path` itself. Raises DataError."""
        if path.is_dir() and self.files and path.name not in self.files:
            for name in self.files:
                if (path / name).exists():
                    return path / name
            raise DataError(
                f"{shown(path)} holds none of {', '.join(self.files)}: give the annotations of {self.title}"
            )
        if not path.exists():
            raise DataError(f"no such file: {shown(path)} (the annotations of {self.title}: {self.annotations})")
        return path


_R1 = "the paper's questions on it are not published; any file of that schema (problem, options, solution, path)"
_OWN_SPLIT = "The paper scores its own held-out questions, which are not published: figures are not comparable."

_ALL = (
    Benchmark(
        "video-holmes", "Video-Holmes", "choice", choice.video_holmes, ("test_Video-Holmes.json",),
        "hub: TencentARC/Video-Holmes", "videos.zip there", "Apache-2.0", "file", "question type",
        "video-holmes", prompts.video_holmes, "TencentARC/Video-Holmes",
        "The format was checked on the 16 example questions of its repository.",
    ),
    Benchmark(
        "cg-bench-reasoning", "CG-Bench-Reasoning", "choice", partial(choice.cg_bench, cognition=True),
        ("cgbench.json", "cgbench_mini.json"), "hub: CG-Bench/CG-Bench (gated)", "cg_videos_720p there", "none stated",
        "file", "cognition category", "cg-bench", prompts.cg_bench, "CG-Bench/CG-Bench",
        "The paper does not define it; its number of questions fits the five Cognition categories.",
    ),
    Benchmark(
        "cg-bench", "CG-Bench", "choice", choice.cg_bench, ("cgbench_mini.json", "cgbench.json"),
        "hub: CG-Bench/CG-Bench (gated)", "cg_videos_720p there", "none stated", "file", "category",
        "cg-bench", prompts.cg_bench, "CG-Bench/CG-Bench",
    ),
    Benchmark(
        "cg-bench-grounding", "CG-Bench clue grounding", "choice", partial(choice.cg_bench, grounding=True),
        ("cgbench_mini.json", "cgbench.json"), "hub: CG-Bench/CG-Bench (gated)", "cg_videos_720p there", "none stated",
        "file", "category", "cg-bench", None, "CG-Bench/CG-Bench", "Answers and the times of their clues.",
    ),
    Benchmark(
        "vrbench", "VRBench", "choice", choice.vrbench, ("VRBench_eval.jsonl",), "hub: OpenGVLab/VRBench",
        "videos there", "Apache-2.0", "file", "reasoning type", "vrbench", prompts.vrbench, "OpenGVLab/VRBench",
        "The official prompt shows the model a written summary of the video.",
    ),
    Benchmark(
        "activitynet", "ActivityNet (Video-Thinker's questions)", "choice", choice.video_r1, (), _R1,
        "activity-net.org", "own terms", "description", "data source", note=_OWN_SPLIT,
    ),
    Benchmark(
        "star", "STAR", "choice", choice.star, ("STAR_val.json",),
        "https://bobbywu.com/STAR: STAR_val.json", "Charades_v1_480 of prior.allenai.org/projects/charades",
        "Apache-2.0; Charades is non-commercial", "file", "question family", note=_OWN_SPLIT,
    ),
    Benchmark(
        "scalelong", "ScaleLong", "choice", choice.scalelong, ("questions_converted.jsonl",),
        "github: dma2077/scalelong_anno (the authors' tool of annotation)", "YouTube, by the keys", "own terms", "file",
        "task", note=f"The published files could not be had. {_OWN_SPLIT} They are read in Video-R1's schema.",
    ),
    Benchmark(
        "youcook2", "YouCook2 (Video-Thinker's questions)", "choice", choice.video_r1, (), _R1,
        "youcook2.eecs.umich.edu", "own terms", "description", "data source", note=_OWN_SPLIT,
    ),
    Benchmark(
        "lvbench", "LVBench", "choice", choice.lvbench, ("video_info.meta.jsonl",), "hub: THUDM/LVBench",
        "YouTube, by the keys", "CC BY-NC-SA 4.0", "source", "question type", "lvbench", None,
        "THUDM/LVBench",
        f"A question counts in each of its types. {_OWN_SPLIT}",
    ),
    Benchmark(
        "mvbench", "MVBench", "choice", choice.mvbench, ("json", "eval_mvbench.json"), "hub: OpenGVLab/MVBench, json/",
        "video/*.zip there", "own terms of its sources", "file", "task", "mvbench", prompts.mvbench,
        note="The official score is the mean of the tasks; they are equally large. TVQA's are folders of pictures.",
    ),
    Benchmark(
        "video-mme", "Video-MME", "choice", choice.video_mme,
        ("videomme/test-00000-of-00001.parquet", "video_mme.json", "eval_videomme.json"), "hub: lmms-lab/Video-MME",
        "videos there", "research only", "file", "duration, domain and task type", "video-mme", prompts.video_mme,
        "lmms-lab/Video-MME",
        "The official script counts only replies with a letter; here the others are wrong.",
    ),
    Benchmark(
        "video-mmmu", "Video-MMMU", "choice", choice.video_mmmu, (),
        "github: videommmu/VideoMMMU, data/ (folder), or the folders of hub: lmms-lab/VideoMMMU", "on the hub there",
        "own terms", "file", "track and subject", "video-mmmu", prompts.video_mmmu,
        note="Questions of Adaptation are about an image, which the hub's videos end in.",
    ),
    Benchmark(
        "mmvu", "MMVU", "choice", choice.mmvu, ("validation.json", "eval_mmvu.json"), "hub: yale-nlp/MMVU",
        "videos there", "own terms", "file", "subject", "tw-grpo", prompts.mmvu, "yale-nlp/MMVU",
        "Its own script asks GPT-4o; published runs on its 625 multiple-choice questions were scored by tw-grpo.",
    ),
    Benchmark(
        "tempcompass", "TempCompass", "choice", choice.tempcompass, (), "github: llyx97/TempCompass, questions/",
        "hub: lmms-lab/TempCompass", "CC BY-NC 4.0", "file", "task and dimension", "tempcompass", prompts.tempcompass,
        note="Where the official script asks an LLM to judge, the answer counts as unreadable.",
    ),
    Benchmark(
        "next-qa", "NExT-QA (and IntentQA)", "choice", choice.next_qa, ("test.csv", "val.csv"),
        "github: doc-doc/NExT-QA, dataset/nextqa", "NExTVideo there", "MIT", "file", "question type and group",
        note="Its script compares letters, whatever read them; TP counts as TN, as there.",
    ),
    Benchmark(
        "next-gqa", "NExT-GQA", "choice", grounding.next_gqa, (), "github: doc-doc/NExT-GQA, datasets/nextgqa (folder)",
        "NExTVideo of NExT-QA", "MIT", "file", "question type",
        note="Answers, and the times at which the video shows them.",
    ),
    Benchmark(
        "charades-sta", "Charades-STA", "grounding", grounding.charades_sta, ("charades_sta_test.txt", "val.json"),
        "github: jiyanggao/TALL", "Charades_v1_480 of prior.allenai.org/projects/charades", "non-commercial", "file",
        "",
        note="True times are not clipped to the video; 562 of 3720 end after it.",
    ),
    Benchmark(
        "activitynet-captions", "ActivityNet Captions, grounding", "grounding", grounding.activitynet_captions,
        ("val_1.json",), "cs.stanford.edu/people/ranjaykrishna/densevid", "activity-net.org", "own terms", "source", "",
        note="The format was read in ranjaykrishna/densevid_eval, evaluate.py.",
    ),
    Benchmark(
        "qvhighlights", "QVHighlights", "grounding", grounding.qvhighlights, ("highlight_val_release.jsonl",),
        "github: jayleicn/moment_detr, data/", "there", "CC BY-NC-SA 4.0", "file", "",
        note="vt's map is MR-full-mAP, its r1@0.5 and r1@0.7 are MR-full-R1 of the official script.",
    ),
    Benchmark(
        "tvgbench", "TVGBench", "grounding", grounding.tvgbench, ("tvgbench.json",), "github: www-Ye/Time-R1",
        "its sources", "own terms", "source", "",
    ),
    Benchmark(
        "activitynet-captioning", "ActivityNet Captions, captioning", "captioning",
        partial(grounding.activitynet_captions, captioning=True), ("val_1.json",),
        "cs.stanford.edu/people/ranjaykrishna/densevid", "activity-net.org", "own terms", "source", "",
    ),
    Benchmark(
        "youcook2-captioning", "YouCook2, captioning", "captioning", partial(grounding.youcook2, captioning=True),
        ("youcookii_annotations_trainval.json",), "youcook2.eecs.umich.edu", "there", "own terms", "source", "",
        note="The format was read in LuoweiZhou/ProcNets-YouCook2, script/eval_recall_precision.py.",
    ),
)  # fmt: skip

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}

SHAPES = "shapes"
JSONL = "jsonl:"


def benchmark_named(name: str) -> Benchmark:
    """Returns the benchmark of this name. Raises UsageError for an unknown name."""
    if name not in BENCHMARKS:
        raise UsageError(f"there is no benchmark {shown(name)}: use one of {', '.join(BENCHMARKS)}, shapes, jsonl:FILE")
    return BENCHMARKS[name]

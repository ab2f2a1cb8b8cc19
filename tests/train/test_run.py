"""A whole run of `vt train`: what it leaves, that it goes on where it was stopped, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from safetensors.numpy import load_file

from tests.cli.conftest import Run, run  # noqa: F401  # the fixture
from tests.e2e.conftest import ROOT, validate
from tests.train.conftest import Written
from vtcli.errors import DataError, TrainError, UsageError
from vtcli.models import catalogue
from vtcli.models.checkpoint import open_checkpoint, planned_checkpoint
from vtcli.train import checkpoints, identity
from vtcli.train.alone import alone_in
from vtcli.train.job import Job
from vtcli.train.journal import Journal
from vtcli.train.launch import STRATEGIES, config_file
from vtcli.train.plan import Devices, memory, steps
from vtcli.train.recipe_file import load_recipe
from vtcli.train.run import run as train

SMALL = (
    "data.held_out=2",
    "data.max_prompt_tokens=4096",
    "sft.max_tokens=6000",
    "sft.batch=2",
    "sft.per_device=2",
    "sft.max_steps=2",
    "sft.save_every=1",
    "grpo.batch=2",
    "grpo.per_device=1",
    "grpo.group=2",
    "grpo.max_tokens=12",
    "grpo.max_steps=2",
    "grpo.rewards={tests.train.test_grpo:spread: 1.0}",
    "grpo.learning_rate=1e-3",
    "grpo.save_every=1",
)


def flags(model: Path, data: Path, *more: str) -> list[str]:
    settings = [part for each in (*SMALL, *more) for part in ("--set", each)]
    return ["train", "tiny", "-m", str(model), "--data", str(data), *settings]


def weights(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    assert found
    return found


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


@pytest.fixture(scope="module")
def made(random_checkpoint: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, dict[str, Any]]:
    out = tmp_path_factory.mktemp("run") / "out"
    recipe = load_recipe("tiny", [f"model={random_checkpoint}", *SMALL])
    job = Job(
        dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, files=(str(shapes),))), out, name="tiny"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VT_HOME", str(tmp_path_factory.mktemp("home")))
        return job, train(job)


def test_what_a_run_leaves(made: tuple[Job, dict[str, Any]]) -> None:
    job, report = made
    validate(report, "train")
    assert report["data"] == {"total": 8, "train": 6, "held_out": 2, "left_out": {}, "hub": {}}
    for name in ("sft", "grpo"):
        stage = report["stages"][name]
        assert stage["steps"] == 2 and set(stage["before"]) == set(stage["after"]) == {"accuracy", "format", "iou"}
        assert Path(stage["model"]) == job.out / name / "final"
        assert stage["planned"]["steps"] == 2 and stage["planned"]["seconds"]["total"] > 0
        assert [checkpoints.step_of(place) for place in checkpoints.complete(job.out / name)] == [1, 2]
    assert json.loads((job.out / "report.json").read_text()) == report
    page = (job.out / "report.html").read_text()
    assert page.count("<svg") == page.count("<polyline") >= 6 and "<script" not in page and "://" not in page


def test_vt_asks_what_was_trained(
    made: tuple[Job, dict[str, Any]],
    shapes: Path,
    run: Run,  # noqa: F811
) -> None:
    job, _ = made
    clip = next(shapes.parent.glob("*.mp4"))
    for name in ("sft", "grpo"):
        final = job.out / name / "final"
        assert {file.stat().st_mode for file in final.iterdir()} == {(final / "config.json").stat().st_mode}
        done = run("ask", str(clip), "why?", "-m", str(final), "--max-tokens", "4", "--json")
        assert done.code == 0 and json.loads(done.out)["usage"]["completion_tokens"] <= 4


def test_vt_asks_in_the_words_that_were_trained(made: tuple[Job, dict[str, Any]], tmp_path: Path) -> None:
    """And says of a narrow model's child that it is narrow."""
    job, _ = made
    assert open_checkpoint(job.out / "sft" / "final").prompt == "video-thinker"
    recipe = load_recipe("tiny", [*SMALL, "prompt=video-r1", "sft.max_steps=1", "grpo=null"])
    other = dataclasses.replace(job, recipe=dataclasses.replace(recipe, data=job.recipe.data), out=tmp_path / "out")
    train(other)
    child = open_checkpoint(tmp_path / "out" / "sft" / "final")
    assert child.prompt == "video-r1" and child.scope == open_checkpoint("tiny").scope


def test_grpo_alone_goes_on_from_sft(made: tuple[Job, dict[str, Any]], tmp_path: Path) -> None:
    """Stage by stage gives what both at once give."""
    job, _ = made
    apart = dataclasses.replace(job, out=tmp_path / "apart")
    for stage in ("sft", "grpo"):
        train(dataclasses.replace(apart, stages=(stage,)))
    assert equal(job.out / "grpo" / "final", apart.out / "grpo" / "final")
    assert not equal(job.out / "sft" / "final", job.out / "grpo" / "final")


def test_what_is_published_in_half_precision_stays_so(random_checkpoint: Path, tmp_path: Path) -> None:
    from vtcli.train.model import store_as

    shutil.copytree(random_checkpoint, tmp_path / "made")
    base = open_checkpoint(random_checkpoint)
    store_as(tmp_path / "made", base)
    assert equal(random_checkpoint, tmp_path / "made")  # float32 it was
    half = dataclasses.replace(base, config={**base.config, "dtype": "bfloat16"})
    store_as(tmp_path / "made", half)
    made = open_checkpoint(tmp_path / "made")
    assert made.weights.parameters == base.weights.parameters and made.weights.bytes < 0.6 * base.weights.bytes
    assert made.config["dtype"] == "bfloat16"


def test_a_run_that_is_done_is_not_done_again(made: tuple[Job, dict[str, Any]]) -> None:
    job, report = made
    before = (job.out / "grpo" / "final" / "model.safetensors").stat().st_mtime_ns
    assert train(job) == report
    assert (job.out / "grpo" / "final" / "model.safetensors").stat().st_mtime_ns == before


def test_another_run_is_not_mixed_in(made: tuple[Job, dict[str, Any]], records: Any) -> None:
    job, _ = made
    assert job.recipe.sft is not None
    other = dataclasses.replace(job.recipe, sft=dataclasses.replace(job.recipe.sft, learning_rate=1.0))
    with pytest.raises(TrainError, match=r"holds another run \(sft\.learning_rate is 2e-05 there, 1\.0 here\)"):
        train(dataclasses.replace(job, recipe=other))
    fewer = dataclasses.replace(job.recipe, data=dataclasses.replace(job.recipe.data, held_out=1))
    with pytest.raises(TrainError, match=r"its records are others|held_out"):
        train(dataclasses.replace(job, recipe=fewer))


def test_a_setting_that_a_runs_version_did_not_know_was_at_its_default() -> None:
    told = {"model": "m", "records": "r", "recipe": load_recipe("tiny").as_json()}
    before = {**told, "recipe": {**told["recipe"], "grpo": dict(told["recipe"]["grpo"])}}
    del before["recipe"]["liger"], before["recipe"]["grpo"]["rollouts"]
    assert identity._difference(before, told) == ""
    changed = {**told, "recipe": load_recipe("tiny", ["grpo.rollouts=vllm"]).as_json()}
    assert identity._difference(before, changed) == "grpo.rollouts is vt there, vllm here"


def test_two_runs_do_not_share_a_folder(made: tuple[Job, dict[str, Any]], tmp_path: Path) -> None:
    job, report = made
    with alone_in(job.out):
        with pytest.raises(TrainError, match=r"another process is training in .*: wait until it ends"):
            train(job)
        assert train(dataclasses.replace(job, dry_run=True))["schema"] == "vt.train/1"
    assert train(job) == report
    none = dataclasses.replace(job.recipe, data=dataclasses.replace(job.recipe.data, files=("none.jsonl",)))
    with pytest.raises(DataError):
        train(dataclasses.replace(job, recipe=none, out=tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_dry_run_loads_and_writes_nothing(
    random_checkpoint: Path,
    shapes: Path,
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    done = run(*flags(random_checkpoint, shapes), "--dry-run", "-o", str(tmp_path / "out"))
    assert done.code == 0 and done.out == ""
    assert "8 records: 6 to train on, 2 held out" in done.err and "grpo: 2 steps on" in done.err
    assert re.search(r"sft: about [\d.]+ (s|min) in all, at the pace of one layer here\n", done.err)
    assert not (tmp_path / "out").exists()


def test_records_that_cannot_be_used_stop_the_run_before_it_begins(
    random_checkpoint: Path,
    shapes: Path,
    written: Written,
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    clip = str(next(shapes.parent.glob("*.mp4")))
    good = {"path": Path(clip).name}
    data = written(
        *[good] * 6,
        {"path": "\x1b[31mnone.mp4"},
        good | {"solution": "Z"},
        {"data_type": "image"},
        {"data_type": "image", "path": "none.png"},
    )
    command = [*flags(random_checkpoint, data), "--root", str(shapes.parent), "-o", str(tmp_path / "out")]
    done = run(*command)
    assert done.code == 1 and "\x1b" not in done.err
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert "4 of 10 records cannot be used, first" in line and "--skip-bad" in line
    listed = [json.loads(row) for row in (tmp_path / "out" / "problems.jsonl").read_text().splitlines()]
    assert sorted(row["kind"] for row in listed) == ["answer", "broken", "missing", "missing"]
    done = run(*command, "--skip-bad", "--dry-run")
    assert done.code == 0 and "10 records: 4 to train on, 2 held out, 4 left out" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "name a recipe"),
        (["train", "tyni"], 2, "did you mean tiny"),
        (["train", "video-thinker-7b"], 1, "run vt pull Qwen/Qwen2.5-VL-7B-Instruct"),
        (["train", "tiny", "--set", "data.shapes=0"], 2, "no training data"),
        (["train", "tiny", "--data", "none.jsonl"], 1, "none.jsonl"),
        (["train", "tiny", "--set", "grpo.bata=1"], 2, "did you mean beta"),
        (["train", "tiny", "--set", "grpo=null", "--stage", "grpo"], 2, "the recipe has sft"),
        (["train", "--print", "none"], 2, "no such recipe"),
        (["train", "tiny", "--slurm"], 2, "--slurm goes with --print-launch"),
    ],
)
def test_what_cannot_be_meant(run: Run, arguments: Sequence[str], code: int, message: str) -> None:  # noqa: F811
    done = run(*arguments)
    assert done.code == code
    (line,) = done.err.splitlines()
    assert line.startswith("vt: error: ") and message in line


def test_recipes_are_listed_printed_and_launched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert "video-thinker-7b-lora" in run("train", "--list").out
    printed = run("train", "--print", "video-thinker-7b").out
    assert "[P] 128*28*28" in printed
    assert "beta: 0.5" in run("train", "--print", "tiny", "--set", "grpo.beta=0.5").out
    arguments = ["train", "video-thinker-7b", "--data", "my data.jsonl", "--print-launch", "fsdp2", "--nodes", "2"]
    monkeypatch.setattr(sys, "argv", ["vt", *arguments])
    launch = run(*arguments).out
    assert re.match(r"\S*accelerate launch --config_file ", launch) and "--num_processes 16 --num_machines 2" in launch
    assert launch.endswith("-m vtcli train video-thinker-7b --data 'my data.jsonl'\n")
    assert '"$RANK"' in launch
    monkeypatch.setattr(sys, "argv", ["vt", *arguments, "--slurm"])
    script = run(*arguments, "--slurm").out
    assert script.startswith("#!/bin/bash\n#SBATCH") and "--nodes=2\n" in script and "--gpus-per-node=8\n" in script
    assert "--mem=0\n" in script  # an exclusive job is else given the memory of its default alone
    srun = shlex.split(script.splitlines()[-1])
    assert srun[-1] == f"RANK=$SLURM_NODEID; exec {launch.rstrip()}"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_configurations_are_accelerates(strategy: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(config_file(strategy)))
    assert config.mixed_precision == "bf16" and not config.use_cpu
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP"}
    assert config.distributed_type == kinds.get(strategy, "DEEPSPEED")


def test_memory_and_disk_are_checked_before_loading(
    made: tuple[Job, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vtcli.train import plan

    job, _ = made
    there = plan.devices()
    with monkeypatch.context() as patch:
        patch.setattr(plan, "devices", lambda: dataclasses.replace(there, free=10_000_000))
        with pytest.raises(TrainError, match=r"sft needs 0\.\d GB on each cpu device .* and 0\.0 GB are free: .*"):
            train(dataclasses.replace(job, out=tmp_path / "a"))
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
        with pytest.raises(TrainError, match="are free: make room"):
            train(dataclasses.replace(job, out=tmp_path / "b"))


def test_weights_whose_updates_are_lost_are_warned_of(
    made: tuple[Job, dict[str, Any]],
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    job, _ = made
    command = ["train", "tiny", "-m", job.recipe.model, "--dry-run", "-o", str(tmp_path / "a")]
    for setting in SMALL:
        command += ["--set", setting]
    command += ["--data", str(job.recipe.data.files[0]), "--set", "weights=bfloat16"]
    assert "warning: weights=bfloat16: most updates" in run(*command).err
    assert "warning" not in run(*command, "--set", "lora.rank=4").err


def test_memory_of_the_7b() -> None:
    """Of full training what is known of AdamW in float32, 16 bytes a parameter, and a reference; LoRA fits 24 GB."""
    seven = planned_checkpoint(catalogue.entries()["video-thinker-7b"])
    full, lora = load_recipe("video-thinker-7b"), load_recipe("video-thinker-7b-lora")
    one = Devices("cuda", 1, "ddp", 0)
    parts = memory(seven, full, "grpo", 1300, one)
    count = seven.weights.parameters
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == 16 * count
    assert parts["reference"] == 4 * count
    assert parts["activations"] > 2 * count  # autocast's copy
    assert memory(seven, lora, "grpo", 1300, one)["reference"] == 0
    assert memory(seven, lora, "sft", 3000, one)["total"] < 24e9
    # Drawing keeps a prompt once for its completions: 4.4 GB, not 9.3.
    alone = load_recipe("video-thinker-7b-lora", ["grpo.share=false"])
    assert memory(seven, lora, "grpo", 1500, one)["total"] < 24e9 < memory(seven, alone, "grpo", 1500, one)["total"]


def test_memory_where_a_model_is_spread() -> None:
    """ZeRO-2 keeps all weights, in bfloat16, and an eighth of the rest; where weights are spread they are gathered to
    draw; accelerate makes those that FSDP trains float32."""
    seven, full = planned_checkpoint(catalogue.entries()["video-thinker-7b"]), load_recipe("video-thinker-7b")
    half = load_recipe("video-thinker-7b", ["weights=bfloat16"])
    count, eight = seven.weights.parameters, Devices("cuda", 8, "fsdp", 0)
    fsdp, zero2, zero3 = (
        memory(seven, full, "grpo", 1300, dataclasses.replace(eight, strategy=name))
        for name in ("fsdp", "zero2", "zero3")
    )
    assert fsdp["weights"] == fsdp["reference"] == 4 * count // 8 and fsdp["optimizer"] == count
    assert memory(seven, half, "grpo", 1300, eight) == fsdp
    assert zero2["weights"] == zero2["reference"] == 2 * count and zero2["optimizer"] == 12 * count // 8
    assert memory(seven, half, "grpo", 1300, dataclasses.replace(eight, strategy="zero2")) == zero2
    assert zero3["weights"] == 2 * count // 8 and zero3["gradients"] == zero2["gradients"] == 4 * count // 8
    assert fsdp["activations"] == zero3["activations"] > 2 * count > zero2["activations"]
    assert zero2["total"] < 80e9
    plain = load_recipe("video-thinker-7b", ["compute=float32"])
    whole = memory(seven, plain, "grpo", 1300, dataclasses.replace(eight, strategy="zero2"))
    assert whole["optimizer"] == 12 * count // 8  # the copy is made in float32 too


@pytest.mark.parametrize("vision", [True, False])
def test_adapters_are_counted_as_peft_makes_them(vision: bool) -> None:
    from peft import get_peft_model

    from vtcli.train.model import load_for_training, lora_config
    from vtcli.train.plan import trained_parameters

    tiny, changes = open_checkpoint("tiny"), ["lora.rank=3", f"train_vision={str(vision).lower()}"]
    recipe = load_recipe("tiny", changes)
    assert recipe.lora is not None
    model = get_peft_model(load_for_training(tiny, recipe), lora_config(recipe.lora, vision))
    assert trained_parameters(tiny, recipe) == sum(part.numel() for part in model.parameters() if part.requires_grad)


def test_disk_for_what_fsdp_makes_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vtcli.train import plan

    seven, half = planned_checkpoint(catalogue.entries()["video-thinker-7b"]), ["weights=bfloat16"]
    count = seven.weights.parameters
    monkeypatch.setattr(plan, "free_bytes", lambda _: 0)
    for strategy, width in (("ddp", 2), ("fsdp", 4)):
        recipe = load_recipe("video-thinker-7b", half)
        most = recipe.stage("sft").keep + 1
        words = rf"checkpoints {most * 3 * width * count / 1e9:.1f}, models {width * count / 1e9:.1f}\)"
        with pytest.raises(TrainError, match=words):
            plan.check_disk(seven, recipe, ["sft"], tmp_path, Devices("cuda", 8, strategy, 0))


def test_disk_that_deepspeed_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and two moments in float32 beside what computes, in bfloat16; ZeRO-2 writes that twice."""
    from vtcli.train import plan

    seven, full = planned_checkpoint(catalogue.entries()["video-thinker-7b"]), load_recipe("video-thinker-7b")
    count, keep = seven.weights.parameters, full.stage("sft").keep + 1
    monkeypatch.setattr(plan, "free_bytes", lambda _: 0)
    for strategy, each in (("ddp", 12), ("zero2", 16), ("zero3", 14)):
        with pytest.raises(TrainError, match=rf"checkpoints {keep * each * count / 1e9:.1f}, models"):
            plan.check_disk(seven, full, ["sft"], tmp_path, Devices("cuda", 8, strategy, 0))


def test_steps_are_those_the_trainer_makes() -> None:
    grpo = load_recipe("tiny", ["grpo.batch=4", "grpo.epochs=1.5", "grpo.iterations=2", "grpo.max_steps=null"]).grpo
    assert grpo is not None and steps(grpo, 22) == 15


def test_mistakes_of_a_later_stage_end_a_run_before_the_first(made: tuple[Job, dict[str, Any]], tmp_path: Path) -> None:
    job, _ = made
    for changes, words in (
        ({"batch": 3, "per_device": 2}, "grpo.batch 3 is no multiple of grpo.per_device 2 x 1 devices"),
        ({"rewards": {"acuracy": 1.0}}, "acuracy"),
        ({"optimizer": "adamx"}, "no such optimizer: adamx"),
    ):
        stage = dataclasses.replace(job.recipe.grpo, **changes)  # type: ignore[type-var, arg-type]
        wrong = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, grpo=stage), out=tmp_path / "out")
        with pytest.raises(UsageError, match=words):
            train(wrong)
        assert not (tmp_path / "out" / "sft").exists()


def test_a_run_goes_on_as_it_was_spread(made: tuple[Job, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from vtcli.train import identity

    job, _ = made
    monkeypatch.setattr(identity, "strategy", lambda: "fsdp")
    with pytest.raises(TrainError, match="its weights are spread by ddp, not fsdp"):
        train(job)


def test_spread_weights_need_records_that_are_alike(
    made: tuple[Job, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shapes: Path
) -> None:
    """One process would wait for the vision tower of another that has no use for it."""
    from vtcli.train import plan

    job, _ = made
    there = dataclasses.replace(plan.devices(), strategy="fsdp")
    monkeypatch.setattr(plan, "devices", lambda: there)
    lines = shapes.read_text().splitlines()
    text = json.loads(lines[0]) | {"data_type": "text", "path": ""}
    file = shapes.with_name("text.jsonl")
    file.write_text("\n".join([*lines[1:], json.dumps(text)]))
    data = dataclasses.replace(job.recipe.data, files=(str(file),), held_out=0)
    recipe = dataclasses.replace(job.recipe, data=data)
    with pytest.raises(UsageError, match="records without a video or picture need ddp or zero2"):
        train(dataclasses.replace(job, recipe=recipe, out=tmp_path / "out"))


def test_journals_go_on_without_doubles(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.begin(0)
    for step in range(1, 5):
        journal.write(step, loss=float("nan") if step == 2 else 1.0)
    with journal.file.open("a") as file:
        file.write('{"step": 5, "lo')  # cut by a crash
    journal.begin(3)
    journal.write(4, loss=2.0)
    assert list(journal.rows()) == [
        {"step": 1, "loss": 1.0}, {"step": 2}, {"step": 3, "loss": 1.0}, {"step": 4, "loss": 2.0}
    ]  # fmt: skip


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        aside = tmp_path / checkpoints.ASIDE / f"checkpoint-{step}"
        aside.mkdir(parents=True)
        (aside / "model.safetensors").write_bytes(b"x" * step)
        checkpoints.finish(aside, tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-11").mkdir()
    (tmp_path / "checkpoint-1x").mkdir()
    assert [place.name for place in checkpoints.complete(tmp_path)] == ["checkpoint-1", "checkpoint-2", "checkpoint-10"]
    os.truncate(tmp_path / "checkpoint-10" / "model.safetensors", 9)
    assert checkpoints.complete(tmp_path)[-1].name == "checkpoint-2"
    checkpoints.rotate(tmp_path, 1)
    assert [place.name for place in checkpoints.complete(tmp_path)] == ["checkpoint-2"]
    assert checkpoints.complete(tmp_path / "none") == []


def start(arguments: Sequence[str], home: Path, **environment: str) -> subprocess.Popen[str]:
    """`vt` as a process of its own, on one thread, with the test's home."""
    settings = {"PYTHONPATH": str(ROOT), "VT_HOME": str(home), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "vtcli", *arguments],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(arguments: Sequence[str], home: Path, **environment: str) -> tuple[int, str]:
    process = start(arguments, home, **environment)
    _, error = process.communicate(timeout=600)
    return process.returncode, error


def test_ctrl_c_is_not_lost_while_an_object_is_cleared_away() -> None:
    """Python shows what is raised there, and goes on."""
    from vtcli.cli.train import _heeding_ctrl_c

    class Pressed:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), _heeding_ctrl_c():
        Pressed()
        for _ in range(2000):
            time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_says_where_it_will_go_on(random_checkpoint: Path, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start([*flags(random_checkpoint, shapes, *STEPS), "--stage", "sft", "-o", str(out)], tmp_path / "home")
    while not checkpoints.complete(out / "sft") and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    last = error.splitlines()[-1]
    assert re.fullmatch(r"vt: stopped; the same command goes on after sft step [1-5]", last), error


STEPS = ("sft.max_steps=6", "sft.epochs=3", "grpo.max_steps=6", "grpo.rewards={tests.train.test_grpo:spread: 1.0}",
         "sft.learning_rate=1e-3", "grpo.learning_rate=1e-3", "grpo.keep=10", "sft.keep=10")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("sft", None),
        ("grpo", None),
        ("grpo", "grpo.iterations=2 grpo.save_every=2"),
        ("grpo", "lora.rank=4"),
        pytest.param(
            "sft",
            "sft.optimizer=adamw_8bit",
            marks=pytest.mark.skipif(util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"),
        ),
    ],
)
def test_a_run_killed_anywhere_goes_on_to_the_same_weights(
    stage: str, change: str | None, random_checkpoint: Path, shapes: Path, tmp_path: Path
) -> None:
    """kill -9 again and again, each time a little later; over the end of an epoch too (3 batches in one)."""
    home = tmp_path / "home"
    command = [*flags(random_checkpoint, shapes, *STEPS, *(change or "").split()), "--stage", stage]
    assert finished([*command, "-o", str(tmp_path / "straight")], home)[0] == 0
    out, kills, resumed = tmp_path / "killed", 0, set()
    while True:
        process = start([*command, "-o", str(out)], home)
        wanted = len(checkpoints.complete(out / stage)) + 1 + kills % 2
        while process.poll() is None and not (kills < 4 and len(checkpoints.complete(out / stage)) >= wanted):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate()
        resumed |= {line.split()[-1] for line in error.splitlines() if "goes on after step" in line}
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, error
        kills += 1
        assert kills < 8
    assert kills >= 2 and len(resumed) >= 2
    assert equal(tmp_path / "straight" / stage / "final", out / stage / "final")
    one, other = (list(Journal(place / stage / "log.jsonl").rows()) for place in (tmp_path / "straight", out))
    measured = ("seconds", "tokens", "step_time", "num_tokens")
    assert [{k: v for k, v in row.items() if k not in measured} for row in one] == [
        {k: v for k, v in row.items() if k not in measured} for row in other
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of file sizes")
def test_a_disk_that_is_full_costs_no_checkpoint(random_checkpoint: Path, shapes: Path, tmp_path: Path) -> None:
    """No file may grow beyond 100 kB: the write itself fails, as on a full disk."""
    home, out = tmp_path / "home", tmp_path / "out"
    command = [*flags(random_checkpoint, shapes, *STEPS), "--stage", "sft", "-o", str(out)]
    process = start(command, home)
    while not checkpoints.complete(out / "sft") and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    kept = checkpoints.complete(out / "sft")[-1]
    before = weights(kept)
    code = (
        "import resource, signal, sys, torch, trl; from vtcli.__main__ import run; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        f"sys.exit(run({command!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "VT_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "was not written" in line and "is whole; make room" in line
    assert checkpoints.complete(out / "sft")[-1] == kept and not (out / "sft" / checkpoints.ASIDE).exists()
    after = weights(kept)
    assert all((before[name] == after[name]).all() for name in before)
    assert finished(command, home)[0] == 0

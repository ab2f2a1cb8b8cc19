"""Fixtures every test may use: an isolated home and the optional folder of real material."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Hypothesis draws the same examples every time, so that a change fails only for what it changed;
# `pytest --hypothesis-profile=default` draws new ones.
settings.register_profile("same-every-time", derandomize=True)
settings.load_profile("same-every-time")


@pytest.fixture(autouse=True)
def vt_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps every test out of the user's own folders and settings."""
    home = tmp_path / "vt-home"
    monkeypatch.setenv("VT_HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf-home" / "hub"))
    for name in ("VT_MODEL", "VT_DEVICE", "NO_COLOR", "FORCE_COLOR", "HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def material() -> Path:
    """Real clips, traces and tokenizer files; never shipped, so tests skip where they are absent."""
    folder = Path(os.environ.get("VT_MATERIAL", ROOT.parent / "shared" / "material"))
    if not folder.is_dir():
        pytest.skip("real material is not on this machine")
    return folder


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A second of silence, without video."""
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path

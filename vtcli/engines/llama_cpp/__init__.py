"""Quantised models: GGUF files run by llama.cpp, with the video laid out as in the checkpoint's training.

llama.cpp's own video input for this family gives other answers than the checkpoint (docs/fidelity.md): it puts each
pair of frames between separate markers and numbers positions as for pictures. This package therefore drives llama.cpp's
low-level interface directly.
"""

from vtcli.engines.llama_cpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]

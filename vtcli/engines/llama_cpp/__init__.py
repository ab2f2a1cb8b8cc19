"""Quantised models: GGUF files run by llama.cpp, shown the video as the checkpoint was trained to see it.

llama.cpp's own ways of showing a video to this family give other answers than the checkpoint (docs/fidelity.md): each
pair of frames between marks of its own, positions as of pictures. Here its low-level interface is driven directly.
"""

from vtcli.engines.llama_cpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]

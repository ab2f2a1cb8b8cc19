"""A checkpoint folder → two GGUF files that llama.cpp loads: the text model, quantised, and the vision tower."""

from vtcli.models.export.run import Exported, export

__all__ = ["Exported", "export"]

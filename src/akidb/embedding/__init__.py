"""Text to vectors on this machine: the models it knows, how they are installed, what runs them.

It owns the models directory and everything in it. It reads no settings, and loads no runtime
(ONNX Runtime, `tokenizers`, `onnx`) before a model is loaded.
"""

from akidb.embedding.models import LocalModels

__all__ = ["LocalModels"]

"""Local text embedding: the model catalog, installation and inference.

Owns the models directory and everything in it. Reads no settings, and imports no runtime
(ONNX Runtime, `tokenizers`, `onnx`) before a model is loaded.
"""

from akidb.embedding.models import LocalModels

__all__ = ["LocalModels"]

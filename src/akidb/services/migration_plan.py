"""Plan of a migration from 1.x: read and check every manifest, compare it with the store, choose a slug.

Nothing is written here. Only the fields that the plan needs are kept, so that 100,000 manifests fit into
memory; the files are read again when the plan is executed.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from akidb.domain.ids import TenantId
from akidb.domain.manifests import (
    FaultyManifest,
    Manifest,
    content_hash,
    first_suffixed,
    read_manifest,
    suffixed_slugs,
)
from akidb.domain.migration import (
    Counts,
    ManifestFault,
    MigratedTenant,
    MigrationReport,
    Outcome,
    Progress,
    SkippedFile,
    Verification,
    shown,
)
from akidb.domain.names import derive_slug
from akidb.ports.migration import FileProblem, KnownTenant, LegacyManifests, ManifestFiles, UnreadableFile

T = TypeVar("T")

AT_ONCE = 500
"""Batch size of lookups and writes."""


class Step(msgspec.Struct, kw_only=True):
    """The planned migration of one manifest."""

    path: str
    tenant_id: TenantId
    given_slug: str | None
    invalid_slug: str | None
    """The manifest's slug, if it is not a valid slug."""
    wanted_slug: str
    """The manifest's slug, or else one derived from its name."""
    unknown_fields: tuple[str, ...]
    sha256: bytes
    content_hash: bytes
    outcome: Outcome = Outcome.CREATED
    slug: str | None = None
    reason: str | None = None


class ManifestSource(msgspec.Struct, kw_only=True):
    """A directory whose manifests have been read; the steps are sorted by tenant ID."""

    files: ManifestFiles
    directory: Path
    steps: list[Step]
    faults: list[ManifestFault]
    skipped: list[SkippedFile]


def read_source(files: ManifestFiles, directory: Path, progress: Progress) -> ManifestSource:
    """Read and check every file. Raises InvalidArgument(`v1_data_dir`) if the directory does not exist."""
    found = files.find(directory)
    source = ManifestSource(
        files=files,
        directory=directory,
        steps=[],
        faults=[_fault(remark) for remark in found.faults],
        skipped=[SkippedFile(path=shown(path), reason=reason) for path, reason in found.skipped],
    )
    known_fields: dict[tuple[str, ...], tuple[str, ...]] = {}
    for done, path in enumerate(found.files, start=1):
        if step := _read_step(source, path):
            step.unknown_fields = known_fields.setdefault(step.unknown_fields, step.unknown_fields)
            source.steps.append(step)
        if done % AT_ONCE == 0 or done == len(found.files):
            progress("check", done, len(found.files))
    source.steps.sort(key=lambda step: (step.tenant_id.raw, step.path))
    _refuse_twins(source)
    source.faults.sort(key=lambda fault: (fault.path, fault.field or ""))
    source.skipped.sort(key=lambda skipped: skipped.path)
    return source


def read_again(source: ManifestSource, step: Step) -> tuple[Manifest, bytes] | None:
    """Return the manifest of a step and its bytes, or None if the file has changed."""
    try:
        body = source.files.read(source.directory, step.path)
    except UnreadableFile:
        return None
    if sha256(body).digest() != step.sha256:
        return None
    manifest = read_manifest(body)
    assert manifest is not None
    return manifest, body


def decide(steps: Sequence[Step], store: LegacyManifests, *, overwrite: bool) -> None:
    """Compare the steps with the store, and set the outcome and the slug of each."""
    for part in parts(steps):
        known = store.standing([step.tenant_id for step in part])
        for step in part:
            _judge(step, known.get(step.tenant_id), overwrite=overwrite)
    _give_slugs(steps, store)


def report_of(
    source: ManifestSource, *, dry_run: bool, decided: bool, verification: Verification | None = None
) -> MigrationReport:
    """Return the report of a plan; before `decide`, it only has faults and skipped files."""
    counts = Counts(
        manifests=len(source.steps),
        faulty=len({fault.path for fault in source.faults}),
        skipped=len(source.skipped),
    )
    if decided:
        for step in source.steps:
            name = "conflicts" if step.outcome is Outcome.CONFLICT else step.outcome.value
            setattr(counts, name, getattr(counts, name) + 1)
    return MigrationReport(
        v1_data_dir=shown(str(source.directory)),
        dry_run=dry_run,
        counts=counts,
        faults=source.faults,
        skipped=source.skipped,
        tenants=[_reported(step) for step in source.steps] if decided else [],
        verification=verification,
    )


def parts(items: Sequence[T], size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """Yield the items in batches of `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _read_step(source: ManifestSource, path: str) -> Step | None:
    try:
        body = source.files.read(source.directory, path)
        manifest = read_manifest(body)
    except UnreadableFile as error:
        source.faults.append(_fault(FileProblem(path, str(error))))
        return None
    except FaultyManifest as error:
        source.faults += [
            ManifestFault(path=shown(path), field=field, reason=reason) for field, reason in error.faults
        ]
        return None
    if manifest is None:
        source.skipped.append(SkippedFile(path=shown(path), reason="has no tenant_id: not a manifest"))
        return None
    digest = sha256(body).digest()
    return Step(
        path=path,
        tenant_id=manifest.tenant_id,
        given_slug=manifest.slug,
        invalid_slug=manifest.invalid_slug,
        wanted_slug=manifest.slug or derive_slug(manifest.name),
        unknown_fields=manifest.unknown_fields,
        sha256=digest,
        content_hash=content_hash(manifest, digest),
    )


def _fault(remark: FileProblem) -> ManifestFault:
    return ManifestFault(path=shown(remark.path), field=None, reason=remark.reason)


def _refuse_twins(source: ManifestSource) -> None:
    """Add faults for manifests with the same ID among the sorted steps: either may be the right one."""
    for before, after in zip(source.steps, source.steps[1:], strict=False):
        if before.tenant_id == after.tenant_id:
            for path, other in ((before.path, after.path), (after.path, before.path)):
                reason = f"is also the tenant_id of {shown(other)}"
                source.faults.append(ManifestFault(path=shown(path), field="tenant_id", reason=reason))


def _judge(step: Step, known: KnownTenant | None, *, overwrite: bool) -> None:
    step.slug = step.reason = None
    if known is None:
        step.outcome = Outcome.CREATED
    elif known.slug is None:
        step.outcome = Outcome.PURGED
    elif known.sha256 == step.sha256:
        step.outcome, step.slug = Outcome.UNCHANGED, known.slug
    else:
        step.slug = known.slug
        step.reason = (
            "the manifest has changed since it was migrated"
            if known.sha256 is not None
            else "a tenant with this ID exists that did not come from 1.x"
        )
        step.outcome = Outcome.OVERWRITTEN if overwrite else Outcome.CONFLICT


def _give_slugs(steps: Sequence[Step], store: LegacyManifests) -> None:
    """Assign slugs to new tenants: first the given ones, then the derived ones, each in ID order."""
    waiting = [
        step
        for step in steps
        if step.outcome is Outcome.CREATED or (step.outcome is Outcome.OVERWRITTEN and not _keeps_slug(step))
    ]
    waiting.sort(key=lambda step: step.given_slug is None)  # stable: keeps the ID order
    taken = _taken(waiting, lambda step: step.wanted_slug, store)
    free: list[Step] = []
    for step in waiting:
        if step.wanted_slug in taken:
            free.append(step)
        else:
            step.slug = step.wanted_slug
            taken.add(step.slug)
    taken |= _taken(free, lambda step: first_suffixed(step.wanted_slug, step.tenant_id), store)
    for step in free:
        first = first_suffixed(step.wanted_slug, step.tenant_id)
        step.slug = next(
            slug
            for slug in suffixed_slugs(step.wanted_slug, step.tenant_id)
            if slug not in taken and (slug == first or not store.taken_slugs([slug]))
        )
        taken.add(step.slug)


def _keeps_slug(step: Step) -> bool:
    """Whether the existing tenant already has the wanted slug, or a suffixed form of it."""
    return step.slug in {step.wanted_slug, *suffixed_slugs(step.wanted_slug, step.tenant_id)}


def _taken(steps: Sequence[Step], slug_of: Callable[[Step], str], store: LegacyManifests) -> set[str]:
    taken: set[str] = set()
    for part in parts(steps):
        taken |= store.taken_slugs([slug_of(step) for step in part])
    return taken


def _reported(step: Step) -> MigratedTenant:
    written = step.outcome in {Outcome.CREATED, Outcome.OVERWRITTEN}
    return MigratedTenant(
        path=shown(step.path),
        tenant_id=step.tenant_id,
        slug=step.slug,
        given_slug=step.given_slug if step.invalid_slug is None else step.invalid_slug,
        outcome=step.outcome,
        reason=step.reason,
        unknown_fields=step.unknown_fields,
        content_hash=step.content_hash.hex() if written else None,
    )

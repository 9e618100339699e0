"""Manifests of AkiDB 1.x: reading, writing, and the slugs of migrated tenants.

All functions are pure: files, directories and the database are handled elsewhere.
"""

from akidb.domain.manifests.reading import Fault, FaultyManifest, Manifest, content_hash, read_manifest
from akidb.domain.manifests.slugs import first_suffixed, suffixed_slugs
from akidb.domain.manifests.writing import changed_manifest, new_manifest

__all__ = [
    "Fault",
    "FaultyManifest",
    "Manifest",
    "changed_manifest",
    "content_hash",
    "first_suffixed",
    "new_manifest",
    "read_manifest",
    "suffixed_slugs",
]

"""The manifests of AkiDB 1.x: what one says of a tenant, the slugs that tenants get, and the way back.

All of it is pure. Files, the directory they lie in, and the database are the business of others.
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

"""The directory of an AkiDB 1.x: the manifests in it, read, and written anew.

It knows of files alone. What a manifest says is for `akidb.domain.manifests`, what becomes of it for the
services.
"""

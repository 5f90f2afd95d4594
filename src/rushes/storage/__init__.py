"""Presigning and multipart over any S3. `open_storage` is the door; `rushes.storage.s3` says what storage can do."""

from rushes.storage.buckets import allow_origins, ensure_bucket
from rushes.storage.endpoint import Credentials, Endpoint
from rushes.storage.files import put_file
from rushes.storage.keys import (
    OurKey,
    Place,
    asset_prefix,
    original_key,
    piece_key,
    pieces_prefix,
    rendition_key,
    rendition_prefix,
    slice_key,
    staged_key,
    staged_prefix,
)
from rushes.storage.links import presign_get
from rushes.storage.marks import read_mark, write_mark
from rushes.storage.policies import Rule, abort_after, cors_rules, lifecycle_rules
from rushes.storage.probe import Capabilities, probe
from rushes.storage.s3 import S3
from rushes.storage.shapes import Found, Shape, shape_of, widest_places
from rushes.storage.signer import PartSigner, Signer
from rushes.storage.store import Storage, open_storage
from rushes.storage.stored import DonePart, ListedObject, OpenUpload, StoredObject, StoredPart, bare_etag

__all__ = [
    "S3",
    "Capabilities",
    "Credentials",
    "DonePart",
    "Endpoint",
    "Found",
    "ListedObject",
    "OpenUpload",
    "OurKey",
    "PartSigner",
    "Place",
    "Rule",
    "Shape",
    "Signer",
    "Storage",
    "StoredObject",
    "StoredPart",
    "abort_after",
    "allow_origins",
    "asset_prefix",
    "bare_etag",
    "cors_rules",
    "ensure_bucket",
    "lifecycle_rules",
    "open_storage",
    "original_key",
    "piece_key",
    "pieces_prefix",
    "presign_get",
    "probe",
    "put_file",
    "read_mark",
    "rendition_key",
    "rendition_prefix",
    "shape_of",
    "slice_key",
    "staged_key",
    "staged_prefix",
    "widest_places",
    "write_mark",
]

"""The folder that is deployed: its format, how it is written, and how it is trusted.

A bundle is complete with checksums, or refused. Reading one runs no code and needs
neither torch nor onnx.
"""

from __future__ import annotations

from tabweave.bundle.contents import BUNDLE_FORMAT, MANIFEST, name_fault
from tabweave.bundle.manifest import FileEntry, Manifest
from tabweave.bundle.onnx_scan import DOMAINS, scan_onnx
from tabweave.bundle.reading import Bundle, open_bundle
from tabweave.bundle.sample import Sample, raw_sample
from tabweave.bundle.writing import BundleParts, installed_versions, write_bundle
from tabweave.storage.strict_json import parse_json

__all__ = [
    "BUNDLE_FORMAT",
    "DOMAINS",
    "MANIFEST",
    "Bundle",
    "BundleParts",
    "FileEntry",
    "Manifest",
    "Sample",
    "installed_versions",
    "name_fault",
    "open_bundle",
    "parse_json",
    "raw_sample",
    "scan_onnx",
    "write_bundle",
]

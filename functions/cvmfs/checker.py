"""Checking a whole repository: everything the official ``check`` looks at, and the silent faults it does not see.

Source: ``swissknife_check.cc``, ``swissknife_scrub.cc``, ``manifest_fetch.cc: DoVerify``, ``swissknife_pull.cc``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog_database import DEFAULT_TTL
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import STOCK, compress
from functions.cvmfs.errors import FormatError
from functions.cvmfs.findings import Finding, Severity, error, warning
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.reader import MANIFEST_PATH, REFLOG_PATH, WHITELIST_PATH, Fetch, fetch_file, fetch_object
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import FILE_LIMIT
from functions.cvmfs.tag_check import TagCheck
from functions.cvmfs.tree_check import CheckedCatalog, Counts, TreeCheck
from functions.cvmfs.whitelist import SignedWhitelist

__all__ = ["Counts", "Finding", "Report", "Scope", "Severity", "check_repository"]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a check."""

    findings: tuple[Finding, ...]
    counts: Counts

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; warnings may be left."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Scope:
    """How much of a repository is checked; the files in its root folder always are.

    `tag` is the tree to look at instead of the newest one, `subtree` the path of the nested catalog to begin at.
    Objects are read, hashed and inflated with `data`, left out without `objects`, and else only asked for. `all_tags`
    adds the trees of all tags.
    """

    tag: str | None = None
    subtree: str = ""
    objects: bool = True
    data: bool = False
    all_tags: bool = False


def check_repository(
    fetch: Fetch,
    *,
    exists: Callable[[str], bool],
    public_keys: Sequence[bytes | str] | None,
    fqrn: str | None,
    now: datetime,
    data: bool = False,
    all_tags: bool = False,
    scope: Scope | None = None,
    progress: Callable[[Counts], None] | None = None,
    executor: Executor | None = None,
) -> Report:
    """Check the repository behind `fetch` as of `now` (aware); damage of any kind becomes a finding, never an error.

    `public_keys` are master keys in PEM form; None leaves out who signed, not whether signatures fit. `data` and
    `all_tags` are those of a Scope, which can be given as a whole. `progress` is called now and then with what has been
    done so far. Only errors of `fetch` and `exists` themselves are passed on.
    """
    scope = scope or Scope(data=data, all_tags=all_tags)
    tree = TreeCheck(
        fetch, exists, scope.data, executor, progress or (lambda _counts: None), scope.objects or scope.data
    )
    _RepositoryCheck(fetch, exists, tree).run(public_keys, fqrn, now, scope)
    return Report(tuple(tree.findings), tree.counts)


class _RepositoryCheck:
    """One pass over the files in the root of a repository and what they name."""

    def __init__(self, fetch: Fetch, exists: Callable[[str], bool], tree: TreeCheck) -> None:
        self._fetch = fetch
        self._exists = exists
        self._tree = tree
        self._findings = tree.findings

    def run(self, public_keys: Sequence[bytes | str] | None, fqrn: str | None, now: datetime, scope: Scope) -> None:
        try:
            signed = SignedManifest.from_bytes(fetch_file(self._fetch, MANIFEST_PATH))
            manifest = signed.unverified
        except FormatError as err:
            self._error(MANIFEST_PATH, err)
            return
        if fqrn is not None and manifest.fqrn != fqrn:
            self._error(MANIFEST_PATH, f"the manifest is that of {manifest.fqrn!r}, expected {fqrn!r}")
        certificate = self._check_certificate(manifest)
        if certificate is not None:
            try:
                signed.verify(certificate)
            except FormatError as err:
                self._error(MANIFEST_PATH, err)
        self._check_whitelist(manifest, certificate, public_keys, now)
        self._check_metainfo(manifest)
        tags = TagCheck(self._fetch, self._exists, self._tree, manifest)
        self._check_tree(manifest, tags, scope)
        tags.check(all_tags=scope.all_tags)
        self._check_reflog(manifest)
        self._check_alternative_paths(manifest)

    def _error(self, where: str, what: object) -> None:
        self._findings.append(error(where, what))

    def _warn(self, where: str, what: object) -> None:
        self._findings.append(warning(where, what))

    def _check_certificate(self, manifest: Manifest) -> Certificate | None:
        if manifest.certificate is None:
            self._error(MANIFEST_PATH, "the manifest names no certificate")
            return None
        content = self._stock_object(Address(manifest.certificate, Kind.CERTIFICATE))
        if content is None:
            return None
        try:
            return Certificate.from_pem(content)
        except FormatError as err:
            self._error(Address(manifest.certificate, Kind.CERTIFICATE).path, err)
            return None

    def _check_whitelist(
        self,
        manifest: Manifest,
        certificate: Certificate | None,
        public_keys: Sequence[bytes | str] | None,
        now: datetime,
    ) -> None:
        try:
            signed = SignedWhitelist.from_bytes(fetch_file(self._fetch, WHITELIST_PATH))
            whitelist = signed.unverified
            if certificate is not None and not whitelist.admits(certificate):
                self._error(WHITELIST_PATH, "the certificate of the manifest is not listed")
            if public_keys is not None:
                signed.verify(public_keys, fqrn=manifest.fqrn, now=now)
        except FormatError as err:
            self._error(WHITELIST_PATH, err)

    def _check_metainfo(self, manifest: Manifest) -> None:
        if manifest.metainfo is None:
            return
        address = Address(manifest.metainfo, Kind.METAINFO)
        content = self._stock_object(address)
        if content is None:
            return
        try:
            is_object = isinstance(json.loads(content), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            self._warn(address.path, "the metainfo is not a JSON object")

    def _stock_object(self, address: Address) -> bytes | None:
        """An object that replicas compress anew and keep under its old name (``swissknife_pull.cc: StoreBuffer``)."""
        try:
            content = fetch_object(self._fetch, address, limit=FILE_LIMIT)
        except FormatError as err:
            self._error(address.path, err)
            return None
        if address.digest.algorithm.digest(compress(content, codec=STOCK)) != address.digest:
            self._error(address.path, "not compressed by zlib at level 6, so every replica of it will be broken")
        return content

    def _check_tree(self, manifest: Manifest, tags: TagCheck, scope: Scope) -> None:
        if scope.tag is not None:
            tags.check_tree(scope.tag, scope.subtree)
            return
        root = self._tree.check(manifest.root, scope.subtree)
        if root is not None and not scope.subtree:
            self._check_root(manifest, root)

    def _check_root(self, manifest: Manifest, root: CheckedCatalog) -> None:
        if root.revision != manifest.revision:
            self._error(MANIFEST_PATH, f"field S is {manifest.revision}, the root catalog has revision {root.revision}")
        if manifest.root_size not in {0, root.size}:
            self._error(MANIFEST_PATH, f"field B is {manifest.root_size}, the root catalog has {root.size} bytes")
        if manifest.published_at < root.last_modified:
            self._error(
                MANIFEST_PATH,
                f"field T is {manifest.published_at}, before the root catalog's last_modified {root.last_modified}",
            )
        ttl = DEFAULT_TTL if root.ttl is None else root.ttl
        if ttl != manifest.ttl:
            self._warn(MANIFEST_PATH, f"field D is {manifest.ttl}, but clients obey the root catalog's TTL {ttl}")

    def _check_reflog(self, manifest: Manifest) -> None:
        blob = self._fetch(REFLOG_PATH)
        if blob is None:
            self._warn(REFLOG_PATH, "there is no reflog, so garbage cannot be collected")
            return
        try:
            reflog = Reflog.from_bytes(blob, fqrn=manifest.fqrn)
            listed = {(reference.digest, reference.type) for reference in reflog.entries()}
        except FormatError as err:
            self._error(REFLOG_PATH, err)
            return
        if manifest.reflog is not None and manifest.reflog.algorithm.digest(blob) != manifest.reflog:
            self._error(REFLOG_PATH, f"unexpected content hash, field Y of the manifest is {manifest.reflog}")
        current: tuple[tuple[Digest | None, RefType], ...] = (
            (manifest.root, RefType.CATALOG),
            (manifest.certificate, RefType.CERTIFICATE),
            (manifest.history, RefType.HISTORY),
            (manifest.metainfo, RefType.METAINFO),
        )
        for digest, kind in current:
            if digest is not None and (digest, kind) not in listed:
                self._error(REFLOG_PATH, f"the current {kind.name.lower()} {digest} is not listed")

    def _check_alternative_paths(self, manifest: Manifest) -> None:
        if not manifest.alternative_path:
            return
        for digest, kind in ((manifest.root, Kind.CATALOG), (manifest.certificate, Kind.CERTIFICATE)):
            if digest is not None and not self._exists(f".cvmfsalt-{Address(digest, kind)}"):
                self._error(MANIFEST_PATH, f"field A is yes, but .cvmfsalt-{Address(digest, kind)} does not exist")

"""What can be wrong with the tags of a repository. Source: ``swissknife_check.cc: InspectHistory``."""

from __future__ import annotations

import re
from collections.abc import Callable

from functions.cvmfs.address import Address, Kind
from functions.cvmfs.errors import FormatError
from functions.cvmfs.findings import error, warning
from functions.cvmfs.history import TRUNK, History, Tag
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.reader import MANIFEST_PATH, Fetch, fetch_object
from functions.cvmfs.tree_check import CheckedCatalog, TreeCheck

_BRANCH_NAME = re.compile(r"[A-Za-z0-9_.@/-]*")  # sanitizer.h: BranchSanitizer; the default branch has no name


class TagCheck:
    """Checks the tag database of a manifest, if it names one; findings are added to those of the tree check."""

    def __init__(self, fetch: Fetch, exists: Callable[[str], bool], tree: TreeCheck, manifest: Manifest) -> None:
        self._exists = exists
        self._tree = tree
        self._manifest = manifest
        self._where = MANIFEST_PATH
        self._history: History | None = None
        if manifest.history is not None:
            address = Address(manifest.history, Kind.HISTORY)
            self._where = address.path
            try:
                self._history = History.from_bytes(fetch_object(fetch, address))
            except FormatError as err:
                self._error(err)

    def check(self, *, all_tags: bool) -> None:
        """Check tags and branches, and with `all_tags` the trees that they name."""
        history = self._history
        if history is None:
            return
        if history.fqrn != self._manifest.fqrn:
            self._error(f"the tag database belongs to {history.fqrn!r}")
        for problem in history.check():
            self._error(problem)
        for branch in history.branches():
            if not _BRANCH_NAME.fullmatch(branch.name):
                self._error(f"{branch.name!r} is not the name of a branch")
        self._check_trunk(history.tag(TRUNK))
        for tag in history.tags():
            if all_tags:
                self._check_root(tag, self._tree.check(tag.root))
            elif not self._exists(Address(tag.root, Kind.CATALOG).path):
                self._error(f"tag {tag.name!r}: its root catalog {tag.root} does not exist")

    def check_tree(self, name: str, subtree: str) -> None:
        """Check the tree of one tag, or from the nested catalog at `subtree` on."""
        tag = None if self._history is None else self._history.tag(name)
        if tag is None:
            self._error(f"there is no tag {name!r}")
            return
        checked = self._tree.check(tag.root, subtree)
        if not subtree:
            self._check_root(tag, checked)

    def _check_trunk(self, trunk: Tag | None) -> None:
        if trunk is None:
            self._tree.findings.append(warning(self._where, f"there is no tag {TRUNK!r}"))
        elif (trunk.root, trunk.revision) != (self._manifest.root, self._manifest.revision):
            self._error(f"{TRUNK!r} is on revision {trunk.revision}, not on the published one")

    def _check_root(self, tag: Tag, root: CheckedCatalog | None) -> None:
        if root is None:
            self._error(f"tag {tag.name!r}: its root catalog {tag.root} cannot be opened")
        elif root.revision != tag.revision or tag.size not in {0, root.size}:
            self._error(
                f"tag {tag.name!r}: revision {tag.revision}, {tag.size} bytes; "
                f"its root catalog has revision {root.revision}, {root.size} bytes"
            )

    def _error(self, what: object) -> None:
        self._tree.findings.append(error(self._where, what))

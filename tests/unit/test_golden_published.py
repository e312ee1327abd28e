"""What the official client showed, put on a disk and published by the command line: the client would show the same."""

from __future__ import annotations

import os
from pathlib import Path

from functions.cvmfs.entry import Entry
from functions.cvmfs.reader import Snapshot
from tests.cli_repository import CliRepository
from tests.golden import TAGS, golden
from tests.unit.test_golden_repositories import as_the_client_shows_it, opened


def write_tree(snapshot: Snapshot, top: Path) -> None:
    """Everything of a revision as files of the local file system."""
    directories: list[tuple[Path, Entry]] = []
    for path, entry in snapshot.walk():
        place = top / path.removeprefix("/")
        if entry.is_directory:
            place.mkdir(exist_ok=True)
            directories.append((place, entry))
            continue
        if entry.is_symlink:
            place.symlink_to(entry.symlink)
        else:
            place.write_bytes(snapshot.read(path))
            place.chmod(entry.mode & 0o7777)
        os.utime(place, (entry.mtime, entry.mtime), follow_symlinks=False)
    for place, entry in reversed(directories):
        place.chmod(entry.mode & 0o7777)
        os.utime(place, (entry.mtime, entry.mtime))


def test_a_published_folder_is_shown_as_the_official_client_showed_it(tmp_path: Path) -> None:
    official = golden("sha1")
    repository = CliRepository.copy(tmp_path)
    for tag in TAGS:
        tree = tmp_path / tag
        tree.mkdir()
        write_tree(opened(official).snapshot(tag), tree)
        outcome = repository.published("--from", tree, "--tag", f"{tag}-again")
        assert outcome["read_files"] < 60 if tag == "v1" else outcome["read_files"] < 5, "only what differs is read"

        shown = as_the_client_shows_it(repository.reader().snapshot())
        # An attribute of the user's is not published unless one asks for it, and not every file system keeps any.
        expected = [{key: value for key, value in line.items() if key != "xattrs"} for line in official.listing(tag)]
        assert shown == sorted(expected, key=lambda line: line["path"])
        mounts = [path for path, _, _ in repository.reader().snapshot().catalogs()]
        assert mounts == [path for path, _, _ in opened(official).snapshot(tag).catalogs()]

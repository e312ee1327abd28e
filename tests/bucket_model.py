"""What a worker node has to see of a bucket, worked out from its objects alone and in the plainest way.

No outcome of the code under test goes in: keys, archives and metadata are read here a second time.
"""

import io
import stat
import tarfile
from dataclasses import dataclass, field

ARCHIVES = (".tar", ".tgz")


@dataclass
class Node:
    """What stands at a path: mode, mtime (s, ns), link target and content; `stamp` makes the directory above as new."""

    mode: int
    mtime: int
    mtime_ns: int | None = None
    symlink: str = ""
    content: bytes = b""
    stamp: int | None = None
    implied: bool = field(default=False, compare=False)

    def shown(self):
        return (oct(self.mode), self.mtime, self.mtime_ns, self.symlink, self.content)


@dataclass
class Wish:
    """An object as it wants to be published: `members` of an archive by path below its directory."""

    key: str
    path: str
    modified: int
    node: Node
    members: dict[str, Node] | None = None

    @property
    def rank(self):
        return self.modified, self.key

    @property
    def is_directory(self):
        return stat.S_ISDIR(self.node.mode)


def members_of(body: bytes, modified: int) -> dict[str, Node]:
    """The members of a tar, and the directories that it implies; raises tarfile.TarError."""
    nodes: dict[str, Node] = {}
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        for member in tar:
            path = "/" + member.name.rstrip("/")
            kind = stat.S_IFDIR if member.isdir() else stat.S_IFREG
            permissions = member.mode | (0o555 if member.isdir() else 0o444)
            content = b"" if member.isdir() else tar.extractfile(member).read()
            nodes[path] = Node(kind | permissions, int(member.mtime), content=content)
            above = path.rpartition("/")[0]
            while above:
                nodes.setdefault(above, Node(stat.S_IFDIR | 0o755, modified))
                above = above.rpartition("/")[0]
    return nodes


def wish_of(key: str, body: bytes, metadata: dict[str, str], modified: int) -> Wish | None:
    """What an object wants, or None if it is refused."""
    path = "/" + key.removeprefix("cvmfs/")
    mtime, _, fraction = metadata.get("mtime", str(modified)).partition(".")
    times = (int(mtime), int(fraction.ljust(9, "0")) if fraction else None)
    mode = int(metadata["mode"], 8) if "mode" in metadata else None
    if path.endswith("/"):
        permissions = 0o755 if mode is None else mode & 0o777 | 0o555
        return Wish(key, path.rstrip("/"), modified, Node(stat.S_IFDIR | permissions, *times))
    if path.endswith(ARCHIVES):
        try:
            members = members_of(body, modified)
        except tarfile.TarError:
            return None
        return Wish(key, path.rpartition(".")[0], modified, Node(stat.S_IFDIR | 0o755, modified), members)
    is_link = path.endswith(".rclonelink") or (mode is not None and stat.S_ISLNK(mode))
    if is_link:
        node = Node(stat.S_IFLNK | 0o777, *times, symlink=body.decode())
        return Wish(key, path.removesuffix(".rclonelink"), modified, node) if body else None
    permissions = (0o755 if body.startswith(b"#!") else 0o644) if mode is None else mode & 0o777 | 0o444
    permissions |= 0o111 if permissions & 0o100 else 0
    return Wish(key, path, modified, Node(stat.S_IFREG | permissions, *times, content=body))


def beats(newer: Wish, older: Wish) -> bool:
    """Whether an object that is published keeps an older one out."""
    if newer.path == older.path:
        if newer.is_directory and older.is_directory:
            return newer.members is not None and older.members is not None
        return True
    if older.path.startswith(newer.path + "/"):
        return not newer.is_directory or newer.members is not None
    return newer.path.startswith(older.path + "/") and not older.is_directory


def published(objects: dict[str, tuple[bytes, dict[str, str], int]]) -> dict[str, tuple]:
    """Every path with what it shows, from keys to body, metadata and LastModified in seconds."""
    wishes = [wish for key, told in objects.items() if (wish := wish_of(key, *told)) is not None]
    entered: list[Wish] = []
    for wish in sorted(wishes, key=lambda wish: wish.rank, reverse=True):
        if not any(beats(winner, wish) for winner in entered):
            entered.append(wish)
    tree: dict[str, Node] = {}
    archives = {wish.path for wish in entered if wish.members is not None}
    for wish in reversed(entered):
        if wish.is_directory and wish.members is None and wish.path in archives:
            continue
        _place(tree, wish)
    _date(tree)
    return {path: node.shown() for path, node in tree.items()}


def _place(tree: dict[str, Node], wish: Wish) -> None:
    above = wish.path.rpartition("/")[0]
    while above:
        if above in tree and not stat.S_ISDIR(tree[above].mode):
            del tree[above]
        tree.setdefault(above, Node(stat.S_IFDIR | 0o755, 0, implied=True))
        above = above.rpartition("/")[0]
    if not wish.is_directory or wish.members is not None:
        for path in [path for path in tree if path == wish.path or path.startswith(wish.path + "/")]:
            del tree[path]
    tree[wish.path] = Node(**vars(wish.node) | {"stamp": wish.modified})
    for path, node in (wish.members or {}).items():
        tree[wish.path + path] = node


def _date(tree: dict[str, Node]) -> None:
    for path in sorted((path for path in tree if tree[path].implied), key=lambda path: -path.count("/")):
        below = [node.stamp for child, node in tree.items() if child.rpartition("/")[0] == path]
        tree[path].mtime = tree[path].stamp = max(stamp for stamp in below if stamp is not None)

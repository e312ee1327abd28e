"""What can be wrong with the bytes of a repository, as one tree.

::

    FormatError
    ├── AddressError          a hash string or object path is not one
    ├── CompressionError      stored bytes do not inflate, or inflate to too much
    ├── EntryError            an entry cannot be represented in a catalog
    ├── CatalogError          a catalog database is malformed or an edit would make it so
    ├── ManifestError         .cvmfspublished is malformed
    ├── WhitelistError        .cvmfswhitelist is malformed
    │   └── WhitelistExpired  it is past its expiry hour
    ├── SignatureError        a signature, fingerprint or repository name does not match
    ├── HistoryError          the tag database is malformed
    │   ├── RevisionMissing   a revision was never there, or is not any more
    │   └── TagError          a tag cannot be entered, moved, removed or gone back to as asked
    │       ├── TagExists     its name is taken
    │       └── TagMissing    there is none of this name
    ├── ReflogError           the reflog is malformed or belongs to another repository
    ├── HashMismatch          stored bytes do not have the hash they are named by
    └── ObjectMissing         an object that something refers to is not there
"""


class FormatError(Exception):
    """The repository's bytes are not what the format says."""


class AddressError(FormatError):
    """A text is not a hash string or object path."""


class CompressionError(FormatError):
    """Stored bytes cannot be inflated."""


class EntryError(FormatError):
    """An entry cannot be represented in a catalog."""


class CatalogError(FormatError):
    """A catalog is malformed, or an edit would make it so."""


class ManifestError(FormatError):
    """A manifest is malformed."""


class WhitelistError(FormatError):
    """A whitelist is malformed."""


class WhitelistExpired(WhitelistError):
    """A whitelist is past its expiry hour."""


class SignatureError(FormatError):
    """A signature, fingerprint or repository name does not match."""


class HistoryError(FormatError):
    """A tag database is malformed, or an edit would make it so."""


class RevisionMissing(HistoryError):
    """There is no such revision, or it has been collected: nothing is wrong with the database."""


class TagError(HistoryError):
    """A tag rule is broken by what was asked for: nothing is wrong with the database."""


class TagExists(TagError):
    """The name of a tag is taken."""


class TagMissing(TagError):
    """There is no tag of this name."""


class ReflogError(FormatError):
    """A reflog is malformed or belongs to another repository."""


class HashMismatch(FormatError):
    """Stored bytes do not have the hash they are named by."""


class ObjectMissing(FormatError):
    """An object that something refers to is not in the store."""

"""The CVMFS repository format: written, read and checked, in memory.

No I/O, no clock, no environment: bytes come in and go out, times and keys are arguments. Nothing here knows of events,
buckets or this service, so the library could be released alone. Modules are imported by name, which keeps the start of
a function short. From the bottom up:

=================  ==================================================================================================
module             public names
=================  ==================================================================================================
errors             FormatError and the tree below it: everything that can be wrong with a repository's bytes
address            HashAlgorithm, Digest, Kind, Address: hashes and the names of objects
compression        Compression, Codec, FAST, STOCK, compress, decompress
objects            StoredObject, pack, unpack: content to a named object and back
chunks             ChunkLimits, cut_marks, split: where large files are cut
entry              Entry, EntryFlag, Chunk, MARKER_NAME, path_hash, pack_xattrs, unpack_xattrs: one path's row
counters           Counters: the statistics of catalogs
database           opened, transaction, read_properties, write_properties: SQLite databases as bytes
schema             open_database, create_database, count_rows, write_counters: the tables of a catalog
rows               row_of, entry_of, check_entry: entries as rows of a catalog
transplant         move_out, move_in: rows of a directory's tree from one catalog database to another
catalog_database   CatalogDatabase: a catalog's properties and counters
catalog_entries    CatalogEntries, NestedReference: reading a catalog
catalog_edits      CatalogEdits, CountersOf: putting and removing entries
catalog            Catalog, AUTO_MARKER_NAME: the class to use, with nested catalogs, split and merge
catalog_cache      CatalogCache: open catalogs by digest
tree_view          TreeView: the catalogs below one root catalog
changed_rows       changed_rows: which rows of two versions of a catalog differ
difference         TreeComparison, Difference, CatalogDifference, Aspect: what differs between two trees
references         object_prefixes, object_addresses, nested_digests: what a catalog refers to
certificate        Certificate, make_certificate
signing            Signer, KeySigner, new_key, split_signed, verify_manifest_signature, verify_whitelist_signature
manifest           Manifest, SignedManifest: .cvmfspublished
whitelist          Whitelist, SignedWhitelist: .cvmfswhitelist
history_database   Tag, Branch, read_history, write_history: the rows of the tag database
history            History: the tags of a repository and their rules
reflog             Reflog, Reference, RefType: .cvmfsreflog
metainfo           make_metainfo: who runs a repository
reader             Repository, Snapshot, Fetch: a repository as a verifying client sees it
revisions          Revision, find_revision: a revision by tag, number or root hash
findings           Finding, Severity: what a check finds
catalog_check      check_catalog: one catalog
tree_check         TreeCheck, Counts: catalogs below a root, and the objects they refer to
tag_check          TagCheck: the tags
checker            check_repository, Scope, Report: a whole repository
scrub              scrub, Scrubbed: all stored objects, referred to or not
=================  ==================================================================================================

Paths and names are `str` with undecodable bytes as surrogates; the root is the empty string. A Digest is a hash
without, an Address one with the type letter. Docstrings name the function of cvmfs 2.12 that a rule comes from.
"""

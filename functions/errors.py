"""Everything that can go wrong in the service, as one tree.

::

    CloudError
    ├── Retryable                      answered 503: the event stays in RabbitMQ and comes back
    │   ├── StoreUnavailable           S3 does not answer, or answers 5xx
    │   │   └── StoreForbids           S3 refuses a request that the service must be allowed to make
    │   ├── KeysUnavailable            Vault is sealed, down, or refuses the login
    │   ├── BrokerUnavailable          RabbitMQ is down, or did not confirm a publish
    │   ├── GatewayUnavailable         the gateway is down, or could not publish
    │   ├── VersionMoved               a compare-and-swap lost: somebody else wrote first
    │   ├── RepositoryNotReady         the first revision is not written yet
    │   ├── KeyMismatch                the signing key is not that of the repository's certificate
    │   └── TreeMoved                  a local tree changed while it was published
    └── Permanent                      trying again cannot help: parked with the reason, answered 204
        ├── EventRefused               the event is malformed or of a type nobody handles
        ├── RepositoryUnknown          no repository record for this name or bucket
        ├── RepositoryRefused          the request for a repository cannot be granted
        ├── UploadRefused              an object in the bucket cannot be published as it is
        ├── TreeRefused                a local tree cannot be published as it is
        │   └── TreeEmpty              it is empty, and what is published would go
        ├── KeyFilesRefused            key files are missing, unreadable or incomplete
        ├── TagRefused                 a tag cannot be made, moved, removed or gone back to as asked
        │   ├── TagTaken               a tag of this name is on another revision
        │   └── TagUnknown             there is no tag, or no revision, of this name
        ├── CollectionRefused          garbage cannot be collected in this repository
        │   └── CollectionWaits        not now
        ├── RepositoryGone             the repository is deleted, or on its way out
        ├── SettingsRefused            a setting does not exist, or cannot have this value
        ├── WhitelistRefused           a whitelist that the master key did not sign, or cannot sign
        ├── WhitelistEnding            a whitelist ends soon, and nothing has renewed it
        └── RepositoryDamaged          what the store holds fails verification

Format errors (``functions.cvmfs.errors``) and event errors (``events.errors``) stay below their own roofs; the
handlers turn them into ``RepositoryDamaged`` and ``EventRefused`` where they meet them.
"""

from __future__ import annotations

from typing import ClassVar


def sentence(text: str) -> str:
    """`text` with a full stop, unless it ends like a sentence already: something may follow it."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


class CloudError(Exception):
    """An error of the service: `str(error)` says what and where, `hint` says the next step."""

    code: ClassVar[str] = "error"
    hint: ClassVar[str] = ""

    def explained(self) -> str:
        """The message followed by the next step, for a person at a terminal."""
        return f"{sentence(str(self))} {self.hint}" if self.hint else str(self)


class Retryable(CloudError):
    """May succeed when tried again; the event is kept."""

    code = "try-again"
    hint = "The event is kept and tried again."


class StoreUnavailable(Retryable):
    """The object store cannot be reached or fails."""

    code = "store-unavailable"
    hint = "Look at RadosGW; the event is kept and tried again."


class StoreForbids(StoreUnavailable):
    """The object store refuses access to a bucket, or to one object in it."""

    code = "store-forbids"
    hint = "The credentials of the service or the policy of the bucket changed; the event is kept and tried again."


class KeysUnavailable(Retryable):
    """Vault cannot be reached, is sealed, or refuses the login."""

    code = "keys-unavailable"
    hint = "Look at Vault (sealed? login policy?); the event is kept and tried again."


class BrokerUnavailable(Retryable):
    """RabbitMQ cannot be reached or did not confirm a publish."""

    code = "broker-unavailable"
    hint = "Look at RabbitMQ; nothing was acknowledged, so nothing is lost."


class GatewayUnavailable(Retryable):
    """The gateway of a service cannot be reached or could not publish."""

    code = "gateway-unavailable"
    hint = "Is the address right, and the gateway up? Then send it again."


class VersionMoved(Retryable):
    """A compare-and-swap lost against another writer."""

    code = "version-moved"
    hint = "Read the current version and decide again."


class TreeMoved(Retryable):
    """A local tree changed while it was read."""

    code = "tree-moved"
    hint = "Publish again when nobody writes to it."


class RepositoryNotReady(Retryable):
    """The repository has no revision yet."""

    code = "repository-not-ready"
    hint = "Its creation is under way, or `cvmfs-cloud repo mkfs` has not been run."


class KeyMismatch(Retryable):
    """The signing key is not the one that the repository's certificate holds."""

    code = "key-mismatch"
    hint = "The key was replaced, or its replacement is under way: publish with the new one."


class Permanent(CloudError):
    """Cannot succeed, however often it is tried."""

    code = "refused"


class EventRefused(Permanent):
    """The event is malformed or of an unknown type."""

    code = "event-refused"
    hint = "Correct the sender; the message is parked and can be redriven."


class RepositoryUnknown(Permanent):
    """There is no repository of this name or for this bucket."""

    code = "repository-unknown"
    hint = "Request the repository first."


class RepositoryRefused(Permanent):
    """A request for a repository that cannot be granted."""

    code = "repository-refused"
    hint = "Correct the request and send it again."


class UploadRefused(Permanent):
    """An object in the bucket that cannot be published as it is."""

    code = "upload-refused"
    hint = "Rename or replace the object; the next upload clears this problem."

    def __init__(self, message: str, *, code: str = "upload-refused", hint: str = "") -> None:
        super().__init__(message)
        self.reason_code = code
        self.next_step = hint or self.hint

    def explained(self) -> str:
        """The message followed by the next step of this very refusal."""
        return f"{sentence(str(self))} {self.next_step}"


class TreeRefused(Permanent):
    """A local tree that cannot be published as it is."""

    code = "tree-refused"
    hint = "Correct the tree and publish it again; nothing was published."


class TreeEmpty(TreeRefused):
    """An empty local tree in the place of a published one."""

    code = "tree-empty"
    hint = "Look whether it is the right folder; --allow-empty publishes it nevertheless."


class KeyFilesRefused(Permanent):
    """Key files are missing, unreadable or incomplete."""

    code = "key-files-refused"
    hint = "Name the folder that holds the .key, .crt and .masterkey files of the repository."


class TagRefused(Permanent):
    """A tag cannot be made, moved, removed or gone back to as asked."""

    code = "tag-refused"
    hint = "`cvmfs-cloud repo tag`, or `status` of a running service, lists the tags that there are."


class TagTaken(TagRefused):
    """A tag of this name is on another revision."""

    code = "tag-taken"
    hint = "Choose another name; `cvmfs-cloud repo tag`, or `status` of a running service, lists those that are taken."


class TagUnknown(TagRefused):
    """There is no tag, or no revision, of this name."""

    code = "tag-unknown"
    hint = "`cvmfs-cloud repo tag`, or `status` of a running service, lists the tags that there are."


class CollectionRefused(Permanent):
    """Garbage cannot be collected in this repository."""

    code = "collection-refused"
    hint = (
        "Its manifest says so (field G), and replicas rely on it: whoever made the repository chose to keep everything."
    )


class CollectionWaits(CollectionRefused):
    """Garbage cannot be collected now."""

    code = "collection-waits"
    hint = "Ask again when the repository is active and nothing waits to be published."


class RepositoryGone(Permanent):
    """The repository is deleted, or on its way out."""

    code = "repository-gone"
    hint = "Request it again to begin anew under the name."


class SettingsRefused(Permanent):
    """A setting does not exist, or cannot have this value."""

    code = "settings-refused"
    hint = "`cvmfs-cloud repository set --help` lists the settings; nothing was changed."


class WhitelistRefused(Permanent):
    """A whitelist was not signed by the master key, or cannot be signed with it."""

    code = "whitelist-refused"
    hint = "Somebody may have written to the storage: compare the fingerprints before it is made anew."


class WhitelistEnding(Permanent):
    """A whitelist ends soon and could not be signed again: clients would refuse the repository then."""

    code = "whitelist-ending"
    hint = "An operator has to look at the keys in Vault and ask again with `cvmfs-cloud resign`."


class RepositoryDamaged(Permanent):
    """What the store holds for a repository fails verification."""

    code = "repository-damaged"
    hint = "Run `cvmfs-cloud repo check` on the repository; nothing was published on top of it."

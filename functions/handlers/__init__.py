"""One file per function; each reads decode, one call, encode.

=================================  ================================  ======================================
file                               event in                          event out
=================================  ================================  ======================================
``store_keys``                     ``repository.requested``          ``repository.keys-stored``
``create_repository``              ``repository.keys-stored``        ``repository.created``
``handle_bucket_notification``     RadosGW's bucket notification     change records, ``repository.changed``
``publish_transaction``            ``repository.changed``            ``repository.published``
``edit_repository``                wishes of owners                  what became of them
``delete_repository``              ``deletion.requested``            ``repository.deleted``
``resign_whitelist``               a timer, ``renewal.requested``    ``whitelist.resigned``
``collect_garbage``                ``collection.requested``          ``garbage.collected``
``reconcile_bucket``               ``reconciliation.requested``      notifications, ``bucket.reconciled``
=================================  ================================  ======================================
"""

"""Vault's HTTP interface, as far as setting it up needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import urllib3
from pydantic import SecretStr

from functions.local.servers.errors import LocalServerError

_TIMEOUT_S = 10.0


class VaultApi:
    """Requests to one Vault, with an optional token."""

    def __init__(self, http: urllib3.PoolManager, address: str, token: SecretStr | None = None) -> None:
        self._http = http
        self._address = address
        self._headers = {} if token is None else {"X-Vault-Token": token.get_secret_value()}

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The decoded answer, empty when there is none; raises LocalServerError when Vault refuses or is not there."""
        status, answer = self.ask(method, path, body)
        if not 200 <= status < 300:
            faults = "; ".join(map(str, answer.get("errors", ()))) or "no reason given"
            raise LocalServerError(
                f"Vault answered {method} {path} with {status}: {faults}.", next_step="Look at the log of bao."
            )
        return answer

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and decoded answer; status 0 when nobody answers."""
        url = f"{self._address}/v1/{path}"
        try:
            answer = self._http.request(
                method, url, json=body, headers=self._headers, retries=False, timeout=_TIMEOUT_S
            )
            content = answer.json() if answer.data else {}
        except (urllib3.exceptions.HTTPError, ValueError):
            return 0, {}
        return answer.status, content if isinstance(content, dict) else {}

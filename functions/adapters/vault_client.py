"""Requests to Vault as one AppRole: logged in when needed, logged in again when the token has expired."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized, VaultError
from pydantic import SecretStr
from requests.exceptions import RequestException

from functions.errors import KeysUnavailable

TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class VaultLogin:
    """Address of Vault and the AppRole of this function."""

    address: str
    role_id: str
    secret_id: SecretStr
    approle_mount: str = "approle"


class VaultRefused(Exception):
    """Vault answered 400: the request as such is wrong, and the caller knows what that means."""


class VaultClient:
    """Reads and writes as an AppRole; may be used from several threads. Raises KeysUnavailable and VaultRefused."""

    def __init__(self, login: VaultLogin) -> None:
        self._login = login
        self._lock = threading.Lock()
        # An empty token, since hvac looks for one in the environment and the home folder when there is none.
        self._client = hvac.Client(url=login.address, token="", timeout=TIMEOUT_S)

    def read(self, path: str) -> dict[str, Any] | None:
        """The answer to a GET, or None if there is nothing at `path`."""
        try:
            return _as_dict(self._call(lambda: self._client.adapter.get(f"/v1/{path}"), path))
        except InvalidPath as error:
            if error.errors:  # an engine that is not mounted; a secret that is not there comes without a message
                raise _unavailable(path, error) from None
            return None
        except VaultRefused as error:
            raise KeysUnavailable(f"Vault at {path}: {error}") from None

    def write(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a POST."""
        try:
            return _as_dict(self._call(lambda: self._client.adapter.post(f"/v1/{path}", json=dict(data)), path))
        except InvalidPath as error:
            raise _unavailable(path, error) from None

    def delete(self, path: str) -> None:
        """A DELETE; what is not there is fine."""
        try:
            self._call(lambda: self._client.adapter.delete(f"/v1/{path}"), path)
        except InvalidPath as error:
            if error.errors:
                raise _unavailable(path, error) from None

    def _call(self, request: Callable[[], Any], path: str) -> Any:
        """Make a request, after a login if there is no token yet; a refusal may mean that the token has expired."""
        try:
            token = self._client.token or self._log_in("")
            try:
                return request()
            except (Forbidden, Unauthorized):
                self._log_in(token)
                return request()
        except InvalidPath:
            raise
        except InvalidRequest as error:
            raise VaultRefused("; ".join(error.errors or [])) from None
        except (VaultError, RequestException) as error:
            raise _unavailable(path, error) from None

    def _log_in(self, refused: str) -> str:
        """Get a new token, unless another thread has replaced the `refused` one meanwhile."""
        with self._lock:
            if self._client.token in {"", None, refused}:
                credentials = {
                    "role_id": self._login.role_id,
                    "secret_id": self._login.secret_id.get_secret_value(),
                }
                try:
                    answer = self._client.login(
                        f"/v1/auth/{self._login.approle_mount}/login", use_token=False, json=credentials
                    )
                except InvalidRequest as error:
                    raise KeysUnavailable(f"Vault refuses the login: {'; '.join(error.errors or [])}") from None
                self._client.token = answer["auth"]["client_token"]
            return str(self._client.token)


def _as_dict(answer: object) -> dict[str, Any]:
    """The JSON of an answer; hvac returns the bare response where there is none."""
    return answer if isinstance(answer, dict) else {}


def _unavailable(path: str, error: Exception) -> KeysUnavailable:
    """An error without the request's body or headers in it; not chained, since a traceback would show them."""
    if isinstance(error, VaultError):
        return KeysUnavailable(f"Vault at {path}: {type(error).__name__} {'; '.join(error.errors or [])}".rstrip())
    return KeysUnavailable(f"Vault at {path}: {type(error).__name__}")

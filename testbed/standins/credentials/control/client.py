"""Drives the local stand-in of Credentials (its faults, and what it has stored) through HTTP, for sites and tests."""

import json
from collections.abc import Callable
from typing import Any

import requests


class CredentialsControl:
    """The control of a running stand-in, at the URL that it printed: its methods are ``control.api.ACTIONS``."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/_standin/"

    def __getattr__(self, action: str) -> Callable[..., Any]:
        def do(*args: Any, **kwargs: Any) -> Any:
            body = json.dumps({"do": action, "args": args, "kwargs": kwargs}, default=list)  # a set is sent as a list
            response = requests.post(self.url, body, timeout=30)
            if not response.ok:
                raise ValueError(f"{action}: {response.status_code} {response.text}")
            return response.json()

        return do

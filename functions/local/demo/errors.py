"""What can go wrong in the demo."""

from __future__ import annotations

from typing import ClassVar

from functions.errors import Permanent


class DemoFailed(Permanent):
    """A step did not end as it must; says which and how."""

    code: ClassVar[str] = "demo-failed"
    hint: ClassVar[str] = "The logs of functions and servers are kept in the demo's folder, `runtime/*.log` first."

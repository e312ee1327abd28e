from __future__ import annotations

import re
from pathlib import Path

from gateway.app import ROUTERS

README = (Path(__file__).parents[2] / "gateway" / "README.md").read_text()


def test_the_readme_has_a_row_and_a_curl_line_for_every_endpoint():
    endpoints = {(method, route.path) for router in ROUTERS for route in router.routes for method in route.methods}
    rows = re.findall(r"^\| `(GET|POST) (/\S+)` \|", README, re.MULTILINE)
    assert set(rows) == endpoints
    asked = re.findall(r"^curl -i '?http://127\.0\.0\.1:8080(/[^\s'?]+)", README, re.MULTILINE)
    patterns = [re.sub(r"\{\w+\}", "[^/]+", path) for _, path in endpoints]
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, path) for path in asked)] == []
    assert [path for path in asked if not any(re.fullmatch(pattern, path) for pattern in patterns)] == []

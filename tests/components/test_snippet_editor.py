"""The editor of PyTorch code: the bundle is built from its sources."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from k2t_core.components import snippet_editor

FOLDER = Path(snippet_editor.__file__).parent


def test_the_bundle_is_built_from_these_sources():
    digest = hashlib.sha256()
    for name in sorted(
        ["build.mjs", "package-lock.json", *(f"src/{path.name}" for path in (FOLDER / "src").iterdir())]
    ):
        digest.update(f"{name}\n{(FOLDER / name).read_text(encoding='utf-8')}".encode())
    assert (
        re.search(r"from sources (\w+)", (FOLDER / "bundle" / "editor.js").read_text(encoding="utf-8"))[1]
        == digest.hexdigest()
    ), "run npm ci --ignore-scripts && npm run build in k2t_core/components/snippet_editor"
    assert "@codemirror/view" in (FOLDER / "bundle" / "LICENSES.txt").read_text(encoding="utf-8")

"""Where the app and the examples lie."""

from __future__ import annotations

import pytest

from k2t_core.errors import K2TError
from k2t_core.project import bundled


def test_the_app_lies_beside_the_package():
    assert (bundled.app_folder() / "app.py").is_file() and (bundled.app_folder() / "pages" / "load.py").is_file()


def test_an_installed_app_is_found_inside_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "k2t_core" / "project" / "bundled.py"))
    with pytest.raises(K2TError, match="not part of this installation"):
        bundled.app_folder()
    for folder in ("examples", "k2t_core/_app/examples"):  # another project's, and k2t's own
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "build.py").write_text("")
    assert bundled.app_folder() == tmp_path / "k2t_core" / "_app"


def test_every_example_is_described():
    found = bundled.examples()
    assert found is bundled.examples() and len(found.EXAMPLES) > 5
    assert all(one.title and one.description for one in found.EXAMPLES.values())

"""An ONNX file where it is made and where it is run."""

from __future__ import annotations

import json

import numpy as np
import pytest

import k2t_core as k2t
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.onnx_process import Exporter, Session

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(converted, tmp_path_factory):
    folder = converted("dense")
    exporter = Exporter()
    exporter.load(str(folder), Manifest.read(folder).text)
    data, reason = exporter.export([np.ones((3, 10), "float32")])
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(data)
    return exporter, path, reason


def test_what_is_exported_gives_the_same(exported):
    exporter, path, reason = exported
    session = Session()
    assert reason is None and session.open(str(path)) == [["features"], ["classes"]]
    x = np.random.default_rng(0).standard_normal((5, 10)).astype("float32")
    (got,), (want,) = session.run({"features": x}, "a batch"), exporter.outputs([x])
    assert np.allclose(got, want, atol=1e-6)


def test_what_onnxruntime_refuses_is_said(exported, tmp_path):
    session = Session()
    session.open(str(exported[1]))
    with pytest.raises(k2t.K2TError, match=r"cannot run what torch exports \(a batch\)"):
        session.run({"features": np.ones((2, 3), "float32")}, "a batch")
    (tmp_path / "a.onnx").write_bytes(json.dumps("no").encode())
    with pytest.raises(k2t.K2TError, match="onnxruntime cannot open"):
        Session().open(str(tmp_path / "a.onnx"))

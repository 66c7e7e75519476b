"""ONNX files give onnxruntime torch's numbers, at a batch size that they were not made with."""

import sys
from pathlib import Path

import pytest
import torch

import tokzoo
from tests.helpers import some_images, tiny
from tokzoo.cli.main import main
from tokzoo.export import export_onnx


def test_a_missing_extra_is_named(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "titok_nano.photos64", "--out", str(tmp_path)]) == 1
    assert "pip install 'tokzoo[export]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bottleneck", ["vq", pytest.param("kl", marks=pytest.mark.slow)])
def test_tiny_titok_exports_with_a_dynamic_batch(bottleneck: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    tok = tiny("titok", bottleneck=bottleneck)
    encoder, decoder = export_onnx(tok, tmp_path)
    assert encoder.ok and decoder.ok, (encoder, decoder)
    images = some_images(tok, 5)
    (tokens,) = runtime.InferenceSession(str(encoder.file)).run(None, {"images": images.numpy()})
    (made,) = runtime.InferenceSession(str(decoder.file)).run(None, {"tokens": tokens})
    with torch.no_grad():
        want = tok.encode(images)
        if bottleneck == "vq":
            assert (torch.from_numpy(tokens) == want.indices).all()
        torch.testing.assert_close(torch.from_numpy(made), tok.decode(want), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_shipped_checkpoint_exports_from_the_command_line(tmp_path: Path, capsys) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["export", "titok_nano.photos64", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count(": equal: ") == 2 and "100.0% of 96 indices equal" in out
    assert (tmp_path / "encoder.onnx").stat().st_size > 1_000_000


def test_a_decoder_that_reads_text_takes_its_features_as_an_input(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    tok = tiny("tatitok")
    halves = export_onnx(tok, tmp_path)
    assert all(half.ok for half in halves), halves
    images = some_images(tok, 4)
    with torch.no_grad():
        tokens, text = tok.encode(images), torch.randn(4, 5, 12)
        want = tok.decode(tokens, text=text)
    session = runtime.InferenceSession(str(tmp_path / "decoder.onnx"))
    (made,) = session.run(None, {"tokens": tokens.indices.numpy(), "text": text.numpy()})
    torch.testing.assert_close(torch.from_numpy(made), want, atol=1e-4, rtol=1e-4)


def test_tokens_of_varying_number_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    if "karl" not in {entry.family for entry in tokzoo.registry.architectures().values()}:
        pytest.skip("no family with such tokens")
    with pytest.raises(ValueError, match="more than one array"):
        export_onnx(tiny("karl"), tmp_path)

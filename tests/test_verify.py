"""Verify proves what it says, and finds what is wrong."""

import importlib
import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tokzoo
from tests.helpers import tiny
from tokzoo import _files, _finding, golden, reconstruction, verify
from tokzoo.cli.main import main
from tokzoo.demo.generation import shipped_generators
from tokzoo.golden import Case
from tokzoo.layers.transformer import Mlp
from tokzoo.tokenizers.titok.config import TINY
from tokzoo.verify import answers, cases
from tokzoo.verify.checks import Bounds

SINGLE = "titok_vq_single_tiny"


def case(name: str = SINGLE, **changes: object) -> Case:
    return replace(golden.read_case(golden.folder() / f"{name}.json"), **changes)


def outcome(report: verify.Report, what: str) -> verify.Check:
    return next(check for check in report.checks if check.what == what)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Verify runs only these golden cases."""
    monkeypatch.setattr(golden, "cases", lambda family: [golden.folder() / f"{name}.json" for name in names])


def test_shipped_weights_are_proven_and_what_is_not_is_said(monkeypatch, capsys) -> None:
    only(monkeypatch, SINGLE)
    assert main(["verify", "titok_nano.photos64"]) == 0
    out = capsys.readouterr().out
    assert f"proven      golden {SINGLE}: z, z_q, indices, reconstruction equal the authors'" in out
    assert "32 of 32 indices equal" in out
    main(["verify", "titok_l32"])
    out = capsys.readouterr().out
    assert "not proven  weights: they are not at hand: `tokzoo download titok_l32.in1k` or --file PATH" in out
    assert "not proven  published rFID: 2.21" in out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_its_bounds_are_said(dtype: torch.dtype) -> None:
    check = cases.check_case(case(dtype=dtype))
    assert check.outcome == "proven"
    assert check.detail.startswith("near the authors' float32: z ")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_wrong_operator_is_found_in_every_precision(monkeypatch, dtype: torch.dtype) -> None:
    forward = Mlp.forward
    monkeypatch.setattr(Mlp, "forward", lambda self, hidden: forward(self, hidden) * 1.2)
    check = cases.check_case(case(dtype=dtype))
    assert check.outcome == "failed"
    assert "z" in check.detail.split(":")[0] or "z " in check.detail


def test_nan_fails_in_half_precision(monkeypatch) -> None:
    forward = Mlp.forward
    monkeypatch.setattr(Mlp, "forward", lambda self, hidden: forward(self, hidden) * torch.nan)
    assert cases.check_case(case(dtype=torch.float16)).outcome == "failed"


def test_an_operator_that_a_device_lacks_is_quoted(monkeypatch) -> None:
    def missing(self: object, hidden: object) -> None:
        raise NotImplementedError("aten::gelu is not there for this device\nand more")

    monkeypatch.setattr(Mlp, "forward", missing)
    check = cases.check_case(case())
    assert check.outcome == "failed"
    assert check.detail == "it does not run: NotImplementedError: aten::gelu is not there for this device"


def test_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="float32, bfloat16 or float16; got float64"):
        verify.verify("titok_nano", dtype=torch.float64)


class TestWeights:
    @pytest.fixture(autouse=True)
    def without_golden(self, monkeypatch) -> None:
        only(monkeypatch)

    def test_a_published_file_loads_by_path_or_the_report_fails(self, tmp_path: Path, monkeypatch, capsys) -> None:
        """A file in the authors' layout: the weights of a golden case, of an architecture with its sizes."""
        from tokzoo import registry

        recorded = case()
        published, _ = registry.find("titok_bl64_vq8k")
        golden.run_case(recorded)
        config = recorded.built[0].config
        monkeypatch.setitem(registry._registered, published.name, replace(published, config=config))
        file = tmp_path / "model.safetensors"
        save_file(recorded.weights, file)
        report = verify.verify("titok_bl64_vq8k.in1k", file=file)
        assert outcome(report, "weights").outcome == "proven"
        assert outcome(report, "reconstruction of the packaged photo").outcome == "failed"  # random weights
        short = dict(list(recorded.weights.items())[:-1])
        save_file(short, file)
        assert outcome(verify.verify("titok_bl64_vq8k.in1k", file=file), "weights").outcome == "failed"
        assert main(["verify", "titok_bl64_vq8k.in1k", "--file", str(tmp_path / "none.bin")]) == 1
        assert "checks of titok_bl64_vq8k.in1k failed: weights" in capsys.readouterr().err

    def test_a_changed_shipped_file_fails(self, tmp_path: Path, monkeypatch) -> None:
        name = "titok_nano.photos64"
        shutil.copytree(_files.data_folder("checkpoints") / name, tmp_path / name)
        state = load_file(tmp_path / name / "model.safetensors")
        state["quantizer.codebook"] = state["quantizer.codebook"].flip(0).contiguous()
        save_file(state, tmp_path / name / "model.safetensors")
        folder = _files.data_folder
        monkeypatch.setattr(_files, "data_folder", lambda kind: tmp_path if kind == "checkpoints" else folder(kind))
        check = outcome(verify.verify(name), "recorded answer")
        assert check.outcome == "failed" and "its sha256 differs" in check.detail
        answer = json.loads((tmp_path / name / "known.json").read_text())
        answer["weights_sha256"] = _files.sha256_of(tmp_path / name / "model.safetensors")
        (tmp_path / name / "known.json").write_text(json.dumps(answer))
        check = outcome(verify.verify(name), "recorded answer")  # the codebook is another, whatever the file's hash
        assert check.outcome == "failed" and "of 32 indices equal" in check.detail

    def test_shipped_weights_in_bfloat16_stay_near_their_recorded_answer(self) -> None:
        check = outcome(verify.verify("titok_nano.photos64", dtype=torch.bfloat16), "recorded answer")
        assert check.outcome == "proven", check.detail

    def test_published_tokens_are_decoded_and_made_of_the_given_picture(self, tmp_path: Path) -> None:
        tok = tokzoo.create_model("titok_nano").eval()
        picture = tmp_path / "picture.png"
        photo = tok.preprocess(_files.data_folder("known") / answers.PHOTO)
        tokzoo.images.to_image(photo[0]).save(picture)
        with torch.no_grad():
            made = tokzoo.images.to_tensor(tokzoo.images.open_image(picture))[None]
            tokens = tok.encode(made)
            cells = answers.cells(tok.decode(tokens))[0].permute(1, 2, 0) * 255
        entry = {
            "image": "picture.png",
            "image_source": "here",
            "image_sha256": _files.sha256_of(picture),
            "indices": tokens.indices[0].tolist(),
            "cells": cells.tolist(),
            "source": "this test",
            "note": "on a CPU",
        }
        check = answers.published_answer(tok, entry, picture)
        assert check.outcome == "proven" and "100.0% of the 32 tokens are equal" in check.detail
        assert "--image FILE (here)" in answers.published_answer(tok, entry, None).detail
        wrong = {**entry, "cells": (cells.flip(1) + 8).tolist()}
        assert answers.published_answer(tok, wrong, None).outcome == "failed"
        shifted = {**entry, "indices": [(index + 1) % 4096 for index in entry["indices"]]}
        assert answers.published_answer(tok, shifted, picture).outcome == "failed"


def test_published_answers_name_registered_models_and_fit_them() -> None:
    listed = json.loads((_files.data_folder("known") / "published.json").read_text())
    assert {entry["model"] for entry in listed} == {"titok_l32.in1k", "one_d_piece_l256.in1k"}
    for entry in listed:
        architecture, weights = tokzoo.registry.find(entry["model"])
        assert weights is not None
        assert len(entry["indices"]) == architecture.config.num_tokens
        assert min(entry["indices"]) >= 0 and max(entry["indices"]) < architecture.config.codebook_size
        assert torch.tensor(entry["cells"]).shape == (answers.CELLS, answers.CELLS, 3)
        assert len(entry["image_sha256"]) == 64 and entry["source"]


@pytest.mark.parametrize("name", [*reconstruction.shipped(), *shipped_generators()])
def test_every_shipped_checkpoint_has_its_recorded_answer(name: str) -> None:
    folder = _files.data_folder("checkpoints") / name
    how = f"python -c 'from pathlib import Path; from tokzoo import verify; verify.record(Path(\"{folder}\"))'"
    assert (folder / answers.ANSWER).is_file(), f"record it: {how}"
    want = json.loads((folder / answers.ANSWER).read_text())
    assert want["weights_sha256"] == _files.sha256_of(folder / _finding.WEIGHTS), (
        f"the weights are newer; record again: {how}"
    )


def test_continuous_tokens_are_recorded_and_compared(tmp_path: Path) -> None:
    tok = tiny("titok", bottleneck="kl")
    assert tok.config == replace(TINY, bottleneck="kl")
    tok.save_pretrained(tmp_path)
    answer = json.loads(verify.record(tmp_path).read_text())
    photo = tok.preprocess(_files.data_folder("known") / answers.PHOTO)
    with torch.no_grad():
        tokens = tok.encode(photo)
    said, ok = answers.against(tokens, answer["tokens"], Bounds(0.97, 1e-3))
    assert ok and said.startswith("latents ")
    shifted = [[value + 0.1 for value in row] for row in answer["tokens"]]
    assert not answers.against(tokens, shifted, Bounds(0.97, 1e-3))[1]


def test_a_generator_of_continuous_tokens_is_recorded_and_another_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, means, deviations = "gpstoken_sit_nano", (0.0,) * 7, (1.0,) * 7
    small = dict(num_tokens=4, code_dim=2, means=means, deviations=deviations, width=16, depth=1, num_heads=2)
    model = tokzoo.create_model(name, **small).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.2)
    folder = tmp_path / "checkpoints" / f"{name}.here"
    verify.record(model.save_pretrained(folder))
    monkeypatch.setattr(_files, "data_folder", lambda kind: tmp_path / kind)
    model = tokzoo.from_pretrained(folder)
    assert answers.drawn_answer(model, f"{name}.here").outcome == "proven"
    with torch.no_grad():
        model.velocity.out.bias.add_(0.5)
    assert answers.drawn_answer(model, f"{name}.here").outcome == "failed"


def test_adapters_take_their_inputs_on_the_device_of_the_case() -> None:
    for entry in tokzoo.registry.architectures().values():
        if entry.golden is not None:
            module = importlib.import_module(entry.golden.partition(":")[0])
            assert "from_numpy(" not in inspect.getsource(module), (
                f"{module.__name__}: case.image(name) knows the device"
            )


def test_a_shipped_generator_is_proven_and_another_one_fails(monkeypatch, tmp_path: Path) -> None:
    name = shipped_generators()[0]
    report = verify.verify(name)
    assert not report.failed and [check.outcome for check in report.checks if check.what == "recorded answer"] == [
        "proven"
    ]
    model = tokzoo.from_pretrained(name)
    with torch.no_grad():
        model.norm.weight.mul_(1.5)
    assert answers.drawn_answer(model, name).outcome == "failed"

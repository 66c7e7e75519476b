"""The doctor names what is wrong: an operator, a wheel, a missing extra."""

import copy

import pytest
import torch

from tests.helpers import tiny
from tokzoo import _torchvision, doctor, golden
from tokzoo.cli.main import main
from tokzoo.layers.transformer import Mlp

SINGLE = "titok_vq_single_tiny"


def test_a_sound_installation_is_told_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "CASES", (SINGLE,))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for said in (
        f"torch {torch.__version__}",
        "threads",
        "hub cache",
        f"{SINGLE} in float32 on cpu: z, z_q, indices, reconstruction equal",
        f"{SINGLE} in bfloat16 on cpu: near",
        f"{SINGLE} in float16 on cpu: near",
        "nothing is wrong",
    ):
        assert said in out


def test_a_wrong_operator_is_named_by_the_part_that_differs_first(monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "CASES", (SINGLE,))
    forward = Mlp.forward
    monkeypatch.setattr(Mlp, "forward", lambda self, hidden: forward(self, hidden) * 1.2)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert f"wrong  {SINGLE} in float32 on cpu: the latents differ; first at z:" in said.out
    assert "3 things are wrong" in said.err


@pytest.mark.parametrize(
    ("family", "module", "kind"),
    [
        ("titok", "encoder.blocks.0.mlp.fc1", "Linear"),
        ("titok", "decoder.head.smooth", "Conv2d"),
        ("maskgit_vqgan", "decoder.conv_in", "Conv2d"),
    ],
)
def test_the_first_module_with_other_numbers_is_found(family: str, module: str, kind: str) -> None:
    reference = tiny(family)
    suspect = copy.deepcopy(reference)
    images = torch.rand(1, 3, reference.image_size, reference.image_size, generator=torch.Generator().manual_seed(0))
    assert doctor.first_difference(reference, suspect, images) is None
    with torch.no_grad():
        suspect.get_submodule(module).weight.mul_(1.1)
    assert doctor.first_difference(reference, suspect, images).startswith(f"{module} ({kind}) is ")


def test_where_a_device_goes_wrong_is_looked_for_in_the_model_of_the_case() -> None:
    case = golden.read_case(golden.folder() / f"{SINGLE}.json")
    assert doctor._where(case, "cpu").startswith("no module alone differs")


@pytest.mark.parametrize(
    ("array", "part"),
    [("z", "latents"), ("indices", "codes"), ("z_q", "codes"), ("recon", "pixels"), ("reconstruction_len4", "pixels")],
)
def test_arrays_are_named_by_the_part_they_are_of(array: str, part: str) -> None:
    assert doctor.part_of(array) == part


def test_torchvision_of_another_torch_is_named(monkeypatch) -> None:
    monkeypatch.setattr(_torchvision, "operators_loaded", lambda: False)
    found = doctor.torchvision_fit()
    assert found.level == "note" and "built for another torch" in found.detail
    monkeypatch.setattr(_torchvision, "operators_loaded", lambda: True)
    assert doctor.torchvision_fit().level == "ok"


def test_a_missing_extra_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "av" else "1.0")
    found = {finding.what: finding for finding in doctor.extras()}
    assert found["tokzoo[video]"].detail == "lacks av: pip install 'tokzoo[video]'"
    assert found["tokzoo[export]"].level == "ok"
    assert "tokzoo[dev]" not in found and "tokzoo[all]" not in found
    assert doctor.extras("no-such-package")[0].level == "note"


def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (["doctor"], ["verify", "titok_nano"], ["bench", "titok_nano"]):
        assert main([*command, "--device", "cuda"]) == 1
        assert "finds no cuda here; it has cpu" in capsys.readouterr().err

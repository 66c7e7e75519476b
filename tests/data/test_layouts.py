"""Banks of layouts: the regions of labelled photos, made by the command that says so, and drawn from by another."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tokzoo
from tests.helpers import tiny
from tokzoo.cli.main import main
from tokzoo.data.layouts import layouts_of
from tokzoo.data.readers import ImageFolder
from tokzoo.generators.gpstoken.layouts import LayoutBank
from tokzoo.layers.gaussians import region_gaussians


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of one class, two of another, each with something to see at another place."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name, number in (("ant", 0), ("ant", 1), ("ant", 2), ("bee", 3), ("bee", 4)):
        (root / name).mkdir(exist_ok=True)
        picture = np.full((64, 64, 3), 90, np.uint8)
        picture[:, 10 * number : 10 * number + 20] = generator.integers(0, 255, (64, 20, 3))
        Image.fromarray(picture).save(root / name / f"{number}.png")
    return root


def test_a_bank_holds_the_gaussians_of_each_class_and_a_seed_decides_whose(photos: Path) -> None:
    folder, tok = ImageFolder(photos), tokzoo.create_model("gpstoken_nano")
    bank = layouts_of(folder, "gpstoken_nano", num_tokens=8)
    regions = tok.prepare(tok.preprocess([photos / "bee" / "3.png", photos / "bee" / "4.png"]), num_tokens=8)["regions"]
    assert list(bank.layouts) == ["ant", "bee"] and bank.layouts["ant"].shape == (3, 8, 5)
    assert torch.equal(bank.layouts["bee"], region_gaussians(regions, (64, 64)))
    some = [
        layouts_of(folder, "gpstoken_nano", num_tokens=8, per_class=1, seed=seed).layouts["ant"] for seed in range(9)
    ]
    assert all((each == bank.layouts["ant"]).flatten(1).all(1).sum() == 1 for each in some)
    assert len({tuple(each.flatten().tolist()) for each in some}) == 3
    with pytest.raises(ValueError, match="titok_nano is a Titok"):
        layouts_of(folder, "titok_nano")
    with pytest.raises(ValueError, match="1 to 256 regions"):
        layouts_of(folder, "gpstoken_nano", num_tokens=257)


def test_one_command_writes_a_bank_and_another_draws_from_it(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "bank.safetensors"
    assert main(["layouts", str(photos), "gpstoken_nano", str(file), "--num_tokens", "6"]) == 0
    assert LayoutBank.read(file).layouts["ant"].shape == (3, 6, 5)
    tiny("gpstoken").save_pretrained(tmp_path / "tok")
    sizes = dict(num_tokens=6, image_size=16, num_classes=2, width=16, depth=1, num_heads=2, layout_depth=0)
    model = tokzoo.create_model("gpstoken_sit_nano", tokenizer=tokzoo.from_pretrained(tmp_path / "tok"), **sizes)
    model.tokenizer, model.classes = str(tmp_path / "tok"), ("bee", "ant")
    asked = ["generate", str(model.save_pretrained(tmp_path / "pair")), "--num_samples", "2", "--num_steps", "2"]
    asked += ["--out", str(tmp_path / "made")]
    assert main(asked) == 1  # it has no layouts of its own
    assert main([*asked, "--layouts", str(file)]) == 0
    assert len([*(tmp_path / "made").glob("ant-*.png")]) == 2

"""The README is true: its code runs, its table is the registry's, importing is light."""

import re
import subprocess
import sys
from pathlib import Path

from tests.readme import README, with_table


def test_the_model_table_is_that_of_the_registry() -> None:
    text = README.read_text()
    assert text == with_table(text), "run `make readme`"


def test_the_tour_runs_as_it_is_written(monkeypatch, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(README.parent)
    scope = {"out": tmp_path}
    for block in blocks:
        exec(block.replace('"my_run', f'"{tmp_path}/my_run'), scope)
    assert scope["images"].shape == (1, 3, 64, 64)


def test_importing_tokzoo_imports_neither_torch_nor_anything_heavy() -> None:
    code = "import sys, tokzoo; print([m for m in ('torch', 'timm', 'diffusers', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_together_imports_nothing_heavy_beside_torch() -> None:
    code = (
        "import sys, torch, tokzoo; [getattr(tokzoo, name) for name in tokzoo.__all__]; "
        "heavy = 'timm diffusers torchvision transformers huggingface_hub accelerate matplotlib scipy jsonargparse'; "
        "print([module for module in heavy.split() if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

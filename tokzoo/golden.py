"""Golden cases: numbers that an author's implementation gave for weights and inputs that anyone can make again.

Each family has an adapter, `golden.run(case)` in its folder, that gives our numbers under the recorded names.
"""

import json
import math
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tokzoo import _files, _state, hub, registry

if TYPE_CHECKING:
    from tokzoo.tokenizers.base import VisualTokenizer

COMPONENTS = {  # cases, by family or by name, that are no architecture of the registry, and their adapters
    "dist_metrics": "tokzoo.metrics.golden:run_dist_metrics",
    "fid_resize": "tokzoo.metrics.golden:run_fid_resize",
    "fsq": "tokzoo.golden_quantizers:run_fsq",
    "fvd": "tokzoo.metrics.golden:run_fvd",
    "inception": "tokzoo.metrics.golden:run_inception",
    "lpips": "tokzoo.metrics.golden:run_lpips",
    "psnr_ssim": "tokzoo.metrics.golden:run_psnr_ssim",
    "robustok_perturb": "tokzoo.golden_quantizers:run_perturbation",
    "tokenbridge_quantizer": "tokzoo.golden_quantizers:run_dimension_wise",
}


@dataclass(frozen=True)
class Case:
    """One recorded case; `weights` is the published state dict, `recorded` what the author's code made of `inputs`.

    `parts` are state dicts of other models that it needs, by name.
    `device` and `dtype` are where and in what our own numbers are made; the authors' were made on a CPU in float32.
    `built` gathers the models that an adapter builds, for who wants to look into one.
    """

    name: str
    family: str
    config: dict[str, Any]
    settings: dict[str, Any]
    inputs: dict[str, np.ndarray]
    weights: dict[str, torch.Tensor]
    recorded: dict[str, np.ndarray]
    tolerance: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    built: list["VisualTokenizer"] = field(default_factory=list)
    parts: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)

    def image(self, name: str = "image") -> torch.Tensor:
        """An input; in the case's dtype if it is floating-point."""
        given = torch.from_numpy(self.inputs[name]).to(self.device)
        return given.to(self.dtype) if given.is_floating_point() and self.dtype != torch.float32 else given

    def misfit(self, name: str, got: torch.Tensor) -> str | None:
        """None where `got` meets the recorded array, else a line saying how far off it is."""
        want, allowed = self.recorded[name], self.tolerance[name]
        have = as_array(got)
        if have.shape != want.shape:
            return f"{name}: shape {have.shape}, recorded {want.shape}"
        if allowed == "exact":
            differ = int((have != want).sum())
            return f"{name}: {differ} of {want.size} differ" if differ else None
        bound = allowed.get("atol", 0.0) + allowed.get("rtol", 0.0) * np.abs(want)
        off = np.where(have == want, 0.0, np.abs(have.astype(np.float64) - want))
        worst = (
            float(np.max(off / np.maximum(bound, np.finfo(np.float32).tiny))) if want.size else 0.0
        )  # a bound may be 0
        return None if worst <= 1 else f"{name}: {worst:.3g} times the tolerance {allowed}"


def as_array(got: torch.Tensor) -> np.ndarray:
    """On the CPU, for numpy, which has no bfloat16."""
    got = got.detach().cpu()
    return got.float().numpy() if got.dtype == torch.bfloat16 else got.numpy()


def folder() -> Path:
    """Where the cases lie that travel with tokzoo."""
    return _files.data_folder("golden") / "cases"


def cases(family: str) -> list[Path]:
    """The cases of a family that travel with tokzoo, smallest first."""
    found = [path for path in folder().glob("*.json") if json.loads(path.read_text()).get("family") == family]
    return sorted(found, key=lambda path: (path.with_suffix(".npz").stat().st_size, path.name))


def read_case(path: Path) -> Case:
    """The case of `path` (.json) and the .npz beside it."""
    about, arrays = json.loads(path.read_text()), np.load(path.with_suffix(".npz"))
    weights = _filled(about.get("state_dict", {}), about.get("scale", {})) | _published(about.get("weights"), path)
    weights |= {
        key: torch.from_numpy(arrays[f"kept.{key}"]) for key in about.get("state_dict", {}) if f"kept.{key}" in arrays
    }
    others = "state_dict_"
    return Case(
        name=path.stem,
        family=about["family"],
        config=about["config"],
        settings=about.get("settings", {}),
        inputs={name: _input(name, entry, arrays) for name, entry in about["inputs"].items()},
        weights=weights,
        recorded={name: arrays[name] for name in about["arrays"]},
        tolerance={name: entry["tolerance"] for name, entry in about["arrays"].items()},
        notes=about.get("notes", []),
        parts={key.removeprefix(others): _filled(about[key], {}) for key in about if key.startswith(others)},
    )


def _published(described: Any, path: Path) -> dict[str, torch.Tensor]:
    """The real weights that a case is about, from `where` below the folder of that name above it; the half that a file
    is of, as its name ends, comes before its keys.

    Raises:
        FileNotFoundError: they do not lie there. ValueError: they are others than the recorded ones.
    """
    if not isinstance(described, dict):
        return {}
    where = Path(described["where"])
    root = next((above.parent for above in path.resolve().parents if above.name == where.parts[0]), None)
    if root is None or not (root / where).is_dir():
        raise FileNotFoundError(f"{path.stem} is about real weights, which lie in no {where} above it")
    state: dict[str, torch.Tensor] = {}
    for name, entry in described["files"].items():
        _files.check_hash(root / where / name, entry["sha256"])
        half = Path(name).stem.rpartition("_")[2]
        state |= {f"{half}.{key}": value.float() for key, value in _state.read_state(root / where / name).items()}
    return state


def _filled(listed: dict[str, Any], scale: dict[str, float]) -> dict[str, torch.Tensor]:
    """The floating-point weights of a listed state dict, {key: (shape, dtype)}."""
    return {
        key: torch.from_numpy(np.asarray(weight_of(key, tuple(shape)) * np.float32(scale.get(str(len(shape)), 1))))
        for key, (shape, dtype) in listed.items()
        if "float" in dtype
    }


def weight_of(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 weight that a case has under `key`: a function of the key and the shape alone."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    normal = np.asarray(generator.standard_normal(shape, dtype=np.float32))
    if len(shape) >= 2:
        return np.asarray(normal / math.sqrt(math.prod(shape[1:])), dtype=np.float32)
    if key.endswith("running_var"):
        return np.asarray(1 + 0.1 * np.abs(normal), dtype=np.float32)
    around = 1 if key.rsplit(".", 1)[-1] in {"weight", "gamma", "scale"} else 0
    return np.asarray(around + 0.1 * normal, dtype=np.float32)


def _input(name: str, entry: dict[str, Any], arrays: Any) -> np.ndarray:
    """A stored input, or one made by its recipe: an expression over `u`, uniform in [0, 1), and numpy.

    A case file is trusted as test code is: its recipe is evaluated, with numpy and nothing else in reach.
    """
    if f"in.{name}" in arrays:
        return np.asarray(arrays[f"in.{name}"])
    recipe = entry["recipe"]
    uniform = np.random.Generator(np.random.PCG64(recipe["seed"])).random(tuple(recipe["shape"]), dtype=np.float32)
    return np.asarray(eval(recipe["expr"], {"__builtins__": {}, "np": np, "u": uniform}))  # noqa: S307


def run_case(case: Case) -> dict[str, torch.Tensor]:
    """Our numbers for `case` under the recorded names, by its family's adapter.

    Raises:
        KeyError: neither COMPONENTS nor an architecture names an adapter of the case or its family.
    """
    adapter = (
        COMPONENTS.get(case.name)
        or COMPONENTS.get(case.family)
        or next(
            (
                entry.golden
                for entry in registry.architectures().values()
                if entry.family == case.family and entry.golden
            ),
            None,
        )
    )
    if adapter is None:
        raise KeyError(f"no adapter builds the golden cases of family {case.family!r}: give its architectures golden=")
    ours: dict[str, torch.Tensor] = registry.load_object(adapter)(case)
    return ours


def misfits(case: Case) -> list[str]:
    """What differs between our numbers and the recorded ones, a line each; empty where all are equal."""
    with torch.no_grad():
        ours = run_case(case)
    missing = [f"{name}: recorded, but not given by the adapter" for name in case.recorded if name not in ours]
    found = (case.misfit(name, ours[name]) for name in case.recorded if name in ours)
    return missing + [line for line in found if line is not None]


def build(case: Case, config: Any) -> "VisualTokenizer":
    """A model of the case's family with the published state dict, read from a file by the family's key rules."""
    from safetensors.torch import save_file

    architecture = next(
        entry for entry in registry.architectures().values() if entry.family == case.family and entry.convert
    )
    model: VisualTokenizer = registry.load_object(architecture.model)(config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        save_file(case.weights, file)
        hub.load_weights(model, file, architecture=architecture)
    case.built.append(model.to(device=case.device, dtype=case.dtype).eval())
    return model


# --- arrays in the authors' layouts ----------------------------------------------------------------------------------


def as_row(vectors: torch.Tensor) -> torch.Tensor:
    """(B, N, C) -> (B, C, 1, N), in which the TiTok line records one-dimensional tokens."""
    return vectors.transpose(1, 2).unsqueeze(2)

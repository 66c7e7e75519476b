"""A user's process: reads one request a line (JSON), does it through tokzoo and the real hub client, answers in a line.

A process of its own because huggingface_hub reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE when it is imported. torch is
imported only when something is loaded.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokzoo import hub
from tokzoo.registry import Architecture, Source, Weights, register_architecture
from tokzoo.tokenizers.titok import config, weights
from tokzoo.tokenizers.titok.config import VitSize

ROOT = Path(__file__).parents[1]
CASE = ROOT / "tests" / "golden" / "cases" / "titok_vq_single_tiny.json"
MADE_UP = "0" * 64  # a sha256 that no file has


class Client:
    """The other end, for tests: starts the process, asks it."""

    def __init__(self, home: Path, endpoint: str, **environment: str):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        ours = {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": "60",  # this machine may be busy
            "HF_HUB_DOWNLOAD_TIMEOUT": "60",
            "NO_PROXY": "*",
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub_client"],
            cwd=ROOT,
            env=kept | ours | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def send(self, do: str, *arguments: Any, **options: Any) -> None:
        """Asks without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([do, arguments, options]) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the client ended with {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Asks and waits."""
        self.send(do, *arguments, **options)
        return self.receive()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def load(name: str, **options: Any) -> dict[str, Any]:
    """Loads a model and tells enough of it to know it again."""
    import torch

    tok = hub.from_pretrained(name, **_with_dtype(options))
    told = {"class": type(tok).__name__, "name": tok.name, "dtype": str(tok.dtype), "device": str(tok.device)}
    if tok.device.type == "cpu" and tok.dtype == torch.float32:
        told["sum"] = sum(float(value.double().abs().sum()) for value in tok.state_dict().values())
    return told


def download(name: str, **options: Any) -> dict[str, Any]:
    return {"files": [str(path) for path in hub.download(name, **options)]}


def push(name: str, repo: str, **options: Any) -> dict[str, Any]:
    return {"commit": hub.from_pretrained(name).push_to_hub(repo, **_with_dtype(options))}


def _with_dtype(options: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {key: getattr(torch, value) if key == "dtype" else value for key, value in options.items()}


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"load": load, "download": download, "push": push}


def register() -> None:
    """Registers models whose authors publish on the test's hub."""
    config.VIT_SIZES["tiny"] = VitSize(width=64, depth=2, num_heads=4)
    good = Source(repo="authors/tiny", files=("absent.safetensors", "model.safetensors"))
    sources = {
        "twice": (Source(repo="authors/gone", files=("model.safetensors",)), good),
        "nowhere": (
            Source(repo="authors/gone", files=("model.safetensors",)),
            Source(repo="authors/tiny", files=("absent.bin",)),
        ),
        "hashed": (Source(repo="authors/tiny", files=("model.safetensors",), sha256={"model.safetensors": MADE_UP}),),
        "strange": (Source(repo="authors/strange", files=("model.safetensors",)),),
        "restricted": (good,),
    }
    register_architecture(
        Architecture(
            name="tiny_on_hub",
            family="titok",
            model="tokzoo.tokenizers.titok.model:Titok",
            config=weights.read_config(published_config()),
            token_type="discrete",
            paper="2406.07550",
            convert="tokzoo.tokenizers.titok.weights:convert",
            weights=tuple(
                Weights(
                    tag=tag,
                    sources=places,
                    code_licence="MIT",
                    licence="CC-BY-NC-4.0" if tag == "restricted" else "MIT",
                    checked="manifest",
                )
                for tag, places in sources.items()
            ),
        )
    )


def published_config() -> dict[str, Any]:
    """The authors' config.json of the golden case."""
    case = json.loads(CASE.read_text())["config"]
    return {"model": {"vq_model": case["vq_model"]}, "dataset": {"preprocessing": {"crop_size": case["crop_size"]}}}


def main() -> None:
    register()
    for line in sys.stdin:
        do, arguments, options = json.loads(line)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                answer = ACTIONS[do](*arguments, **options)
            except Exception as error:
                text = error.args[0] if isinstance(error, KeyError) else str(error)
                answer = {"error": type(error).__name__, "message": text}
        answer["warnings"] = [str(warning.message) for warning in caught if warning.category is UserWarning]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

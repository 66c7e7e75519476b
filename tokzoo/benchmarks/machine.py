"""What a number was measured on: processor, versions, date. Never the host's name."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("tokzoo", "torch", "torchvision", "timm", "numpy", "diffusers")


def machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores, threads, system, versions, date, and the accelerator of `device` if it is one."""
    import torch

    found: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PACKAGES},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    accelerator = accelerator_name(device)
    return found | ({"accelerator": accelerator} if accelerator else {})


def processor() -> str:
    """The CPU's model as the system names it."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        asked = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def accelerator_name(device: str) -> str | None:
    """The accelerator's name; None for the CPU."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return str(torch.cuda.get_device_name(device))
    return None if kind == "cpu" else kind


def accelerators() -> list[str]:
    """Kinds of accelerators that this torch can use here."""
    import torch

    backends = {kind: getattr(torch, kind, None) for kind in ("cuda", "mps", "xpu")}
    return [kind for kind, backend in backends.items() if backend is not None and backend.is_available()]


def check_device(device: str) -> None:
    """Raises ValueError unless this torch can use `device` here."""
    import torch

    here = ["cpu", *accelerators()]
    if torch.device(device).type not in here:
        raise ValueError(f"torch {torch.__version__} finds no {device} here; it has {', '.join(here)}")


def installed(package: str) -> str | None:
    """A package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

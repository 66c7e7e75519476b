"""Several processes share an evaluation, whatever started them, and change no number."""

import os
import socket
import subprocess
import sys

import pytest
from PIL import Image

from tests.evaluation.test_evaluation import Pictures
from tokzoo.cli.main import main
from tokzoo.evaluation.results import read_result

PROTOCOL = """
about: of a test
images: {set: pictures, count: 10}
image_size: 32
metrics: [psnr, fd]
extractor: {name: effnet_lite0, settings: {side: 32}}
"""


def accelerate_launch(port: int) -> tuple[list[str], list[dict[str, str]]]:
    """How `accelerate launch --multi_gpu` starts two processes, on GPUs or without any. One command, its settings."""
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", str(port)]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options], [{}]


def mpirun(port: int) -> tuple[list[str], list[dict[str, str]]]:
    """What Open MPI tells each of two processes: `accelerate launch --cpu --mpirun_hostfile` starts them by it."""
    shared = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_LOCAL_RANK": rank} for rank in "01"]
    return [sys.executable, "-m"], [shared | rank for rank in ranks]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [accelerate_launch, mpirun])
def test_two_processes_give_the_numbers_of_one(tmp_path, launcher):
    (tmp_path / "photos").mkdir()
    for index in range(10):
        Image.fromarray(Pictures()[index]).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "mine.yaml").write_text(PROTOCOL)
    command = ["eval", "mean_image", "--data", str(tmp_path / "photos"), "--protocol", str(tmp_path / "mine.yaml")]
    command += ["--batch_size", "3", "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        start, processes = launcher(free.getsockname()[1])
    start += ["tokzoo.cli.main", *command, str(tmp_path / "two")]
    started = [
        subprocess.Popen(start, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for settings in processes
    ]
    said = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), said
    assert sum(text.count("0/2 [") for text in said) == 1  # the first shows its bar: two of the four batches
    one, two = (read_result(tmp_path / folder / "mine" / "mean_image.json") for folder in ("one", "two"))
    assert two.images == one.images
    assert two.scores.keys() == one.scores.keys()
    for name, score in one.scores.items():  # features differ in their last bits where threads share the sums
        found = two.scores[name]
        assert (found.value, found.low, found.high) == pytest.approx((score.value, score.low, score.high), rel=1e-5)

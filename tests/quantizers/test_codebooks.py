"""How codebooks learn without gradients: averages, k-means, revival; over processes, too."""

import multiprocessing
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from tests.losses.test_entropy import LargestTensor
from tests.quantizers.shelf import make
from tokzoo.quantizers.ema import EmaVectorQuantizer
from tokzoo.quantizers.kmeans import KmeansStartQuantizer, kmeans
from tokzoo.quantizers.ranks import draw_over_ranks
from tokzoo.quantizers.residual import ResidualQuantizer
from tokzoo.quantizers.revival import RevivedQuantizer
from tokzoo.quantizers.usage import CodeUse, code_usage
from tokzoo.quantizers.vector import VectorQuantizer


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalize", [False, True])
def test_a_moving_average_is_its_formula_with_a_one_hot_matrix(normalize: bool) -> None:
    quantizer = EmaVectorQuantizer(6, 3, normalize=normalize, decay=0.8, smoothing=1e-3).train()
    quantizer.codebook.copy_(F.normalize(draw(6, 3), dim=-1))
    quantizer.average_sums.copy_(quantizer.codebook)
    latents = draw(2, 10, 3, seed=1)
    points = (F.normalize(latents, dim=-1) if normalize else latents).flatten(0, 1)
    indices = torch.cdist(points, quantizer.rows()).argmin(-1)
    one_hot = F.one_hot(indices, 6).float()
    counts = 0.8 * torch.ones(6) + 0.2 * one_hot.sum(0)
    sums = 0.8 * quantizer.average_sums + 0.2 * one_hot.t() @ points
    smoothed = (counts + 1e-3) / (counts.sum() + 6e-3) * counts.sum()
    codes = quantizer(latents).codes
    torch.testing.assert_close(quantizer.codebook, sums / smoothed.unsqueeze(-1))
    assert not torch.equal(codes, quantizer.eval()(latents).codes)  # coded by the rows of before
    assert {name for name, _ in quantizer.named_parameters()} == set()


def test_moving_averages_make_no_one_hot_matrix() -> None:
    quantizer = EmaVectorQuantizer(1024, 4).train()
    indices = torch.randint(1024, (1, 8192), generator=torch.Generator().manual_seed(0))
    latents = draw(1, 8192, 4)
    with LargestTensor() as watched:
        quantizer.learn(latents, indices)
    assert watched.most <= latents.nbytes


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_latent_that_is_no_number_moves_no_row(value: float) -> None:
    quantizer = EmaVectorQuantizer(6, 3).train()
    quantizer.codebook.copy_(draw(6, 3))
    latents = draw(2, 10, 3, seed=1)
    latents[0, 0] = value
    for _ in range(3):
        quantizer(latents)
    assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())


def test_eval_moves_nothing() -> None:
    quantizer = make("vq_ema")
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer(draw(2, 16, 4))
    torch.testing.assert_close(quantizer.state_dict(), before, atol=0, rtol=0)


def test_the_stages_of_a_residual_learn_what_they_saw() -> None:
    stages = [EmaVectorQuantizer(8, 3, decay=0.0) for _ in range(2)]
    for number, stage in enumerate(stages):
        stage.codebook.copy_(draw(8, 3, seed=number))
    latents = draw(4, 50, 3, seed=5)
    quantizer = ResidualQuantizer(stages).train()
    quantized = quantizer(latents)
    first = latents[quantized.indices[..., 0] == 3].mean(0)
    torch.testing.assert_close(stages[0].codebook[3], first, atol=1e-4, rtol=1e-3)


def test_the_stages_of_a_residual_are_revived() -> None:
    stages = [RevivedQuantizer(EmaVectorQuantizer(8, 3), every=2) for _ in range(2)]
    quantizer = ResidualQuantizer(stages).train()
    for _ in range(3):
        quantizer(draw(2, 9, 3))
    assert [int(stage.steps) for stage in stages] == [3, 3]
    quantizer.index(draw(2, 9, 3))
    assert [int(stage.steps) for stage in stages] == [3, 3]


def test_kmeans_finds_clusters_and_starts_a_codebook_there() -> None:
    centres = 10 * torch.eye(4)
    points = (centres.repeat(30, 1) + 0.01 * draw(120, 4)).unsqueeze(0)
    found = kmeans(points[0], 4, generator=torch.Generator().manual_seed(3))
    assert torch.cdist(centres, found).min(1).values.max() < 0.1
    quantizer = KmeansStartQuantizer(VectorQuantizer(4, 4)).train()
    quantized = quantizer(points, generator=torch.Generator().manual_seed(3))
    assert quantized.losses["commitment_loss"] < 1e-3
    assert code_usage(quantized.indices, (4,))[0].used == 4
    rows = quantizer.inner.codebook.clone()
    quantizer(points + 5)
    assert torch.equal(quantizer.inner.codebook, rows)  # once is enough
    other = KmeansStartQuantizer(VectorQuantizer(4, 4)).train()
    other.load_state_dict(quantizer.state_dict())
    other(points + 5)
    assert torch.equal(other.inner.codebook, rows)  # and known after a restart


def test_kmeans_of_fewer_points_than_rows_and_of_none() -> None:
    assert kmeans(draw(3, 2), 8).isfinite().all()
    assert torch.equal(kmeans(draw(3, 2)[:0], 4), torch.zeros(4, 2))
    with_nan = torch.cat([draw(3, 2), torch.full((1, 2), torch.nan)])
    assert kmeans(with_nan, 2).isfinite().all()


def test_dead_rows_move_onto_latents_and_live() -> None:
    quantizer = RevivedQuantizer(EmaVectorQuantizer(32, 2), every=5).train()
    rows = 100 + draw(32, 2)
    rows[0] = 0  # all others are far from all latents
    quantizer.inner.replace_rows(torch.arange(32), rows)
    latents = draw(4, 64, 2, seed=1)
    used = []
    for _ in range(20):
        indices = quantizer(latents, generator=torch.Generator().manual_seed(0)).indices
        used.append(code_usage(indices, (32,))[0].used)
    assert used[0] < 5 and used[-1] > 25
    plain = EmaVectorQuantizer(32, 2).train()
    plain.replace_rows(torch.arange(32), rows)
    for _ in range(20):
        indices = plain(latents).indices
    assert code_usage(indices, (32,))[0].used < 5


def test_usage_of_each_slot() -> None:
    indices = torch.tensor([[[0, 2**40], [1, 5], [0, 5], [0, 5]]])
    one, two = code_usage(indices, (2, 2**62))
    assert (one.used, one.share, two.used) == (2, 1.0, 2)
    torch.testing.assert_close(one.perplexity, two.perplexity)
    assert code_usage(torch.arange(8).view(2, 4), (8,))[0].perplexity == pytest.approx(8)
    assert code_usage(torch.zeros(0, 4).long(), (8,))[0].used == 0
    with pytest.raises(ValueError, match="2 slots"):
        code_usage(indices, (2,))
    with pytest.raises(ValueError, match="too many to count"):
        CodeUse(2**40)


# --- several processes ---


def on_ranks(rank: int, port: int, folder: str) -> None:
    """Two processes with 40 and 0 tokens in the first step, 24 and 56 in the second."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)  # as any training does, processes begin alike
    ema, started = EmaVectorQuantizer(6, 3, decay=0.5).train(), EmaVectorQuantizer(6, 3).train()
    ema.codebook.copy_(draw(6, 3))
    ema.average_sums.copy_(ema.codebook)
    revived = RevivedQuantizer(KmeansStartQuantizer(started).inner, every=1).train()
    kmeans_started = KmeansStartQuantizer(EmaVectorQuantizer(6, 3)).train()
    torch.manual_seed(rank)
    for step, split in enumerate((40, 24)):
        latents = draw(1, 80 if step else 40, 3, seed=step)
        own = latents[:, :split] if rank == 0 else latents[:, split:]
        for quantizer in (ema, revived, kmeans_started):
            quantizer(own)
    drawn = draw_over_ranks(draw(5 * rank, 3), 4)
    states = {"ema": ema, "revived": revived, "kmeans": kmeans_started}
    torch.save({**{k: v.state_dict() for k, v in states.items()}, "drawn": drawn}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_codebook_is_the_same_on_all_processes_whatever_their_batches(tmp_path: Path) -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=on_ranks, args=(rank, port, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    torch.testing.assert_close(one, two, atol=0, rtol=0)
    alone = EmaVectorQuantizer(6, 3, decay=0.5).train()  # one process with all tokens
    alone.codebook.copy_(draw(6, 3))
    alone.average_sums.copy_(alone.codebook)
    alone(draw(1, 40, 3))
    alone(draw(1, 80, 3, seed=1))
    torch.testing.assert_close(one["ema"], dict(alone.state_dict()))
    assert one["drawn"].isfinite().all() and (one["drawn"] != 0).any()  # all from the process that has points

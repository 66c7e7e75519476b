"""The commands. Each is a function whose signature is the command line; torch is imported only where needed."""

from pathlib import Path

from tokzoo import registry
from tokzoo.registry import Kind, Modality, TokenType
from tokzoo.training.config import TrainConfig

DEFAULT = "titok_nano.photos64"


def list_command(
    pattern: str = "*",
    pretrained: bool = False,
    kind: Kind | None = None,
    modality: Modality | None = None,
    token_type: TokenType | None = None,
    licence: str | None = None,
) -> None:
    """List registered models.

    Args:
        pattern: shell wildcard over names, such as 'titok*'.
        pretrained: list full names of weights.
        kind: only tokenizers or generators.
        modality: only this modality.
        token_type: only discrete or continuous tokens.
        licence: only weights under this licence (SPDX identifier).
    """
    names = registry.list_models(
        pattern, pretrained=pretrained, kind=kind, modality=modality, token_type=token_type, licence=licence
    )
    print("\n".join(names) if names else f"no model matches {pattern!r}")


def info(name: str) -> None:
    """Show what is known of a model: tokens, sizes, weights, licences, published scores, where its files lie.

    Args:
        name: a registered name; with its tag, only those weights.
    """
    from tokzoo.about import describe

    print(describe(name))


def download(
    names: list[str],
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | None = None,
    token: str | None = None,
    force: bool = False,
) -> None:
    """Fetch weights for use without a network, and print where the files lie.

    Args:
        names: registered names or hub repositories (owner/name).
        revision: branch, tag or commit.
        subfolder: of the repository.
        cache_dir: the hub cache to fetch into, by default the user's own.
        token: for gated and private repositories, by default that of `hf auth login`.
        force: fetch again what the cache has, since a file there is broken.
    """
    from tokzoo import hub

    for name in names:
        for file in hub.download(
            name, revision=revision, subfolder=subfolder, cache_dir=cache_dir, token=token, force=force
        ):
            print(f"{name}: {file} ({file.stat().st_size:,} bytes)")
    print("Offline from here on: export HF_HUB_OFFLINE=1. Another machine: copy the models--OWNER--NAME folders there.")


def reconstruct(photos: list[str], tokenizer: str = DEFAULT, out: str = "reconstructed", device: str = "cpu") -> None:
    """Encode photos and decode them again; write PNGs and a contact sheet, print PSNR and bits.

    Args:
        photos: image files or folders.
        tokenizer: a registered name, hub repository or folder.
        out: folder to write to.
        device: torch device.
    """
    from tokzoo import hub, reconstruction

    result = reconstruction.reconstruct(hub.from_pretrained(tokenizer, device=device), _paths(photos))
    sheet = reconstruction.write_reconstructions(result, Path(out))
    for photo in result.photos:
        print(f"{photo.name:24} {photo.psnr:6.2f} dB")
    bits = "continuous" if result.bits_per_image is None else f"{result.bits_per_image:g} bits"
    print(f"{'mean':24} {result.mean_psnr:6.2f} dB; {result.num_tokens} tokens, {bits} an image")
    print(f"look at {sheet}")


def compare(
    photos: list[str], tokenizers: list[str] | None = None, out: str = "compare.png", device: str = "cpu"
) -> None:
    """Draw one contact sheet: originals, and their reconstructions by several tokenizers.

    Args:
        photos: image files or folders.
        tokenizers: names, repositories or folders; by default every shipped checkpoint.
        out: PNG to write.
        device: torch device.
    """
    from tokzoo import hub, reconstruction

    paths = _paths(photos)
    names = tokenizers or reconstruction.shipped()
    results = [reconstruction.reconstruct(hub.from_pretrained(name, device=device), paths) for name in names]
    print(f"look at {reconstruction.write_comparison(results, Path(out))}")


def demo(photos: str = "examples/images", out: str = "demo", device: str = "cpu") -> None:
    """Reconstruct example photos with every shipped checkpoint, draw new ones; write a page with contact sheets.

    Args:
        photos: folder of photos; those named after a class are completed by generators too.
        out: folder to write to; open its index.html.
        device: torch device.
    """
    from tokzoo import hub, reconstruction
    from tokzoo.demo import write_demo
    from tokzoo.demo.gaussians import gaussians_html, has_gaussians
    from tokzoo.demo.generation import generation_html, shipped_generators
    from tokzoo.generation import pipeline

    paths = _paths([photos])
    toks = [hub.from_pretrained(name, device=device) for name in reconstruction.shipped()]
    results = [reconstruction.reconstruct(tok, paths) for tok in toks]
    for result in results:
        print(f"{result.tokenizer:28} {result.num_tokens:4} tokens {result.mean_psnr:6.2f} dB {result.seconds:6.2f} s")
    generated = [generation_html(pipeline(name, device=device), Path(out), paths) for name in shipped_generators()]
    details = [gaussians_html(tok, Path(out), paths) for tok in toks if has_gaussians(tok)]
    print(f"open {write_demo(results, Path(out), generated=generated, details=details)}")


def train(config: TrainConfig) -> None:
    """Train a tokenizer, or fine-tune one with --init NAME, on your own images: --data FOLDER --out RUN.

    Started again with the same --out, an unfinished run goes on where it was.
    """
    from tokzoo.training.loop import train as run

    print(f"written to {run(config)}")


def _paths(names: list[str]) -> list[Path]:
    from tokzoo.images import find_images

    return [path for name in names for path in find_images(name)]

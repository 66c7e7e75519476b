"""`tokzoo generate`: images of labels, by a generator and its tokenizer."""

from pathlib import Path
from typing import Any

DEFAULT_PAIR = "gpt_nano.titok_nano-photos64"


def generate(
    pair: str = DEFAULT_PAIR,
    labels: list[str] | None = None,
    tokenizer: str | None = None,
    out: str = "generated",
    num_samples: int = 8,
    guidance: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    num_tokens: int | None = None,
    num_steps: int | None = None,
    layouts: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "cpu",
) -> None:
    """Draw images of classes; write PNGs and a sheet with a row for each class.

    Args:
        pair: a generator: a registered name, hub repository or folder; it names its tokenizer.
        labels: numbers or names of classes; by default all whose names are known.
        tokenizer: another one that decodes what the generator makes.
        out: folder to write to.
        num_samples: images of each label.
        guidance: u + guidance * (c - u), 1 = off; by default, as all knobs, what the generator was published with.
        temperature: 0 takes the likeliest token.
        top_k: of so many tokens only.
        top_p: of the likeliest tokens of so much probability only.
        num_tokens: how many to make, where the tokenizer decodes fewer.
        num_steps: forward passes, of generators that make many tokens at a time.
        layouts: of GPSToken: a file of `tokzoo layouts` to draw from, in place of a layout stage.
        seed: decides the images.
        batch_size: images at once.
        device: torch device.
    """
    from tokzoo.generation import pipeline, write_samples

    pipe = pipeline(pair, tokenizer=tokenizer, device=device)
    asked = labels or list(pipe.classes)
    if not asked:
        raise ValueError(f"the classes of {pair} have no names here; say --labels NUMBER ...")
    knobs = dict(
        guidance=guidance, temperature=temperature, top_k=top_k, top_p=top_p, num_tokens=num_tokens, num_steps=num_steps
    )
    chosen: dict[str, Any] = {name: value for name, value in knobs.items() if value is not None}
    if layouts is not None:
        from tokzoo.generators.gpstoken.layouts import LayoutBank

        chosen["layouts"] = LayoutBank.read(layouts)
    images = pipe(asked, num_samples=num_samples, seed=seed, batch_size=batch_size, progress=True, **chosen)
    print(f"{len(images)} images; look at {write_samples(images, asked, Path(out))}")

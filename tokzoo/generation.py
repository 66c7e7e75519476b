"""A generator and its tokenizer: labels -> images. B batch, S pixels of a side, L tokens."""

import difflib
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tokzoo import hub
from tokzoo._files import replace_atomically
from tokzoo.contact_sheet import contact_sheet
from tokzoo.generators.base import Generator
from tokzoo.generators.conditions import Condition, Text, part_of, repeat, size
from tokzoo.generators.maskgen.caption import Caption
from tokzoo.generators.maskgen.model import Captioned
from tokzoo.generators.maskgen.text import CaptionText
from tokzoo.generators.var.model import Var
from tokzoo.images import to_image
from tokzoo.tokenizers.base import VisualTokenizer
from tokzoo.tokens import Tokens

__all__ = ["Pipeline", "pipeline", "write_samples"]

Asked = int | str | Sequence[int | str] | Tensor | Text | Caption


class Pipeline:
    """Draws tokens, and decodes them.

    Args:
        generator: with its weights.
        tokenizer: whose tokens it makes.
        read_text: makes captions of texts, for a generator that takes them; None: CLIP's tower, which it downloads when
            a text is given.

    Raises:
        ValueError: they are no pair.
    """

    def __init__(self, generator: Generator, tokenizer: VisualTokenizer, *, read_text: CaptionText | None = None):
        generator.check_pair(tokenizer.token_spec)
        if isinstance(generator, Var):  # it reads the sums of codes, which the tokenizer makes
            generator.read_tokenizer(tokenizer)
        self.generator, self.tokenizer, self.read_text = generator, tokenizer, read_text

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in their order; empty where they are not known."""
        return self.generator.classes

    def __call__(
        self,
        labels: Asked,
        *,
        num_samples: int = 1,
        seed: int | None = None,
        batch_size: int = 64,
        progress: bool = False,
        **options: Any,
    ) -> Tensor:
        """Draws `num_samples` images of each label, those of one label together: float (B, 3, S, S) in [0, 1].

        Args:
            labels: numbers, or names where `classes` are known; of a generator that reads text, its features; of
                MaskGen, texts, or a Caption. What a caption holds for TA-TiTok's decoder reaches it.
            seed: decides the images, with the batch size; None: other ones every time.
            batch_size: images at once.
            progress: show a bar.
            options: of the generator's `sample`, over those it was published with: `guidance`, `temperature`, `given`,
                `num_tokens`, ...

        Raises:
            ValueError: an unknown label, or a knob out of range.
        """
        noise, asked = self._noise(seed), self._read(labels)
        made: list[Tensor] = []
        told = asked.last if isinstance(asked, Caption) and "text" in self.tokenizer.conditions else None
        for tokens in self._batches(asked, num_samples, noise, batch_size, progress, options):
            begun = sum(len(images) for images in made)
            rows = torch.arange(begun, begun + len(tokens)) // num_samples  # those of one text are together
            conditions: dict[str, Any] = {} if told is None else {"text": told[rows.to(told.device)]}
            made.append(self.tokenizer.decode(tokens, generator=noise, **conditions))
        return torch.cat(made)

    @torch.no_grad()
    def tokens(
        self, labels: Asked, *, num_samples: int = 1, seed: int | None = None, batch_size: int = 64, **options: Any
    ) -> Tokens:
        """The tokens alone; of the same seed they are those of a call that decodes without chance."""
        asked = self._read(labels)
        return Tokens.cat(list(self._batches(asked, num_samples, self._noise(seed), batch_size, False, options)))

    def label(self, name: int | str) -> int:
        """The number of a class.

        Raises:
            ValueError: a name that is no class.
        """
        if not isinstance(name, str):
            return name
        if name in self.classes:
            return self.classes.index(name)
        if name.isdigit():
            return int(name)
        if not self.classes:
            raise ValueError(f"the classes of this generator have no names here; say the number of {name!r}")
        near = difflib.get_close_matches(name, self.classes, n=3) or self.classes
        raise ValueError(f"no class is called {name!r}; did you mean {', '.join(near)}?")

    @torch.no_grad()
    def _batches(
        self,
        labels: Asked,
        num_samples: int,
        noise: torch.Generator | None,
        batch_size: int,
        progress: bool,
        options: dict[str, Any],
    ) -> Iterator[Tokens]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        condition = repeat(self._condition(labels), num_samples)
        count = size(condition)
        knobs = {**self.generator.sampling, **options}
        if "given" in knobs and "given" not in inspect.signature(self.generator.sample).parameters:
            raise TypeError(f"{type(self.generator).__name__} makes all tokens anew: it takes no given=")
        each = {name: knobs.pop(name) for name in ("given", "layouts") if _one_for_each(knobs.get(name), count)}
        with tqdm(total=count, unit="image", disable=not progress) as bar:
            for start in range(0, count, batch_size):
                part = slice(start, start + batch_size)
                knobs |= {name: value[part] for name, value in each.items()}
                yield self.generator.sample(part_of(condition, part), generator=noise, **knobs)
                bar.update(min(batch_size, count - start))

    def _read(self, labels: Asked) -> Asked:
        """Texts of a generator that takes captions -> a Caption; the generator is told the empty one once."""
        if not isinstance(self.generator, Captioned) or isinstance(labels, Text | Tensor | Caption | int):
            return labels
        texts = [labels] if isinstance(labels, str) else list(labels)
        if not all(isinstance(text, str) for text in texts):
            return labels
        if self.read_text is None:
            self.read_text = CaptionText().to(self.generator.device)
        if self.generator.empty is None:
            self.generator.read_empty(self.read_text([""]))
        return self.read_text([str(text) for text in texts])

    def _condition(self, labels: Asked) -> Condition:
        if isinstance(labels, Text | Tensor | Caption):
            return self.generator.condition(labels)  # type: ignore[arg-type]  # who reads captions, takes them
        listed = [labels] if isinstance(labels, int | str) else list(labels)
        return self.generator.condition([self.label(each) for each in listed])

    def _noise(self, seed: int | None) -> torch.Generator | None:
        return None if seed is None else torch.Generator(self.generator.device).manual_seed(seed)


def pipeline(name: str | Path, *, tokenizer: "str | Path | VisualTokenizer | None" = None, **options: Any) -> Pipeline:
    """A generator and its tokenizer, both with weights.

    Args:
        name: of the generator; anything that `tokzoo.from_pretrained` takes.
        tokenizer: by default the one that the generator was trained with.
        options: of `from_pretrained`, for both: `device`, `dtype`, `cache_dir`, ...

    Raises:
        ValueError: no generator, one that does not say its tokenizer, or no pair.
    """
    generator: Any = hub.from_pretrained(name, **options)
    if not isinstance(generator, Generator):
        raise ValueError(f"{name} is a {type(generator).__name__}, which reconstructs; a pipeline needs a generator")
    if tokenizer is None:
        tokenizer = generator.tokenizer
        if tokenizer is None:
            raise ValueError(f"{name} does not say whose tokens it makes; give tokenizer=")
    if not isinstance(tokenizer, VisualTokenizer):
        tokenizer = hub.from_pretrained(tokenizer, **options)
    return Pipeline(generator, tokenizer)


def _one_for_each(value: Any, count: int) -> bool:
    """Whether an option, Tokens or layouts (B, N, 5), holds one for each of `count` samples."""
    batched = isinstance(value, Tokens) or (isinstance(value, Tensor) and value.ndim == 3)
    return batched and len(value) == count


def write_samples(images: Tensor, names: Sequence[str], folder: Path) -> Path:
    """Writes images (B, 3, S, S) as NAME-NUMBER.png, and a sheet with a row for each name; returns the sheet's path.

    `names` are those of labels, each of as many images, those of one label together; in files' names, what of a text is
    neither letter nor digit becomes `_`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[to_image(image) for image in part] for part in images.cpu().chunk(len(names))]
    for name, row in zip(names, rows, strict=True):
        for number, image in enumerate(row):
            with replace_atomically(folder / f"{_as_file(name)}-{number:03}.png") as temporary:
                image.save(temporary, format="PNG")
    captions = [[name, *("" for _ in row[1:])] for name, row in zip(names, rows, strict=True)]
    sheet = contact_sheet(rows, titles=["" for _ in rows[0]], captions=captions, cell=max(96, images.shape[-1]))
    with replace_atomically(folder / "samples.png") as temporary:
        sheet.save(temporary, format="PNG")
    return folder / "samples.png"


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)[:100]

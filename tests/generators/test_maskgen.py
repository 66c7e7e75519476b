"""What MaskGen promises: it heeds its text and the score, and is guided away from the empty text."""

from dataclasses import replace

import pytest
import torch

from tests.test_conditions import small_clip
from tokzoo.generation import Pipeline
from tokzoo.generators.fill_in import Filling
from tokzoo.generators.maskgen.caption import Caption
from tokzoo.generators.maskgen.config import TINY, TINY_KL
from tokzoo.generators.maskgen.model import MaskgenKl, MaskgenVq
from tokzoo.generators.maskgen.text import CaptionText
from tokzoo.tokenizers.tatitok.config import TINY as TATITOK_TINY
from tokzoo.tokenizers.tatitok.model import Tatitok
from tokzoo.tokenizers.titok.config import TINY as TITOK_TINY
from tokzoo.tokenizers.titok.model import Titok
from tokzoo.tokens import Sequence, Tokens

KINDS = {"vq": (MaskgenVq, TINY), "kl": (MaskgenKl, TINY_KL)}


def made(kind: str) -> MaskgenVq | MaskgenKl:
    torch.manual_seed(0)
    build, config = KINDS[kind]
    model = build(config).eval()
    for name, parameter in model.named_parameters():
        if "modulation" in name or name.startswith(("head.", "embed.")):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def caption(count: int, seed: int = 1, score: float = 6.5) -> Caption:
    noise = torch.Generator().manual_seed(seed)
    return Caption(torch.randn(count, 5, 12, generator=noise), torch.randn(count, 12, generator=noise), score)


def values(tokens: Tokens) -> torch.Tensor:
    return tokens.latents if tokens.indices is None else tokens.indices


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_away_from_the_same_text_there_is_no_way_and_away_from_another_there_is(kind: str) -> None:
    model = made(kind)

    def drawn(guidance: float) -> torch.Tensor:
        noise = torch.Generator().manual_seed(0)
        return values(model.sample(caption(1), guidance=guidance, num_steps=4, generator=noise))

    with pytest.raises(ValueError, match="read_empty"):
        drawn(3.0)
    model.read_empty(caption(1))
    torch.testing.assert_close(drawn(3.0), drawn(1.0), atol=1e-4, rtol=1e-4)
    model.read_empty(caption(1, seed=2))
    assert not torch.allclose(drawn(3.0).float(), drawn(1.0).float(), atol=1e-2)
    assert "empty" not in model.state_dict()


@torch.no_grad()
def test_discrete_tokens_that_are_given_stay() -> None:
    model, kept = made("vq"), torch.arange(12)[None] % 3 == 0
    given = Tokens(layout=Sequence(12), indices=torch.arange(12)[None], levels=(40,), valid=kept)
    tokens = model.sample(caption(2), given=given, num_steps=3, generator=torch.Generator().manual_seed(0))
    assert tokens.indices[:, kept[0]].tolist() == [[0, 3, 6, 9]] * 2


@torch.no_grad()
def test_a_pipeline_passes_captions_on() -> None:
    tok = Titok(replace(TITOK_TINY, num_tokens=12, codebook_size=40)).eval()
    pipe = Pipeline(made("vq"), tok)
    tokens = pipe.tokens(caption(3), num_samples=2, batch_size=4, seed=0)
    assert tokens.indices.shape == (6, 12)


@torch.no_grad()
def test_a_text_reaches_the_decoder_too() -> None:
    tower = small_clip()
    tower.text_projection = torch.nn.Parameter(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))
    read_text = CaptionText(tower)
    torch.manual_seed(0)
    model = MaskgenVq(replace(TINY, text_dim=32)).eval()
    tok = Tatitok(replace(TATITOK_TINY, num_tokens=12, codebook_size=40, text_length=77, text_dim=32)).eval()
    pipe = Pipeline(model, tok, read_text=read_text)
    texts, knobs = ["A photo of a jay.", "two dogs"], dict(num_samples=2, seed=0, batch_size=3, guidance=2.0)
    images = pipe(texts, **knobs)
    tokens = pipe.tokens(texts, **knobs)
    for_decoder = read_text.text(texts).repeat_interleave(2, 0)
    torch.testing.assert_close(images, tok.decode(tokens, text=for_decoder))
    assert (images - tok.decode(tokens, text=for_decoder.flip(0))).abs().max() > 1e-3
    assert torch.equal(pipe("two dogs", seed=0), pipe(read_text(["two dogs"]), seed=0))
    with pytest.raises(ValueError, match="decode needs text="):
        pipe(read_text(texts)._replace(last=None))


@torch.no_grad()
def test_text_pooled_text_and_score_are_all_heeded() -> None:
    model = made("vq")
    ids = torch.full((1, 12), model.mask)
    one, other = caption(1), caption(1, seed=2)
    plain = model.logits(ids, model.condition(one))
    for changed in (
        one._replace(features=other.features),
        one._replace(pooled=other.pooled),
        one._replace(score=4.0),
    ):
        assert (model.logits(ids, model.condition(changed)) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_captions_are_the_last_block_but_one_and_clips_own_text_embedding() -> None:
    tower = small_clip()
    helper = CaptionText(tower)
    told = helper(["A photo of a jay.", ""], score=5.0)
    torch.testing.assert_close(told.pooled, tower.encode_text(helper.text.tokenize(["A photo of a jay.", ""])))
    last = tower.transformer.resblocks[-1](told.features, attn_mask=tower.attn_mask)
    torch.testing.assert_close(tower.ln_final(last), helper.text(["A photo of a jay.", ""]))
    assert told.score == 5.0
    with pytest.raises(TypeError, match="must be a list"):
        helper("a jay")


def test_guidance_grows_from_2_to_what_was_asked() -> None:
    model = made("vq")
    how = Filling(num_steps=4, guidance=13.0, guidance_schedule="power_cosine", guidance_power=1.0)
    told = [model.strength(step, how) for step in range(4)]
    assert told == pytest.approx([3.611, 7.5, 11.389, 13.0], abs=1e-3)  # 1 + s, s = 1 + 11 (1 - cos(pi r)) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_what_cannot_be_is_named(kind: str) -> None:
    model = made(kind)
    model.read_empty(caption(1, seed=3))
    if kind == "vq":
        tokens = Tokens(layout=Sequence(12), indices=torch.randint(40, (2, 12)), levels=(40,))
    else:
        tokens = Tokens(layout=Sequence(8), latents=torch.randn(2, 8, 4))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    noise = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(tokens, caption(2), label_dropout=0.1, generator=noise)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    with pytest.raises(ValueError, match="takes a Caption"):
        model.sample(3)
    with pytest.raises(ValueError, match=r"features must be \(B, T, 12\)"):
        model.sample(caption(1)._replace(pooled=torch.zeros(2, 12)))
    longer = Caption(torch.zeros(1, 6, 12), torch.zeros(1, 12))
    with pytest.raises(ValueError, match="as long as the empty one: 5 tokens; got 6"):
        model.sample(longer, guidance=2.0)

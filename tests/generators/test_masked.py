"""What MAR and TokenBridge promise: the loop is the published one, a cache changes nothing, both learn."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tokzoo
from tokzoo import _state, hub
from tokzoo.diffusion.ddpm import Denoised, ancestral, cosine_chain
from tokzoo.generators.mar.config import TINY as MAR_TINY
from tokzoo.generators.mar.model import Mar
from tokzoo.generators.masked_backbone import masked_count, masked_counts
from tokzoo.generators.sampling import score
from tokzoo.generators.tokenbridge.config import TINY as BRIDGE_TINY
from tokzoo.generators.tokenbridge.head import DimensionHead
from tokzoo.generators.tokenbridge.model import TokenBridge
from tokzoo.golden import read_case
from tokzoo.registry import architectures, load_object
from tokzoo.tokens import Grid, Tokens

FOLDER = Path(__file__).parents[1] / "golden" / "manifests"
MANIFESTS = [path for stem in ("mar_?", "tokenbridge_?") for path in sorted(FOLDER.glob(f"{stem}.json"))]
BUFFERS = ("channel_mask", "reconstruction_values", "boundaries")  # counted among TokenBridge's parameters
KINDS = {"mar": (Mar, MAR_TINY), "tokenbridge": (TokenBridge, BRIDGE_TINY)}


def made(kind: str, **changes: object) -> Mar | TokenBridge:
    """A tiny model of which the head says something."""
    torch.manual_seed(0)
    build, config = KINDS[kind]
    model = build(replace(config, **changes)).eval()
    for name, value in model.head.named_parameters():
        if name in ("out", "out.weight", "modulation.weight"):
            torch.nn.init.normal_(value, std=0.3)
    return model


def some(kind: str, count: int = 2) -> Tokens:
    noise = torch.Generator().manual_seed(1)
    if kind == "mar":
        latents = torch.randn(count, 16, MAR_TINY.channels, generator=noise)
        return Tokens(layout=Grid(4, 4), latents=latents)
    levels = (BRIDGE_TINY.num_levels,) * BRIDGE_TINY.channels
    indices = torch.randint(BRIDGE_TINY.num_levels, (count, 16, BRIDGE_TINY.channels), generator=noise)
    return Tokens(layout=Grid(4, 4), indices=indices, levels=levels)


def given(tokens: Tokens) -> torch.Tensor:
    return tokens.latents if tokens.indices is None else tokens.indices


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_maps_whole(path: Path) -> None:
    about = json.loads(path.read_text())
    architecture = architectures()[path.stem]
    with torch.device("meta"):
        model = load_object(architecture.model)(architecture.config)
        published = {key: torch.empty(shape) for key, (shape, _) in about["state_dict"].items()}
    _state.check_fit(model.state_dict(), load_object(architecture.convert)(published, architecture.config), path.stem)
    buffers = sum(published[name].numel() for name in BUFFERS if name in published)
    assert sum(value.numel() for value in model.parameters()) == about["params"] - buffers


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_published_pickle_the_average_is_loaded(kind: str, tmp_path: Path) -> None:
    """Theirs holds parameters alone; TokenBridge's buffers stay behind in the trained weights."""
    case, architecture = read_case(FOLDER.parent / "cases" / f"{kind}_tiny.json"), architectures()[f"{kind}_b"]
    config = load_object(architecture.read_config)(case.config)
    average = {key: value for key, value in case.weights.items() if key not in BUFFERS}
    trained = {key: torch.zeros_like(value) for key, value in case.weights.items()}
    file = tmp_path / "checkpoint-last.pth"
    left = dict(optimizer={"state": {}}, epoch=399, args=Namespace(blr=5e-5))
    torch.save(dict(model=trained, model_ema=average, **left), file)
    model = KINDS[kind][0](config)
    hub.load_weights(model, file, architecture=architecture)
    for key, value in load_object(architecture.convert)(average, config).items():
        assert torch.equal(model.state_dict()[key], value.float())


def test_one_step_a_token_makes_one_each_and_fewer_steps_make_few_first() -> None:
    assert masked_counts(5, 5) == [4, 3, 2, 1, 1]
    counts = masked_counts(64, 8)
    revealed = [before - after for before, after in zip([64, *counts], [*counts[:-1], 0], strict=False)]
    assert sum(revealed) == 64 and revealed[0] == min(revealed) == 2
    with pytest.raises(ValueError, match="num_steps must be 1 to 5"):
        masked_counts(5, 6)


def test_training_masks_most_tokens_and_sometimes_all() -> None:
    noise = torch.Generator().manual_seed(0)
    counts = [masked_count(100, torch.device("cpu"), noise) for _ in range(400)]
    assert min(counts) >= 70 and max(counts) == 100
    assert 84 < sum(counts) / len(counts) < 88  # 1 - 0.25 * (phi(0) - phi(1.2)) / (Phi(0) - Phi(-1.2)) is 0.867


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_depend_on_those_made_before_them_and_on_no_others(kind: str) -> None:
    model, tokens = made(kind), some(kind)
    slots = model.check_tokens(tokens)
    known, labels = torch.tensor([[1, 5, 9], [0, 5, 6]]), torch.tensor([3, 4])
    features = model.backbone(model.read(slots), known, labels)
    unknown = torch.ones(2, 16, dtype=torch.bool).scatter(1, known, False)
    other = torch.where(unknown.unsqueeze(-1), slots.flip(0), slots)
    assert torch.equal(model.backbone(model.read(other), known, labels), features)
    changed = torch.where(unknown.unsqueeze(-1), slots, slots.flip(0))
    assert (model.backbone(model.read(changed), known, labels) - features).abs().min() > 0


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_and_a_batch_or_single_samples_give_the_same(kind: str) -> None:
    model = made(kind)
    orders = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(seed)) for seed in range(2)])
    knobs = dict(num_steps=5, guidance=2.0, temperature=0.0) | (dict(diffusion_steps=4) if kind == "mar" else {})
    noise = torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(2))
    extra = [dict(noise=noise[rows]) if kind == "mar" else {} for rows in (slice(0, 2), slice(1, 2))]
    whole = given(model.sample([1, 2], orders=orders, **knobs, **extra[0]))
    one = given(model.sample(2, orders=orders[1:], **knobs, **extra[1]))
    torch.testing.assert_close(whole[1:], one, atol=1e-3, rtol=1e-3)
    drawn = [given(model.sample(1, num_steps=5, generator=torch.Generator().manual_seed(7))) for _ in range(2)]
    assert torch.equal(*drawn)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_given_tokens_are_gone_on_from_as_if_they_had_been_made(kind: str) -> None:
    model, orders = made(kind), torch.randperm(16, generator=torch.Generator().manual_seed(0)).unsqueeze(0)
    knobs = dict(orders=orders, temperature=0.0)
    if kind == "mar":
        knobs |= dict(diffusion_steps=4, noise=torch.zeros(1, 16, MAR_TINY.channels))
    whole = model.sample(5, **knobs)
    first = torch.zeros(1, 16, dtype=torch.bool).scatter(1, orders[:, :6], True)
    held, rest = given(whole), ~first.unsqueeze(-1)
    names = "latents" if kind == "mar" else "indices"
    begun = replace(whole, valid=first, **{names: held.masked_fill(rest, torch.nan if kind == "mar" else -1)})
    torch.testing.assert_close(given(model.sample(5, given=begun, **knobs)), held, atol=1e-4, rtol=1e-4)
    other = replace(begun, **{names: torch.where(rest, given(begun), given(some(kind, 1)))})
    changed = given(model.sample(5, given=other, **knobs))
    torch.testing.assert_close(changed[first], given(other)[first])
    assert (changed != held)[~first].any()
    torch.testing.assert_close(given(model.sample(5, given=whole, **knobs)), held)


@pytest.mark.parametrize("kind", KINDS)
def test_given_tokens_that_do_not_fit_are_refused(kind: str) -> None:
    model, tokens = made(kind), some(kind, 3)
    uneven = replace(tokens, valid=torch.arange(16) < torch.tensor([[2], [2], [3]]))
    for wrong, said in (
        (tokens, "of 1 or of 2 samples; got 3"),
        (replace(tokens, layout=Grid(2, 8)), "tokens lie on"),
        (some("tokenbridge" if kind == "mar" else "mar"), "of another tokenizer"),
    ):
        with pytest.raises(ValueError, match=said):
            model.sample([1, 2], given=wrong)
    with pytest.raises(ValueError, match=r"as many tokens must be given in each sample; got \[2, 2, 3\]"):
        model.sample([1, 2, 3], given=uneven)
    with pytest.raises(ValueError, match="num_steps must be 1 to 14"):
        model.sample(1, given=uneven[:1], num_steps=15)
    with pytest.raises(TypeError, match=r"tok.encode makes them"):
        model.sample(1, given=given(tokens))
    if kind == "tokenbridge":
        with pytest.raises(ValueError, match="codes of"):
            model.sample([1, 2], given=replace(tokens[:2], levels=(64,) * BRIDGE_TINY.channels))


@torch.no_grad()
def test_cached_steps_of_the_head_equal_a_whole_pass() -> None:
    model = made("tokenbridge")
    features = torch.randn(7, BRIDGE_TINY.decoder_width, generator=torch.Generator().manual_seed(3))
    codes = given(some("tokenbridge"))[0, :7]
    whole = model.head.logits(features, codes, as_sampled=True)
    told, caches = model.head.tell(features), model.head.new_caches(7)
    for step in range(BRIDGE_TINY.channels):
        before = codes[:, step - 1] if step else None
        logits = model.head.next_logits(step, before, told, caches)
        torch.testing.assert_close(logits, whole[:, step], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_codes_are_said_in_the_channel_order_and_stored_in_the_tokenizers() -> None:
    order = (2, 0, 1)
    config = dict(channels=3, channel_order=order)
    model = made("tokenbridge", **config)
    model.head.out.zero_()
    model.head.out_bias.zero_()
    for step in range(3):
        model.head.out_bias[step, 5 + step] = 9.0  # the code that is said at this step
    indices = model.sample(0, temperature=0, num_steps=4).indices
    assert indices[0, 0].tolist() == [6, 7, 5]


@torch.no_grad()
def test_channels_of_unlike_levels_get_codes_that_they_have() -> None:
    levels = (1, 3, 16)
    model = made("tokenbridge", channels=3, channel_levels=levels, channel_order=(2, 0, 1))
    indices = model.sample([0] * 8, num_steps=4, generator=torch.Generator().manual_seed(0)).indices
    assert indices.flatten(0, 1).amax(0).tolist() == [0, 2, 15]
    assert model.loss(Tokens(layout=Grid(4, 4), indices=indices, levels=levels), [0] * 8).isfinite()
    with pytest.raises(ValueError, match="3 numbers, 16 the most"):
        made("tokenbridge", channels=3, channel_levels=(1, 3), channel_order=None)


@torch.no_grad()
def test_the_chain_recovers_a_distribution_of_which_the_noise_is_known() -> None:
    """Data of one normal, of which the best guess of the noise is linear."""
    chain, mean, spread = cosine_chain().shortened(50), 1.5, 0.4
    position = {int(moment): number for number, moment in enumerate(chain.moments)}

    def network(noisy: torch.Tensor, moment: torch.Tensor) -> Denoised:
        kept = chain.kept[position[int(moment)]].float()
        variance = kept * spread**2 + 1 - kept
        epsilon = (1 - kept).sqrt() * (noisy - kept.sqrt() * mean) / variance
        return Denoised(epsilon, torch.ones_like(epsilon))

    noise = torch.Generator().manual_seed(0)
    drawn = ancestral(network, torch.randn(4000, 2, generator=noise), chain, generator=noise)
    assert drawn.mean().item() == pytest.approx(mean, abs=0.02)
    assert drawn.std().item() == pytest.approx(spread, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_a_batch(kind: str) -> None:
    torch.manual_seed(0)
    build, config = KINDS[kind]
    model, tokens, labels = build(config), some(kind, 4), [0, 1, 2, 3]
    if kind == "mar":
        tokens = replace(tokens, latents=tokens.latents.round() / config.scale)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    def loss(seed: int) -> torch.Tensor:
        return model.loss(tokens, labels, generator=torch.Generator().manual_seed(seed))

    with torch.no_grad():
        begun = float(sum(loss(1000 + seed) for seed in range(5)) / 5)
    for step in range(40):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    with torch.no_grad():
        ended = float(sum(loss(1000 + seed) for seed in range(5)) / 5)
    assert ended < 0.8 * begun, (begun, ended)


def test_a_generator_is_made_for_a_tokenizer() -> None:
    continuous = tokzoo.create_model("vit_kl_nano")
    small = dict(width=32, decoder_width=32, depth=1, num_heads=2, num_buffers=2, num_classes=4)
    mar = tokzoo.create_model("mar_b", tokenizer=continuous, head_width=32, head_depth=1, **small)
    mar.check_pair(continuous.token_spec)
    discrete = tokzoo.quantize(continuous, 16)
    bridge = tokzoo.create_model(
        "tokenbridge_b", tokenizer=discrete, head_width=32, head_depth=1, head_heads=2, **small
    )
    bridge.check_pair(discrete.token_spec)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for model, tok in ((mar, continuous), (bridge, discrete)):
        with torch.no_grad():
            assert model.loss(tok.encode(images), [0, 1], label_dropout=0.5).isfinite()
            made = model.sample([0, 1], num_steps=2, guidance=1.5)
            assert tok.decode(replace(made, extent=(64, 64))).shape == images.shape
    for name, tok, said in (
        ("mar_b", discrete, "makes continuous tokens"),
        ("tokenbridge_b", continuous, r"tokzoo.quantize\(tok\) first"),
        ("tokenbridge_b", tokzoo.create_model("titok_nano"), "a code for each channel"),
    ):
        with pytest.raises(ValueError, match=said):
            tokzoo.create_model(name, tokenizer=tok)
    with pytest.raises(ValueError, match="no pair"):
        mar.check_pair(tokzoo.create_model("vit_kl_nano", quantizer=dict(name="kl", code_dim=8)).token_spec)
    with pytest.raises(ValueError, match="no pair"):
        bridge.check_pair(tokzoo.quantize(continuous, 8).token_spec)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_named(kind: str) -> None:
    model, tokens = made(kind), some(kind)
    for knobs, said in (
        (dict(temperature=-1.0), "temperature must be 0"),
        (dict(num_steps=17), "num_steps must be 1 to 16"),
        (dict(labels=10), "labels must be 0 to 9"),
        (dict(orders=torch.zeros(1, 16, dtype=torch.int64)), "each the places 0 to 15"),
    ):
        with pytest.raises(ValueError, match=said):
            model.sample(**({"labels": 1} | knobs))
    with pytest.raises(ValueError, match="2 samples of tokens and 1 labels"):
        model.loss(tokens, [1])
    with pytest.raises(ValueError, match="tokens lie on"):
        model.loss(replace(tokens, layout=Grid(2, 8)), [1, 2])
    with pytest.raises(ValueError, match=r"reads (continuous tokens|16 codes)"):
        model.loss(some("tokenbridge" if kind == "mar" else "mar"), [1, 2])
    with torch.no_grad():
        model.backbone.decoder[1].mlp.fc1.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"in step 0: the first such layer is backbone.decoder.1.mlp.fc1"):
        model.sample(1)
    if kind == "mar":
        with pytest.raises(ValueError, match="NaN or infinity"):
            model.loss(replace(tokens, latents=tokens.latents * torch.inf), [1, 2])
        with pytest.raises(ValueError, match="diffusion steps must be 2 to 1000"):
            model.sample(1, diffusion_steps=1)
    else:
        with pytest.raises(ValueError, match="channel_order must name each of the 4 channels once"):
            made(kind, channels=4)


def test_independent_codes_cannot_tell_what_the_head_can() -> None:
    """Two codes that are always equal: with the first at hand, the second costs nothing."""
    torch.manual_seed(0)
    head = DimensionHead((8, 8), 4, width=16, depth=1, num_heads=2)
    codes = torch.randint(8, (64, 1)).expand(-1, 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        told = -score(head.logits(torch.zeros(64, 4), codes), codes).mean(0)
        told.mean().backward()
        optimizer.step()
    assert told[0] > 1.8 and told[1] < 0.5  # the first is uniform over 8: 2.08 nats

"""FlexTok: lengths, noise, guidance, published files; and the parts it is made of."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tokzoo
from tests.helpers import some_images, tiny
from tokzoo.decoders.flow import FlowDecoder, Plan, Velocity
from tokzoo.diffusion.flow import draw_times, interpolate
from tokzoo.diffusion.guidance import ClassifierFreeGuidance, ProjectedGuidance
from tokzoo.diffusion.samplers import euler, even_times, heun, shifted_times
from tokzoo.encoders.register import causal_last_mask
from tokzoo.layers.patches import patchify, to_map, unpatchify
from tokzoo.tokenizers.flextok.model import Flextok
from tokzoo.tokenizers.flextok.weights import read_config
from tokzoo.tokens import Features, Sequence, Tokens


@pytest.fixture(scope="module")
def tok() -> Flextok:
    return tiny("flextok")


@pytest.fixture(scope="module")
def tokens(tok: Flextok) -> Tokens:
    with torch.no_grad():
        return tok.encode(some_images(tok))


# --- lengths ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 3, 8])
def test_the_first_tokens_are_the_same_however_many_are_asked_for(tok: Flextok, tokens: Tokens, length: int) -> None:
    fewer = tok.encode(some_images(tok), num_tokens=length)
    assert torch.equal(fewer.indices, tokens.indices[:, :length])
    assert fewer.layout == tokens[:, :length].layout == Sequence(length)


@torch.no_grad()
def test_images_of_a_batch_keep_lengths_of_their_own(tok: Flextok, tokens: Tokens) -> None:
    ragged = tok.encode(some_images(tok), num_tokens=[2, 5])
    assert ragged.lengths.tolist() == [2, 5]
    assert ragged.num_tokens == 5
    assert torch.equal(tok.encode(some_images(tok), num_tokens=torch.tensor([2, 5])).indices, ragged.indices)
    decoded = tok.decode(ragged)
    for row, length in enumerate((2, 5)):
        torch.testing.assert_close(decoded[row : row + 1], tok.decode(tokens[row][:, :length]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_does_not_count_has_no_say(tok: Flextok) -> None:
    ragged = tok.encode(some_images(tok), num_tokens=[2, 5])
    other = ragged.indices.masked_fill(~ragged.valid, 7)
    changed = Tokens(layout=ragged.layout, indices=other, valid=ragged.valid, extent=ragged.extent)
    assert torch.equal(tok.decode(changed), tok.decode(ragged))


@torch.no_grad()
def test_without_the_condition_the_tokens_have_no_say(tok: Flextok, tokens: Tokens) -> None:
    given = tok.decode(tokens, guidance=0.0, method="cfg")
    torch.testing.assert_close(tok.decode(tokens[:, :1], guidance=0.0, method="cfg"), given)
    assert not torch.allclose(tok.decode(tokens, guidance=1.0), given)


@torch.no_grad()
def test_smaller_pictures_take_the_positions_at_the_top_left(tok: Flextok) -> None:
    images = some_images(tok)[:, :, :8, :12]
    tokens = tok.encode(images)
    assert tokens.extent == (8, 12)
    assert tok.decode(tokens).shape == images.shape


# --- drawing ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_noise_is_fixed_unless_it_is_drawn_or_given(tok: Flextok, tokens: Tokens) -> None:
    assert torch.equal(tok.decode(tokens), tok.decode(tokens))
    drawn = [tok.decode(tokens, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tok.decode(tokens, noise=noise), drawn[0])


@torch.no_grad()
def test_the_posterior_is_sampled_only_if_asked(tok: Flextok) -> None:
    images = some_images(tok)
    mean = tok.encoder.latent_map(images)
    drawn = [
        tok.encoder.latent_map(images, sample=True, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], mean)


@torch.no_grad()
def test_guidance_of_one_asks_for_no_second_velocity(tok: Flextok, tokens: Tokens) -> None:
    asked = []
    handle = tok.decoder.velocity.register_forward_hook(lambda *given: asked.append(len(given[2])))
    tok.decode(tokens, steps=3, guidance=1.0)
    tok.decode(tokens, steps=3, guidance=lambda time: 4.0 if time > 0.5 else 1.0)
    tok.decode(tokens, steps=3, sampler="heun", guidance=1.0)
    handle.remove()
    assert asked == [2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 2]


@torch.no_grad()
def test_a_flextok_of_pixels_reads_and_draws_without_an_autoencoder() -> None:
    tok = tiny("flextok", vae=None)
    images = some_images(tok)
    tokens = tok.encode(images)
    assert tok.decode(tokens, noise=torch.zeros(1, 3, 16, 16)).shape == images.shape
    assert not any("painter" in key or "latents" in key for key in tok.state_dict())


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least 1; got 0"),
        ({"steps": (1.0, 0.5)}, "fall from 1 to 0"),
        ({"guidance": -1.0}, "at least 0 .*got -1"),
        ({"guidance": float("nan")}, "at least 0"),
        ({"method": "none"}, "cfg, apg; got 'none'"),
        ({"sampler": "none"}, "euler, heun; got 'none'"),
        ({"noise": torch.zeros(2, 4, 4, 4)}, r"\(2, 4, 8, 8\); got \(2, 4, 4, 4\)"),
        ({"noise": torch.zeros(2, 4, 8, 8), "generator": torch.Generator()}, "not both"),
    ],
)
def test_bad_ways_to_draw_are_refused(tok: Flextok, tokens: Tokens, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tok.decode(tokens, **options)


@torch.no_grad()
def test_bad_lengths_sizes_and_generators_are_refused(tok: Flextok, tokens: Tokens) -> None:
    images = some_images(tok)
    for wrong in (0, 9, [0, 2], [2, 9]):
        with pytest.raises(ValueError, match="1 to 8"):
            tok.encode(images, num_tokens=wrong)
    with pytest.raises(ValueError, match="or 2; got"):
        tok.encode(images, num_tokens=[1, 2, 3])
    with pytest.raises(ValueError, match="multiples of 4"):
        tok.encode(images[:, :, :6])
    with pytest.raises(ValueError, match="up to 16"):
        tok.encode(torch.rand(1, 3, 32, 16))
    with pytest.raises(ValueError, match="1 to 8 tokens; got 9"):
        tok.decode(Tokens(layout=Sequence(9), indices=torch.zeros(1, 9, dtype=torch.int64)))
    with pytest.raises(ValueError, match="1 of 8 indices are out of range, 64000 among them"):
        tok.decode(Tokens(layout=tokens.layout, indices=torch.arange(8).unsqueeze(0) + 63993))
    nothing = torch.tensor([[True] * 8, [False] * 8])
    with pytest.raises(ValueError, match=r"rows \[1\] have none"):
        tok.decode(Tokens(layout=tokens.layout, indices=tokens.indices, valid=nothing))
    with pytest.raises(ValueError, match="prefix"):
        tok.decode(Tokens(layout=tokens.layout, indices=tokens.indices, valid=torch.arange(16).view(2, 8) % 2 == 0))
    with pytest.raises(TypeError, match=r"one .*Generator"):
        tok.decode(tokens, generator=[torch.Generator()] * 2)

    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(ValueError, match="generator is on cuda, the model on cpu"):
        tok.decode(tokens, generator=Elsewhere())


# --- published files -------------------------------------------------------------------------------------------------


def published(scale: float) -> dict:
    """What the authors' files tell of themselves, cut to what is read and a little more."""
    half = {"patch_emb": {"patch_sizes": [2, 2]}, "posemb_module": {"_target_": "os.system", "max_sizes": [16, 16]}}
    encoder = {f"enc_{name}": value for name, value in half.items()}
    encoder |= {"enc_register_module": {"n_max": 256}, "enc_transformer": {"dim": 1152, "depth": 18, "head_dim": 64}}
    decoder = {"dec_transformer": {"dim": 1792, "depth": 28}, "dec_time_embedder": {"max_timestep": 1.0}}
    return {
        "vae": {"latent_channels": 16, "scaling_factor": scale, "sample_posterior": True},
        "encoder": {"module_dict": encoder},
        "decoder": {"module_dict": decoder},
        "regularizer": {"levels": [8, 8, 8, 5, 5, 5]},
        "pipeline": {"_partial_": True},
    }


def test_the_authors_configuration_is_read_as_data() -> None:
    config = read_config(json.loads(json.dumps(published(0.5))))
    assert (config.encoder.num_heads, config.decoder.width, config.decoder.depth) == (18, 1792, 28)
    assert (config.image_size, config.num_registers, config.max_time, config.scale) == (256, 256, 1.0, (0.5,))
    assert read_config({"model": {}}) is None


def test_a_file_is_believed_and_wrappers_and_training_keys_do_no_harm(tmp_path: Path) -> None:
    from tokzoo import _finding, golden
    from tokzoo.registry import architectures, load_object
    from tokzoo.tokenizers.flextok.golden import read_case_config

    case = golden.read_case(golden.folder() / "flextok_tiny.json")
    config = read_case_config(case)
    state = {
        key.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): each for key, each in case.weights.items()
    }
    state |= {"vae.logvar": torch.zeros(()), "decoder.module_dict.dec_repa_proj.weight": torch.zeros(2, 2)}
    convert = load_object(architectures()["flextok_d12_d12"].convert)
    ours = convert(state, config)
    assert all(torch.equal(ours[key], value) for key, value in convert(case.weights, config).items())
    with pytest.raises(KeyError, match="no rule reads 1"):
        convert({**state, "decoder.module_dict.dec_other.weight": torch.zeros(1)}, config)
    told = tmp_path / "model.safetensors"
    save_file(state, told, metadata={key: str(value) for key, value in published(0.5).items()})
    architecture = architectures()["flextok_d12_d12"]
    assert _finding.told(architecture, told).scale == (0.5,)
    save_file(state, told)
    with pytest.warns(UserWarning, match="tells no config"):
        assert _finding.told(architecture, told) == architecture.config


# --- parts -----------------------------------------------------------------------------------------------------------


class Drift(Velocity):
    """A velocity whose flow is known: the place falls to the condition, d x / dt = x - c."""

    def condition(self, codes: Features) -> torch.Tensor:
        return codes.latents.mean((1, 2)).view(-1, 1, 1, 1)

    def null(self, condition: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(condition)

    def moments(self, times: torch.Tensor) -> torch.Tensor:
        return times

    def forward(self, place: torch.Tensor, moment: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return place - condition


def test_a_flow_decoder_takes_any_velocity_in_any_space() -> None:
    decoder = FlowDecoder(Drift(), image_size=8, channels=3, downsample=2)
    codes = Features(torch.full((2, 5, 1), 3.0), Sequence(5))
    noise = torch.randn(2, 3, 4, 4)
    made = decoder.sample(codes, noise=noise, plan=Plan(steps=100, guidance=1.0, sampler="heun"))
    torch.testing.assert_close(made, 3 + (noise - 3) / math.e, atol=1e-4, rtol=1e-4)
    stronger = decoder.sample(codes, noise=noise, plan=Plan(steps=100, guidance=2.0, method="cfg", sampler="heun"))
    torch.testing.assert_close(stronger, 6 + (noise - 6) / math.e, atol=1e-3, rtol=1e-3)


def test_heun_errs_to_second_order_and_euler_to_first() -> None:
    def error(sampler, steps: int) -> float:
        return abs(float(sampler(lambda place, number: place, torch.ones(1).double(), even_times(steps))) - 1 / math.e)

    assert 1.8 < error(euler, 20) / error(euler, 40) < 2.2
    assert 3.6 < error(heun, 20) / error(heun, 40) < 4.4


def test_schedules_fall_from_noise_to_picture() -> None:
    assert even_times(4) == (1.0, 0.75, 0.5, 0.25, 0.0)
    bent = shifted_times(4, 3.0)
    assert (bent[0], bent[-1]) == (1.0, 0.0)
    assert all(ours > even for ours, even in zip(bent[1:-1], even_times(4)[1:-1], strict=True))
    assert shifted_times(4, 1.0) == even_times(4)


def test_projected_guidance_moves_across_the_conditional_and_not_far() -> None:
    generator = torch.Generator().manual_seed(0)
    with_codes, without = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    guide = ProjectedGuidance()
    push = guide(with_codes, without, 7.5) - with_codes
    assert (push * with_codes).sum((1, 2, 3)).abs().max() < 1e-2
    assert (push.square().sum((1, 2, 3)).sqrt() <= 6.5 * 2.5 + 1e-4).all()
    assert not torch.allclose(guide(with_codes, -without, 7.5), ProjectedGuidance()(with_codes, -without, 7.5))
    plain = ProjectedGuidance(momentum=0.0, longest=1e9, along=1.0)
    torch.testing.assert_close(
        plain(with_codes, without, 3.0), ClassifierFreeGuidance()(with_codes, without, 3.0), atol=1e-4, rtol=1e-4
    )


def test_densities_of_time_are_within_their_bounds_and_as_heavy_as_stated() -> None:
    generator = torch.Generator().manual_seed(0)
    even = draw_times(4000, generator=generator)
    normal = draw_times(4000, "logit_normal", generator=generator)
    mode = draw_times(4000, "mode", generator=generator)
    for times in (even, normal, mode):
        assert times.min() >= 0 and times.max() <= 1
        assert abs(float(times.mean()) - 0.5) < 0.02
    middle = [float(((times - 0.5).abs() < 0.25).float().mean()) for times in (even, mode, normal)]
    assert middle == sorted(middle) and middle[2] > 0.7
    shares = draw_times(10, stratified=True, generator=generator).mul(10).long().sort().values
    assert shares.tolist() == list(range(10))
    with pytest.raises(ValueError, match="'other'"):
        draw_times(3, "other", generator=generator)


def test_a_line_begins_at_the_picture_and_ends_at_noise() -> None:
    clean, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    made = interpolate(clean, noise, torch.tensor([0.0, 1.0, 0.5]))
    torch.testing.assert_close(made, torch.stack([clean[0], noise[1], (clean[2] + noise[2]) / 2]))


def test_registers_see_patches_and_those_before_them() -> None:
    assert causal_last_mask(2, 3).int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_patches_go_back_to_where_they_came_from() -> None:
    images = torch.randn(2, 3, 4, 6)
    assert torch.equal(unpatchify(to_map(patchify(images, 2), 2, 3), 2), images)


def test_the_names_are_listed() -> None:
    assert tokzoo.list_models("flextok*", pretrained=True) == [
        "flextok_d12_d12.in1k",
        "flextok_d18_d18.in1k",
        "flextok_d18_d28.dfn",
        "flextok_d18_d28.in1k",
        "flextok_nano.photos64",
        "flextok_vae_c4.unstated",
        "flextok_vae_c8.unstated",
        "flextok_vae_c16.unstated",
    ]

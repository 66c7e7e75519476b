"""The contracts of design.md, over every registered name and every family's tiny model."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import tokzoo
from tests.helpers import families, some_conditions, some_images, tiny
from tokzoo import _state
from tokzoo.registry import architectures, load_object
from tokzoo.tokens import Tokens

NAMES = tokzoo.list_models(kind="tokenizer")
FAMILIES = sorted(families())
BOTTLENECKS = [(family, {}) for family in FAMILIES] + [("titok", {"bottleneck": "kl"})]
TITOK_LINE = ("one_d_piece", "tatitok", "titok")  # their manifests hold the inner part of a config.json
UNUSED = {  # shortcuts, teachers, a time's projections: read by no forward pass
    "bae": 2_496_899,
    "gpstoken": 131_328,
    "robustok": 85_863_168,
    "xqgan": 85_863_168,
}
WHOLE_ENCODERS = ("alit",)  # decode inside of encode
# their manifests are read in tests/generators
GENERATORS = (
    "generator_",
    "gpstoken_sit_",
    "ibq_ar_",
    "llamagen_gpt_",
    "mar_",
    "tokenbridge_",
    "open_magvit2_ar_",
    "rar_",
    "var_d",
    "maskgen_",
)
MANIFESTS = [
    path
    for path in sorted(Path(__file__).parent.joinpath("golden", "manifests").glob("*.json"))
    if not path.name.startswith(GENERATORS)
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_on_the_meta_device_and_says_its_tokens(name: str) -> None:
    architecture = architectures()[name]
    with torch.device("meta"):
        tok = load_object(architecture.model)(architecture.config)
    spec = tok.token_spec
    assert (spec.levels is None) == (architecture.token_type == "continuous")
    images = some_images(tok, 1).to("meta")
    given = some_conditions(tok, images)
    tokens = tok.encode(images, **given)
    assert tokens.layout == spec.layout
    assert tok.features(images, **given).shape[1] == tok.quantizer.code_layout(tokens.layout).num_tokens


def named(path: Path) -> str:
    """The registered name that a manifest's file stands for."""
    if path.stem in NAMES:
        return path.stem
    short = path.stem
    for suffix in ("_256", "_latents", "_ch160v4096z32", "_in1k", "_dfn"):
        short = short.removesuffix(suffix)
    return short.replace("vqgan_imagenet_", "vqgan_")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_maps_whole_and_its_config_is_the_registered_one(path: Path) -> None:
    about = json.loads(path.read_text())
    name = named(path)
    architecture = architectures()[name]
    with torch.device("meta"):
        tok = load_object(architecture.model)(architecture.config)
        published = {key: torch.empty(shape) for key, (shape, _) in about["state_dict"].items()}
    _state.check_fit(tok.state_dict(), load_object(architecture.convert)(published, architecture.config), name)
    unused = UNUSED.get(architecture.family, 0)
    assert sum(value.numel() for value in tok.parameters()) == about["params"] - unused
    if "config" in about:
        config = about["config"]
        if architecture.family in TITOK_LINE:
            config = {"model": {"vq_model": config}, "experiment": {"output_dir": name}}
        assert load_object(architecture.read_config)(config) == architecture.config


def test_every_published_name_has_a_manifest() -> None:
    published = {
        name
        for name in NAMES
        if any(not weights.shipped and weights.checked != "config" for weights in architectures()[name].weights)
    }
    seen = {named(path) for path in MANIFESTS}
    same = {
        "tokenbridge_kl16": "kl16_vae",
        "taesdxl": "taesd",
        "taesd3": "taef1",
        "var_vqvae_512": "var_vqvae",
    }  # one state dict, as the manifests say
    assert published == seen | {name for name, other in same.items() if other in seen}


@pytest.mark.parametrize(("family", "changes"), BOTTLENECKS)
class TestEveryFamily:
    @torch.no_grad()
    def test_tokens_and_images_have_the_shapes_that_were_promised(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        given = some_conditions(tok, images)
        tokens = tok.encode(images, **given)
        spec = tok.token_spec
        assert tokens.layout == spec.layout
        assert tokens.extent == tuple(images.shape[2:])
        assert tok.codes(tokens).shape == (2, tok.quantizer.code_layout(tokens.layout).num_tokens, spec.channels)
        if spec.levels is not None:
            assert tokens.indices.dtype == torch.int64
            assert torch.equal(tokens.bits(), tokens.lengths * round(spec.bits_per_token))
        decoded = tok.decode(tokens, **given)
        assert decoded.shape == images.shape
        assert decoded.dtype == torch.float32
        assert decoded.min() >= 0 and decoded.max() <= 1

    @torch.no_grad()
    def test_a_batch_of_one_is_a_row_of_the_batch(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok, 3)
        given = some_conditions(tok, images)
        row = {name: value[1:2] for name, value in given.items()}
        whole, one = tok.encode(images, **given), tok.encode(images[1:2], **row)
        torch.testing.assert_close(tok.codes(whole)[1:2], tok.codes(one), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tok.decode(whole, **given)[1:2], tok.decode(whole[1], **row), atol=1e-5, rtol=1e-5)

    def test_gradients_reach_encoder_quantizer_and_decoder(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        output = tok(images, **some_conditions(tok, images))
        (output.reconstruction.square().mean() + sum(output.losses.values())).backward()
        without = [name for name, value in tok.named_parameters() if value.requires_grad and value.grad is None]
        assert not without

    @torch.no_grad()
    def test_saved_and_loaded_it_gives_the_same_tokens(self, family: str, changes: dict, tmp_path: Path) -> None:
        tok = tiny(family, **changes)
        again = tokzoo.from_pretrained(tok.save_pretrained(tmp_path))
        assert again.config == tok.config
        assert not again.training
        images = some_images(tok)
        given = some_conditions(tok, images)
        one, other = (each.decode(each.encode(images, **given), **given) for each in (tok, again))
        assert torch.equal(one, other)

    @torch.no_grad()
    def test_it_runs_in_bfloat16_and_stays_near(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        given = some_conditions(tok, images)
        tokens = tok.encode(images, **given)
        full = tok.decode(tokens, **given)
        tok = tok.to(torch.bfloat16)
        assert tok.encode(images, **given).num_tokens == tokens.num_tokens
        assert (tok.decode(tokens, **given) - full).abs().mean() < 0.05

    @torch.no_grad()
    def test_encode_and_decode_compile_as_one_graph_with_the_same_result(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        given = some_conditions(tok, images)
        tokens = tok.encode(images, **given)
        compiled = torch.compile(tok.encode, backend="eager", fullgraph=True)(images, **given)
        torch.testing.assert_close(tok.codes(compiled), tok.codes(tokens))
        decode = torch.compile(tok.decode, backend="eager", fullgraph=True)
        torch.testing.assert_close(decode(tokens, **given), tok.decode(tokens, **given))

    @torch.no_grad()
    @pytest.mark.slow
    def test_inductor_gives_the_same_indices(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok, 4)
        given = some_conditions(tok, images)
        tokens = tok.encode(images, **given)
        compiled = torch.compile(tok.encode, fullgraph=True)(images, **given)
        if tokens.indices is not None:
            assert torch.equal(compiled.indices, tokens.indices)
        decoded = torch.compile(tok.decode, fullgraph=True)(tokens, **given)
        torch.testing.assert_close(decoded, tok.decode(tokens, **given), atol=1e-4, rtol=1e-4)

    @torch.no_grad()
    def test_a_half_encodes_or_decodes_alone(self, family: str, changes: dict, tmp_path: Path) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        given = some_conditions(tok, images)
        tokens = tok.encode(images, **given)
        tok.save_pretrained(tmp_path)
        if family in WHOLE_ENCODERS:
            with pytest.raises(ValueError, match="load it whole"):
                tokzoo.from_pretrained(tmp_path, part="encoder")
            return
        encoder = tokzoo.from_pretrained(tmp_path, part="encoder")
        decoder = tokzoo.from_pretrained(tmp_path, part="decoder")
        assert torch.equal(decoder.decode(encoder.encode(images, **given), **given), tok.decode(tokens, **given))
        with pytest.raises(RuntimeError, match="part='encoder'"):
            encoder.decode(tokens, **given)
        assert sum(p.numel() for p in encoder.parameters()) < sum(p.numel() for p in tok.parameters())

    def test_bad_images_are_refused_by_name(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        side = tok.image_size
        good = some_images(tok)
        given = some_conditions(tok, good)
        cases = [
            (good[:, :1], ValueError, r"\(B, 3, (T, )?H, W\); got"),
            (good[0], ValueError, "One (image|video) needs"),
            (good[:0], ValueError, "empty"),
            ((good * 255).byte(), ValueError, "uint8"),
            (good * 255, ValueError, "divide by 255"),
            (good * 2 - 1, ValueError, r"in \[-1, 1\]"),
            (torch.where(good > 0.5, torch.nan, good), ValueError, "NaN"),
            (good.numpy(), TypeError, "ndarray"),
            (torch.cat([good, good[..., :1, :]], dim=-2), ValueError, f"got {side + 1}x{side}"),
        ]
        for images, error, message in cases:
            with pytest.raises(error, match=message):
                tok.encode(images, **given)

    def test_missing_misshapen_and_unknown_conditions_are_refused_by_name(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        given = some_conditions(tok, images)
        tokens = tok.encode(images, **given)
        calls = {"encode": partial(tok.encode, images), "decode": partial(tok.decode, tokens)}
        for call in calls.values():
            with pytest.raises(TypeError, match="no_such_thing"):
                call(**given, no_such_thing=images)
        for name, condition in tok.conditions.items():
            rest = {key: value for key, value in given.items() if key != name}
            for part in condition.parts:
                with pytest.raises(ValueError, match=rf"{name} must be \(2, .*got \(1, "):
                    calls[part](**rest, **{name: given[name][:1]})
                with pytest.raises(TypeError, match=f"{name} must be a tensor"):
                    calls[part](**rest, **{name: "a photo"})
                if not condition.prepared:
                    with pytest.raises(ValueError, match=f"{part} needs {name}="):
                        calls[part](**rest)

    def test_bad_tokens_are_refused_by_name(self, family: str, changes: dict) -> None:
        tok = tiny(family, **changes)
        images = some_images(tok)
        tokens = tok.encode(images, **some_conditions(tok, images))
        with pytest.raises(TypeError, match="from_sequence"):
            tok.decode(tok.codes(tokens))
        with pytest.raises(ValueError, match=r"layout|lie on"):
            codes = tok.codes(tokens)
            tok.decode(Tokens(layout=tokzoo.tokens.Gaussians(codes.shape[1]), latents=codes))
        if tokens.indices is None:
            with pytest.raises(ValueError, match="NaN"):
                tok.decode(Tokens(layout=tokens.layout, latents=tokens.latents * torch.nan))
            return
        top = tok.token_spec.levels[0]
        for wrong in (-1, top):
            indices = tokens.indices.clone()
            indices[0, 0] = wrong
            with pytest.raises(ValueError, match=f"{wrong} among them; allowed are 0 to {top - 1}"):
                tok.decode(Tokens(layout=tokens.layout, indices=indices))

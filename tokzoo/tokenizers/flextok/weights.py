"""Published weights of FlexTok, and how their keys and configs are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokzoo import registry
from tokzoo.conversion import Rules, rename_keys
from tokzoo.registry import Architecture, Score, Source, Weights
from tokzoo.tokenizers.flextok import config as sizes
from tokzoo.tokenizers.flextok.config import FlextokConfig, TransformerSize
from tokzoo.tokenizers.flextok_vae.weights import rename_kl

if TYPE_CHECKING:
    from torch import Tensor

VAE_DOWNSAMPLE = 8  # of all published
BLOCK = r"(encoder|decoder)\.module_dict\.(?:enc|dec)_transformer\.blocks\.(\d+)"
RULES: Rules = (
    (r"vae\.logvar", None),  # training only, as are REPA's projections
    (r"decoder\.module_dict\.dec_repa_.+", None),
    (r"vae\.vae\.(.+)", r"vae.\1"),  # read on by the rules of AutoencoderKL
    (r"encoder\.module_dict\.enc_patch_emb\.patch_proj\.(.+)", r"encoder.patch_embed.\1"),
    (r"encoder\.module_dict\.enc_posemb_module\.posembs", r"encoder.positions"),
    (r"encoder\.module_dict\.enc_register_module\.registers", r"encoder.registers"),
    (r"encoder\.module_dict\.enc_to_latents\.proj\.(.+)", r"encoder.to_code.\1"),
    (r"decoder\.module_dict\.dec_from_latents\.proj\.(.+)", r"decoder.embed.\1"),
    (r"decoder\.module_dict\.dec_registers_posemb_module\.posembs", r"decoder.register_positions"),
    (r"decoder\.module_dict\.dec_nested_dropout\.dropout_mask_token", r"decoder.mask_token"),
    (r"decoder\.module_dict\.dec_latent_dropout\.nullcond", r"decoder.null_token"),
    (r"decoder\.module_dict\.dec_noise_patch_emb\.patch_proj\.(.+)", r"decoder.patch_embed.\1"),
    (r"decoder\.module_dict\.dec_patches_posemb_module\.posembs", r"decoder.positions"),
    (r"decoder\.module_dict\.dec_time_embedder\.mlp\.0\.(.+)", r"decoder.time.fc1.\1"),
    (r"decoder\.module_dict\.dec_time_embedder\.mlp\.2\.(.+)", r"decoder.time.fc2.\1"),
    (r"decoder\.module_dict\.dec_to_patches\.adaLN_modulation\.1\.(.+)", r"decoder.head_modulation.\1"),
    (r"decoder\.module_dict\.dec_to_patches\.proj\.(.+)", r"decoder.to_patch.\1"),
    (BLOCK + r"\.attn\.w([qkv])\.weight", r"\1.blocks.\2.attn.\3"),
    (BLOCK + r"\.attn\.proj\.weight", r"\1.blocks.\2.attn.proj.weight"),
    (BLOCK + r"\.mlp\.fc([123])\.weight", r"\1.blocks.\2.mlp.fc\3.weight"),
    (BLOCK + r"\.adaLN_modulation\.1\.(.+)", r"\1.blocks.\2.modulation.\3"),
)


def convert(state: Mapping[str, "Tensor"], config: FlextokConfig) -> dict[str, "Tensor"]:
    """The authors' state dict -> ours."""
    import torch

    wrapped = "_checkpoint_wrapped_module."  # where activations were recomputed in training
    ours = rename_keys({key.replace(wrapped, ""): value for key, value in state.items()}, RULES)
    vae = {key.removeprefix("vae."): ours.pop(key) for key in list(ours) if key.startswith("vae.")}
    for key in [key for key in ours if key.endswith(".attn.q")]:
        block = key.removesuffix("q")
        ours[f"{block}qkv.weight"] = torch.cat([ours.pop(block + part) for part in "qkv"])
    for key in ("encoder.positions", "decoder.positions"):
        ours[key] = ours[key].squeeze(0)  # (1, D, g, g)
    ours["decoder.register_positions"] = ours["decoder.register_positions"][0, 0].t()  # (1, 1, D, N)
    ours = {key.replace("decoder.", "decoder.velocity.", 1): value for key, value in ours.items()}
    if config.vae is not None:
        sizes_of_vae = registry.override(registry.find(config.vae)[0].config, dict(config.vae_config))
        for key, value in rename_kl(vae, len(sizes_of_vae.multipliers)).items():
            half, _, rest = key.partition(".")
            place = "encoder.latents.encoder" if half == "encoder" else "decoder.painter"
            ours[f"{place}.{rest}"] = value
    return ours


def read_config(published: Mapping[str, Any]) -> FlextokConfig | None:
    """The sizes in the authors' configuration, which is data: a description of their modules that nothing builds.

    It is config.json on the hub, and in the metadata of the weights. None if it is not FlexTok's.
    """
    if not {"vae", "encoder", "decoder", "regularizer"} <= set(published):
        return None
    encoder, decoder = published["encoder"]["module_dict"], published["decoder"]["module_dict"]
    patch_size = encoder["enc_patch_emb"]["patch_sizes"][0]
    grid_size = encoder["enc_posemb_module"]["max_sizes"][0]
    return FlextokConfig(
        image_size=grid_size * patch_size * VAE_DOWNSAMPLE,
        vae_config=dict(code_dim=published["vae"].get("latent_channels", 16)),
        scale=(published["vae"].get("scaling_factor") or 1.0,),
        patch_size=patch_size,
        num_registers=encoder["enc_register_module"]["n_max"],
        encoder=_read_size(encoder["enc_transformer"]),
        decoder=_read_size(decoder["dec_transformer"]),
        levels=tuple(published["regularizer"]["levels"]),
        max_time=float(decoder["dec_time_embedder"].get("max_timestep", 1000.0)),
    )


def _read_size(transformer: Mapping[str, Any]) -> TransformerSize:
    width, depth = transformer.get("dim", 768), transformer.get("depth", 12)
    return TransformerSize(width=width, depth=depth, num_heads=width // transformer.get("head_dim", 64))


RFID = "ImageNet 256x256, 32 tokens; as later papers' comparison tables quote it"
NOTE = "Sizes, the scale of the latents among them, are read from the file itself, which was not seen."


def _published(name: str, config: FlextokConfig, **tags: float | None) -> Architecture:
    return Architecture(
        name=name,
        family="flextok",
        model="tokzoo.tokenizers.flextok.model:Flextok",
        config=config,
        token_type="discrete",
        paper="2502.13967",
        convert="tokzoo.tokenizers.flextok.weights:convert",
        read_config="tokzoo.tokenizers.flextok.weights:read_config",
        config_in_metadata=True,
        golden="tokzoo.tokenizers.flextok.golden:run",
        weights=tuple(
            Weights(
                tag=tag,
                sources=(Source(repo=f"EPFL-VILAB/{name}_{tag}", files=("model.safetensors",)),),
                code_licence="LicenseRef-Apple-Sample-Code-1.1",
                licence="apple-amlr",
                scores=() if rfid is None else (Score(metric="rFID", value=rfid, protocol=RFID),),
                checked="manifest",
                note=NOTE,
            )
            for tag, rfid in tags.items()
        ),
    )


ARCHITECTURES = (
    _published("flextok_d12_d12", sizes.FLEXTOK_D12_D12, in1k=4.20),
    _published("flextok_d18_d18", sizes.FLEXTOK_D18_D18, in1k=1.61),
    _published("flextok_d18_d28", sizes.FLEXTOK_D18_D28, in1k=1.45, dfn=None),
    Architecture(
        name="flextok_nano",
        family="flextok",
        model="tokzoo.tokenizers.flextok.model:Flextok",
        config=sizes.FLEXTOK_NANO,
        token_type="discrete",
        paper="2502.13967",
        weights=(
            Weights(
                tag="photos64",
                code_licence="Apache-2.0",
                licence="Apache-2.0",
                checked="weights",
                note="Trained here on permissive photos, on vit_kl_nano.photos64; scores are in its card.",
            ),
        ),
    ),
)

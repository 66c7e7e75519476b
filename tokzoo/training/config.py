"""What a training run is told. Times are steps, never epochs."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Precision = Literal["auto", "float32", "bf16", "fp16"]
Perceptual = Literal["effnet_lite0", "lpips_vgg", "lpips_alex"]
Recipe = Literal["single_stage", "titok_two_stage", "karl", "alit", "flextok", "gst"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms; a term of weight 0 is not computed.

    Args:
        mse, l1: pixel distances in [0, 1].
        perceptual: weight of `perceptual_net`: `effnet_lite0` works offline, `lpips_*` need torchvision's backbone.
        perceptual_upsample: whole factor by which both images are enlarged for `effnet_lite0`; None brings small
            images to 128 pixels, which costs four times the time at 64.
        perceptual_start: step from which on the perceptual term counts; pixels alone are learned faster before it.
        perceptual_images: of each batch, how many the perceptual term looks at; None: all.
        quantizer: weights of the terms that the quantizer returns, by name (commitment_loss, kl_loss, ...).
        entropy: of the codes, low per token and high over the batch (arXiv:2310.05737, eq. 5); codebooks only.
        adversarial: of the PatchGAN generator term, from step `adversarial_start` on.
        lecam: of the LeCam regularisation of the discriminator.
    """

    mse: float = 1.0
    l1: float = 0.0
    perceptual: float = 0.5
    perceptual_net: Perceptual = "effnet_lite0"
    perceptual_upsample: int | None = None
    perceptual_start: int = 0
    perceptual_images: int | None = None
    quantizer: dict[str, float] = field(
        default_factory=lambda: {"commitment_loss": 0.25, "codebook_loss": 1.0, "index_loss": 1.0, "kl_loss": 1e-6}
    )
    entropy: float = 0.0
    adversarial: float = 0.0
    adversarial_start: int = 0
    lecam: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """What recipe `flextok` draws in a step, and REPA's teacher.

    Args:
        density, mode_scale: of the moments, as `tokzoo.diffusion.flow.draw_times` says.
        lengths: of the tokens kept, as `tokzoo.training.flow_matching.draw_lengths` says.
        null_chance: of a picture without condition, for guidance.
        repa: a network of timm by name, where patches of the decoder are to point as its features do
            (arXiv:2410.06940); the authors take `vit_large_patch14_dinov2.lvd142m`, `effnet_lite0` works offline.
        repa_size: pixels per side that it sees.
        repa_weight: of the term.
        repa_tap: the block of the decoder whose patches are compared.
        repa_images: of each batch, how many are compared; None: all.
    """

    density: Literal["uniform", "logit_normal", "mode"] = "mode"
    mode_scale: float = 0.25
    lengths: Literal["uniform", "powers_of_two", "uniform_powers_of_two"] = "powers_of_two"
    null_chance: float = 0.1
    repa: str | None = None
    repa_size: int = 224
    repa_weight: float = 1.0
    repa_tap: int = 1
    repa_images: int | None = None


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """Weights of what recipe `gst` asks of depth, as `tokzoo.losses.depth` has it.

    Args:
        depth: of the scale-invariant log error.
        share: of the squared mean that is forgiven there.
        spread: of the likelihood of depth.
        floor: least deviation there, as a share of the depth.
        view: what makes the depth of the log error: `splats`, or the paper's `rays`, as `tokzoo.layers.gaussian_rays`.
        noised: share of 8x8 squares whose depth the encoder is given with noise, and asked for without.
        noise: deviation of the logs of the noise there, of a whole square and of each pixel.
    """

    depth: float = 1.0
    share: float = 0.85
    spread: float = 0.01
    floor: float = 0.01
    view: Literal["splats", "rays"] = "splats"
    noised: float = 0.0
    noise: float = 0.3


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How a generator learns tokens.

    Args:
        label_dropout: share of samples shown no class, for guidance.
        random_until, raster_from: of RAR: shares of the run; all orders are random before the first, fewer and fewer up
            to the second, and none after it. arXiv:2411.00776, section 3.2.
    """

    label_dropout: float = 0.1
    random_until: float = 0.5
    raster_from: float = 0.75


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and a cosine to `min_lr`. Norms, biases, embeddings and codebooks are not decayed.

    Args:
        lr: greatest rate, after the warm-up.
        min_lr: rate at the end.
        warmup: steps.
        muon_lr: greatest rate of Muon (arXiv:2502.16982) for the matrices inside transformer blocks, on the same
            schedule as `lr`; None leaves them to AdamW. From scratch, 5e-3 learns several times faster per step.
        clip: greatest norm of the gradient.
    """

    lr: float = 4e-4
    min_lr: float = 1e-5
    warmup: int = 500
    muon_lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    clip: float = 1.0
    discriminator_lr: float = 1e-4


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Args:
        data: a folder of images (any depth), or a zip with images; for a generator a folder of `tokzoo tokenize`.
        out: folder for checkpoints, logs and the final model; a run that was stopped there goes on where it was.
        model: a registered name, `titok_nano` if nothing is said; `overrides` change fields of its config. Or all in
            one, `{name: grid, encoder: {name: cnn}, ...}`, name and overrides.
        init: weights to start from, anything that `tokzoo.from_pretrained` takes; without `model` it says the model
            too. Weights of another architecture than `model` are taken if all their names and shapes fit.
        freeze: prefixes of parameter names that stay as they are (`encoder`, `quantizer`, `decoder.head` ...).
        tokenizer: of which a generator learns the tokens; `model` is then one, and `generation` says how it learns.
        split, val_split: of a manifest.csv in `data`.
        val_data: held-out images, if they are elsewhere; without split or folder one image in twenty is held out.
        recipe: `single_stage`; `titok_two_stage` (`teacher` is then the MaskGIT-VQGAN whose codes it learns first);
            `karl` or `alit`, which train to use few tokens (`teacher` is then the base tokenizer that they begin with);
            `flextok`, whose decoder draws: the velocity of its flow is learned, as `flow` says (`teacher` is then the
            autoencoder that it stands on, which stays as it is);
            `gst`, which learns from pictures with depth, as `tokzoo.data.rgbd` reads them, and sees to `depth`.
        stage_one_steps: of `steps`, those of the first stage of a two-stage recipe; without a base, KARL and ALIT have
            only the second.
        batch_size: per process.
        caption: for tokenizers that read text: a photo's caption, with {} for its label ("A photo of a {}."); None
            gives them an empty text.
        revive_every: steps between moving dead codes of a codebook onto fresh latents; 0 never does.
        precision: `auto` is bf16 on a GPU or CPU that computes in it, else float32 (bf16 is emulated, and slow, on
            many CPUs).
        max_seconds: stop after that long, at a checkpoint; start again to go on.
        compile: run the model through torch.compile.
        keep: checkpoints kept.
    """

    data: str
    out: str
    model: str | dict[str, Any] | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    freeze: tuple[str, ...] = ()
    tokenizer: str | None = None
    split: str | None = None
    val_data: str | None = None
    val_split: str | None = None
    recipe: Recipe = "single_stage"
    teacher: str | None = None
    stage_one_steps: int = 0
    steps: int = 10_000
    batch_size: int = 64
    caption: str | None = None
    seed: int = 0
    loss: LossConfig = LossConfig()
    flow: FlowConfig = FlowConfig()
    depth: DepthConfig = DepthConfig()
    generation: GenerationConfig = GenerationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: float = 0.999
    precision: Precision = "auto"
    revive_every: int = 100
    device: str | None = None
    compile: bool = False
    workers: int = 2
    log_every: int = 20
    eval_every: int = 500
    eval_images: int = 256
    save_every: int = 500
    keep: int = 2
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, dict):
            overrides = {**self.model, **self.overrides}
            if "name" not in overrides:
                raise ValueError(f"a model described by a mapping needs its name; got {sorted(self.model)}")
            object.__setattr__(self, "model", overrides.pop("name"))
            object.__setattr__(self, "overrides", overrides)
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be at least 1; got {self.steps} and {self.batch_size}")
        if self.recipe == "titok_two_stage" and not 0 < self.stage_one_steps < self.steps:
            raise ValueError(f"stage_one_steps must lie between 0 and steps={self.steps}; got {self.stage_one_steps}")


# may differ between a run and its continuation: they change when and where, not what
FREE_ON_RESUME = frozenset(
    {
        "out",
        "device",
        "compile",
        "workers",
        "log_every",
        "eval_every",
        "save_every",
        "keep",
        "max_seconds",
        "data",
        "val_data",
    }
)


def differences(saved: dict[str, Any], config: TrainConfig) -> list[str]:
    """Fields in which a run that is to be continued differs from `config`, as `name: saved -> asked`."""
    asked = plain(config)
    before = plain(TrainConfig(data="", out="")) | saved  # a field may be younger than the run
    names = [entry.name for entry in fields(config) if entry.name not in FREE_ON_RESUME]
    return [f"{name}: {before[name]!r} -> {asked[name]!r}" for name in names if before[name] != asked[name]]


def plain(config: TrainConfig) -> dict[str, Any]:
    """As dicts, lists and numbers, for YAML and JSON."""
    return {name: _plain(value) for name, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value

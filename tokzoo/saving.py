"""Models written into folders, of which `tokzoo.from_pretrained` makes them again, and uploaded to the hub."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tokzoo._fetch import Download, transport_error
from tokzoo._files import replace_atomically, sha256_of, write_atomically
from tokzoo._finding import CARD, CONFIG, FORMAT, PAIRING, WEIGHTS, own_version, registered
from tokzoo.hub import Part, architecture_of, read_found

if TYPE_CHECKING:
    import torch

    from tokzoo.tokenizers.base import VisualTokenizer


def save_pretrained(
    model: "VisualTokenizer", folder: str | Path, *, dtype: "torch.dtype | None" = None, base: str | None = None
) -> Path:
    """Writes config.json and model.safetensors into `folder`, each atomically. `dtype` casts what is floating-point.

    Args:
        base: registered weights of the tokenizer that the model stands on. What is theirs is not written once more:
            loading takes it from there, and checks the hash of the file.

    Raises:
        ValueError: half a model; or a base that the model does not stand on, or no longer equals.
    """
    from safetensors.torch import save_file

    if any(getattr(model, half, model) is None for half in get_args(Part)):
        raise ValueError("this model was loaded by halves; only a whole one can be saved")
    lent, described_base = (frozenset(), {}) if base is None else _borrow(model, base)
    state = {
        key: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in model.state_dict().items()
        if key not in lent
    }
    described = {
        "format": FORMAT,
        "version": own_version(),
        "architecture": architecture_of(model).name,
        "name": model.name,
        "config": asdict(model.config),
        **described_base,
        **{name: getattr(model, name) for name in PAIRING if hasattr(model, name)},
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replace_atomically(folder / WEIGHTS) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    write_atomically(folder / CONFIG, json.dumps(described, indent=2) + "\n")
    return folder


def _borrow(model: "VisualTokenizer", name: str) -> tuple[frozenset[str], dict[str, Any]]:
    """Keys of the model that the weights `name` give, their values being the same, and what config.json says of it."""
    import torch

    from tokzoo import _state

    found = registered(name, Download())
    lent = _state.renamed(read_found(found, found.config), model.base_keys)
    own = model.state_dict()
    if not lent:
        raise ValueError(f"a {type(model).__name__} stands on no other tokenizer, so it is saved without base={name!r}")
    if missing := sorted(lent.keys() - own.keys()):
        raise ValueError(f"base={name!r} has what this model lacks: {', '.join(missing[:10])}")
    if changed := [key for key, value in lent.items() if not torch.equal(own[key].cpu(), value.to(own[key].dtype))]:
        raise ValueError(f"base={name!r} differs from what this model holds, save it whole: {', '.join(changed[:10])}")
    return frozenset(lent), {"base": {"name": found.name, "sha256": sha256_of(found.file)}}


def push_to_hub(
    model: "VisualTokenizer",
    repo: str,
    *,
    token: str | bool | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Upload with tokzoo",
    card: str | None = None,
    licence: str | None = None,
    dtype: "torch.dtype | None" = None,
) -> str:
    """Creates `repo` (and the branch `revision`) where needed, uploads config, weights and a model card.

    Args:
        card: the README.md; by default that of `tokzoo.about.model_card`.
        licence: SPDX identifier; by default that of the registered weights that the model's name says.

    Returns:
        The commit's address.

    Raises:
        PermissionError: no token, or one that may not write there. ConnectionError: the hub cannot be reached.
    """
    import tempfile

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from tokzoo.about import model_card

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, dtype=dtype)
        write_atomically(Path(folder) / CARD, card or model_card(model, repo, licence=licence))
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision, commit_message=commit_message
            )
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in (401, 403):
                raise
            raise PermissionError(
                f"the hub answered {error.response.status_code}: this token may not write to {repo}. "
                "Pass one that may as token=, or run `hf auth login`"
            ) from error
        except transport_error() as error:
            raise ConnectionError(f"the connection to the hub failed, try again: {error}") from error
    return str(commit.commit_url)

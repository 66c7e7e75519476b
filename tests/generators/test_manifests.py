"""The published state dicts of generators: every key read, every shape met, and a tokenizer that fits."""

import json
import math
from pathlib import Path

import pytest
import torch

import tokzoo
from tokzoo import _state, registry
from tokzoo.registry import architectures, load_object

FOLDER = Path(__file__).parents[1] / "golden" / "manifests"
MANIFESTS = [
    path
    for path in sorted(FOLDER.glob("*.json"))
    if path.name.startswith(("generator_", "ibq_ar_", "llamagen_gpt_", "open_magvit2_ar_", "rar_", "var_d", "maskgen_"))
]
LLAMAGEN = {  # the authors' names say no resolution; the sizes of these are in the manifests
    "llamagen_gpt_b_c2i": "llamagen_gpt_b_256",
    "llamagen_gpt_l_c2i": "llamagen_gpt_l_256",
    "llamagen_gpt_xl_c2i": "llamagen_gpt_xl_384",
    "llamagen_gpt_xxl_c2i": "llamagen_gpt_xxl_384",
    "llamagen_gpt_3b_c2i": "llamagen_gpt_3b_384",
    "llamagen_gpt_xl_t2i": "llamagen_gpt_xl_t2i_256",
}
PUBLISHED = [
    (entry.name, weights)
    for entry in architectures().values()
    if entry.kind == "generator"
    for weights in entry.weights
]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_maps_whole(path: Path) -> None:
    about = json.loads(path.read_text())
    architecture = architectures()[LLAMAGEN.get(path.stem, path.stem.replace("generator_", "maskgit_"))]
    with torch.device("meta"):
        model = load_object(architecture.model)(architecture.config)
        published = {key: torch.empty(shape) for key, (shape, _) in about["state_dict"].items()}
    ours = load_object(architecture.convert)(published, architecture.config)
    _state.check_fit(model.state_dict(), ours, path.stem)
    types = about["state_dict"].get("model.embeddings.token_type_embeddings.weight", [[0]])[0]  # folded into positions
    assert sum(value.numel() for value in model.parameters()) == about["params"] - math.prod(types)


@pytest.mark.parametrize(("name", "weights"), PUBLISHED, ids=lambda value: value if isinstance(value, str) else "")
def test_every_published_generator_names_a_tokenizer_that_decodes_its_tokens(name: str, weights: object) -> None:
    found, tag = registry.find(weights.tokenizer)
    assert tag is not None and tag.tag == weights.tokenizer.partition(".")[2]
    with torch.device("meta"):
        tok = load_object(found.model)(found.config)
        tokzoo.create_model(name).check_pair(tok.token_spec)

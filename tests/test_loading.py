"""A state dict fits whole, or nothing is loaded; no code in a file is ever run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tokzoo
from tests.helpers import tiny
from tokzoo import hub
from tokzoo.conversion import rename_keys
from tokzoo.golden import read_case
from tokzoo.tokenizers.titok import VitSize, config

CASES = Path(__file__).parent / "golden" / "cases"


def saved(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    tiny("titok").save_pretrained(folder)
    file = folder / "model.safetensors"
    return file, load_file(file)


def test_all_that_is_wrong_is_named_at_once_and_nothing_is_loaded(tmp_path: Path) -> None:
    file, state = saved(tmp_path)
    state["stranger"] = torch.zeros(1)
    del state["decoder.mask_token"]
    state["quantizer.codebook"] = torch.zeros(3, 6)
    save_file(state, file)
    tok = tiny("titok")
    before = {key: value.clone() for key, value in tok.state_dict().items()}
    message = (
        r"1 missing: decoder\.mask_token; 1 unexpected: stranger; "
        r"1 of another shape: quantizer\.codebook \(3, 6\) for \(16, 6\)"
    )
    with pytest.raises(ValueError, match=message):
        tokzoo.load_weights(tok, file, converted=True)
    assert all(torch.equal(value, before[key]) for key, value in tok.state_dict().items())


def test_only_ten_of_each_kind_are_listed(tmp_path: Path) -> None:
    file, state = saved(tmp_path)
    save_file(state | {f"extra{number:02}": torch.zeros(1) for number in range(13)}, file)
    with pytest.raises(ValueError, match=r"13 unexpected: extra00.*extra09 and 3 more"):
        tokzoo.from_pretrained(tmp_path)


def test_a_key_that_no_rule_reads_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match=r"no rule reads 1 checkpoint keys: b\.weight \(2,\)"):
        rename_keys({"a.weight": torch.zeros(1), "b.weight": torch.zeros(2)}, [(r"a\.(.+)", r"ours.\1")])
    with pytest.raises(KeyError, match="two checkpoint keys are read as 'x'"):
        rename_keys({"a": torch.zeros(1), "b": torch.zeros(1)}, [(r"[ab]", "x")])


@pytest.mark.parametrize("kept", [0, 5, 400, 2000])
def test_a_truncated_safetensors_file_is_refused_by_name(kept: int, tmp_path: Path) -> None:
    file, _ = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors is broken"):
        tokzoo.from_pretrained(tmp_path)


class Trap:
    """Unpickled without care, it writes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (self.path, "w"))


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    file, _ = saved(tmp_path)
    file.unlink()
    mark = tmp_path / "executed"
    torch.save({"weight": torch.zeros(1), "trap": Trap(str(mark))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="only tensors are read"):
        tokzoo.from_pretrained(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_an_authors_folder_loads_with_their_config_and_pickle(wrapper, tmp_path: Path, monkeypatch) -> None:
    case = read_case(CASES / "titok_vq_single_tiny.json")
    monkeypatch.setitem(config.VIT_SIZES, "tiny", VitSize(width=64, depth=2, num_heads=4))
    published = {
        "model": {"vq_model": case.config["vq_model"]},
        "dataset": {"preprocessing": {"crop_size": case.config["crop_size"]}},
    }
    (tmp_path / "config.json").write_text(json.dumps(published))
    torch.save({wrapper: case.weights} if wrapper else case.weights, tmp_path / "pytorch_model.bin")
    tok = tokzoo.from_pretrained(tmp_path)
    assert not tok.training
    indices = tok.encode(case.image()).indices.unsqueeze(1)
    assert case.misfit("indices", indices) is None


def test_offline_and_not_cached_the_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        tokzoo.from_pretrained("titok_l32.in1k", cache_dir=tmp_path, local_files_only=True)
    for fact in (
        "yucornetto/tokenizer_titok_l32_imagenet: model.safetensors",
        "fun-research/TiTok: titok_l32.bin",
        "cache",
    ):
        assert fact in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, "holds no config.json"),
        ("config.json", "{", "is not JSON"),
        ("config.json", '{"unknown": 1}', "neither tokzoo's nor"),
    ],
)
def test_folders_without_a_readable_config_are_refused(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tokzoo.from_pretrained(tmp_path)


def test_half_precision_files_come_back_as_float32_unless_asked(tmp_path: Path) -> None:
    tok = tiny("titok")
    tok.save_pretrained(tmp_path, dtype=torch.float16)
    assert load_file(tmp_path / "model.safetensors")["quantizer.codebook"].dtype == torch.float16
    assert tokzoo.from_pretrained(tmp_path).dtype == torch.float32
    loaded = tokzoo.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.dtype == torch.bfloat16
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_a_save_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch) -> None:
    file, state = saved(tmp_path)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny("titok").save_pretrained(tmp_path)
    assert load_file(file).keys() == state.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


class TestBase:
    """A quantized copy of the shipped VAE, saved without the networks, which that has."""

    BASE = "vit_kl_nano.photos64"

    def save(self, folder: Path, tok: tokzoo.VisualTokenizer | None = None) -> Path:
        tok = tok or tokzoo.quantize(tokzoo.from_pretrained(self.BASE), levels=16)
        return tok.save_pretrained(folder, base=self.BASE)

    def test_what_a_base_gives_is_not_written_and_comes_back(self, tmp_path: Path) -> None:
        tok = tokzoo.quantize(tokzoo.from_pretrained(self.BASE), levels=16)
        folder = self.save(tmp_path, tok)
        assert set(load_file(folder / "model.safetensors")) == {"quantizer.values"}
        again = tokzoo.from_pretrained(folder)
        for key, value in tok.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), key
        assert any(self.BASE in str(file) for file in hub.download(folder)), "offline use needs the base's files, too"
        half = tokzoo.from_pretrained(folder, part="encoder")
        assert half.decoder is None and half.encoder is not None

    def test_a_network_that_was_trained_on_is_saved_whole_or_not_at_all(self, tmp_path: Path) -> None:
        tok = tokzoo.quantize(tokzoo.from_pretrained(self.BASE), levels=16)
        with torch.no_grad():
            next(tok.decoder.parameters()).add_(1e-3)
        with pytest.raises(ValueError, match=r"differs from what this model holds, save it whole: decoder\."):
            self.save(tmp_path, tok)
        assert not list(tmp_path.iterdir())

    def test_a_tokenizer_that_stands_on_none_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="stands on no other tokenizer"):
            self.save(tmp_path, tiny("titok"))

    @pytest.mark.parametrize("base", ["vit_kl_nano.photos64", {"name": "/etc/passwd", "sha256": ""}, {"name": BASE}])
    def test_a_base_that_is_no_registered_weights_is_refused(self, base, tmp_path: Path) -> None:
        described = json.loads((self.save(tmp_path) / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(described | {"base": base}))
        with pytest.raises((ValueError, KeyError), match=r"as its base|no model"):
            tokzoo.from_pretrained(tmp_path)

    def test_another_file_than_the_one_it_was_saved_with_is_refused(self, tmp_path: Path) -> None:
        described = json.loads((self.save(tmp_path) / "config.json").read_text())
        described["base"]["sha256"] = "0" * 64
        (tmp_path / "config.json").write_text(json.dumps(described))
        with pytest.raises(ValueError, match="recorded is 0000"):
            tokzoo.from_pretrained(tmp_path)

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from tokzoo._files import replace_atomically, write_atomically
from tokzoo.demo import DemoResult, PhotoResult, Prefix, write_demo


class Links(HTMLParser):
    """Collects what the page points to, and checks that tags close in the order in which they opened."""

    def __init__(self, page: str):
        super().__init__()
        self.targets: list[str] = []
        self.open_tags: list[str] = []
        self.feed(page)
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "link", "br", "wbr"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag


def photo(name: str, *, indices: list[int] | list[list[int]] | None, levels: int | None) -> PhotoResult:
    original = Image.new("RGB", (16, 16), "orange")
    reconstruction = Image.new("RGB", (16, 16), "gold")
    return PhotoResult(
        name=name, original=original, reconstruction=reconstruction, indices=indices, levels=levels, psnr=21.04
    )


def result(tokenizer: str = "tiny.photos64", *, names: tuple[str, ...] = ("apple", "dog")) -> DemoResult:
    photos = [photo(name, indices=[0, 1, 2, 3], levels=8) for name in names]
    return DemoResult(tokenizer=tokenizer, summary="Four.", bits_per_image=12, num_tokens=4, seconds=0.5, photos=photos)


def continuous() -> DemoResult:
    photos = [photo("apple", indices=None, levels=None)]
    return DemoResult(tokenizer="kl", summary="", bits_per_image=None, num_tokens=1, seconds=0.5, photos=photos)


def test_page_links_only_to_files_beside_it_and_no_file_is_left_over(tmp_path: Path) -> None:
    page = write_demo([result(), continuous()], tmp_path / "new" / "demo")
    targets = Links(page.read_text()).targets
    files = {(page.parent / unquote(target)).resolve() for target in targets if not target.startswith("#")}
    assert files == set(page.parent.rglob("*.png"))
    assert {path for path in page.parent.rglob("*") if path.is_file()} == files | {page}
    assert "http" not in page.read_text()


def test_page_states_tokens_bits_psnr_and_compression(tmp_path: Path) -> None:
    page = write_demo([result()], tmp_path).read_text()
    assert "4 tokens x 3 bits = 12 bits" in page
    assert "mean PSNR 21.0 dB" in page
    assert "512x smaller than raw" in page  # 16 * 16 * 24 / 12


def test_continuous_tokens_get_neither_strip_nor_compression(tmp_path: Path) -> None:
    page = write_demo([continuous()], tmp_path).read_text()
    assert "1 token, continuous" in page
    assert "smaller than raw" not in page and "tokens.png" not in page


def ordered() -> DemoResult:
    prefixes = tuple(
        Prefix(num_tokens=count, image=Image.new("RGB", (16, 16), "tan"), psnr=10.0 + count) for count in (1, 2, 4)
    )
    photos = [replace(photo(name, indices=[0, 1, 2, 3], levels=8), prefixes=prefixes) for name in ("apple", "dog")]
    return DemoResult(tokenizer="ordered", summary="", bits_per_image=12, num_tokens=4, seconds=0.5, photos=photos)


def test_an_ordered_tokenizer_shows_its_prefixes_and_a_curve_over_them(tmp_path: Path) -> None:
    shown = ordered()
    assert [(point.setting, point.file_bytes, point.psnr) for point in shown.rate_points] == [
        (1, 3 / 8, 11.0),
        (2, 6 / 8, 12.0),
        (4, 12 / 8, 14.0),
    ]
    page = write_demo([shown, result()], tmp_path).read_text()
    assert page.count('class="prefixes"') == 2 and (tmp_path / "ordered" / "dog.first_2.png").is_file()
    assert "ordered, 2 tokens" in page and "tiny.photos64, 4 tokens" in page and "JPEG, quality 30" in page


def test_ordered_tokenizers_share_a_sheet_of_their_prefixes(tmp_path: Path) -> None:
    shown = ordered()
    page = write_demo([shown, result()], tmp_path / "one").read_text()
    assert page.count('src="lengths.png"') == 1
    one = Image.open(tmp_path / "one" / "lengths.png")
    write_demo([shown, replace(shown, tokenizer="other")], tmp_path / "two")
    two = Image.open(tmp_path / "two" / "lengths.png")
    assert two.width == one.width and two.height > 1.5 * one.height
    assert not (write_demo([result()], tmp_path / "none").parent / "lengths.png").exists()


def test_all_reconstructions_come_first_then_lengths_then_generators_and_many_codes_last_and_folded(
    tmp_path: Path,
) -> None:
    several = replace(result("several"), photos=[photo("apple", indices=[0, 1, 2, 3] * 3, levels=8)])
    assert (several.codes_per_token, result().codes_per_token, continuous().codes_per_token) == (3, 1, 0)
    details, generated = '<section id="gaussians"></section>', '<section id="generator"></section>'
    page = write_demo([several, ordered(), result()], tmp_path, generated=[generated], details=[details]).read_text()
    found = re.findall(r'<section id="([^"]+)"', page)
    first = ["reconstructions", "lengths", "bytes", "generator", "gaussians"]
    assert found == [*first, "ordered", "tiny.photos64", "several"]
    overview = page[page.index('id="reconstructions"') : page.index('id="lengths"')]
    assert overview.count("apple.reconstruction.png") == 3 and overview.count("dog.original.png") == 1
    assert page.count("<details><summary>1 photo, 3 codes a token</summary>") == 1


def test_continuous_tokens_have_no_place_on_the_plot(tmp_path: Path) -> None:
    page = write_demo([continuous()], tmp_path).read_text()
    assert "rate_distortion" not in page and not list(tmp_path.glob("*.png"))


def test_pictures_are_stored_without_loss(tmp_path: Path) -> None:
    shown = result()
    write_demo([shown], tmp_path)
    stored = Image.open(tmp_path / "tiny.photos64" / "dog.reconstruction.png")
    assert np.array_equal(np.asarray(stored), np.asarray(shown.photos[1].reconstruction))


def test_any_name_is_shown_as_text_and_gets_its_own_file(tmp_path: Path) -> None:
    page = write_demo([result("<b>&../x", names=("a/b", "a b", "A_B", '"'))], tmp_path).read_text()
    assert "&lt;b&gt;&amp;../x" in page and "<b>&../x" not in page
    assert len(list(tmp_path.rglob("*.original.png"))) == 4
    for target in Links(page).targets:
        assert target.startswith("#") or (tmp_path / target).is_file()


def test_second_run_replaces_the_first(tmp_path: Path) -> None:
    write_demo([result()], tmp_path)
    page = write_demo([result(names=("apple", "dog", "rose"))], tmp_path)
    assert "rose" in page.read_text()


def test_results_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one tokenizer"):
        write_demo([], tmp_path)
    with pytest.raises(ValueError, match="holds no photo"):
        result(names=())
    with pytest.raises(ValueError, match="indices and levels of 'apple'"):
        photo("apple", indices=[1], levels=None)


def test_file_appears_whole_with_common_permissions_and_nothing_beside_it(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    write_atomically(tmp_path / "a.txt", "tokens\r\n")
    write_atomically(str(tmp_path / "a.bin"), b"\0\1")
    assert (tmp_path / "a.txt").read_bytes() == b"tokens\r\n"
    assert (tmp_path / "a.bin").read_bytes() == b"\0\1"
    assert (tmp_path / "a.txt").stat().st_mode == plain.stat().st_mode
    assert len(list(tmp_path.iterdir())) == 3


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_atomically(path, "old")
    with pytest.raises(RuntimeError, match="disk"), replace_atomically(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".safetensors"
        temporary.write_text("half of the n")
        raise RuntimeError("disk")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

"""Folders, zips and tars give the same images, and nothing from elsewhere."""

import io
import logging
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from tokzoo.data.readers import ImageFolder

MANIFEST = "file,split,label\nb/1.png,train,bird\na/0.png,train,ant\na/2.png,val,ant\n"


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(root: Path, files: dict[str, bytes], *, zipped: bool) -> Path:
    """The files as a folder or as a zip."""
    if zipped:
        with ZipFile(root / "photos.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return root / "photos.zip"
    for name, content in files.items():
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "photos"


@pytest.fixture(params=[False, True], ids=["folder", "zip"])
def zipped(request) -> bool:
    return request.param


FILES = {"b/1.png": png(1), "a/0.png": png(0), "a/2.png": png(2), "a/notes.txt": b"no image"}


def test_images_are_sorted_by_name_and_labelled_by_their_folder(tmp_path, zipped):
    photos = ImageFolder(write(tmp_path, FILES, zipped=zipped))
    assert photos.names == ["a/0.png", "a/2.png", "b/1.png"]
    assert photos.labels == ["a", "a", "b"]
    assert len(photos) == 3
    assert [photo.shape for photo in photos] == [(3, 4, 3)] * 3
    assert [photo[0, 0].tolist() for photo in photos] == [[0, 0, 0], [2, 0, 0], [1, 0, 0]]
    assert photos[0].dtype == np.uint8


def test_the_manifest_decides_what_is_read(tmp_path, zipped):
    path = write(tmp_path, FILES | {"manifest.csv": MANIFEST.encode(), "unlisted.png": png(9)}, zipped=zipped)
    assert ImageFolder(path).names == ["a/0.png", "a/2.png", "b/1.png"]
    train = ImageFolder(path, split="train")
    assert (train.names, train.labels) == (["a/0.png", "b/1.png"], ["ant", "bird"])
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        ImageFolder(path, split="test")


def test_a_flat_folder_has_no_labels(tmp_path, zipped):
    assert ImageFolder(write(tmp_path, {"0.png": png(0)}, zipped=zipped)).labels is None


def test_a_split_without_a_manifest_is_refused(tmp_path, zipped):
    with pytest.raises(ValueError, match=r"needs a manifest\.csv"):
        ImageFolder(write(tmp_path, FILES, zipped=zipped), split="train")


@pytest.mark.parametrize("name", ["absent.png", "../outside.png", "/etc/hostname"])
def test_a_row_without_its_file_inside_is_refused(tmp_path, zipped, name):
    (tmp_path / "outside.png").write_bytes(png(7))
    path = write(tmp_path, {"manifest.csv": f"file\n{name}\n".encode()}, zipped=zipped)
    with pytest.raises(FileNotFoundError, match=f"does not hold: {name}"):
        ImageFolder(path)


@pytest.mark.parametrize("target", ["outside.png", "elsewhere"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, target):
    path = write(tmp_path, FILES, zipped=False)
    (tmp_path / "outside.png").write_bytes(png(7))
    (tmp_path / "elsewhere").mkdir()
    (path / "link.png").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match="out of the folder"):
        ImageFolder(path)


def test_a_link_within_the_folder_is_read(tmp_path):
    path = write(tmp_path, FILES, zipped=False)
    (path / "c.png").symlink_to(path / "b" / "1.png")
    photos = ImageFolder(path)
    assert photos[photos.names.index("c.png")][0, 0, 0] == 1


BROKEN = {"bad.png": png(1)[:40], "good.png": png(3), "text.jpg": b"not an image"}


def test_an_unreadable_file_is_named(tmp_path, zipped):
    photos = ImageFolder(write(tmp_path, BROKEN, zipped=zipped))
    with pytest.raises(ValueError, match=r"'bad\.png'"):
        photos[0]


def test_unreadable_files_are_left_out_and_counted(tmp_path, zipped, caplog):
    with caplog.at_level(logging.WARNING):
        photos = ImageFolder(write(tmp_path, BROKEN, zipped=zipped), skip_unreadable=True)
    assert photos.names == ["good.png"]
    assert "left out 2 of 3 images" in caplog.text


def test_what_holds_no_images_is_refused(tmp_path, zipped):
    with pytest.raises(ValueError, match="no images in"):
        ImageFolder(write(tmp_path, {"notes.txt": b""}, zipped=zipped))


def test_what_is_neither_folder_nor_zip_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(png(0))
    with pytest.raises(ValueError, match=r"neither a folder, a zip nor a \.tar"):
        ImageFolder(tmp_path / "photo.png")
    with pytest.raises(FileNotFoundError):
        ImageFolder(tmp_path / "absent.zip")


def test_a_zip_is_read_by_many_threads_and_by_a_forked_process(tmp_path):
    photos = ImageFolder(write(tmp_path, {f"{i:03}.png": png(i) for i in range(200)}, zipped=True))
    with ThreadPoolExecutor(8) as pool:
        assert [photo[0, 0, 0] for photo in pool.map(photos.__getitem__, range(200))] == list(range(200))
    child = os.fork()
    if child == 0:
        os._exit(0 if photos[7][0, 0, 0] == 7 else 1)
    assert os.waitpid(child, 0)[1] == 0


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_tar_and_a_folder_of_its_shards_hold_the_same_images(tmp_path):
    whole = ImageFolder(write_tar(tmp_path / "photos.tar", FILES))
    (tmp_path / "shards").mkdir()
    for number, name in enumerate(FILES):
        write_tar(tmp_path / "shards" / f"{number}.tar", {name: FILES[name]})
    shards = ImageFolder(tmp_path / "shards")
    assert whole.names == shards.names == ["a/0.png", "a/2.png", "b/1.png"]
    assert whole.labels == shards.labels == ["a", "a", "b"]
    for photos in (whole, shards):
        assert [photo[0, 0].tolist() for photo in photos] == [[0, 0, 0], [2, 0, 0], [1, 0, 0]]


def test_a_tar_with_a_manifest_has_its_splits(tmp_path):
    path = write_tar(tmp_path / "photos.tar", FILES | {"manifest.csv": MANIFEST.encode()})
    assert ImageFolder(path, split="val").names == ["a/2.png"]


def test_tars_that_cannot_be_read_in_place_or_hold_a_name_twice_are_refused(tmp_path):
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match=r"no plain tar .* decompress it first"):
        ImageFolder(tmp_path / "packed.tar")
    for shard in ("0", "1"):
        (tmp_path / "shards").mkdir(exist_ok=True)
        write_tar(tmp_path / "shards" / f"{shard}.tar", {"a.png": png(0)})
    with pytest.raises(ValueError, match=r"a\.png is in .*0\.tar and again in .*1\.tar"):
        ImageFolder(tmp_path / "shards")

"""The cache's promises: whole or absent, damage is named, a batch is the stacked tensors."""

from __future__ import annotations

import os

import pytest
import torch

from direct.common.errors import UserError
from direct.prepare import store as store_module
from direct.prepare.store import Store


def test_store_keeps_what_it_is_given(tmp_path):
    store = Store(tmp_path)
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(4).bfloat16()}
    store.write(tensors)
    store.write({"c": torch.zeros(1)})
    again = Store(tmp_path)
    assert again.missing(["a", "b", "c", "d"]) == ["d"]
    assert all(torch.equal(again[key], tensor) for key, tensor in tensors.items())
    again.remove()
    assert not tmp_path.exists()


@pytest.mark.parametrize("fault", ["flip", "cut", "no checksum"])
def test_damaged_shard_is_absent_and_the_others_stay(tmp_path, capsys, fault):
    Store(tmp_path).write({"a": torch.randn(5)})
    (shard,) = tmp_path.glob("*.safetensors")
    Store(tmp_path).write({"b": torch.ones(2)})
    data = bytearray(shard.read_bytes())
    if fault == "flip":
        data[-1] ^= 1
    if fault == "no checksum":
        shard.with_name(shard.name + ".sha256").unlink()
    shard.write_bytes(data[: -1 if fault == "cut" else None])
    os.utime(shard, ns=(1, 1))  # a clock may be too coarse to tell this write from the first
    store = Store(tmp_path)
    assert store.missing(["a", "b"]) == ["a"]
    if fault != "no checksum":
        assert f"{shard}" in capsys.readouterr().out
    store.write({"a": torch.zeros(5)})
    store.refresh()
    assert store["a"].tolist() == [0] * 5


def test_a_shard_that_another_process_sets_aside_while_it_is_opened_is_absent(
    tmp_path, monkeypatch
):
    for key in "ab":
        Store(tmp_path).write({key: torch.ones(2)})
    gone = min(tmp_path.glob("*.safetensors"))
    monkeypatch.setattr(
        store_module, "_is_sound", lambda path: path != gone or path.rename(tmp_path / "aside")
    )
    assert len(Store(tmp_path).missing("ab")) == 1


def test_unfinished_write_is_not_there(tmp_path):
    (tmp_path / ".x.safetensors.1.tmp").write_bytes(b"half")
    assert Store(tmp_path).missing(["a"]) == ["a"]


def flip(path, keep_times):
    """One bit of the shard's last byte, as a disk would flip it: without a new time."""
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_bit_flipped_on_the_disk_is_found_when_it_is_read(tmp_path, capsys):
    Store(tmp_path).write({"a": torch.zeros(4), "b": torch.ones(4).bfloat16()})
    (shard,) = tmp_path.glob("*.safetensors")
    flip(shard, keep_times=True)
    store = Store(tmp_path)
    last = next(key for key in "ab" if not _whole(store, key))
    assert shard.name in capsys.readouterr().out and store.missing("ab") == ["a", "b"]
    assert last in "ab" and not shard.exists()


@pytest.mark.parametrize("place", [0, 7, 9, 30])
def test_a_bit_flipped_in_a_header_is_found_when_the_store_is_opened(tmp_path, capsys, place):
    """Its time says that nothing touched it, so it is not hashed."""
    Store(tmp_path).write({"a": torch.zeros(4)})
    (shard,) = tmp_path.glob("*.safetensors")
    status, data = shard.stat(), bytearray(shard.read_bytes())
    data[place] ^= 0x80
    shard.write_bytes(data)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Store(tmp_path).missing("a") == ["a"] and not shard.exists()
    assert shard.name in capsys.readouterr().out


def _whole(store, key):
    try:
        store[key]
    except UserError as error:
        assert "is damaged at" in str(error)
        return False
    return True


def test_shards_are_hashed_again_only_when_something_touched_them(tmp_path, monkeypatch):
    Store(tmp_path).write({"a": torch.ones(2)})
    (shard,) = tmp_path.glob("*.safetensors")
    hashed = []
    monkeypatch.setattr(store_module, "read_checked", lambda path: hashed.append(path) or b"whole")
    assert Store(tmp_path)["a"].tolist() == [1, 1] and hashed == []
    os.utime(shard, ns=(1, 1))  # as after a copy
    assert Store(tmp_path).missing(["a"]) == [] and hashed == [shard]
    assert Store(tmp_path).missing(["a"]) == [] and hashed == [shard]


def test_verify_hashes_everything_and_sets_the_damaged_aside(tmp_path):
    store = Store(tmp_path)
    store.write({"a": torch.zeros(4)})
    (bad,) = tmp_path.glob("*.safetensors")
    store.write({"b": torch.zeros(4)})
    assert store.verify() == []
    flip(bad, keep_times=True)
    assert store.verify() == [bad] and Store(tmp_path).missing("ab") == ["a"]


def _elsewhere(monkeypatch):
    """As on a system that cannot say what is in memory."""
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)


def _in_parts(monkeypatch):
    """Reads that end early, the first ones with nothing at all."""
    real = os.preadv

    def read(file, buffers, offset, *flags):
        if flags:
            raise BlockingIOError
        return real(file, [buffers[0][:3]], offset)

    monkeypatch.setattr(os, "preadv", read)


@pytest.mark.parametrize("system", [lambda _: None, _elsewhere, _in_parts])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5)])
def test_a_batch_is_the_stacked_tensors(tmp_path, monkeypatch, dtype, shape, system):
    tensors = {str(n): torch.randn(shape).mul(9).to(dtype) for n in range(5)}
    store = Store(tmp_path)
    store.write({key: tensors[key] for key in "02"})
    store.write({key: tensors[key] for key in "134"})
    store.refresh()
    system(monkeypatch)
    for keys in ("3", "40", "21044"):
        expected = torch.stack([tensors[key] for key in keys])
        assert torch.equal(store.batch(keys), expected) and store.batch(keys).dtype == dtype
    with pytest.raises(KeyError):
        store.batch(["0", "9"])


def test_a_batch_of_two_shapes_is_refused(tmp_path):
    store = Store(tmp_path)
    store.write({"a": torch.zeros(2, 3), "b": torch.zeros(3, 2)})
    store.refresh()
    with pytest.raises(ValueError, match=r"b is \(3, 2\).*a .*\(2, 3\)"):
        store.batch(["a", "b"])


def test_a_shard_that_shrinks_while_it_is_open_is_set_aside(tmp_path, capsys):
    store = Store(tmp_path)
    store.write({"a": torch.zeros(1000), "b": torch.zeros(1000)})
    store.refresh()
    (shard,) = tmp_path.glob("*.safetensors")
    os.truncate(shard, shard.stat().st_size - 4)
    with pytest.raises(UserError, match="is damaged at b; set aside"):
        store.batch(["a", "b"])
    assert store.missing("ab") == ["a", "b"] and not shard.exists()


def test_more_shards_than_are_held_open(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "OPEN", 2)
    for n in range(5):
        Store(tmp_path).write({str(n): torch.tensor([n])})
    store = Store(tmp_path)
    for n in (0, 1, 2, 3, 4, 0, 4, 2):
        assert int(store[str(n)]) == n and len(store._open) <= 2


def test_store_of_parts_reads_what_it_wrote(tmp_path):
    store = Store(tmp_path / "parts")
    store.write({"a": torch.arange(3.0)})
    assert store.missing(["b", "a", "b"]) == ["b", "a"]  # not read again yet
    store.refresh()
    assert store.missing(["b", "a", "b"]) == ["b"] and store["a"].tolist() == [0, 1, 2]

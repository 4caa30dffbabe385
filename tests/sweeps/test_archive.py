"""Results travel whole; what an archive must not do, it cannot."""

import gzip
import io
import json
import os
import tarfile
from dataclasses import replace

import pytest
from made_up import BASE, S3

from direct.common import manifest
from direct.common.errors import UserError
from direct.common.files import digest, write_json
from direct.identity import identity, named
from direct.settings import override
from sweeps import archive
from sweeps.cell import SCHEMA, read_config, read_result
from sweeps.experiments import Experiment, recorded, remember
from sweeps.schema import cells


def fill(root, seeds=(0, 1)):
    for cell in cells(S3, BASE, seeds):
        result = {
            "schema": SCHEMA,
            "cell": identity(cell.config),
            "config": named(cell.config),
            "status": "done",
            "prompts": ["p"],
            "captions": ["c"],
            "scores": {"PC": [0.5]},
            "provenance": {"commit": "abc"},
        }
        result["checksum"] = digest(result, 64)
        write_json(root / cell.id / "result.json", result)
        write_json(root / cell.id / "config.json", named(cell.config))


def contents(root):
    return {p.parent.name: p.read_bytes() for p in sorted(root.glob("*/result.json"))}


@pytest.fixture
def packed(tmp_path):
    root, path = tmp_path / "here", tmp_path / "results.tar.gz"
    fill(root)
    assert archive.export(root, "tiny", path) == (8, 0)
    return root, path


def members(path):
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def rewrite(path, found, special=None):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in found.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        if special:
            tar.addfile(special)


def test_there_and_back(packed, tmp_path):
    root, path = packed
    there = tmp_path / "there"
    assert archive.take(there, "tiny", path)[:2] == (8, 0)
    assert contents(there) == contents(root)
    assert all(read_result(run) and read_config(run) for run in there.iterdir())
    assert archive.take(there, "tiny", path)[:2] == (0, 8)
    again = tmp_path / "again.tar.gz"
    archive.export(there, "tiny", again)
    assert again.read_bytes() == path.read_bytes(), "the same results, the same bytes"


def test_only_what_is_missing_is_added(packed, tmp_path):
    there = tmp_path / "there"
    fill(there, seeds=(0,))
    assert archive.take(there, "tiny", packed[1])[:2] == (4, 4)


def test_another_result_is_never_overwritten(packed, tmp_path):
    root, path = packed
    there = tmp_path / "there"
    fill(there, seeds=(0,))
    run = next(there.iterdir())
    result = json.loads((run / "result.json").read_text())
    result["scores"]["PC"] = [0.9]
    result["checksum"] = digest({k: v for k, v in result.items() if k != "checksum"}, 64)
    write_json(run / "result.json", result)
    before = contents(there)
    with pytest.raises(UserError, match="nothing was imported"):
        archive.take(there, "tiny", path)
    assert contents(there) == before
    with pytest.raises(UserError, match="exists"):
        archive.export(root, "tiny", path)


def noted(root, name="mine", seeds=(0, 1)):
    """A variant of Table S3 by that name, noted as a run notes it."""
    table = replace(S3, changed=("train.learning_rate=0.0002",))
    base = override(BASE, "train.learning_rate=2e-4")
    planned = tuple(cells(table, base, seeds))
    remember(Experiment(name, table, planned, base), root)
    return f"experiments/{name}/{table.name}.json"


def test_experiments_travel_with_their_results(packed, tmp_path):
    """`list`, `status` and `report` read nothing but the records and the results."""
    root, there, path = packed[0], tmp_path / "there", tmp_path / "more.tar.gz"
    place = noted(root)
    noted(root, "other"), noted(there, "other", seeds=(0,))
    assert archive.export(root, "tiny", path) == (8, 2)
    assert archive.take(there, "tiny", path) == (8, 0, 1, ("other",))
    (mine, other), faults = recorded(there)
    assert not faults and mine == recorded(root)[0][0] and other.seeds == (0,)
    assert (there / place).read_bytes() == (root / place).read_bytes()
    assert archive.take(there, "tiny", path) == (0, 8, 0, ("other",))


def test_an_archive_of_before_is_read(packed, tmp_path):
    found = members(packed[1])
    manifest = json.loads(found[archive.MANIFEST])
    manifest["version"] = 1
    del manifest["experiments"]
    rewrite(packed[1], found | {archive.MANIFEST: json.dumps(manifest).encode()})
    assert archive.take(tmp_path / "there", "tiny", packed[1]) == (8, 0, 0, ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x | {"name": "yours"}, "not the experiment that its name says"),
        (lambda x: x | {"own": False}, "not the experiment that its name says"),
        (lambda x: x | {"base": x["base"] | {"profile": "x"}}, "names its cells otherwise|profile"),
        (lambda x: x | {"cells": 3}, "is not an experiment"),
        (lambda x: [x], "is not an experiment"),
    ],
)
def test_a_record_that_says_something_else_is_refused(packed, tmp_path, change, said):
    root, path = packed[0], tmp_path / "more.tar.gz"
    place = noted(root)
    archive.export(root, "tiny", path)
    found = members(path)
    found[place] = json.dumps(change(json.loads(found[place]))).encode()
    manifest = json.loads(found[archive.MANIFEST])
    manifest["experiments"][place] = archive._sha(found[place])
    rewrite(path, found | {archive.MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(UserError, match=said):
        archive.take(tmp_path / "there", "tiny", path)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../../evil/result.json",
        "/tmp/result.json",
        "a/b/result.json",
        "0123456789ab/../x/result.json",
        "0123456789ab/other.json",
        "experiments/../mine.json",
        "experiments/.mine/mine.json",
        "experiments/mine/mine/mine.json",
    ],
)
def test_a_path_that_escapes_is_refused(packed, tmp_path, name):
    path = packed[1]
    rewrite(path, members(path) | {name: b"{}"})
    with pytest.raises(UserError, match="is not a result file"):
        archive.take(tmp_path / "there", "tiny", path)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices_are_refused(packed, tmp_path, kind):
    path = packed[1]
    special = tarfile.TarInfo("0123456789ab/result.json")
    special.type, special.linkname = kind, "/etc/passwd"
    rewrite(path, members(path), special)
    with pytest.raises(UserError, match="is not a result file"):
        archive.take(tmp_path / "there", "tiny", path)
    assert not (tmp_path / "there").exists()


def test_a_link_in_the_way_is_not_followed(packed, tmp_path):
    there, outside = tmp_path / "there", tmp_path / "outside"
    there.mkdir(), outside.mkdir()
    last = max(contents(packed[0]))
    (there / last).symlink_to(outside)
    with pytest.raises(UserError, match="is a link"):
        archive.take(there, "tiny", packed[1])
    assert not list(outside.iterdir())
    assert [path.name for path in there.iterdir()] == [last], "nothing before it was written"


def edited(found, change):
    name = next(n for n in found if n != archive.MANIFEST)
    result = json.loads(found[name])
    change(result)
    return found | {name: json.dumps(result).encode()}, name


def rehashed(found):
    manifest = json.loads(found[archive.MANIFEST])
    manifest["results"] = {
        n.split("/")[0]: archive._sha(d) for n, d in found.items() if n != archive.MANIFEST
    }
    return found | {archive.MANIFEST: json.dumps(manifest).encode()}


def test_an_edited_result_is_refused_also_with_its_manifest_mended(packed, tmp_path):
    path = packed[1]
    found, _ = edited(members(path), lambda result: result["scores"].update(PC=[0.99]))
    rewrite(path, found)
    with pytest.raises(UserError, match="not those of its manifest"):
        archive.take(tmp_path / "there", "tiny", path)
    rewrite(path, rehashed(found))
    with pytest.raises(UserError, match="was edited or is of another"):
        archive.take(tmp_path / "there", "tiny", path)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 3}, "of version 3"),
        ({"schema": 99}, "results 99"),
        ({"profile": "wan2.1-t2v-1.3b"}, "of profile"),
        ({"results": None}, "no whole manifest"),
    ],
)
def test_another_version_or_profile_is_refused(packed, tmp_path, change, said):
    path = packed[1]
    found = members(path)
    manifest = json.loads(found[archive.MANIFEST]) | change
    rewrite(path, found | {archive.MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(UserError, match=said):
        archive.take(tmp_path / "there", "tiny", path)


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"no tar", mtime=0), None])
def test_what_is_no_archive_is_refused(packed, tmp_path, data):
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(packed[1].read_bytes()[:300] if data is None else data)
    with pytest.raises(UserError, match="archive"):
        archive.take(tmp_path / "there", "tiny", path)


def test_an_archive_that_unpacks_to_too_much_is_refused(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "TOTAL", 2000)
    with pytest.raises(UserError, match="too large"):
        archive.take(tmp_path / "there", "tiny", packed[1])
    assert not (tmp_path / "there").exists()


def test_fsck_names_what_is_wrong_and_changes_nothing(packed, tmp_path):
    root, cache = packed[0], tmp_path / "cache"
    cache.mkdir()
    (cache / "a.safetensors").write_bytes(b"abc")
    (cache / "a.safetensors.sha256").write_text(archive._sha(b"abc") + "\n")
    assert archive.fsck(root, cache) == (17, [])
    first, second, *_ = sorted(root.iterdir())
    text = (first / "result.json").read_text()
    (first / "result.json").write_text(text.replace("0.5", "0.6"))
    (second / "config.json").write_text("{}")
    (cache / "a.safetensors").write_bytes(b"abd")
    (root / ".x.tmp").touch()
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    _, wrong = archive.fsck(root, cache)
    assert len(wrong) == 4 and first.name in wrong[0] and second.name in wrong[1]
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
    with pytest.raises(UserError, match="damaged"):
        archive.export(root, "tiny", tmp_path / "new.tar.gz")


def test_fsck_goes_on_past_what_is_no_file(packed, tmp_path):
    """And it looks at checkpoints and weights, which have their checksums in one file."""
    root, cache = packed[0], tmp_path / "cache"
    first, second, third, *_ = sorted(root.iterdir())
    (first / "result.json").unlink()
    (first / "result.json").mkdir()
    for name, aim in (("a", "/dev/zero"), ("b", "b")):
        path = cache / f"{name}.safetensors"
        cache.mkdir(exist_ok=True)
        path.symlink_to(aim)
        path.with_name(f"{path.name}.sha256").mkdir()
    (second / "records.jsonl").write_text("{}")
    (second / "records.jsonl.sha256").write_text("0" * 64)
    (third / "transformer").mkdir()
    (third / "transformer/weights").write_bytes(b"whole")
    manifest.write_manifest(third / "transformer")
    checked, wrong = archive.fsck(root, cache)
    assert checked == 20 and len(wrong) == 4
    (third / "transformer/weights").write_bytes(b"other")
    _, wrong = archive.fsck(root, cache)
    places = ("result.json", "a.safetensors", "b.safetensors", "records.jsonl", "weights")
    assert all(f"/{place}" in said for place, said in zip(places, wrong, strict=True))


def test_a_result_of_wrong_content_with_a_right_checksum_is_refused(packed, tmp_path):
    """Whoever makes an archive can compute any checksum."""
    _, path = packed
    found = members(path)
    name = next(n for n in found if n != archive.MANIFEST)
    result = json.loads(found[name])
    result["scores"] = {"PC": ["high"]}
    result["checksum"] = digest({k: v for k, v in result.items() if k != "checksum"}, 64)
    found[name] = json.dumps(result).encode()
    manifest = json.loads(found[archive.MANIFEST])
    manifest["results"][name.partition("/")[0]] = archive._sha(found[name])
    found[archive.MANIFEST] = json.dumps(manifest).encode()
    rewrite(path, found)
    with pytest.raises(UserError, match="was edited or is of another version"):
        archive.take(tmp_path / "there", "tiny", path)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extended_header_that_says_it_is_huge_is_not_read(packed, tmp_path, kind):
    import tracemalloc

    _, path = packed
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 3 << 30
    with gzip.open(path, "wb") as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            out.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="is not a whole archive"):
            archive.take(tmp_path / "there", "tiny", path)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for what in (path, tmp_path):
        with pytest.raises(UserError, match="is no regular file"):
            archive.take(tmp_path / "there", "tiny", what)


def test_deep_nesting_is_damage_like_any_other(packed, tmp_path):
    _, path = packed
    rewrite(path, {archive.MANIFEST: b"[" * 200_000})
    with pytest.raises(UserError, match="has no whole manifest"):
        archive.take(tmp_path / "there", "tiny", path)

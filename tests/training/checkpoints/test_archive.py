import os
import pickle
import resource
import zipfile
from collections import OrderedDict

import pytest
import torch

from tabweave.errors import ArtifactError
from tabweave.training.checkpoints.archive import load_archive

VALUE = {
    "state_dict": OrderedDict(a=torch.arange(6.0).view(2, 3).t(), b=torch.ones(())),
    "kinds": [torch.float32, torch.Size([2]), (1, -2.5, None, True, "text")],
    "bytes": torch.tensor([1, 2], dtype=torch.uint8),
    "half": torch.ones(2, dtype=torch.bfloat16),
}


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def saved(tmp_path):
    def save(value):
        torch.save(value, tmp_path / "a.ckpt")
        return tmp_path / "a.ckpt"

    return save


def refused(path, words):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match=words) as caught:
        load_archive(path)
    assert str(caught.value).startswith(f"{path} is not a whole checkpoint: ")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most
    assert grown < 200 * 2**10  # KiB
    return str(caught.value)


def rewritten(path, content=None, *, compression=zipfile.ZIP_STORED, name=None):
    """The same archive with other content of one kind of member."""
    with zipfile.ZipFile(path) as old:
        members = [(one.filename, old.read(one)) for one in old.infolist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for member, data in members:
            mine = name is not None and member.endswith(name)
            new.writestr(member, content if mine else data)
    return path


def test_what_was_saved_is_what_is_loaded(saved):
    found = load_archive(saved(VALUE))
    assert torch.equal(found["state_dict"]["a"], VALUE["state_dict"]["a"])
    assert found["kinds"] == VALUE["kinds"]
    assert found["half"].dtype == torch.bfloat16


def test_a_file_that_inflates_is_refused_before_it_does(saved):
    path = rewritten(
        saved({"a": torch.zeros(25_000_000)}), compression=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 200_000
    refused(path, "compressed parts, which torch does not write")


def test_parts_that_overlap_are_refused(saved):
    """Every entry of the table shows the same bytes: a small file of a large content."""
    path = saved({"a": torch.zeros(100_000)})
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda one: one.file_size)
        for number in range(50):
            twin = zipfile.ZipInfo(f"archive/data/x{number}")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, name, getattr(largest, name))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    refused(path, "its parts unfold to more than its")


def test_a_byte_array_of_any_length_is_not_made(saved):
    refused(saved({"x": Calls(bytearray, 3 * 10**9)}), "names '__builtin__.bytearray'")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Calls(os.getcwd), r"names 'posix\.getcwd'"),
        ({1, 2}, "names '.*set'"),
        (complex(1, 2), "names '.*complex'"),
        (torch.ones(3).to_sparse(), "names 'torch._utils._rebuild_sparse"),
        (torch.ones(3, device="meta"), "names 'torch._utils._rebuild_meta"),
        (torch.ones(1).expand(10**12), "repeats fewer numbers"),
    ],
)
def test_what_a_checkpoint_does_not_need_is_refused_by_name(saved, value, words):
    refused(saved({"state_dict": value}), words)


def test_parts_that_stand_in_themselves_or_too_often_are_refused(saved):
    doubled = []
    for _ in range(35):
        doubled = [doubled, doubled]
    refused(saved(doubled), "repeats its parts too often")
    endless = []
    endless.append(endless)
    refused(saved(endless), "nested too deeply")


def test_other_ways_of_a_pickle_are_refused(saved):
    for protocol in (4, 5):
        program = pickle.dumps(Calls(os.getcwd), protocol)
        refused(rewritten(saved({}), program, name="data.pkl"), "uses STACK_GLOBAL")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    refused(path, "a.ckpt is not")


def test_the_form_before_archives_is_refused(tmp_path):
    """It takes memory by what it says of itself."""
    torch.save(VALUE, path := tmp_path / "a", _use_new_zipfile_serialization=False)
    refused(path, "not a zip file")


def test_a_size_that_is_not_the_size_of_the_part_is_refused(saved):
    path = saved({"a": torch.ones(4)})
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        program = archive.read(name)
    for old, new in ((b"K\x04t", b"t"), (b"K\x04\x85", b"\x85")):
        program = program.replace(old, b"J\0\0\x10\0" + new, 1)
    refused(rewritten(path, program, name="data.pkl"), "record size")

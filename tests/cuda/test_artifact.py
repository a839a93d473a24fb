"""Artifacts for GPUs: machine code for the GPU in a library of this computer's, no text."""

import struct
from dataclasses import replace

import pytest

from hago.deploy.artifact import LIBRARY
from hago.deploy.build import build_artifact, machine_for
from hago.deploy.device_code import with_code
from hago.deploy.load import load
from hago.errors import BuildError
from hago.hardware import gpu
from hago.hardware.load import load_spec
from hago.lower.lower import lower
from tests.cuda.cases import MACHINES
from tests.cuda.ptx import require_nvcc
from tests.deploy.models import manifest_of, two_headed

FATBIN = struct.pack("<I", 0xBA55ED50)  # the first word of a fatbin


@pytest.fixture(scope="module", params=MACHINES)
def artifact(request, tmp_path_factory):
    require_nvcc()
    spec = load_spec(request.param)
    folder = tmp_path_factory.mktemp("cuda") / "artifact"
    manifest = replace(manifest_of(), machine=machine_for(spec))
    return build_artifact(lower(two_headed(), spec), spec, manifest, folder)


def test_the_library_has_machine_code_and_no_text(artifact):
    library = (artifact / LIBRARY).read_bytes()
    head = sized(b"cubin")
    assert library.count(head) == 1
    assert library.count(FATBIN) == 1
    assert b"__global__" not in library


def test_where_there_is_no_such_gpu_it_is_refused(artifact, monkeypatch):
    monkeypatch.setattr(gpu, "gpu_capability", lambda: 70)
    with pytest.raises(BuildError, match=r"no NVIDIA GPU that runs code for sm_\d+"):
        load(artifact)


def sized(value):
    return struct.pack("<Q", len(value)) + value


def test_code_takes_the_place_of_text_and_nothing_moves():
    functions, text, code = b"kernels", b"text that is longer than the code", b"code"
    module = sized(b"cuda") + functions + sized(text)
    data = b"before" + sized(b"cuda") + sized(module) + b"after"
    changed = with_code(data, text, code)
    inner = sized(b"cubin") + functions + sized(code.ljust(len(text) - 1, b"\0"))
    assert changed == b"before" + sized(b"cuda") + sized(inner) + b"after"


def test_bytes_of_another_form_are_refused():
    text = b"text"
    with pytest.raises(BuildError, match="no module's"):
        with_code(b"some bytes" + sized(b"cuda") + sized(text), text, b"c")

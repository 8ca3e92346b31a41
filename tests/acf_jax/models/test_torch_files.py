import argparse
import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import PurePosixPath

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from acf_jax.models.torch_files import WeightsFileError, read_state_dict
from tests.acf_jax.models.torch_save import SavedTensor, legacy_bytes, pickled, zip_bytes

LAYOUTS = pytest.mark.parametrize("write", [zip_bytes, legacy_bytes])


@pytest.fixture
def read(tmp_path):
    """Bytes -> what is read from a file that holds them."""

    def read(content: bytes, name="weights.pth"):
        (tmp_path / name).write_bytes(content)
        return read_state_dict(tmp_path / name)

    return read


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    shapes = {"conv.weight": (3, 2, 5, 5), "norm.bias": (7,), "scale": (), "none": (0, 3)}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def saved(arrays):
    return OrderedDict((name, SavedTensor(array)) for name, array in arrays.items())


def assert_same(read, expected):
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


@LAYOUTS
def test_both_layouts_give_back_what_went_in(read, arrays, write):
    assert_same(read(write(saved(arrays))), arrays)


@LAYOUTS
def test_a_state_dict_may_lie_in_a_trainings_checkpoint(read, arrays, write):
    """The average of the weights comes before the last ones, and whatever else a training keeps is passed over."""
    state_dict = saved(arrays)
    state_dict._metadata = OrderedDict(version=1)  # PyTorch's modules add this attribute
    training = {
        "epoch": 299,
        "arch": "CSWin_64_24322_small_224",
        "args": argparse.Namespace(lr=2e-3, output=PurePosixPath("out")),
        "optimizer": {"state": defaultdict(dict, {0: {"step": 5, "exp_avg": SavedTensor(np.ones(3, np.float32))}})},
        "metric": np.float64(83.6),
        "classes": {"a", "b"},
        "version": 2,
    }
    older = saved({name: array + 1 for name, array in arrays.items()})
    assert_same(read(write(training | {"state_dict": older, "state_dict_ema": state_dict})), arrays)
    assert_same(read(write(training | {"state_dict": state_dict})), arrays)
    assert_same(read(write(training | {"model": state_dict})), arrays)


@LAYOUTS
def test_the_prefix_of_a_parallel_module_is_cut_off(read, arrays, write):
    prefixed = {f"module.{name}": array for name, array in arrays.items()}
    assert_same(read(write(saved(prefixed))), arrays)
    not_all = {"module.a": arrays["norm.bias"], "b": arrays["norm.bias"]}
    assert_same(read(write(saved(not_all))), not_all)


@LAYOUTS
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ml_dtypes.bfloat16, "i8", "u1", "?"])
def test_numbers_of_every_kind_are_exact(read, write, dtype):
    array = np.array([[0, 1, 2], [3, 5, 127]]).astype(dtype)
    widened = array.astype(np.float32) if array.dtype.itemsize == 2 else array
    assert_same(read(write(saved({"a": array}))), {"a": widened})


@LAYOUTS
def test_tensors_may_be_parts_of_one_storage_in_any_order_of_axes(read, write):
    storage = np.arange(100, dtype=np.float32)
    tensors = {
        "all": SavedTensor(storage),
        "transposed": SavedTensor(storage, 10, (5, 3), (1, 5)),
        "every other": SavedTensor(storage, 91, (5,), (2,)),
    }
    expected = {"all": storage, "transposed": storage[10:25].reshape(3, 5).T, "every other": storage[91::2]}
    assert_same(read(write(tensors)), expected)


class Command:
    """Unpickled as usual, it makes a file."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"{sys.executable} -c \"open('{self.proof}', 'w')\"",)


@LAYOUTS
def test_what_a_file_names_is_not_run(read, arrays, write, tmp_path):
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Command(proof)))  # the trap works
    proof.unlink()
    assert_same(read(write({"state_dict": saved(arrays), "args": Command(proof)})), arrays)
    assert_same(read(write({Command(proof): [Command(proof)], "model": saved(arrays)})), arrays)
    for content in (Command(proof), {"weight": Command(proof)}, [Command(proof)]):
        with pytest.raises(WeightsFileError, match="holds no state dict"):
            read(write(content))
    assert not proof.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cbuiltins\neval\n(S'1/0'\ntR.",  # REDUCE
        b"(S'1/0'\nibuiltins\neval\n.",  # INST
        b"(cbuiltins\neval\nS'1/0'\no.",  # OBJ
        b"\x80\x02cbuiltins\neval\nS'1/0'\n\x85\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93S'1/0'\n\x85R.",  # STACK_GLOBAL
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nS'system'\ntR(S'false'\ntR.",  # a call of what a call gave
        b"ctorch\nload\n)R}S'a'\nS'b'\nsb.",  # BUILD
        b"ccollections\nOrderedDict.fromkeys\n(S'1/0'\ntR.",  # an attribute of a known name
        b"\x80\x02U\x06moduleU\x03NetU\x04code\x87Q)\x81.",  # a whole model, whose class is a persistent id
    ],
)
def test_no_opcode_reaches_a_function(read, opcodes):
    """Had any of them called what it names, another exception than this one would have come."""
    with pytest.raises(WeightsFileError, match="holds no state dict"):
        read(zip_with(data=opcodes))


def zip_with(root="archive", compression=zipfile.ZIP_STORED, data=None, **entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in ({} if data is None else {"data.pkl": data} | entries).items():
            archive.writestr(f"{root}/{name}", content)
    return file.getvalue()


@LAYOUTS
@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ((0, (4, 6), (6, 1)), "reaches beyond its data"),
        ((1, (20,), (1,)), "reaches beyond its data"),
        ((-1, (2,), (1,)), "reaches beyond its data"),
        ((19, (20,), (-1,)), "reaches beyond its data"),
        ((0, (10**12,), (0,)), "reaches beyond its data"),
        ((0, (2**62, 4), (1, 1)), "reaches beyond its data"),
        ((0, (4, 5), (1,)), "cannot be read"),
        ((0, ("4",), (1,)), "cannot be read"),
    ],
)
def test_tensors_that_reach_beyond_their_data_are_refused(read, write, layout, reason):
    with pytest.raises(WeightsFileError, match=rf"weights\.pth .*{reason}"):
        read(write({"a": SavedTensor(np.zeros(20, np.float32), *layout)}))


@LAYOUTS
def test_a_file_that_ends_early_is_refused_wherever_it_ends(read, arrays, write):
    content = write(saved(arrays))
    for length in (0, 1, 20, len(content) // 3, len(content) // 2, len(content) - 4):
        with pytest.raises(WeightsFileError, match=r"weights\.pth (cannot be read|is truncated)") as caught:
            read(content[:length])
        assert "\n" not in str(caught.value)


def test_damaged_bytes_are_noticed(read, arrays):
    content = bytearray(zip_bytes(saved(arrays)))
    content[content.index(arrays["conv.weight"].tobytes()) + 5] ^= 1
    with pytest.raises(WeightsFileError, match="Bad CRC-32"):
        read(bytes(content))


@LAYOUTS
def test_random_damage_never_escapes_as_another_exception(read, arrays, write):
    generator, content = np.random.default_rng(0), write(saved(arrays))
    refused = 0
    for _ in range(100):
        damaged = bytearray(content)
        for place in generator.integers(len(content), size=4):
            damaged[place] = generator.integers(256)
        try:
            read(bytes(damaged))
        except WeightsFileError:
            refused += 1
    assert refused > 30


def test_claims_of_size_are_checked_against_the_file(read):
    """A storage that the pickle says to be larger than it is, up to more than any machine's memory."""
    data, storages = pickled({"a": SavedTensor(np.zeros(20, np.float32))})
    assert data.count(b"K\x14") == 2  # the storage's size and the tensor's shape, an opcode and one byte each
    claim = data.replace(b"K\x14", b"\x8a\x07" + (10**15).to_bytes(7, "little"))
    with pytest.raises(WeightsFileError, match="storage 0 is not 4000000000000000 bytes"):
        read(zip_with(data=claim, **{"data/0": storages["0"].tobytes()}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html>Not found</html>", "neither safetensors nor written by torch.save"),
        (pickle.dumps({"a": 1}), "was not written by torch.save"),
        (zip_with(weights=b""), r"is a zip archive without a data\.pkl"),
        (zip_bytes({"a": SavedTensor(np.zeros(2))}, compression=zipfile.ZIP_DEFLATED), "is a compressed archive"),
        (zip_bytes({"a": SavedTensor(np.zeros(2))}, byteorder=b"big"), "big-endian"),
        (legacy_bytes({"a": SavedTensor(np.zeros(2))}, little_endian=False), "big-endian"),
        (zip_bytes({}), "nothing in it is no tensor"),
        (zip_bytes({"epoch": 1, "net": {"a": SavedTensor(np.zeros(2))}}), "epoch, net in it is no tensor of numbers"),
        (zip_bytes({"a": SavedTensor(np.zeros(2, np.complex64))}), "a in it is no tensor of numbers"),
    ],
)
def test_other_files_are_refused_in_a_sentence(read, content, reason):
    with pytest.raises(WeightsFileError, match=rf"weights\.pth .*{reason}.*\.$"):
        read(content)


def test_safetensors(tmp_path, arrays):
    path = tmp_path / "a.safetensors"
    save_file({f"module.{name}": array for name, array in arrays.items()}, path)
    assert_same(read_state_dict(path), arrays)
    halves = np.array([0.5, 3.0, -1e-3])
    save_file({"half": halves.astype(np.float16), "brain": halves.astype(ml_dtypes.bfloat16)}, path)
    expected = {"half": halves.astype(np.float16), "brain": halves.astype(ml_dtypes.bfloat16)}
    assert_same(read_state_dict(path), {name: array.astype(np.float32) for name, array in expected.items()})
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(WeightsFileError, match=r"a\.safetensors cannot be read"):
        read_state_dict(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.pth", tmp_path / "nowhere.safetensors"):
        with pytest.raises(WeightsFileError, match=f"{path.name} is not there, or not a file"):
            read_state_dict(path)

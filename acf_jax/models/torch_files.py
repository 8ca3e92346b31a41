"""Weights from files of PyTorch (`.pth`, `.pt`) and safetensors; needs no PyTorch and runs no code that a file names.

`torch.save` writes a pickle, and unpickling calls whatever functions the file names. The unpickler here knows four of
these names, and only keeps the arguments of those; in place of any other (a training's `args`, its optimizer,
`os.system`) it puts an `Inert` object, which takes anything and does nothing.

The two layouts of `torch.save`: since PyTorch 1.6 a zip archive of `<root>/data.pkl` and a file `<root>/data/<key>` a
storage; before, five pickles (magic number, protocol, system, contents, keys) and then the storages, in the order of
the keys, each after its number of elements (int64).
"""

import functools
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from acf_jax.errors import ACFError

STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
NESTED_UNDER = ("state_dict_ema", "state_dict", "model")  # in this order; in the authors' files, the average
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
NOT_READABLE = "cannot be read: it is truncated, damaged, or neither safetensors nor written by torch.save"


class WeightsFileError(ACFError):
    """A file holds no weights that can be read; the message names it and says why."""


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The named arrays of a model.

    Args:
        path: a `.safetensors` file, or what `torch.save` made of a state dict or of a training's checkpoint
            that holds one under "state_dict_ema", "state_dict" or "model", the first of these that is there.

    Returns:
        name -> array; half precision and bfloat16 as float32, which is exact. A "module." before all names is cut off.

    Raises:
        WeightsFileError: if there is no such file, or it cannot be read as one.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise WeightsFileError("is not there, or not a file")
        arrays = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except WeightsFileError as error:
        raise WeightsFileError(f"{path} {error}.") from None
    except Exception as error:  # on damaged bytes a parser can raise any kind of error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsFileError(f"{path} {NOT_READABLE} ({reason}).") from error
    in_module = all(name.startswith("module.") for name in arrays)
    return {name.removeprefix("module.") if in_module else name: _widened(array) for name, array in arrays.items()}


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in (jnp.bfloat16, np.float16) else array


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            return _read_legacy(file)
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive)


# The two layouts.


def _read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = archive.namelist()
    root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
    if root is None:
        raise WeightsFileError("is a zip archive without a data.pkl: torch.save did not write it")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise WeightsFileError("is a compressed archive, which torch.save does not write: unpack it first")
    if f"{root}byteorder" in names:
        _check_byte_order(archive.read(f"{root}byteorder") == b"little")
    with archive.open(f"{root}data.pkl") as file:
        content = _Unpickler(file).load()
    return _arrays(content, lambda storage: archive.read(f"{root}data/{storage.key}"))


def _read_legacy(file: IO[bytes]) -> dict[str, np.ndarray]:
    file.seek(0)
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise WeightsFileError("was not written by torch.save: use it, or safetensors")
    _protocol, system, unpickler = _Unpickler(file).load(), _Unpickler(file).load(), _Unpickler(file)
    _check_byte_order(system["little_endian"])
    content, keys = unpickler.load(), _Unpickler(file).load()
    data, start, parts = memoryview(file.read()), 0, {}
    for key in keys:
        start += 8
        stop = start + unpickler.storages[key].n_bytes
        parts[key] = data[start:stop]
        start = stop
    return _arrays(content, lambda storage: parts[storage.key])


def _check_byte_order(is_little_endian: bool) -> None:
    if not is_little_endian:
        raise WeightsFileError("was written on a big-endian machine: save it again on a common one")


# What the pickles hold.


class Storage(NamedTuple):
    """A run of numbers in the file, used by one or more tensors."""

    key: str
    dtype: np.dtype
    size: int

    @property
    def n_bytes(self) -> int:
        """Its length in the file."""
        return self.size * self.dtype.itemsize


class Tensor(NamedTuple):
    """A tensor that is not read yet: which elements of its storage it consists of."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements

    @classmethod
    def rebuild(cls, *fields: Any) -> "Tensor":
        """Stands in for PyTorch's function, which has further arguments for gradients."""
        return cls(*fields[:4])

    def read(self, flat: np.ndarray) -> np.ndarray:
        """Its elements, copied out of the storage's.

        Raises:
            WeightsFileError: if it reaches beyond its storage.
        """
        size = math.prod(self.shape)
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        negative = min((self.offset, *self.shape, *self.strides)) < 0
        if negative or (size and max(last + 1, size) > len(flat)):
            raise WeightsFileError(f"is damaged: a tensor of shape {self.shape} reaches beyond its data")
        strides_bytes = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides_bytes).copy()


class Inert:
    """Stands for a class or function that is none of the four: may be made, called and filled."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_options: Any) -> None:
        """Nothing."""

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        """Takes what a pickled list or set is filled with."""

    extend = add = append


def _first(value: Any, *_: Any) -> Any:
    """Stands in for PyTorch's function that makes a parameter of a tensor."""
    return value


KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): Tensor.rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): Tensor.rebuild,
    ("torch._utils", "_rebuild_parameter"): _first,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        # A storage's class is a name, not an object that the file could call.
        return name if module == "torch" and name in STORAGE_DTYPES else KNOWN.get((module, name), Inert)

    def persistent_load(self, pid: tuple[Any, ...]) -> Any:
        kind, storage_class, *_ = pid
        is_view = any(part is not None for part in pid[5:])  # written by the earliest PyTorch only
        if kind != "storage" or storage_class not in STORAGE_DTYPES or is_view:
            return Inert  # the class itself: such an id may stand for a class, too
        _, _, key, _device, size, *_ = pid
        return self.storages.setdefault(key, Storage(key, STORAGE_DTYPES[storage_class], size))


def _arrays(content: Any, read_bytes: Callable[[Storage], bytes | memoryview]) -> dict[str, np.ndarray]:
    """The state dict among what a file holds, read."""

    @functools.cache  # several tensors may share a storage
    def read(storage: Storage) -> np.ndarray:
        data = read_bytes(storage)
        if len(data) != storage.n_bytes:
            raise WeightsFileError(f"is truncated or damaged: storage {storage.key} is not {storage.n_bytes} bytes")
        return np.frombuffer(data, storage.dtype)

    tensors = _state_dict(content)
    return {name: tensor.read(read(tensor.storage)) for name, tensor in tensors.items()}


def _state_dict(content: Any) -> Mapping[str, Tensor]:
    if not isinstance(content, dict):
        raise WeightsFileError("holds no state dict: save the model's state_dict(), not the model")
    nested = [content[name] for name in NESTED_UNDER if isinstance(content.get(name), dict)]
    state_dict = nested[0] if nested else content
    others = [str(name) for name, tensor in state_dict.items() if not _is_tensor(tensor)]
    if others or not state_dict:
        raise WeightsFileError(
            f"holds no state dict: {', '.join(others[:5]) or 'nothing'} in it is no tensor of numbers, and nothing is "
            f"under {', '.join(NESTED_UNDER)}"
        )
    return state_dict


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and isinstance(value.storage, Storage)

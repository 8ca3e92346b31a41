"""The bytes that `torch.save` writes, made without PyTorch: pickles and storages in its two layouts.

Stand-ins carry the module and name of PyTorch's classes and functions, so that the pickles name those. `checkpoint`,
the object to be saved, may hold anything that pickle takes, and a `SavedTensor` wherever PyTorch would have a tensor.
"""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import ml_dtypes
import numpy as np

STORAGE_NAMES = {
    np.dtype(dtype): f"{name}Storage"
    for dtype, name in (
        ("f8", "Double"),
        ("f4", "Float"),
        ("f2", "Half"),
        (ml_dtypes.bfloat16, "BFloat16"),
        ("i8", "Long"),
        ("u1", "Byte"),
        ("?", "Bool"),
        ("c8", "ComplexFloat"),
    )
}


def rebuild_tensor(*_):
    """PyTorch's function; its name is all that a pickle takes of it."""


rebuild_tensor.__module__, rebuild_tensor.__qualname__ = "torch._utils", "_rebuild_tensor_v2"


class SavedTensor:
    """A tensor that lies on a storage, as PyTorch pickles one; without a layout given, on all of it, row by row."""

    def __init__(self, storage: np.ndarray, offset=0, shape=None, strides=None):
        self.storage = storage.ravel() if shape is None else storage
        contiguous = [stride // storage.itemsize for stride in np.empty(storage.shape, storage.dtype).strides]
        self.layout = (offset, storage.shape if shape is None else shape, strides or tuple(contiguous))

    def __reduce__(self):
        return rebuild_tensor, (SavedStorage(self.storage), *self.layout, False, OrderedDict())


class SavedStorage:
    """A storage, which PyTorch pickles as a persistent id."""

    def __init__(self, array: np.ndarray):
        self.array = array


class Pickler(pickle.Pickler):
    """Writes storages as persistent ids and remembers them; `view` is what the older layout has behind each."""

    def __init__(self, file, view=()):
        super().__init__(file, protocol=2)
        self.view, self.storages = view, {}

    def persistent_id(self, obj):
        if not isinstance(obj, SavedStorage):
            return None
        numbers = [number for number, array in self.storages.items() if array is obj.array]
        key = numbers[0] if numbers else str(len(self.storages))
        self.storages[key] = obj.array
        storage_class = type(STORAGE_NAMES[obj.array.dtype], (), {"__module__": "torch"})
        setattr(sys.modules["torch"], storage_class.__name__, storage_class)
        return ("storage", storage_class, key, "cpu", obj.array.size, *self.view)


def pickled(checkpoint, view=()) -> tuple[bytes, dict[str, np.ndarray]]:
    """The pickle of `checkpoint` and the storages that it names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    utils._rebuild_tensor_v2 = rebuild_tensor
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        pickler = Pickler(file, view)
        pickler.dump(checkpoint)
    return file.getvalue(), pickler.storages


def zip_bytes(checkpoint, compression=zipfile.ZIP_STORED, root="archive", byteorder=b"little") -> bytes:
    """What `torch.save(checkpoint, ...)` writes since PyTorch 1.6."""
    content, storages = pickled(checkpoint)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", content)
        archive.writestr(f"{root}/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"{root}/data/{key}", array.tobytes())
        archive.writestr(f"{root}/version", b"3\n")
    return file.getvalue()


def legacy_bytes(checkpoint, little_endian=True) -> bytes:
    """What it wrote before, and writes with `_use_new_zipfile_serialization=False`."""
    content, storages = pickled(checkpoint, view=(None,))
    keys = sorted(storages, reverse=True)  # any order
    header = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little_endian})
    pickles = [pickle.dumps(part, protocol=2) for part in header] + [content, pickle.dumps(keys, protocol=2)]
    return b"".join(pickles + [np.int64(storages[key].size).tobytes() + storages[key].tobytes() for key in keys])

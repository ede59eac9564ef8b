"""The adapters listed by Vulkan, the way to GPUs on Linux and Windows; needs only Vulkan's own loader."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from enum import IntEnum

_SUCCESS, _INSTANCE_CREATE_INFO = 0, 1
#: Larger than the structure of device properties; only its beginning is read.
_PROPERTIES_BYTES, _NAME_BYTES = 4096, 256


class AdapterKind(IntEnum):
    """VkPhysicalDeviceType; software adapters, such as SwiftShader and llvmpipe, compute on the CPU."""

    OTHER = 0
    INTEGRATED = 1
    DISCRETE = 2
    VIRTUAL = 3
    SOFTWARE = 4


#: The order in which WebGPU prefers adapters.
_PREFERENCE = (
    AdapterKind.DISCRETE,
    AdapterKind.INTEGRATED,
    AdapterKind.VIRTUAL,
    AdapterKind.OTHER,
    AdapterKind.SOFTWARE,
)


@dataclass(frozen=True)
class GPUAdapter:
    """A device that Vulkan lists."""

    name: str
    kind: AdapterKind

    @property
    def is_software(self) -> bool:
        return self.kind is AdapterKind.SOFTWARE

    def __str__(self) -> str:
        return f"{self.name} (software, no GPU)" if self.is_software else self.name


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


def adapters() -> tuple[GPUAdapter, ...]:
    """The adapters that Vulkan lists here, WebGPU's choice first; empty without a loader or a driver.

    It loads the drivers, so call it in a separate process (`cxr_edge.runtimes.accelerators`).
    """
    try:
        library = ctypes.CDLL("vulkan-1.dll" if sys.platform == "win32" else "libvulkan.so.1")
    except OSError:
        return ()
    instance = ctypes.c_void_p()
    create_info = _InstanceCreateInfo(type=_INSTANCE_CREATE_INFO)
    if library.vkCreateInstance(ctypes.byref(create_info), None, ctypes.byref(instance)) != _SUCCESS:
        return ()
    try:
        seen = [_adapter(library, device) for device in _devices(library, instance)]
    finally:
        library.vkDestroyInstance(instance, None)
    return tuple(sorted(seen, key=lambda adapter: _PREFERENCE.index(adapter.kind)))


def _devices(library: ctypes.CDLL, instance: ctypes.c_void_p) -> list[int]:
    count = ctypes.c_uint32()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    return [handle for handle in handles if handle is not None]


def _adapter(library: ctypes.CDLL, device: int) -> GPUAdapter:
    content = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    library.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), content)
    # The layout: four numbers with versions and identifiers, the kind, the name.
    kind = int.from_bytes(content.raw[16:20], sys.byteorder)
    name = content.raw[20 : 20 + _NAME_BYTES].partition(b"\0")[0].decode(errors="replace")
    return GPUAdapter(name, AdapterKind(kind) if kind in set(AdapterKind) else AdapterKind.OTHER)

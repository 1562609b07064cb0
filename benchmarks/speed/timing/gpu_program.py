"""Descriptions of GPUs for XLA's compiler, and what the text of a program compiled for one says."""

from __future__ import annotations

import collections
import dataclasses
import re

__all__ = ["GPUS", "Gpu", "launches"]

_LIBRARIES = {"__cudnn": "cuDNN calls", "__cublas": "cuBLAS calls"}


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What the compiler needs to know of a GPU (NVIDIA's data sheets; xla/backends/gpu/target_config/specs of XLA).

    Attributes:
      name: as the driver reports it.
      capability: major and minor version of its compute capability.
      cores: streaming multiprocessors.
      units: float32 units in each.
      clock_ghz: boost clock.
      memory_bytes: the device's memory.
      bandwidth: bytes per second of that memory.
      l2_bytes: L2 cache.
      shared_bytes: memory shared by the threads of a multiprocessor.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    units: int
    clock_ghz: float
    memory_bytes: int
    bandwidth: int
    l2_bytes: int
    shared_bytes: int

    def target(self) -> str:
        """Returns the description as a `GpuTargetConfigProto` message in text format."""
        major, minor = self.capability
        device = {
            "threads_per_block_limit": 1024,
            "threads_per_warp": 32,
            "shared_memory_per_block": 48 << 10,
            "shared_memory_per_core": self.shared_bytes,
            "shared_memory_per_block_optin": self.shared_bytes - 1024,
            "threads_per_core_limit": 2048,
            "core_count": self.cores,
            "fpus_per_core": self.units,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 2**16 - 1,
            "block_dim_limit_z": 2**16 - 1,
            "memory_bandwidth": self.bandwidth,
            "l2_cache_size": self.l2_bytes,
            "clock_rate_ghz": self.clock_ghz,
            "device_memory_size": self.memory_bytes,
            "registers_per_core_limit": 1 << 16,
            "registers_per_block_limit": 1 << 16,
        }
        fields = " ".join(f"{name}: {value}" for name, value in device.items())
        return (
            f"gpu_device_info {{ {fields} cuda_compute_capability {{ major: {major} minor: {minor} }} }} "
            'platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } runtime_version { major: 12 minor: 8 } '
            f'device_description_str: "{self.name}"'
        )


GPUS = {
    "a100": Gpu(
        name="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        cores=108,
        units=64,
        clock_ghz=1.41,
        memory_bytes=85_100_068_864,
        bandwidth=2_039_040_000_000,
        l2_bytes=40 << 20,
        shared_bytes=164 << 10,
    ),
    "h100": Gpu(
        name="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        units=128,
        clock_ghz=1.98,
        memory_bytes=84_942_979_072,
        bandwidth=3_352_320_000_000,
        l2_bytes=50 << 20,
        shared_bytes=228 << 10,
    ),
}


def launches(text: str) -> dict[str, int]:
    """Returns how many operations a compiled program starts on the GPU in one call, by kind.

    Operations inside a fusion are part of it; a loop's body is counted once.
    """
    found: collections.Counter[str] = collections.Counter()
    for computation in re.split(r"\n(?=%|ENTRY)", text):
        if re.match(r"%(?:fused|wrapped|region|.*_computation)", computation):
            continue
        for kind, rest in re.findall(r"^\s+(?:ROOT )?%\S+ = .*? ([a-z-]+)\((.*)$", computation, re.MULTILINE):
            target = re.search(r'custom_call_target="([^"]+)"', rest)
            if kind == "fusion":
                found["fusions"] += 1
            elif target:
                library = next((name for prefix, name in _LIBRARIES.items() if target[1].startswith(prefix)), "")
                found[library or "other calls"] += 1
            elif kind in ("copy", "scatter", "sort", "while", "convolution", "dot"):
                found[kind] += 1
    return dict(found.most_common())

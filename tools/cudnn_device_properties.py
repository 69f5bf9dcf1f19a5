#!/usr/bin/env python3
"""Saves what cuDNN knows of the GPU at hand (its DeviceProperties, JSON), from which cuDNN 9.8 and newer builds and checks plans where there is no such GPU.

    python tools/cudnn_device_properties.py docs/measurements/h100.cudnn.json [NUMBER]

NUMBER: which GPU, 0 by default. Needs libcudnn.so.9 where the loader or CUDNN_PATH (a folder) finds it; prints the versions and the size of what was saved.
"""

import ctypes
import os
import sys
from pathlib import Path

# Of cudnn_graph.h.
DEVICEPROP, DEVICE_ID, JSON = 38, 2700, 2702
INT32, CHAR = 23, 24


def library() -> ctypes.CDLL:
    name = "libcudnn.so.9"
    return ctypes.CDLL(str(Path(os.environ["CUDNN_PATH"]) / name) if "CUDNN_PATH" in os.environ else name, mode=ctypes.RTLD_GLOBAL)


def properties(cudnn: ctypes.CDLL, number: int) -> bytes:
    def check(status: int, what: str) -> None:
        if status:
            text = ctypes.create_string_buffer(4096)
            cudnn.cudnnGetLastErrorString(text, ctypes.c_size_t(len(text)))
            raise SystemExit(f"{what}: cuDNN's status {status} {text.value.decode(errors='replace').strip()}")

    handle = ctypes.c_void_p()
    check(cudnn.cudnnBackendCreateDescriptor(DEVICEPROP, ctypes.byref(handle)), "DeviceProperties cannot be made (cuDNN 9.8 or newer has them)")
    device = ctypes.c_int32(number)
    check(cudnn.cudnnBackendSetAttribute(handle, DEVICE_ID, INT32, ctypes.c_int64(1), ctypes.byref(device)), "the GPU's number is refused")
    check(cudnn.cudnnBackendFinalize(handle), f"GPU {number} cannot be asked")
    size = ctypes.c_int64()
    check(cudnn.cudnnBackendGetAttribute(handle, JSON, CHAR, ctypes.c_int64(0), ctypes.byref(size), None), "the size is not told")
    text = ctypes.create_string_buffer(size.value + 1)
    check(cudnn.cudnnBackendGetAttribute(handle, JSON, CHAR, size, ctypes.byref(size), text), "the properties are not told")
    return text.raw[: size.value].rstrip(b"\0")


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        cudnn = library()
    except OSError as error:
        print(f"cuDNN is not there: {error}", file=sys.stderr)
        return 1
    text = properties(cudnn, int(sys.argv[2]) if len(sys.argv) == 3 else 0)
    Path(sys.argv[1]).write_bytes(text)
    print(f"cuDNN {cudnn.cudnnGetVersion()}, {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

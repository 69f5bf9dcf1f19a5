"""Golden files for pictures read, resized and blurred as Pillow does it.

    python tools/golden/pictures.py          writes tests/image/data

`load` in cases.json: files as people have them, and what Diffusers' load_image makes of each. `blur`, `fill`, `overlay`: what VaeImageProcessor makes of
"wide.png" and "mask.png". Expected pictures are PNGs of 8-bit RGB.
"""

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import load_image
from PIL import Image

DATA = Path(__file__).resolve().parents[2] / "tests" / "image" / "data"


def pattern(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([128 + 120 * np.sin(x / 3.0), 128 + 100 * np.cos(y / 4.0), (x * 5 + y * 7) % 256], axis=-1)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wide_samples(color: int, channels: int) -> bytes:
    """A PNG of 16 bits a sample, which Pillow cannot write."""
    samples = (np.arange(3 * 5 * channels).reshape(3, -1) * 2579 % 65536).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", 5, 3, 16, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def write_loads() -> list[str]:
    small = pattern(13, 18)
    small.save(DATA / "rgb_420.jpg", quality=80)
    small.save(DATA / "rgb_444.jpg", quality=92, subsampling=0)
    small.save(DATA / "rgb_422.jpg", quality=60, subsampling=1)
    small.save(DATA / "progressive.jpg", quality=75, progressive=True)
    small.convert("L").save(DATA / "grey.jpg")
    small.convert("CMYK").save(DATA / "cmyk.jpg", quality=90)
    (DATA / "jpeg_named.png").write_bytes((DATA / "rgb_444.jpg").read_bytes())
    for value in range(1, 9):
        pattern(6, 9).save(DATA / f"turned_{value}.jpg", quality=90, exif=orientation(value))
    pattern(6, 9).save(DATA / "turned.png", exif=orientation(6))
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    pattern(6, 9).save(DATA / "turned_xmp.jpg", quality=90)
    plain = (DATA / "turned_xmp.jpg").read_bytes()
    (DATA / "turned_xmp.jpg").write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + plain[2:])
    alpha = small.convert("RGBA")
    alpha.putalpha(small.convert("L"))
    alpha.save(DATA / "alpha.png")
    alpha.convert("LA").save(DATA / "grey_alpha.png")
    small.quantize(16).save(DATA / "palette.png", transparency=3)
    small.convert("1").save(DATA / "one_bit.png")
    for name, color, channels in [("rgb_16", 2, 3), ("rgba_16", 6, 4), ("grey_alpha_16", 4, 2)]:
        (DATA / f"{name}.png").write_bytes(wide_samples(color, channels))
    return sorted(f.name for f in DATA.iterdir())


def main() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    loads = []
    for file in write_loads():
        expected = "is_" + Path(file).stem + ".png"
        load_image(str(DATA / file)).save(DATA / expected, optimize=True)
        loads.append({"file": file, "expected": expected})
    wide = pattern(40, 61)
    wide.save(DATA / "wide.png", optimize=True)
    mask = np.zeros((40, 61, 3), np.uint8)
    mask[12:19, 30:52] = 255
    mask[15:17, 28:30] = [90, 200, 30]
    mask = Image.fromarray(mask)
    mask.save(DATA / "mask.png", optimize=True)
    processor = VaeImageProcessor()
    blurs, regions, fills, overlays = [], [], [], []
    for radius in [0.5, 1, 3.7, 33]:
        processor.blur(wide, radius).save(DATA / f"is_blur_{radius}.png", optimize=True)
        blurs.append({"radius": radius, "expected": f"is_blur_{radius}.png"})
    for height, width, padding in [(32, 32, 0), (32, 32, 7), (24, 64, 3), (64, 16, 5), (16, 40, 100)]:
        regions.append({"height": height, "width": width, "padding": padding, "region": list(processor.get_crop_region(mask, width, height, padding))})
    for height, width in [(32, 32), (64, 24), (10, 50), (40, 61)]:
        processor.resize(wide, height, width, resize_mode="fill").save(DATA / f"is_fill_{height}x{width}.png", optimize=True)
        fills.append({"height": height, "width": width, "expected": f"is_fill_{height}x{width}.png"})
    soft = processor.blur(mask, 2)
    for i, region in enumerate([(10, 4, 60, 40), (20, 0, 61, 23)]):
        processor.apply_overlay(soft, wide, pattern(32, 48).rotate(180), region).save(DATA / f"is_overlay_{i}.png", optimize=True)
        overlays.append({"region": list(region), "expected": f"is_overlay_{i}.png"})
    cases = {"load": loads, "blur": blurs, "region": regions, "fill": fills, "overlay": overlays}
    lines = ",\n".join(f'"{key}": [\n' + ",\n".join(json.dumps(c) for c in value) + "\n]" for key, value in cases.items())
    (DATA / "cases.json").write_text("{" + lines + "}\n")
    print(sum(f.stat().st_size for f in DATA.iterdir()), "bytes in", DATA)


if __name__ == "__main__":
    main()

"""Screenshots of a study's report at 1280 and 390 pixels, for the documentation.

    python benchmarks/screenshots.py runs/quickstart            # writes docs/report-1280.png and docs/report-390.png

Needs playwright (in the extra ``dev``) and an installed Chromium.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

from semalign_pl.report import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.browser import chromium, opened

HEIGHTS = {1280: 1500, 390: 1500}
"""Height of each picture by its width: the verdicts, the frontier and the first table."""
MAX_BYTES = 300_000


def main() -> None:
    """Write the report anew, and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a study")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the pictures (default: docs)")
    options = parser.parse_args()
    report = write_report(options.folder)
    with chromium() as browser:
        for width, height in HEIGHTS.items():
            with opened(browser, report, width, height) as page:
                picture = shrink(page.page.screenshot())
            path = options.out / f"report-{width}.png"
            path.write_bytes(picture)
            print(f"{path}: {len(picture):,} bytes")


def shrink(png: bytes) -> bytes:
    """PNG file with a palette of 256 colours, a third of the size."""
    content = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(content, format="png", optimize=True)
    assert content.tell() < MAX_BYTES, f"{content.tell():,} bytes"
    return content.getvalue()


if __name__ == "__main__":
    main()

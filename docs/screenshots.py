"""Takes the pictures of README.md: pages of real runs as a desktop browser shows them. `python -m docs.screenshots`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from reports import render, run_folder

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1280
LARGEST_BYTES = 300_000


@dataclass(frozen=True)
class Picture:
    """`page` is a file of the run folder `run` once that is rendered; `height` is how much of it is shown."""

    name: str
    run: Path
    page: str
    height: int


PICTURES = (
    Picture("host-page.png", ROOT / "reports/samples/h200", "hosts/local/index.html", 1100),
    Picture("fleet-page.png", ROOT / "tests/unit/reports/samples/run", "index.html", 720),
)


def take(picture: Picture, browser: str, out: Path) -> None:
    """Render a copy of the run and take the picture. Raises ValueError for one that is too large for a README."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(picture.run, Path(folder) / "run"))
        render.render(run_folder.read(copy))
        subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",  # it cannot have one as root, and shows our own pages
                "--disable-gpu",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{picture.height}",
                f"--screenshot={out}",
                (copy / picture.page).as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    size = out.stat().st_size
    if size > LARGEST_BYTES:
        raise ValueError(f"{out} has {size} bytes, and may have {LARGEST_BYTES}: show less of the page")


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"pictures are taken with a browser, and there is none of {', '.join(BROWSERS)}")
    for picture in PICTURES:
        take(picture, browser, ROOT / "docs" / picture.name)


if __name__ == "__main__":
    main()

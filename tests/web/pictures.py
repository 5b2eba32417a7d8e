"""The pictures of docs/web.md: pages of a real scan and a real boost, as a browser shows them.

python -m tests.web.pictures docs            # some 4 minutes; needs chromium and Fashion-MNIST
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
BOOST = ("boost", "demo:standard", "--epochs", "4", "--steps", "5", "--protocol", "quick")
COMPARED = "model=demo:at-cluster-eps0.10&model=demo:at-eps0.10&model=demo:standard"
PAGES = {
    "web-leaderboard": ("light", "/", 1200, 900),
    "web-phone": ("dark", "/", 390, 844),
    "web-zoo": ("light", "/zoo", 1200, 900),
    "web-compare": ("light", f"/compare?{COMPARED}", 1200, 1150),
    "web-audit": ("dark", "/models/demo:at-cluster-eps0.10", 1200, 900),
    "web-pictures": ("light", "/models/demo:at-eps0.10", 1200, 1150),
    "web-scan": ("light", "/scans/1", 1200, 900),
    "web-boost": ("light", "/boosts/1", 1200, 1150),
    "web-checkpoint": ("dark", "/checkpoints/1", 1200, 900),
}
"""The colour scheme, the address, the width and the height of each picture."""
SHOWN = {"web-pictures": "section.templates"}
"""What is at the top of a picture, if it is not the top of the page."""
COLOURS = 256
"""Of a picture: flat drawings lose nothing that is seen, and become half as large."""


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as own:
        environment = os.environ | {
            "AUDITOR_DATABASE_URL": f"sqlite:///{own}/auditor.db",
            "AUDITOR_CHECKPOINTS": f"{own}/checkpoints",
        }

        def auditor(*words: str) -> list[str]:
            return [sys.executable, "-m", "auditor", *words]

        for words in (("scan", "demo", "--protocol", "quick", "--save-adversarials", f"{own}/kept"), BOOST):
            subprocess.run(auditor(*words), env=environment, check=True, stdout=subprocess.DEVNULL)
        serve = auditor("serve", "--port", "0")
        with subprocess.Popen(serve, env=environment, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            address = server.stderr.readline().strip().rstrip("/")
            for name, (scheme, path, width, height) in PAGES.items():
                picture(address + path, scheme, (width, height), folder / f"{name}.png", SHOWN.get(name))
            server.terminate()


def picture(address: str, scheme: str, size: tuple[int, int], file: Path, shown: str | None = None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = {"width": size[0], "height": size[1]}
        page = browser.new_page(color_scheme=scheme, viewport=view, reduced_motion="reduce")
        page.goto(address)
        if shown is not None:
            page.evaluate("selector => document.querySelector(selector).scrollIntoView()", shown)
        page.screenshot(path=file)
        browser.close()
    with Image.open(file) as taken:
        taken.convert("RGB").quantize(COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

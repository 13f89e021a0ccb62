"""The picture of a report in the README.

    rlsd train --mode rlvr && rlsd train --mode rlsd
    rlsd report 'quickstart-rlvr-*' 'quickstart-rlsd-*' --step 20 --methods rlvr,opsd,rlsd,fipo,hdpo --alternatives 3
    python docs/screenshot.py report.html docs/report.png

It needs the package `playwright` and a Chromium, `/usr/bin/chromium` or the first argument after the picture.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def shoot(report: Path, picture: Path, chromium: str) -> None:
    """Write the rollouts of a group as the page shows them, with a token in focus."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1180, "height": 760}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("[data-ready]")
        page.locator("label:has-text('order') select").select_option("gap")
        page.locator("label:has-text('colour') select").select_option("weight")
        page.locator("#rollouts .link").first.click()
        page.wait_for_selector(".card.chosen .tokens:focus")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.locator("#rollouts").evaluate("element => element.scrollIntoView()")
        page.locator("#rollouts .wide").first.evaluate("element => { element.style.maxHeight = '11rem'; }")
        page.locator("#rollouts .tools").evaluate("element => element.scrollIntoView()")
        page.wait_for_timeout(300)
        page.screenshot(path=str(picture))
        browser.close()


if __name__ == "__main__":
    shoot(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "/usr/bin/chromium")

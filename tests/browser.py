"""A browser without a screen, and a visitor of the page of `vlm3 app` in it."""

import base64
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

NAMES = "chromium", "chromium-browser", "google-chrome"
FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    "window-size=1280,1000",
)


@contextmanager
def chromium() -> Iterator["Chrome"]:
    """Opened, with what it logs and asks for; LookupError where none is installed."""
    found, driver = next(filter(None, map(shutil.which, NAMES)), None), shutil.which("chromedriver")
    if not (found and driver):
        raise LookupError("no Chromium and chromedriver on the PATH")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = found
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


class Visitor:
    """What somebody does with the page."""

    def __init__(self, browser):
        self.browser = browser

    def come(self, address: str) -> None:
        """Until the example is drawn."""
        self.browser.get(address)
        self.wait("document.querySelector('#first img')")
        self.wait("document.querySelector('#drop-1 input[type=file]')")

    def wait(self, condition: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.browser, 120)
        waiting.until(lambda b: b.execute_script(f"return !!({condition})"), condition)

    def text(self, place: str) -> str:
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return self.browser.execute_script(script, place)

    def press(self, words: str, kind: str = "button") -> None:
        found = self.browser.find_elements("css selector", kind)
        next(each for each in found if each.text.strip() == words).click()

    def take(self, question: str) -> None:
        self.press(question, "label")
        self.wait("document.querySelector('#answer .vlm3-none')")
        time.sleep(1)

    def drop(self, path: Path, place: int = 1) -> None:
        field = self.browser.find_element("css selector", f"#drop-{place} input[type=file]")
        field.send_keys(str(path))
        figure = "#first" if place == 1 else "#second"
        self.wait(
            f"document.querySelector('{figure}').innerText.includes('{path.name}') || "
            f"document.querySelector('#answer [role=alert]')?.innerText.includes('{path.name}')"
        )

    def at(self, u: float, v: float):
        """Towards a place, in shares of the photo's width and height."""
        from selenium.webdriver import ActionChains

        picture = self.browser.find_element("css selector", "#first .vlm3-picture")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
        wide, high = picture.size["width"], picture.size["height"]
        offset = round((u - 0.5) * wide), round((v - 0.5) * high)
        return ActionChains(self.browser).move_to_element_with_offset(picture, *offset)

    def click(self, u: float, v: float) -> None:
        self.at(u, v).click().perform()

    def answer(self) -> str:
        self.wait("document.querySelector('#answer .vlm3-answer, #answer [role=alert]')")
        return self.text("#answer")

    def files(self, place: str) -> dict[str, bytes]:
        """What its links hold, by name."""
        script = (
            "return Object.fromEntries([...document.querySelectorAll(arguments[0] + "
            "' a[download]')].map(a => [a.download, a.href]))"
        )
        found = self.browser.execute_script(script, place)
        return {name: base64.b64decode(at.partition(",")[2]) for name, at in found.items()}

    def faults(self) -> list[str]:
        """What the browser complains of, and what it asks of others."""
        own = self.browser.current_url.partition("/?")[0]
        found = [e["message"] for e in self.browser.get_log("browser") if e["level"] == "SEVERE"]
        for entry in self.browser.get_log("performance"):
            sent = json.loads(entry["message"])["message"]["params"].get("request", {})
            if not sent.get("url", own).startswith((own, "data:", "blob:", "about:")):
                found.append(sent["url"])
        return found

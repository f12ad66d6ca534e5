"""Opens the pages that laco writes in Chromium, as people with wide and narrow screens, in light and dark mode, see them."""

import json
import pathlib
import shutil

import checks
from playwright.sync_api import sync_playwright

AXE = pathlib.Path(__file__).resolve().parent.parent / "build/interop-env/axe-core/axe.min.js"
WIDTHS = {"desktop": 1280, "phone": 375}
SCHEMES = ("light", "dark")
# The rules of the Web Content Accessibility Guidelines 2.2, levels A and AA.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def check_report(what, page, report):
    """The page of a prune, and the numbers of its report."""
    shown = [f"{report['layersIn']} → {report['layersOut']}", f"{report['finalSimilarity']:.4f}", report["jobId"], report["device"]]
    quality = report["quality"]
    if "dense" in quality:
        shown.append(f"{quality['dense']['perplexity']:.2f} → {quality['pruned']['perplexity']:.2f}")
        shown += ["".join(sample["original"]).strip()[:20] for sample in quality["samples"]]
    check(what, page, shown)


def check(what, page, shown):
    """No message of the browser, nothing wider than the screen, no violation that axe-core finds, and texts that must be there."""
    page = page.resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS, chromium_sandbox=False)
        for screen, width in WIDTHS.items():
            for scheme in SCHEMES:
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                _check_view(f"{what} on a {scheme} {screen}", context.new_page(), page)
                context.close()
        tab = browser.new_page()
        tab.goto(page.as_uri())
        text = tab.inner_text("body")
        missing = [one for one in shown if one not in text]
        checks.check(not missing, f"{what}: {len(shown)} values as measured", missing)
        checks.check(tab.pdf().startswith(b"%PDF"), f"{what}: prints")
        browser.close()


def _check_view(what, tab, page):
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    tab.goto(page.as_uri())
    checks.check(not said, f"{what}: no message, no request", said)
    wide = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    checks.check(wide[0] <= wide[1], f"{what}: fits into {wide[1]} pixels", f"{wide[0]} pixels wide")
    tab.add_script_tag(path=AXE)
    found = tab.evaluate("tags => axe.run({runOnly: tags})", RULES)["violations"]
    why = json.dumps([[v["id"], [n["target"] for n in v["nodes"]][:3]] for v in found])
    checks.check(not found, f"{what}: axe-core finds nothing", why)

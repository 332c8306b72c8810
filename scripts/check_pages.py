"""Are the pages what a reader sees in a real browser?

    python scripts/check_pages.py RUN/report.html [OUT/index.html]

Opens each page in headless Chromium, reads what it has made of it, and works the filter of a report: as many samples are shown
as the page says, all of them right or wrong as asked. Nothing may be loaded from elsewhere, and no script may fail. Needs
Chromium (`apt-get install chromium`), and nothing beyond Python's own library.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What is done on the page when it is loaded; the results become attributes of <html>, which the browser prints.
WORK = """
<script>
{
const found = document.documentElement.dataset;
const shown = () => [...document.querySelectorAll("article")].filter(article => !article.hidden);
found.drawings = [...document.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width > 100).length;
found.tables = document.querySelectorAll("table").length;
found.foreign = performance.getEntriesByType("resource").length;
const form = document.getElementById("filter");
if (form) {
  found.all = shown().length;
  for (const kind of ["right", "wrong"]) {
    form.elements.kind.value = kind;
    form.dispatchEvent(new Event("input"));
    found[kind] = shown().length;
    found[kind + "Said"] = parseInt(document.getElementById("count").textContent);
    found[kind + "Others"] = shown().filter(article => article.className !== kind).length;
  }
}
found.done = "yes";
}
</script>
"""


def main():
    for path in map(Path, sys.argv[1:]):
        found = opened(path)
        report = "all" in found
        expect(path, found.get("done") == "yes", "a script of the page failed")
        expect(path, found["foreign"] == "0", "it loads something")
        expect(path, int(found["drawings"]) > 0, "it shows no drawing")
        expect(path, int(found["tables"]) > 0, "it shows no table")
        if report:
            right, wrong, together = (int(found[name]) for name in ("right", "wrong", "all"))
            expect(path, together > 0 and right + wrong == together, f"{right} right and {wrong} wrong of {together}")
            for kind in ("right", "wrong"):
                expect(path, found[kind] == found[kind + "Said"], f"it says {found[kind + 'Said']} {kind} and shows {found[kind]}")
                expect(path, found[kind + "Others"] == "0", f"it shows others among the {kind} ones")
        print(path, {name: value for name, value in found.items() if name != "done"})


def opened(path):
    """The attributes that WORK has left on the page."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("error: there is no Chromium: apt-get install chromium")
    page = path.read_text()
    expect(path, "</body>" in page, "it is no whole page")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        # Scripts are allowed here even where the page itself forbids them.
        page = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page)
        copy.write_text(page.replace("</body>", WORK + "</body>"))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        command += ["--window-size=1300,900", "--virtual-time-budget=3000", "--dump-dom", copy.as_uri()]
        dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    head = re.search(r"<html[^>]*>", dom)
    return {to_name(key): value for key, value in re.findall(r"data-([\w-]+)=\"([^\"]*)\"", head[0] if head else "")}


def to_name(key):
    """`right-said` as the browser writes it to `rightSaid`."""
    return re.sub(r"-(\w)", lambda found: found[1].upper(), key)


def expect(path, holds, otherwise):
    if not holds:
        sys.exit(f"error: {path}: {otherwise}")


main()

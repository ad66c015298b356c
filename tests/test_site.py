"""The site in a real browser: what a reader sees, on a laptop, on a phone, in the dark, and with the network off."""
import functools
import http.server
import json
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from prox_repro.core import site as site_module
from prox_repro.core.project import papers, root
from prox_repro.core.site import SiteError, build_site, paper_page, provenance, provenance_html, split_solution

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def site_dir(smoke_results, tmp_path_factory) -> Path:
    """The site of all papers at smoke, rendered without Quarto so that it is the same wherever the tests run."""
    out = tmp_path_factory.mktemp("site") / "_site"
    return build_site(smoke_results, out, renderer="smalldocs", log=lambda text: None)


@pytest.fixture(scope="session")
def base(site_dir: Path):
    """The address of a server of the site."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site_dir)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Chromium; without one these tests are skipped, or fail where PROX_REPRO_REQUIRE_BROWSER=1."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        message = "no Chromium on the PATH: install the package `chromium`"
        pytest.fail(message) if os.environ.get("PROX_REPRO_REQUIRE_BROWSER") == "1" else pytest.skip(message)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=BROWSER_FLAGS)
        yield running
        running.close()


@pytest.fixture()
def visit(browser, base):
    """Open a page; the test fails at the end if anything went wrong behind the scenes."""
    contexts, bad = [], []

    def open_page(address: str, width: int = 1280, height: int = 900, dark: bool = False):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        contexts.append(context)
        page = context.new_page()
        url = address if address.startswith("file:") else base + address
        allowed = ("file:", "data:") if address.startswith("file:") else (base, "data:")

        def route(handle):
            if handle.request.url.startswith(allowed):
                return handle.continue_()
            bad.append(f"outside request {handle.request.url}")
            return handle.abort()
        context.route("**/*", route)
        page.on("console", lambda m: m.type in ("error", "warning") and bad.append(f"{address}: {m.text}"))
        page.on("pageerror", lambda error: bad.append(f"{address}: {error}"))
        page.on("response", lambda r: r.status >= 400 and bad.append(f"{address}: {r.status} {r.url}"))
        page.goto(url)
        if page.locator("span.math").count():
            page.evaluate("() => MathJax.startup.promise")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not bad, bad


class Page(HTMLParser):
    """Tags of a page: links, ids, images, and the text of figures and tables of results."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.links, self.ids, self.images, self.stack, self.results = [], set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [values[key] for key in ("href", "src") if values.get(key)]
        self.ids |= {values["id"]} if values.get("id") else set()
        if tag == "img":
            self.images.append(values)
        for element in self.stack:
            element["inside"].append(f'{tag}.{values.get("class") or ""}')
        if tag not in VOID:
            entry = {"tag": tag, "class": values.get("class") or "", "name": values.get("data-name"), "inside": []}
            self.stack.append(entry)
            if entry["name"] and entry["class"].split()[0] in ("prox-figure", "prox-table"):
                self.results.append(entry)

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop()["tag"] != tag:
            pass


@pytest.fixture(scope="session")
def parsed(site_dir: Path) -> dict[str, Page]:
    """All pages of the site, parsed."""
    return {path.relative_to(site_dir).as_posix(): Page(path.read_text(encoding="utf-8"))
            for path in sorted(site_dir.rglob("*.html"))}


def sample() -> list[str]:
    """All special pages, and one paper per chapter."""
    firsts = {info.chapter: info for info in reversed(papers().values())}
    special = ["index.html", "ledger.html", "changes.html", "404.html", "guide/index.html", "guide/read.html", "core/index.html",
               "core/prox.html", "api/index.html", "api/prox.html"]
    return special + [f"{info.chapter}/{name}.html" for info in firsts.values() for name in ("index", info.slug)]


def first_paper():
    return next(iter(papers().values()))


# ---- files, without a browser

def test_every_paper_chapter_module_and_guide_has_a_page(parsed):
    for info in papers().values():
        assert {f"{info.chapter}/{info.slug}.html", f"{info.chapter}/index.html", f"api/{info.slug}.html"} <= set(parsed)
    for folder in ("guide", "core"):
        assert {f"{folder}/{path.stem}.html" for path in (root() / "nbs" / folder).glob("*.ipynb")} <= set(parsed)
    assert {"index.html", "ledger.html", "changes.html", "404.html", "api/index.html"} <= set(parsed)
    assert not [name for name in parsed if name.split("/")[0] in site_module.CHAPTERS
                and name.split("/")[0] not in {info.chapter for info in papers().values()}]


def test_no_broken_links(site_dir, parsed):
    broken = []
    for name, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("javascript:"):
                continue
            target = (site_dir / name).parent / unquote(parts.path) if parts.path else site_dir / name
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                broken.append(f"{name}: {link}")
            elif parts.fragment and "=" not in parts.fragment and target.suffix == ".html":
                where = target.resolve().relative_to(site_dir.resolve()).as_posix()
                if unquote(parts.fragment) not in parsed[where].ids:
                    broken.append(f"{name}: no such place {link}")
    assert not broken, broken[:10]


def test_every_image_has_alternative_text(parsed):
    missing = [f"{name}: {image.get('src', '')[:80]}" for name, page in parsed.items() for image in page.images
               if not (image.get("alt") or "").strip()]
    assert not missing, missing[:10]


def test_provenance_stands_under_every_figure_and_table(smoke_results, parsed):
    for info in papers().values():
        manifest = json.loads((smoke_results / info.slug / "manifest.json").read_text(encoding="utf-8"))
        results = parsed[f"{info.chapter}/{info.slug}.html"].results
        assert sorted(entry["name"] for entry in results) == sorted([*manifest["figures"], *manifest["tables"]])
        for entry in results:
            assert entry["inside"].count("p.prox-provenance") == 1, (info.slug, entry["name"])


def test_a_run_that_is_not_committed_is_called_so(site_dir):
    info = first_paper()
    text = (site_dir / info.chapter / f"{info.slug}.html").read_text(encoding="utf-8")
    line = re.search(r'<p class="prox-provenance">.*?</p>', text, re.S)[0]
    assert "smoke run, not committed" in line and info.notebook in line and f"params/{info.slug}.yaml" in line


def test_provenance_comes_from_the_lock_file_and_only_for_the_recorded_notebook(smoke_results):
    info = first_paper()
    folder = smoke_results / info.slug
    stage = {"deps": [{"path": "data/mnist", "md5": "a" * 32 + ".dir"}, {"path": info.notebook, "md5": "b" * 32},
                      {"path": "prox_repro/core/run.py", "md5": "c" * 32}],
             "outs": [{"path": f"results/{info.slug}/notebook.ipynb", "md5": site_module._md5(folder / "notebook.ipynb")}]}
    recorded = provenance(info, folder, stage)
    assert recorded.data == (("data/mnist", "a" * 32),) and recorded.code
    changed = json.loads(json.dumps(stage).replace("c" * 32, "d" * 32))
    assert provenance(info, folder, changed).code != recorded.code
    stage["outs"][0]["md5"] = "0" * 32
    assert "not committed" in provenance_html(provenance(info, folder, stage), "")
    assert "not committed" in provenance_html(provenance(info, folder, None), "")


def test_solutions_are_folded_and_parameters_are_not_shown(site_dir, smoke_results):
    for info in papers().values():
        text = (site_dir / info.chapter / f"{info.slug}.html").read_text(encoding="utf-8")
        assert "BEGIN SOLUTION" not in text and "injected-parameters" not in text
        notebook = json.loads((smoke_results / info.slug / "notebook.ipynb").read_text(encoding="utf-8"))
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert text.count("<summary>Show a solution</summary>") == sum(map(bool, map(split_solution, sources)))
        assert "<details open" not in text


def test_two_builds_give_the_same_bytes(site_dir, smoke_results, tmp_path):
    again = build_site(smoke_results, tmp_path / "again", renderer="smalldocs", log=lambda text: None)
    files = [{path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
             for folder in (site_dir, again)]
    assert files[0].keys() == files[1].keys()
    assert [name for name in files[0] if files[0][name] != files[1][name]] == []


def test_a_failed_build_leaves_the_previous_site(site_dir, smoke_results, tmp_path, monkeypatch):
    out = tmp_path / "site"
    shutil.copytree(site_dir, out)
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    results = tmp_path / "results"
    shutil.copytree(smoke_results, results)
    (results / first_paper().slug / "notebook.ipynb").write_text("no notebook", encoding="utf-8")
    with pytest.raises(SiteError, match="not a readable notebook") as caught:
        build_site(results, out, renderer="smalldocs", log=lambda text: None)
    assert "\n" not in str(caught.value)
    shutil.copy2(smoke_results / first_paper().slug / "notebook.ipynb", results / first_paper().slug / "notebook.ipynb")
    (results / first_paper().slug / "manifest.json").unlink()
    with pytest.raises(SiteError, match=f"incomplete results.*prox-repro run {first_paper().slug}"):
        build_site(results, out, renderer="smalldocs", log=lambda text: None)
    with pytest.raises(SiteError, match="prox-repro repro"):
        build_site(tmp_path / "empty", out, log=lambda text: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match="quarto is not on the PATH"):
        build_site(results, out, renderer="quarto", log=lambda text: None)
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "site"]


def test_a_folder_that_is_no_site_is_not_replaced(smoke_results, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(SiteError, match="no site of this suite"):
        build_site(smoke_results, tmp_path, log=lambda text: None)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "keep me"


def test_a_paper_that_has_not_run_is_said_to_have_not_run(tmp_path):
    notebook, files = paper_page(first_paper(), tmp_path / "nothing", None, "https://example.org/blob/main")
    text = json.dumps(notebook)
    assert "has not been run yet" in text and "not run yet" in text and "prox-provenance" not in text and not files


def test_a_core_notebook_is_executed_once_and_its_pictures_can_be_read_aloud(tmp_path):
    path = root() / "nbs" / "core" / "graphs.ipynb"
    first = site_module.run_core([path])[path]
    before = first.read_bytes(), first.stat().st_mtime_ns
    assert site_module.run_core([path])[path] == first and (first.read_bytes(), first.stat().st_mtime_ns) == before
    first.unlink()
    assert site_module.run_core([path])[path].read_bytes() == before[0]
    files = {}
    cells = site_module._with_pictures(json.loads(before[0])["cells"], "graphs", files)
    outputs = [out.get("data", {}) for cell in cells for out in cell.get("outputs", [])]
    markup = [data["text/html"] for data in outputs if "text/html" in data]
    assert len(files) == len(markup) > 0 and all(data[1:4] == b"PNG" for data in files.values())
    assert all(re.search(r'alt="[^"]{20,}"', text) for text in markup)


# ---- in the browser

@pytest.mark.parametrize("address", sample())
def test_page_on_a_phone(visit, address):
    page = visit(address, width=390, height=844)
    unset = page.evaluate("""() => document.querySelectorAll('[data-mjx-error]').length
        + [...document.querySelectorAll('span.math')].filter(e => !e.querySelector('mjx-container')).length""")
    assert unset == 0, "formulas that were not set"
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "wider than the phone"
    assert page.locator("h1").count() >= 1
    prose = page.evaluate("""() => [...document.querySelectorAll('main p, main li, main td, figcaption')]
        .map(e => e.innerText).join(' ')""")
    assert not re.search(r"\\(?:frac|mathbb|sum|operatorname)|\$\$", prose), "raw TeX"
    assert page.evaluate("[...document.images].filter(i => i.loading != 'lazy' && !i.naturalWidth).length") == 0


def test_figures_load_when_scrolled_to(visit):
    info = first_paper()
    page = visit(f"{info.chapter}/{info.slug}.html")
    figures = page.locator("figure.prox-figure img")
    assert figures.count() > 0
    for i in range(figures.count()):
        figures.nth(i).scroll_into_view_if_needed()
        page.wait_for_function("e => e.complete && e.naturalWidth > 0", arg=figures.nth(i).element_handle(), timeout=5000)


def find_by_search(page, info) -> None:
    page.fill(".smalldocs-search input >> visible=true", info.title)
    page.wait_for_selector(".smalldocs-search-results.show a")
    hrefs = page.eval_on_selector_all(".smalldocs-search-results.show a", "links => links.map(a => a.getAttribute('href'))")
    assert any(f"{info.chapter}/{info.slug}.html" in href for href in hrefs), hrefs


def test_search_finds_a_paper_by_title(visit):
    find_by_search(visit("api/index.html"), first_paper())


def test_search_and_formulas_from_a_file(visit, site_dir):
    info = first_paper()
    page = visit((site_dir / info.chapter / f"{info.slug}.html").as_uri())
    assert page.locator("mjx-container").count() == page.locator("span.math").count() > 0
    find_by_search(page, info)


def test_ledger_filters_by_text_verdict_and_chapter(visit, smoke_results):
    claims = {info.slug: json.loads((smoke_results / info.slug / "claims.json").read_text(encoding="utf-8"))["claims"]
              for info in papers().values()}
    total, info = sum(map(len, claims.values())), first_paper()
    page = visit("ledger.html")
    rows, count = page.locator("#ledger-rows tr:visible"), page.locator(".prox-filter output")
    assert rows.count() == total and count.inner_text() == f"{total} claims"
    page.fill(".prox-filter input", info.title)
    assert rows.count() == len(claims[info.slug]) and count.inner_text().startswith(f"{rows.count()} ")
    page.fill(".prox-filter input", "no claim says this")
    assert rows.count() == 0 and count.inner_text() == f"0 of {total} claims"
    page.fill(".prox-filter input", "")
    page.select_option(".prox-filter select[data-key=chapter]", info.chapter)
    assert rows.count() == sum(len(claims[p.slug]) for p in papers().values() if p.chapter == info.chapter)
    page.select_option(".prox-filter select[data-key=chapter]", "")
    page.select_option(".prox-filter select[data-key=verdict]", "not judged")
    assert rows.count() == sum(claim["verdict"] == "not judged" for own in claims.values() for claim in own)


def test_ledger_opens_with_the_verdict_of_the_address(visit):
    page = visit("ledger.html#verdict=not%20judged")
    assert page.input_value(".prox-filter select[data-key=verdict]") == "not judged"


def test_gallery_shows_every_paper_with_its_picture(visit):
    page = visit("index.html")
    cards = page.locator(".prox-card:visible")
    assert cards.count() == len(papers())
    for info in papers().values():
        card = page.locator(f'.prox-card:has(h3 a[href="{info.chapter}/{info.slug}.html"])')
        assert card.count() == 1 and card.locator("img").count() == 1
        assert "claims" in card.locator(".prox-card-foot").inner_text()
    page.fill(".prox-filter input", first_paper().title)
    assert cards.count() < len(papers()) or len(papers()) == 1
    assert "make repro" in page.inner_text("main") and "make test" in page.inner_text("main")


def test_dark_mode_toggles_and_follows_the_system(visit):
    shade = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    page = visit("index.html")
    light = page.evaluate(shade)
    page.locator(".quarto-color-scheme-toggle:visible").click()
    page.wait_for_function(f"({shade})() < 200")
    page.reload()
    assert page.evaluate(shade) < 200 < light
    assert visit("ledger.html", dark=True).evaluate(shade) < 200


def test_solutions_open_only_when_asked(visit):
    info = first_paper()
    page = visit(f"{info.chapter}/{info.slug}.html")
    folds = page.locator("details:has(summary:text('Show a solution'))")
    if not folds.count():
        pytest.skip(f"{info.slug} has no exercise")
    code = folds.first.locator("code").first
    assert not code.is_visible()
    folds.first.locator("summary").click()
    assert code.is_visible()


def test_menu_and_sidebar_open_on_a_phone(visit):
    info = first_paper()
    page = visit(f"{info.chapter}/{info.slug}.html", width=390, height=844)
    page.locator(".navbar-toggler").click()
    page.locator("#navbarCollapse a:has-text('Ledger')").wait_for(state="visible")
    page.locator(".navbar-toggler").click()
    page.locator(".quarto-btn-toggle").click()
    page.locator("#quarto-sidebar a:has-text('Ledger')").wait_for(state="visible")


def test_reference_shows_parameters_and_source(visit):
    page = visit("api/prox.html#soft_threshold")
    entry = page.locator("section:has(> h2#soft_threshold), section#soft_threshold").first
    text = entry.inner_text() if entry.count() else page.inner_text("main")
    assert "reg" in text and "threshold" in text
    source = page.locator("a.source-link, .source-link a").first.get_attribute("href")
    assert re.search(r"/blob/\w+/prox_repro/core/prox\.py#L\d+$", source)

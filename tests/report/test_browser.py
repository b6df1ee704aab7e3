"""The page as a reader meets it: in a browser, on a phone, in the dark, on paper."""

from __future__ import annotations

import pytest
from evidence import TASKS

from throughtime.report import page

# The smallest contrast of any text against the background behind it; WCAG AA asks 4.5, or 3 for large text.
CONTRAST = """
() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1] };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = rgb => { const c = rgb.slice(0, 3).map(v => linear(v / 255));
                         return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const found = [];
  for (const e of document.querySelectorAll('p, dt, dd, th, td, h1, h2, h3, li, summary, caption, code, svg text')) {
    if (!e.textContent.trim() || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), front = parse(e.tagName === 'text' ? style.fill : style.color);
    const back = behind(e), [a, b] = [light(over(front, back)), light(back)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.textContent.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
}
"""
# Text of a drawing that a narrow screen would cut off.
OUTSIDE = """
() => [...document.querySelectorAll('.chart text')].filter(t => {
  const box = t.getBoundingClientRect(), card = t.closest('.card').getBoundingClientRect();
  return box.left < card.left || box.right > card.right;
}).map(t => t.textContent)
"""


# Tables with columns beyond their card.
CUT = """
() => [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)
  .map(box => box.getAttribute('aria-label'))
"""


@pytest.fixture(params=sorted(TASKS))
def address(request, tmp_path):
    return page.write(TASKS[request.param](), tmp_path / "report.html").as_uri()


@pytest.fixture
def visit(browser, address):
    """Opens the report and, at the end, holds that it was quiet: nothing logged, nothing raised, nothing fetched."""
    contexts, messages, requests = [], [], []

    def opened(**context):
        contexts.append(browser.new_context(**context))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.on("dialog", lambda dialog: messages.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {address}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole_and_readable(visit, scheme):
    tab = visit(viewport={"width": 375, "height": 700}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(OUTSIDE) == []
    assert tab.evaluate(CUT) == []
    contrast, text = tab.evaluate(CONTRAST)
    assert contrast >= 4.5, text
    smallest = tab.evaluate(
        "Math.min(...[...document.querySelectorAll('.chart text')].map(t => "
        "parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / 380))"
    )
    assert smallest >= 7.5, "labels of a drawing are too small to read on a phone"


def test_dark_mode_reaches_the_page_and_the_drawings(visit):
    shades = {}
    for scheme in ("light", "dark"):
        tab = visit(color_scheme=scheme)
        shades[scheme] = tab.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.querySelector('.chart text')).fill]"
        )
    assert all(light != dark for light, dark in zip(shades["light"], shades["dark"], strict=True))


def test_paper_is_light_and_shows_what_was_folded(visit):
    tab = visit(color_scheme="dark", viewport={"width": 700, "height": 900})
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--card').trim()") == "#ffffff"
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    hidden = "[...document.querySelectorAll('details table')].filter(t => !t.checkVisibility()).length"
    assert tab.evaluate(hidden) == 0
    assert tab.pdf(format="A4").startswith(b"%PDF")


def test_the_wide_page_has_no_overflow_and_no_clipped_text(visit):
    tab = visit(viewport={"width": 1100, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(CUT) == []
    assert tab.evaluate(OUTSIDE) == []

"""The report page in a real browser: headless Chromium, driven by its own driver.

Skipped where Debian's packages `chromium` and `chromium-driver` (or their like) are not installed.
"""

import base64
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from made_up import BASE, EVIL, build, results_of
from PIL import Image
from ports import free_port

from sweeps import claims, tables
from sweeps.ablations import ABLATIONS
from sweeps.control import Control
from sweeps.report import plots, sheet, write
from sweeps.report.page import section_of
from sweeps.schema import cells

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

HOSTILE = EVIL + """"><img src=x onerror="document.title='x'"><svg onload="document.title='x'">"""

FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-sync",
    "disable-background-networking",
    "disable-component-update",
    "disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    """A report with a table on an axis, one of methods, and clips; prompt and title are evil."""
    built = []
    for name in ("sampling", "lambda_hard"):
        table = replace(ABLATIONS[name], metrics=("SA", "PC"))
        built.append(tables.build(table, cells(table, BASE, (0, 1)), results_of(table, (0, 1))))
    evil = replace(built[1].ablation, title=f"S3 {HOSTILE}")
    built[1] = replace(built[1], ablation=evil)
    first, *others = found.examples
    clips = (replace(first.clips[0], label=HOSTILE), *first.clips[1:])
    shown = replace(found, examples=(replace(first, prompt=HOSTILE, clips=clips), *others))
    findings = claims.verdicts({})  # all "not run"
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(
        write.index(
            built,
            [section_of(table, sheet.svg(table, plots.panels)) for table in built],
            findings,
            built[0].judge,
            Control(f"positive {HOSTILE}", "negative"),
            shown,
        )
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER, port=free_port()))
    yield driver
    driver.quit()


@pytest.fixture
def view(browser, page):
    """view(width, scheme, motion): the page, loaded anew, under these conditions."""

    def load(width=1200, scheme="light", motion="no-preference"):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": name, "value": value} for name, value in features.items()]},
        )
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.get(page)
        return browser

    return load


def requests(browser):
    """Addresses that the page asked for, other than pictures which stand in it."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith("data:")]


def wait(browser, script, seconds=120):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, 0.05).until(lambda b: b.execute_script(script))


def test_it_loads_whole_and_asks_for_nothing(view, page):
    browser = view()
    assert requests(browser) == [page]
    assert browser.get_log("browser") == [], "errors, refusals by the policy, warnings"
    counts = browser.execute_script("""return ["table", ".plot svg", ".clips svg", "h1"].map(
        name => document.querySelectorAll(name).length)""")
    assert counts == [2 * 2 + 2 + 1, 2, 34, 1], "numbers, pictures and provenance"


def test_hostile_text_is_text(view):
    browser = view()
    assert browser.title.startswith("DiReCT, run again")
    assert browser.execute_script("return document.querySelectorAll('img, script').length") == 1
    shown = browser.execute_script("return document.querySelector('.example h4').textContent")
    assert "<script>alert(1)</script>" in shown and "onerror" in shown
    label = browser.execute_script("return document.querySelector('.clips svg').ariaLabel")
    assert "onerror" in label


def test_the_policy_refuses_what_is_slipped_in(view):
    """Were the escaping to fail, the browser would still not run it."""
    browser = view()
    browser.execute_script("""
        const img = document.createElement("img"); img.setAttribute("onerror", "window.ran = 1");
        img.src = "https://example.invalid/x.png"; document.body.append(img);
        const script = document.createElement("script"); script.textContent = "window.ran = 1";
        document.body.append(script);""")
    wait(browser, "return document.images[0].complete")
    assert browser.execute_script("return window.ran") is None
    said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "img-src" in said and "script-src" in said


PLAYING = "return document.querySelectorAll('.example[data-playing=true]').length"

FRAME = "return document.querySelector('.example input').value"


def test_clips_play_loop_and_obey_the_keyboard(view):
    from selenium.webdriver.common.keys import Keys

    browser = view()
    browser.execute_script("document.querySelectorAll('#clips details').forEach(d => d.open = 1)")
    browser.execute_script("document.querySelector('#clips summary').focus()")
    assert browser.execute_script(PLAYING) == 8
    x = "return document.querySelector('.example image').getAttribute('x')"
    before = browser.execute_script(x)
    wait(browser, f"{x} !== '{before}'".replace("return ", "return (", 1).replace(" !==", ") !=="))
    focused = lambda: browser.switch_to.active_element  # noqa: E731
    seen = []
    for _ in range(40):  # from the section's top, Tab alone
        focused().send_keys(Keys.TAB)
        seen.append(focused().get_attribute("id") or focused().tag_name)
        if focused().find_elements("xpath", "ancestor::*[contains(@class, 'example')]"):
            break
    assert {"play-all", "pause-all", "tracks"} <= set(seen) and seen[-1] == "button"
    assert focused().text == "Pause"
    focused().send_keys(Keys.SPACE)
    assert focused().text == "Play" and browser.execute_script(PLAYING) == 7
    focused().send_keys(Keys.TAB)
    slider = focused()
    slider.send_keys(Keys.HOME)
    assert browser.execute_script(FRAME) == "0" and browser.execute_script(x) in ("0", "-0")
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert browser.execute_script(x) == "-64"
    slider.send_keys(Keys.END)
    shown = browser.execute_script("return document.querySelector('.example output').textContent")
    assert shown == "frame 17 of 17" and browser.execute_script(x) == "-512"
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus can be seen"


def test_the_spot_is_where_the_judge_saw_the_object(view, found):
    browser = view(motion="reduce")
    at = browser.execute_script("""
        const slider = document.querySelectorAll('.example input')[1];
        slider.value = 9; slider.dispatchEvent(new Event("input"));
        const spot = document.querySelectorAll('.example')[1].querySelector('.clips .spot');
        return [spot.getAttribute("cx"), spot.getAttribute("cy"),
                spot.getAttribute("visibility")]""")
    place = found.examples[1].clips[0].tracks[0][9]
    expected = [place[0], place[1]] if place else None
    assert (at[2] == "visible") == bool(place)
    assert not place or [float(at[0]), float(at[1])] == expected


def pixels(browser, clip):
    """What is on the screen at the middle of each of the clip's pixels, [32, 32, 3]."""
    x, y, width, height = browser.execute_script(
        """arguments[0].scrollIntoView({block: "center", behavior: "instant"});
        const box = arguments[0].getBoundingClientRect();
        return [box.x, box.y, box.width, box.height]""",
        clip,
    )
    shown = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    middles = (np.arange(32) + 0.5) / 32  # of the picture in its border of one pixel
    rows = (y + 1 + middles * (height - 2)).astype(int)
    columns = (x + 1 + middles * (width - 2)).astype(int)
    return np.asarray(shown, float)[np.ix_(rows, columns)]


@pytest.mark.parametrize("width", [390, 1400])
def test_the_difference_view_shows_five_times_the_difference_to_the_baseline(view, width):
    frame, box = 9, "document.querySelector('#minus').click()"
    browser = view(width, motion="reduce")
    browser.execute_script("""  // the models of this page all show the same film: another baseline
        const [one, other] = document.querySelectorAll('.example');
        one.querySelector('image[id]').setAttribute(
            'href', other.querySelector('image').getAttribute('href'))""")
    browser.execute_script(f"""const slider = document.querySelectorAll('.example input')[0];
        slider.value = {frame}; slider.dispatchEvent(new Event("input")); {box}""")
    films = []
    example = browser.find_element("css selector", ".example")
    for clip in example.find_elements("css selector", ".clips svg"):
        href = clip.find_element("css selector", "image").get_attribute("href")
        film = Image.open(io.BytesIO(base64.b64decode(href.split(",", 1)[1]))).convert("RGB")
        film = np.asarray(film, float)[:, 32 * frame : 32 * (frame + 1)]
        films.append((clip, film, bool(clip.find_elements("css selector", ".minus"))))
    (base,) = (film for _, film, compared in films if not compared)
    for clip, film, compared in films:
        if compared:
            expected = (5 * np.abs(film - base)).clip(max=255)
            assert np.abs(pixels(browser, clip) - expected).max() <= 3 and expected.max() > 100
    browser.execute_script(box)
    clip, film, _ = next(x for x in films if x[2])
    assert np.median(np.abs(pixels(browser, clip) - film)) <= 1, "the clip itself again"


def test_nothing_moves_for_who_asked_for_less_motion(view):
    browser = view(motion="reduce")
    assert browser.execute_script(PLAYING) == 0 and browser.execute_script(FRAME) == "0"
    browser.execute_script("document.getElementById('play-all').click()")
    wait(browser, "return Number(document.querySelector('.example input').value) > 0")
    browser.execute_script("document.getElementById('pause-all').click()")
    assert browser.execute_script(PLAYING) == 0
    drawn = "return getComputedStyle(document.querySelector('.clips svg g')).display"
    assert browser.execute_script(drawn) != "none"
    browser.execute_script("document.getElementById('tracks').click()")
    assert browser.execute_script(drawn) == "none"


def test_a_phone_shows_every_row_of_a_picture_with_its_whole_label(view):
    rows = view(390).execute_script(
        "return [...document.querySelectorAll('.effects tbody tr')].map(row => {"
        "const label = row.querySelector('span');"
        "return [row.rowIndex, row.offsetHeight, label.scrollWidth <= label.clientWidth]})"
    )
    assert max(place for place, *_ in rows) > 3, "a picture of more rows than three"
    assert all(height > 0 and whole for _, height, whole in rows)


@pytest.mark.parametrize("width", [360, 390, 1400])
def test_the_page_never_scrolls_sideways(view, width):
    browser = view(width)
    assert browser.execute_script("return document.documentElement.scrollHeight") < 8000, "folded"
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script("""return [...document.querySelectorAll('.scroll, .plot')].map(
        x => [x.clientWidth, x.scrollWidth, x.tabIndex, getComputedStyle(x).overflowX])""")
    assert boxes and all(
        clip <= width and index == 0 and overflow == "auto" for clip, _, index, overflow in boxes
    )
    if width == 360:
        assert all(wide > clip for clip, wide, _, _ in boxes[:2]), "tables scroll in their boxes"
        height = "return document.querySelector('.example button').getBoundingClientRect().height"
        assert browser.execute_script(height) >= 44, "as large as a finger"


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """The page of all tables, drawn without their plots."""
    built = {name: build(table) for name, table in ABLATIONS.items()}
    shown = [table for table in built.values() if write.has_numbers(table)]
    sections = [section_of(table, "") for table in shown]
    findings, controls = claims.verdicts(built), Control("positive", "negative")
    path = tmp_path_factory.mktemp("everything") / "index.html"
    path.write_text(write.index(shown, sections, findings, shown[0].judge, controls))
    return path.as_uri(), sum(section.extra for section in sections)


def test_the_page_of_all_tables_is_short_and_a_link_opens_what_is_folded(view, everything):
    browser, (address, extra) = view(360), everything
    browser.get(address)
    assert browser.execute_script("return document.documentElement.scrollHeight") < 8000 - 1400, (
        "the gallery comes on top"
    )
    folded = "return document.querySelectorAll('details.more .card').length"
    assert browser.execute_script(folded) == extra > 3
    shown = "return document.getElementById('table-own_negatives').checkVisibility()"
    assert not browser.execute_script(shown)
    browser.execute_script("location.hash = '#table-own_negatives'")
    wait(browser, shown)
    top = "return document.getElementById('table-own_negatives').getBoundingClientRect().top"
    assert 0 <= browser.execute_script(top) < 800, "it is in sight"


def luminance(color):
    """Relative luminance of `rgb(r, g, b)` (WCAG 2)."""
    parts = [int(x) / 255 for x in re.findall(r"\d+", color)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark_both_have_contrast(view):
    script = """const color = (name, what) =>
            getComputedStyle(document.querySelector(name))[what];
        return [color("body", "backgroundColor"), color("body", "color"), color(".note", "color"),
                color("a[href='#claims']", "color"), color(".plot svg text", "fill"),
                color(".example button", "color")]"""
    pages = {}
    for scheme in ("light", "dark"):
        background, *inks = view(scheme=scheme).execute_script(script)
        assert all(contrast(background, ink) >= 4.5 for ink in inks)
        pages[scheme] = background
    assert luminance(pages["light"]) > 0.8 and luminance(pages["dark"]) < 0.05


def test_every_link_leads_to_a_heading(view):
    browser = view()
    heads = browser.execute_script("""return [...document.querySelectorAll('nav a')].map(a =>
        document.querySelector(a.hash).querySelector('h2, h3').textContent)""")
    assert [head.split(":")[0] for head in heads] == [
        "Tables in short",
        "Claims",
        "Clips",
        "Provenance",
        "Table 1",
        "Table S3",
    ]


def test_a_link_to_a_table_opens_it(view):
    browser = view()
    opened = "return document.querySelector('#table-sampling > details').open"
    assert browser.execute_script(opened) is False
    browser.execute_script("location.hash = 'table-sampling'")
    wait(browser, opened)


COLUMN = """return [...document.querySelector('#table-sampling table.numbers').tBodies[0].rows].map(
    row => parseFloat(row.cells[2].textContent))"""


def test_a_column_sorts_and_the_labels_stay_in_sight(view):
    browser = view(390)
    browser.execute_script("document.querySelector('#table-sampling > details').open = true")
    before = browser.execute_script(COLUMN)
    click = "document.querySelectorAll('#table-sampling table.numbers th button')[2].click()"
    for order in (sorted(before, reverse=True), sorted(before), before):
        browser.execute_script(click)
        assert browser.execute_script(COLUMN) == order
    x = browser.execute_script("""
        const box = document.querySelector('#table-sampling .scroll'); box.scrollLeft = 150;
        const label = box.querySelector('tbody th').getBoundingClientRect();
        return [box.scrollLeft, label.x - box.getBoundingClientRect().x]""")
    assert x == [150, 0]


def test_claims_are_found_by_word_and_by_verdict(view):
    browser = view()
    shown = "return [...document.querySelectorAll('.claim')].filter(c => !c.hidden).length"
    everything = browser.execute_script(shown)
    assert everything > 40
    field = browser.find_element("id", "find-claim")
    field.send_keys("MiNS")
    some = browser.execute_script(shown)
    assert 0 < some < everything
    assert browser.execute_script(
        "return document.querySelector('.filter output').textContent"
    ) == (f"{some} of {everything}")
    browser.execute_script("document.querySelector('.filter .chip[data-kind=open]').click()")
    assert browser.execute_script(shown) == 0, "none has been run"
    height = "return document.querySelector('.claim summary').getBoundingClientRect().height"
    field.clear()
    browser.execute_script("document.querySelector('.filter .chip[data-kind=open]').click()")
    assert browser.execute_script(height) < 40, "one line"

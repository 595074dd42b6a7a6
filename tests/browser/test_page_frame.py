"""The frame of the page: what it loads, its keys, its themes, narrow screens, and people who cannot see it."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from services.gateway.page.files import POLICY
from tests.browser.conftest import Shown, World
from tests.patience import WAIT_S

VIEWS = ("now", "models", "predict", "playground", "learning", "labelling", "data", "drift", "rules")


def test_the_page_may_load_nothing_from_anywhere_else_and_no_inline_script(world: World) -> None:
    answer = httpx.get(f"{world.url}/", timeout=WAIT_S)
    assert answer.headers["content-security-policy"] == POLICY
    assert "<script type" in answer.text
    assert "<script>" not in answer.text
    assert "style=" not in answer.text


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious_and_a_narrow_screen_has_no_sideways_scrolling(page: Shown, view: str) -> None:
    tab = page.open(view)
    expect(tab.locator("main h1")).to_be_visible()
    expect(tab.locator(f"#view-{view} > *").nth(1)).to_be_attached()
    for theme in ("dark", "light"):
        expect(tab.locator("html")).to_have_attribute("data-theme", theme)
        assert serious(tab) == []
        tab.keyboard.press("t")
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    page.picture(f"narrow-{view}")


def serious(tab: Page) -> list[tuple[str, list[str]]]:
    found = Axe().run(tab).response["violations"]
    worst = (one for one in found if one["impact"] in {"serious", "critical"})
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in worst]


def test_digits_choose_views_and_t_the_theme(page: Shown) -> None:
    tab = page.open("now")
    expect(tab.locator("main h1")).to_have_text("Now")
    tab.keyboard.press("2")
    expect(tab.locator("main h1")).to_have_text("Models")
    tab.keyboard.press("t")
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")
    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog")).to_contain_text("Keyboard")
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog")).to_have_count(0)


def test_one_stream_serves_the_page_whatever_it_shows(page: Shown) -> None:
    streams: list[str] = []
    page.tab.on("request", lambda asked: streams.append(asked.url) if "/v1/live" in asked.url else None)
    tab = page.open("now")
    expect(tab.locator("#tile-events .value")).not_to_have_text("–/s")
    expect(tab.locator(".lagcells i").first).to_be_visible()  # the view's own stream has taken over from the frame's
    before = len(streams)
    tab.wait_for_timeout(3000)
    assert len(streams) == before <= 2


def test_where_a_role_is_not_there_the_view_says_which_command_starts_it(page: Shown, world: World) -> None:
    alone = world.gateway_alone()
    for view, role in (("learning", "train"), ("labelling", "labelling"), ("data", "datasets"), ("rules", "rules")):
        page.tab.goto(f"{alone}/#/{view}")
        expect(page.tab.locator("main").get_by_text(f"headrace run {role} --pipeline FOLDER").first).to_be_visible()
        page.picture(f"away-{view}")
    page.tab.goto(f"{alone}/#/now")
    expect(page.tab.get_by_text("headrace run monitor --pipeline FOLDER")).to_be_visible()
    page.outside.clear()  # the other gateway

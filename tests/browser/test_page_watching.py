"""The views Labelling and Drift and alerts."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Shown


def test_a_person_labels_skips_and_undoes_by_the_keyboard_alone(page: Shown) -> None:
    tab = page.open("labelling")
    tab.get_by_label("Your name").fill("ana")
    tab.keyboard.press("Tab")
    key = tab.locator("#view-labelling section header .note").first
    expect(key).to_have_text(re.compile(r"^(ride|again)-"))
    first = key.inner_text()
    expect(tab.get_by_label("minutes")).to_be_focused()
    page.picture("labelling")
    tab.keyboard.type("12.5")
    tab.keyboard.press("Tab")
    tab.keyboard.type("3600")
    tab.keyboard.press("Enter")
    expect(key).not_to_have_text(first)
    second = key.inner_text()
    tab.keyboard.press("s")
    expect(key).not_to_have_text(second)
    tab.keyboard.press("u")
    expect(key).to_have_text(second)
    expect(tab.get_by_text("ana").first).to_be_visible()


def test_a_silence_is_made_and_ended(page: Shown) -> None:
    tab = page.open("drift")
    expect(tab.locator(".profile").filter(has_text="distance_km")).to_be_visible()
    page.picture("drift")
    tab.get_by_label("Your name").fill("ana")
    tab.keyboard.press("Tab")
    tab.get_by_role("button", name="Silence a pattern …").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_label("Alert, or a pattern with *").fill("rides/feature_drift/*")
    dialog.get_by_role("button", name="Silence", exact=True).click()
    expect(tab.get_by_text("rides/feature_drift/*")).to_be_visible()
    tab.get_by_role("button", name="End it").click()
    expect(tab.get_by_text("rides/feature_drift/*")).to_have_count(0)


def test_what_is_watched_is_said(page: Shown) -> None:
    tab = page.open("drift")
    tab.get_by_role("button", name="What is watched").click()
    expect(tab.get_by_role("dialog").get_by_role("row").nth(1)).to_be_visible()
    page.picture("drift-definitions")

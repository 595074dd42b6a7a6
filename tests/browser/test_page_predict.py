"""The views Predict and Playground: one event by hand, and the stream as programs get it."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Shown


def test_the_form_is_the_events_schema_and_the_answer_names_its_version(page: Shown) -> None:
    tab = page.open("predict")
    expect(tab.get_by_label("distance_km")).to_be_visible()
    tab.get_by_role("button", name="Take the newest event").click()
    expect(tab.get_by_label("ride_id")).not_to_have_value("")
    tab.get_by_role("button", name="Predict", exact=True).click()
    expect(tab.locator("#prediction")).to_have_text(re.compile(r"^\d"))
    expect(tab.locator("#prediction-version")).to_have_text(re.compile(r"^\d+$"))
    page.picture("predict")


def test_a_value_that_does_not_fit_is_said_at_its_field(page: Shown) -> None:
    tab = page.open("predict")
    tab.get_by_role("button", name="Take the newest event").click()
    expect(tab.get_by_label("ride_id")).not_to_have_value("")
    tab.get_by_label("zone").fill("1.5")
    tab.get_by_role("button", name="Predict", exact=True).click()
    expect(tab.locator(".field", has=tab.get_by_label("zone")).locator(".problem")).to_contain_text("whole number")
    expect(tab.get_by_label("zone")).to_be_focused()


def test_an_event_that_is_sent_comes_back_predicted_on_the_stream(page: Shown) -> None:
    tab = page.open("playground")
    tab.get_by_role("button", name="Connect").click()
    expect(tab.get_by_text("connected", exact=True)).to_be_visible()
    tab.get_by_role("button", name="Take the newest one").click()
    record = tab.get_by_label("Record, as JSON")
    expect(record).not_to_have_value("")
    record.fill(re.sub(r'"ride_id": "[^"]*"', '"ride_id": "by-hand"', record.input_value()))
    tab.get_by_role("button", name="Send", exact=True).click()
    expect(tab.get_by_text("1 accepted by the broker")).to_be_visible()
    expect(tab.get_by_role("log")).to_contain_text("by-hand")
    expect(tab.locator("#playground-facts")).to_contain_text("Last-Event-ID 0:")
    page.picture("playground")

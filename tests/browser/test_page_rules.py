"""The view Rules: a run triggered, approved, and followed step by step."""

from playwright.sync_api import expect

from tests.browser.conftest import Shown


def test_a_rule_is_triggered_approved_and_followed_to_its_end(page: Shown) -> None:
    tab = page.open("rules")
    tab.get_by_label("Your name").fill("ana")
    tab.keyboard.press("Tab")
    rule = tab.locator(".rule").filter(has_text="by-hand")
    expect(rule).to_contain_text("never run")
    rule.get_by_role("button", name="Trigger …").click()
    tab.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    run = tab.locator("[id^='run-']").first
    expect(run).to_contain_text("waits for a person")
    page.picture("rules-waits")
    run.get_by_role("button", name="Approve …").click()
    tab.get_by_role("dialog").get_by_label("Comment").fill("as agreed")
    tab.get_by_role("dialog").get_by_role("button", name="Approve", exact=True).click()
    expect(run.locator(".badge").first).to_have_text("done")
    run.locator("button.quiet").first.click()
    expect(tab.get_by_role("dialog")).to_contain_text("approved by ana: as agreed")
    page.picture("rules-run")


def test_a_run_that_waits_is_cancelled(page: Shown) -> None:
    tab = page.open("rules")
    tab.get_by_label("Your name").fill("ana")
    tab.keyboard.press("Tab")
    tab.locator(".rule").filter(has_text="by-hand").get_by_role("button", name="Trigger …").click()
    tab.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    run = tab.locator("[id^='run-']").filter(has_text="waits for a person").first
    run.get_by_role("button", name="Cancel").click()
    tab.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    expect(tab.locator("[id^='run-']").first.locator(".badge").first).to_have_text("cancelled")

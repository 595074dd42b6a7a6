"""The view Learning: jobs started, followed and compared, and a study."""

from playwright.sync_api import expect

from tests.browser.conftest import Shown


def start_job(page: Shown, rate: str) -> None:
    tab = page.tab
    tab.get_by_role("button", name="Start a job …").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_label("Examples from").select_option("source")
    for label, value in (("Examples", "3000"), ("Epochs", "2"), ("Learning rate", rate), ("Validation share", "0.3")):
        dialog.get_by_label(label, exact=True).fill(value)
    page.picture("learning-start")
    dialog.get_by_role("button", name="Start", exact=True).click()
    expect(dialog).to_have_count(0)


def test_jobs_are_started_followed_to_their_end_and_compared(page: Shown) -> None:
    tab = page.open("learning")
    start_job(page, "0.01")
    start_job(page, "0.001")
    jobs = tab.get_by_role("table", name="Training jobs")
    expect(jobs.locator(".badge.good")).to_have_count(2)
    compared = tab.get_by_role("group", name="Compared")
    expect(compared).to_contain_text("learning_rate")
    expect(compared).to_contain_text("0.001")
    page.picture("learning")
    jobs.locator("button.mono").first.click()
    expect(tab.get_by_role("dialog")).to_contain_text("safetensors")
    tab.keyboard.press("Escape")


def test_a_study_is_started_and_cancelled(page: Shown) -> None:
    tab = page.open("learning")
    tab.get_by_role("button", name="Start a study …").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_label("What to try, one a line").fill("learning_rate=wrong..")
    dialog.get_by_role("button", name="Start", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("expected name=low..high")
    dialog.get_by_label("What to try, one a line").fill("learning_rate=0.001..0.1:log")
    dialog.get_by_role("button", name="Start", exact=True).click()
    studies = tab.get_by_role("table", name="Studies")
    expect(studies.locator(".badge")).to_have_count(1)
    studies.get_by_role("button", name="Cancel").click()
    tab.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    expect(studies).to_contain_text("cancelled")

"""The view Models: versions, rollouts, lineage, and what an operator does."""

from playwright.sync_api import expect

from tests.browser.conftest import Shown


def served(page: Shown) -> int:
    return int(page.tab.locator("#model-active .value").inner_text().removeprefix("version "))


def test_a_rollout_is_drawn_for_each_worker(page: Shown) -> None:
    tab = page.open("models")
    expect(tab.locator("#model-active .value")).to_contain_text("version")
    picture = tab.locator("svg.gantt")
    expect(picture).to_contain_text("stream")
    expect(picture).to_contain_text("rpc")
    expect(picture.locator("circle.flip").first).to_be_visible()
    workers = tab.get_by_role("table", name="Workers")
    expect(workers.get_by_role("row")).to_have_count(3)
    page.picture("models")


def test_an_operator_pins_resumes_and_rolls_back(page: Shown) -> None:
    tab = page.open("models")
    expect(tab.locator("#model-previous .value")).to_contain_text("version")
    now = served(page)
    tab.get_by_role("button", name="Pin here").click()
    tab.get_by_role("dialog").get_by_role("button", name="Pin it").click()
    expect(tab.locator("#model-active .sub")).to_contain_text("pinned")
    assert served(page) == now
    page.picture("models-pinned")
    tab.get_by_role("button", name="Resume").click()
    expect(tab.locator("#model-active .sub")).not_to_contain_text("pinned")
    tab.get_by_role("button", name="Roll back …").click()
    page.picture("models-roll-back")
    tab.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(tab.locator("#model-active .value")).to_have_text(f"version {now - 1}")
    expect(tab.locator("#model-active .sub")).to_contain_text("pinned")
    tab.get_by_role("button", name="Resume").click()
    expect(tab.get_by_role("button", name="Pin here")).to_be_visible()


def test_a_versions_lineage_leads_to_its_examples_and_code(page: Shown) -> None:
    tab = page.open("models")
    tab.get_by_role("button", name="Lineage of version 1", exact=True).click()
    graph = tab.get_by_role("dialog").locator("svg.lineage")
    expect(graph).to_contain_text("rides.examples")
    expect(graph).to_contain_text("code")
    page.picture("lineage")

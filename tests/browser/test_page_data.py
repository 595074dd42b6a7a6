"""The view Data: a file uploaded, refused row by row or made into a set, its profile drawn, a query over it."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Shown

HEAD = "ride_id;zone;distance_km;minutes\n"


def upload(page: Shown, path: Path, name: str, bad_rows: int = 0) -> None:
    tab = page.tab
    tab.get_by_label("File", exact=True).set_input_files(path)
    expect(tab.locator(".drop [role='status']")).to_contain_text("uploaded in")
    tab.get_by_label("Set", exact=True).fill(name)
    tab.get_by_label("Bad rows allowed").fill(str(bad_rows))
    tab.get_by_role("button", name="Make the set").click()


def test_a_file_becomes_a_set_whose_profile_is_drawn(page: Shown, tmp_path: Path) -> None:
    tab = page.open("data")
    path = tmp_path / "zones.csv"
    path.write_text(HEAD + "".join(f"r{i};{i % 7};{i / 10};{10 + i % 13}\n" for i in range(500)))
    upload(page, path, "zones")
    sets = tab.get_by_role("table", name="Sets")
    expect(sets).to_contain_text("zones")
    sets.get_by_role("button", name="Open zones").click()
    expect(tab.get_by_role("heading", name="zones@1")).to_be_visible()
    card = tab.locator(".profile").filter(has_text="distance_km")
    expect(card.locator("canvas")).to_be_visible()
    expect(card).to_contain_text("mean")
    expect(tab.get_by_role("table", name="Rows")).to_contain_text("r0")
    page.picture("data")
    tab.get_by_role("button", name="a query", exact=True).click()
    tab.get_by_label("Query").fill("select zone, avg(minutes) as minutes from z group by zone")
    tab.get_by_label("Sets by name").fill('{"z": "zones@1"}')
    tab.get_by_label("Set", exact=True).fill("by-zone")
    tab.get_by_role("button", name="Make the set").click()
    expect(sets).to_contain_text("by-zone")


def test_rows_that_do_not_fit_are_named_with_their_place_and_field(page: Shown, tmp_path: Path) -> None:
    tab = page.open("data")
    path = tmp_path / "labels.csv"
    path.write_text("ride_id,minutes,arrived\na,12.5,100\nb,long,100\n")
    tab.get_by_label("Checked as").select_option("labels")
    upload(page, path, "bad-labels")
    imports = tab.get_by_role("table", name="Imports")
    row = imports.get_by_role("row").filter(has_text="bad-labels")
    expect(row).to_contain_text("failed")
    row.get_by_role("button", name="Why").click()
    expect(tab.get_by_role("dialog")).to_contain_text("minutes")
    page.picture("data-bad-rows")

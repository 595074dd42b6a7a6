"""The view Now: figures as they come, Kafka, dead letters."""

from confluent_kafka import Producer
from playwright.sync_api import expect

from tests.browser.conftest import Shown


def events(page: Shown) -> int:
    said = page.tab.locator("#tile-events .sub").inner_text()
    return int(said.split(" ", maxsplit=1)[0].replace(",", "").replace("–", "0") or 0)


def test_the_first_view_explains_itself_until_it_is_dismissed(page: Shown) -> None:
    tab = page.open("")
    welcome = tab.get_by_role("region", name="Welcome")
    expect(welcome).to_contain_text("This is one pipeline at work")
    expect(tab.locator("#tile-sink .value")).to_have_text("yes")
    expect(tab.get_by_role("table", name="Models and baselines")).to_contain_text("champion")
    page.picture("now")
    welcome.get_by_role("button", name="Got it").click()
    expect(welcome).to_have_count(0)
    tab.reload()
    expect(tab.locator("#tile-sink .value")).to_have_text("yes")
    expect(welcome).to_have_count(0)


def test_the_figures_follow_the_stream_without_a_reload(page: Shown) -> None:
    tab = page.open("now")
    expect(tab.locator("#tile-events .sub")).to_contain_text("since the start")
    before = events(page)
    page.world.send(100)
    tab.wait_for_function(
        "n => parseInt(document.querySelector('#tile-events .sub').textContent.replaceAll(',', '')) >= n",
        arg=before + 100,
    )


def test_each_consumer_groups_lag_is_shown_by_partition(page: Shown) -> None:
    tab = page.open("now")
    row = tab.get_by_role("table", name="Consumer groups").get_by_role("row").filter(has_text="rides.stream")
    expect(row.locator(".lagcells i")).to_have_count(4)


def test_a_topics_records_are_shown_decoded_as_they_come(page: Shown) -> None:
    tab = page.open("now")
    tab.get_by_role("button", name="Records of rides.predictions").click()
    records = tab.get_by_role("group", name="Records of rides.predictions")
    expect(records.locator(".record").first).to_contain_text('"model":"rides"')
    seen = records.locator(".record").first.inner_text()
    page.world.send(20)
    expect(records.locator(".record").first).not_to_have_text(seen)
    page.picture("now-records")


def test_a_dead_letter_is_shown_with_its_reason_and_put_back_once(page: Shown) -> None:
    producer = Producer({"bootstrap.servers": page.world.run.kafka})
    producer.produce("rides.events", b'{"ride_id": "broken", "zone": "not a zone"}', key=b"broken")
    producer.flush()
    tab = page.open("now")
    letters = tab.get_by_role("table", name="Dead letters")
    expect(letters).to_contain_text("decode")
    page.picture("dead-letters")
    letters.locator("td.mono button").first.click()
    expect(tab.get_by_role("dialog")).to_contain_text("not a zone")
    page.picture("dead-letter")
    tab.keyboard.press("Escape")
    letters.get_by_role("checkbox").first.check()
    tab.get_by_role("button", name="Put back").click()
    tab.get_by_role("dialog").get_by_role("button", name="Put 1 back").click()
    expect(letters).to_contain_text("put back")
    expect(letters).to_contain_text("failed again, attempt 1")

"""The worklist over HTTP: filters, search and pages as URLs, what readers do, and whose name stands beside it."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteDatabase
from starlette.testclient import TestClient
from web_support import Node, make_node, picture_bytes

from dicom_node.entities import ChoiceKind, ItemState, Study
from dicom_node.tables import instances, worklist
from dicom_node.tables.database import open_database
from dicom_node.tables.schema import migrations
from dicom_node.tables.views import search
from dicom_node.web.app import build_app

HERE = {"origin": "http://localhost"}
SCRIPT = HERE | {"accept": "application/json"}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return make_node(tmp_path / "node")


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    app = build_app(node.database, node.archive, node.settings)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client


def keys(page: str) -> list[str]:
    return re.findall(r'<tr data-key="([^"]+)"', page)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def name(client: TestClient, reader: str) -> None:
    """Type a name as the reader does."""
    assert client.post("/reader", data={"name": reader}, headers=HERE).status_code == 303


def declined(node: Node, number: int, minutes_ago: float = 5) -> str:
    study_uid = node.receive(number, minutes_ago=minutes_ago)
    node.choose(study_uid, ChoiceKind.DECLINED, "Contrast was given.")
    return study_uid


def test_each_filter_shows_its_studies_and_says_how_many(node: Node, client: TestClient) -> None:
    suspected, negative = node.analysed(1, suspected=True), node.analysed(2, suspected=False)
    reason, progress = declined(node, 3), node.receive(4)
    name(client, "Dr Weber")
    client.post(f"/studies/{negative}/acknowledge", headers=HERE)
    shown = {each: keys(client.get(f"/?show={each}").text) for each in ("suspected", "not-analysed", "mine", "all")}
    assert shown == {
        "suspected": [suspected],
        "not-analysed": [reason],
        "mine": [negative],
        "all": [progress, reason, negative, suspected],
    }
    page = client.get("/").text
    assert keys(page) == [suspected, reason, progress, negative]
    assert "To read 4 Suspected 1 Not analysed 1 Mine 1 All" in text_of(page)
    client.post(f"/studies/{negative}/read", headers=HERE)
    assert keys(client.get("/").text) == [suspected, reason, progress]
    assert negative in keys(client.get("/?show=mine").text) and negative in keys(client.get("/?show=all").text)


@pytest.mark.parametrize(
    ("show", "said"),
    [
        ("suspected", "No study is suspected at the moment That clears nothing: 1 study is to read"),
        ("not-analysed", "No study on the list is without analysis"),
        ("mine", "Who are you?"),
    ],
)
def test_an_empty_filter_says_what_that_means(node: Node, client: TestClient, show: str, said: str) -> None:
    node.analysed(1, suspected=False)
    assert said in text_of(client.get(f"/?show={show}").text)


@pytest.fixture
def known(node: Node) -> dict[str, str]:
    """Three patients, found in many ways."""
    found = {}
    with node.other().write() as tx:
        tx.run("DELETE FROM worklist")
    for number, (title, patient, date) in enumerate(
        [
            ("müller", "MÜLLER^Anna Maria", "20261118"),
            ("yamada", "Yamada^Tarou=山田^太郎=やまだ^たろう", "20261119"),
            ("smith", "O'SMITH-JONES^Bob", "20261119"),
        ],
        start=71,
    ):
        found[title] = node.receive(number, patient)
        with node.other().write() as tx:
            instances.put_study(tx, Study(found[title], f"PAT-{number}/x", patient, "", "", f"ACC.{number}0", "", date))
    return found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "ACC.710"}, ["müller"]),
        ({"q": "acc.71"}, ["müller"]),
        ({"q": "PAT-72/x"}, ["yamada"]),
        ({"q": "pat-7"}, ["smith", "yamada", "müller"]),
        ({"q": "muller"}, ["müller"]),
        ({"q": "an mül"}, ["müller"]),
        ({"q": "MÜLLER, Anna"}, ["müller"]),
        ({"q": "太郎"}, ["yamada"]),
        ({"q": "jones"}, ["smith"]),
        ({"q": "o'smith"}, ["smith"]),
        ({"q": "ones"}, []),
        ({"date": "2026-11-19"}, ["smith", "yamada"]),
        ({"date": "2026-11-19", "q": "bob"}, ["smith"]),
        ({"date": "2026-11-18", "q": "bob"}, []),
        ({"date": "2026-11-19", "show": "suspected"}, []),
        ({"q": '"'}, []),
        ({"q": "* NEAR( -x OR {a} : ^"}, []),
        ({"q": "'; DROP TABLE words; --"}, []),
        ({"q": "\0\x01"}, []),
        ({"q": "y" * 5000}, []),
    ],
)
def test_search(known: dict[str, str], client: TestClient, query: dict[str, str], found: list[str]) -> None:
    page = client.get("/", params=query)
    assert page.status_code == 200
    assert keys(page.text) == [known[title] for title in found]
    if not found:
        assert "No study matches" in page.text and "Nothing found" in page.text


def test_a_search_goes_through_what_is_read_and_through_what_has_left_the_list(node: Node, client: TestClient) -> None:
    read, old = node.analysed(1, True, name="AAA^One"), node.analysed(2, True, name="AAA^Two", minutes_ago=60 * 50)
    for act in ("acknowledge", "read"):
        client.post(f"/studies/{read}/{act}", headers=HERE)
    assert keys(client.get("/").text) == []
    page = client.get("/?q=aaa").text
    assert keys(page) == [old, read] and "among all studies" in page
    assert keys(client.get("/?q=aaa&show=suspected").text) == [old, read]


def test_what_is_corrected_or_removed_is_found_accordingly(node: Node, known: dict[str, str]) -> None:
    with node.other().write() as tx:
        instances.put_study(tx, Study(known["smith"], "P9", "BAKER^Bob", "", "", "A9", "", "20261101"))
        assert search.find(tx, "jones", "", 9) == [] == search.find(tx, "", "20261120", 9)
        assert search.find(tx, "baker", "20261101", 9) == [known["smith"]]
        worklist.forget_study(tx, known["smith"])
        assert search.find(tx, "baker", "", 9) == []
        assert search.find(tx, "", "", 9) == [known["yamada"], known["müller"]]


def test_pages_keep_the_filter_and_the_search(node: Node, client: TestClient) -> None:
    for number in range(1, 121):
        node.receive(number, "DOE^Jane", minutes_ago=number / 10)
    first, second, third = (client.get(f"/?q=doe&page={number}").text for number in (1, 2, 3))
    assert [len(keys(page)) for page in (first, second, third)] == [50, 50, 20]
    assert len({*keys(first), *keys(second), *keys(third)}) == 120
    assert 'href="/?q=doe&amp;page=2" rel="next"' in first and 'rel="prev"' not in first
    assert 'href="/?q=doe" rel="prev"' in second and "51 to 100" in second
    assert 'rel="next"' not in third
    assert 'data-live="/rows?q=doe&amp;page=2"' in second
    assert keys(client.get("/rows?q=doe&page=2").text) == keys(second)
    assert len(keys(client.get("/?page=3").text)) == 20, "the reading order has pages, too"
    assert "This page of the list is empty" in client.get("/?page=9").text


@pytest.mark.parametrize("query", ["show=nonsense", "page=0", "page=-1", "page=x", "page=²", "date=tomorrow", "q=%20"])
def test_what_makes_no_sense_is_left_out(node: Node, client: TestClient, query: str) -> None:
    study_uid = node.analysed(1, suspected=True)
    assert keys(client.get(f"/?{query}").text) == [study_uid]


def state(node: Node, study_uid: str) -> tuple[ItemState, str]:
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid)
    assert item is not None
    return item.state, item.reader


def test_opened_acknowledged_read_and_put_back_by_name(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    name(client, "Dr Weber")
    assert client.post(f"/studies/{study_uid}/opened", headers=SCRIPT).json() == {"said": "Opened"}
    assert state(node, study_uid) == (ItemState.OPENED, "Dr Weber")
    page = client.get("/").text
    assert "Opened by Dr Weber" in page and 'data-suspected="1"' in page, "it is still to be read, and on top"
    name(client, "Dr Okafor")
    client.post(f"/studies/{study_uid}/opened", headers=HERE)
    assert state(node, study_uid) == (ItemState.OPENED, "Dr Weber")
    early = client.post(f"/studies/{study_uid}/read", headers=HERE)
    assert early.status_code == 409 and "Only an acknowledged study" in early.text
    answer = client.post(f"/studies/{study_uid}/acknowledge?version=1", headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Acknowledged by Dr Okafor" in client.get("/").text
    answer = client.post(f"/studies/{study_uid}/acknowledge?version=1&study", headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study_uid}")
    assert client.post(f"/studies/{study_uid}/read", headers=SCRIPT).json() == {"said": "Marked as read"}
    assert client.post(f"/studies/{study_uid}/read", headers=SCRIPT).status_code == 200, "twice does no harm"
    assert study_uid not in keys(client.get("/").text)
    assert "Read by Dr Okafor" in client.get(f"/studies/{study_uid}").text
    assert client.post(f"/studies/{study_uid}/unread", headers=SCRIPT).status_code == 200
    assert state(node, study_uid) == (ItemState.UNREAD, "") and keys(client.get("/").text) == [study_uid]


def test_a_study_without_result_has_nothing_to_act_on(node: Node, client: TestClient) -> None:
    study_uid = node.receive(1)
    assert client.post(f"/studies/{study_uid}/opened", headers=HERE).status_code == 303, "looking is always allowed"
    for act in ("acknowledge", "read", "unread"):
        assert client.post(f"/studies/{study_uid}/{act}", headers=HERE).status_code == 409, act
        assert client.post(f"/studies/1.9/{act}", headers=HERE).status_code == 404, act
        assert client.post(f"/studies/{study_uid}/{act}").status_code == 403, "only the page itself may"
    assert state(node, study_uid) == (ItemState.WAITING, "")


def test_the_name_is_kept_in_the_browser_and_is_said_to_be_no_login(client: TestClient) -> None:
    page = client.get("/").text
    assert "Your name?" in page and "This is no login" in page
    answer = client.post("/reader", data={"name": "  Dr <b>Łukasz</b>\r\n Ö; "}, headers=HERE)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=31536000" in cookie
    page = client.get("/").text
    assert "Dr &lt;b&gt;Łukasz&lt;/b&gt; Ö;" in page and "<b>Łukasz" not in page
    name(client, "x" * 500)
    assert f'value="{"x" * 60}"' in client.get("/").text
    name(client, "  ")
    assert "Your name?" in client.get("/").text
    assert client.post("/reader", data={"name": "x" * 5000}, headers=HERE).status_code == 413
    assert client.post("/reader", data={"name": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://localhost/?show=mine&q=doe", "/?show=mine&q=doe"),
        ("http://localhost/studies/1.2.3", "/studies/1.2.3"),
        ("http://evil.example/", "/"),
        ("http://localhost//evil.example/", "/evil.example/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_naming_oneself_leads_back_to_where_one_was(client: TestClient, referer: str, back: str) -> None:
    answer = client.post("/reader", data={"name": "Dr Weber"}, headers=HERE | {"referer": referer})
    assert answer.headers["location"] == back


def test_news_are_told_whatever_the_filter(node: Node, client: TestClient) -> None:
    node.analysed(1, suspected=True, name="URGENT^Case")
    page = client.get("/?show=not-analysed").text
    assert keys(page) == [] and 'data-suspected="1"' in page and "<title>(1) suspected" in page
    assert re.search(r'data-flagged="2\d{3}-[^"]+"', page)
    assert 'data-who="URGENT, Case" data-short="70 y F">Subdural 31 ml' in page
    assert 'data-title="Suspected intracranial haemorrhage"' in page


def test_negative_and_not_analysed_say_so_in_words(node: Node, client: TestClient) -> None:
    node.analysed(1, suspected=False)
    assert "No haemorrhage suspected probability low Not a clearance: read as usual." in text_of(client.get("/").text)
    declined(node, 2)
    page = text_of(client.get("/?show=not-analysed").text)
    assert "Not analysed: Contrast was given. No haemorrhage was looked for: read as usual." in page


def test_a_row_offers_what_its_state_allows(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    node.result(study_uid, suspected=True, picture=picture_bytes())
    page = client.get("/").text
    assert f"/studies/{study_uid}/acknowledge?version=2" in page and "Mark as read" not in page
    client.post(f"/studies/{study_uid}/acknowledge", headers=HERE)
    page = client.get("/").text
    assert f'action="/studies/{study_uid}/read"' in page and "/acknowledge" not in page
    client.post(f"/studies/{study_uid}/read", headers=HERE)
    assert f'action="/studies/{study_uid}/unread"' in client.get("/?show=all").text


def test_a_list_of_the_release_before_is_taken_over(tmp_path: Path) -> None:
    """What was closed counts as read, everything can be searched, and the order is the same."""
    path = tmp_path / "node.sqlite"
    before = SqliteDatabase(sqlite3.connect(path))
    migrations.apply(before, stop_before="reading_states")
    for uid, row_state in (("1.1", "closed"), ("1.2", "acknowledged"), ("1.3", "unread")):
        before.execute(f"INSERT INTO studies VALUES ('{uid}', 'P', 'DOE^Jane', '', '', 'A{uid}', '', '20261120', '')")
        before.execute(
            "INSERT INTO worklist VALUES (?, 'HIGH', 'h', ?, '2026-11-20T10:00', '2026-11-20T10:00', NULL, ?, 1)",
            [uid, row_state, None if row_state == "unread" else "2026-11-20T11:00:00.000+00:00"],
        )
    before.conn.commit()
    before.conn.close()
    with open_database(path).read() as tx:
        stands = [worklist.get(tx, uid) for uid in ("1.1", "1.2", "1.3")]
        assert [item.state for item in stands if item] == [ItemState.READ, ItemState.ACKNOWLEDGED, ItemState.UNREAD]
        assert stands[1] and stands[1].acted_at == stands[1].acknowledged_at
        assert search.find(tx, "doe", "20261120", 9) == ["1.3", "1.2", "1.1"]


@pytest.mark.parametrize("part", ["ACC7", "cc77", "77-2", "2026", "7-20260"])
def test_any_part_of_an_accession_is_found(node: Node, client: TestClient, part: str) -> None:
    """Read out over the telephone, from its middle."""
    study_uid = node.analysed(7, suspected=False)
    node.analysed(8, suspected=False)
    with node.other().write() as tx:
        tx.run("UPDATE studies SET accession = 'ACC77-20260102' WHERE study_uid = :uid", uid=study_uid)
    found = client.get("/", params={"q": part}).text
    assert f'data-key="{study_uid}"' in found and "1.2.826.8" not in found
    with node.other().write() as tx:
        tx.run("UPDATE studies SET accession = 'X1' WHERE study_uid = :uid", uid=study_uid)
    assert f'data-key="{study_uid}"' not in client.get("/", params={"q": part}).text


def test_the_list_says_how_many_pages_it_has(node: Node, client: TestClient) -> None:
    """And how many studies; a search does not count."""
    for number in range(1, 55):
        node.receive(number, images=1)
    assert "1 to 50 of 54, page 1 of 2" in " ".join(client.get("/").text.split())
    assert "51 to 54 of 54, page 2 of 2" in " ".join(client.get("/?page=2&show=all").text.split())
    assert "1 to 50 Next" in " ".join(re.sub("<[^>]*>", " ", client.get("/?q=ID").text).split())

"""The page as IT and browsers see it: what it says, what it refuses, and when it speaks up."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from web_support import SHA256, Node, make_node, picture_bytes, serving

from dicom_node import clock
from dicom_node.entities import ChoiceKind, FindingRow, ItemState, Study
from dicom_node.tables import deliveries, processes, results, worklist
from dicom_node.web import words
from dicom_node.web.app import build_app
from dicom_node.web.events import Watcher
from inference.findings import VOLUME_RANGE

HERE = {"origin": "http://localhost"}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return make_node(tmp_path / "node")


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    app = build_app(node.database, node.archive, node.settings)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client


def state(node: Node, study_uid: str) -> ItemState:
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid)
    assert item is not None
    return item.state


def text_of(page: str) -> str:
    """What a reader sees, blanks collapsed."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def test_imports_neither_torch_nor_the_network() -> None:
    code = "import sys, dicom_node.web.app; print({'torch', 'pynetdicom', 'monai', 'highdicom'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_empty_list_says_what_is_expected(client: TestClient) -> None:
    text = text_of(client.get("/").text)
    assert "No study is waiting" in text
    assert "AE title TRIAGE, port 11112" in text
    assert "not a medical device" in text and "not for diagnostic use" in text


def test_a_result_that_was_sent_nowhere_is_not_said_to_be_missing(node: Node, client: TestClient) -> None:
    waiting = node.receive(1)
    assert "Nothing was sent: there is no result yet." in text_of(client.get(f"/studies/{waiting}").text)
    made = node.analysed(2, suspected=True)
    with node.database.write() as tx:
        deliveries.forget_study(tx, made)
    said = text_of(client.get(f"/studies/{made}").text)
    assert "no destination was configured when it was made" in said and "there is no result yet" not in said


def test_the_port_is_the_one_the_node_was_given(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    settings = node.settings.model_copy(update={"node": node.settings.node.model_copy(update={"port": 0})})
    client = TestClient(build_app(node.database, node.archive, settings), base_url="http://localhost")
    assert "port chosen at the start" in text_of(client.get("/").text)
    with node.other().write() as tx:
        processes.publish(tx, "dicom_port", "45679")
    assert "port 45679" in text_of(client.get("/").text)


def test_list_in_reading_order_and_in_words(node: Node, client: TestClient) -> None:
    negative = node.analysed(1, suspected=False, name="LOW^Risk", minutes_ago=30)
    declined = node.receive(2, minutes_ago=20)
    node.choose(declined, ChoiceKind.DECLINED, "Contrast was given (Ultravist).")
    failed = node.receive(3, minutes_ago=15)
    node.choose(failed, ChoiceKind.ANALYSE, "Head CT.")
    node.fail(failed, "MemoryError: none left")
    waiting = node.receive(4, minutes_ago=1, images=7)
    suspected = node.analysed(5, suspected=True, name="HIGH^Risk", minutes_ago=2)
    overdue = node.analysed(6, suspected=False, minutes_ago=90)

    page = client.get("/").text
    order = re.findall(r'<tr data-key="([^"]+)"', page)
    assert order == [suspected, overdue, declined, failed, waiting, negative]
    rows = dict(zip(order, map(text_of, page.split("<tr data-key=")[1:]), strict=True))
    assert "Suspected Unread" in rows[suspected]
    assert "Subdural 31 ml" in rows[suspected] and "probability high" in rows[suspected]
    assert "overdue" in rows[overdue] and "overdue" not in rows[negative]
    assert "No haemorrhage suspected" in rows[negative] and "Not a clearance" in rows[negative]
    assert "Not analysed: Contrast was given" in rows[declined] and "No haemorrhage was looked for" in rows[declined]
    assert "Analysis failed: MemoryError: none left" in rows[failed]
    assert "Receiving images" in rows[waiting] and "7 images so far" in rows[waiting]
    assert "<title>(1) suspected" in page


def test_study_says_the_range_of_each_volume(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    without = text_of(client.get(f"/studies/{study_uid}").text)
    assert re.search(r"Subdural ?suspected ?0\.93 ?31 ml Sub", without) and VOLUME_RANGE not in without
    node.result(study_uid, suspected=True, range_ml=(19.468, 53.38))
    page = text_of(client.get(f"/studies/{study_uid}").text)
    assert re.search(r"Subdural ?suspected ?0\.93 ?31 ml \(19 to 53\)", page)
    assert page.count(VOLUME_RANGE) == 1, "only the result that has ranges explains them"
    row = text_of(client.get("/").text)
    assert "Subdural 31 ml (19 to 53) probability high" in row
    assert "probability high, 0.93, threshold 0.42" in page and "0.93" not in row, "numbers stand on the study's page"


def test_results_from_before_ranges_are_still_read(node: Node, client: TestClient) -> None:
    """Findings as the database held them when rows had five values."""
    study_uid = node.analysed(1, suspected=True)
    with node.other().write() as tx:
        old = {"name": "subdural", "code": "35486000", "probability": 0.9, "present": True, "volume_ml": 31.4}
        tx.run("UPDATE analyses SET findings = :old", old=json.dumps([old]))
    with node.other().read() as tx:
        (analysis,) = results.analyses_of_study(tx, study_uid)
    assert analysis.findings == (FindingRow("subdural", "35486000", 0.9, True, 31.4, None, None),)
    assert "31 ml" in text_of(client.get(f"/studies/{study_uid}").text)


def test_a_flag_is_not_lowered_silently(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    node.result(study_uid, suspected=False)
    page = client.get("/").text
    assert "Please look" in page and "result 2 does not" in page
    assert "version=1" not in page, "the picture of a result that was replaced must not stand beside the new headline"
    assert "Result 2 has replaced it" in client.get(f"/studies/{study_uid}").text


def test_the_picture_beside_a_headline_belongs_to_it(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    node.picture_only(study_uid, picture_bytes((255, 190, 0)))
    assert f"/studies/{study_uid}/thumb.jpg?question=haemorrhage&amp;version=1" in client.get("/").text
    declined = node.receive(2)
    node.choose(declined, ChoiceKind.DECLINED, "Not a head CT.")
    node.picture_only(declined, picture_bytes((255, 190, 0)))
    assert f"{declined}/thumb.jpg" not in client.get("/").text, "a picture of words is no slice"


def test_names_cannot_inject(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True, name='<script>alert(1)</script>^" onload="x')
    for path in ("/", f"/studies/{study_uid}"):
        page = client.get(path).text
        assert "<script>alert" not in page and '" onload="' not in page


def test_rows_are_sent_only_when_they_differ(node: Node, client: TestClient) -> None:
    node.analysed(1, suspected=False, minutes_ago=30)
    first = client.get("/rows")
    assert client.get("/rows", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    node.analysed(2, suspected=True)
    assert client.get("/rows", headers={"if-none-match": first.headers["etag"]}).status_code == 200


def test_study_says_everything_about_its_results(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True, name="VAN DER BERG^Johannes")
    with node.other().write() as tx:
        sr, sc = deliveries.of_study(tx, study_uid)
        deliveries.sent(tx, sr, None, clock.utc_now())
        deliveries.postpone(tx, sc, "refused with 0xA700 out of resources", 0, 1)
    node.result(study_uid, suspected=True, picture=picture_bytes(), warning="Patient is 7 years old.")
    page = client.get(f"/studies/{study_uid}").text
    text = text_of(page)
    assert "VAN DER BERG, Johannes" in text and "ACC1" in text and "70 y F" in text
    assert "Result 2" in text and "Result 1 replaced" in text
    assert "haemorrhage-unet 0.1.0" in text and SHA256 in text and "threshold 0.42" in text
    assert "Patient is 7 years old." in text
    assert re.search(r"Subdural ?suspected ?0\.93 ?31 ml", text)
    assert re.search(r"Epidural ?no ?0\.04", text)
    assert "Analysed" in text and "2 images from SCANNER" in text
    assert "stored" in text and "refused with 0xA700 out of resources" in text and "triage-node retry D2" in text
    assert page.index("version=2") < page.index("version=1")


def test_unknown_study_and_page_in_words(client: TestClient) -> None:
    for path in ("/studies/1.2.3", "/studies/..%2f..%2fetc%2fpasswd", "/nowhere"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "There is no such" in answer.text and "Back to the worklist" in answer.text


def test_picture_is_the_secondary_capture(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    answer = client.get(f"/studies/{study_uid}/picture.png")
    assert answer.headers["content-type"] == "image/png"
    image = Image.open(BytesIO(answer.content))
    assert image.size == (640, 512) and image.getpixel((320, 256)) == (200, 10, 30)
    assert client.get(answer.url, headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_small_picture_is_the_most_telling_slice_and_is_kept(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    with node.database.read() as tx:
        capture = next(each.path for each in results.objects_of_study(tx, study_uid) if each.kind == "SC")
    kept = capture.with_suffix(".thumb.jpg")
    url = f"/studies/{study_uid}/thumb.jpg?version=1"
    client.get("/")
    assert not kept.exists(), "the list makes no pictures"
    answer = client.get(url)
    assert answer.headers["content-type"] == "image/jpeg" and "max-age=3600" in answer.headers["cache-control"]
    assert Image.open(BytesIO(answer.content)).size == (320, 362) and len(answer.content) < 30_000
    assert kept.read_bytes() == answer.content
    assert client.get(url, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    kept.write_bytes(b"kept")
    assert client.get(url).content == b"kept"
    capture.write_bytes(picture_bytes((0, 0, 255)))
    red, _, blue = np.asarray(Image.open(BytesIO(client.get(url).content)))[100, 100]
    assert blue > 200 > red, "a newer capture has a new small picture"


def test_picture_of_each_result(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    node.result(study_uid, suspected=True, picture=picture_bytes((0, 0, 255)))

    def colour(query: str) -> object:
        content = client.get(f"/studies/{study_uid}/picture.png{query}").content
        return Image.open(BytesIO(content)).getpixel((5, 5))

    assert colour("?version=1") == (200, 10, 30)
    assert colour("?version=2") == colour("") == (0, 0, 255)


@pytest.mark.parametrize("query", ["?version=9", "?version=x", "?version=-1", "?version=../1", "?version=²"])
def test_no_such_picture(node: Node, client: TestClient, query: str) -> None:
    study_uid = node.analysed(1, suspected=True)
    assert client.get(f"/studies/{study_uid}/picture.png{query}").status_code == 404


def test_picture_gone_broken_or_outside_the_archive(node: Node, client: TestClient, tmp_path: Path) -> None:
    study_uid = node.analysed(1, suspected=True)
    with node.database.read() as tx:
        path = next(each.path for each in results.objects_of_study(tx, study_uid) if each.kind == "SC")
    path.write_bytes(b"no DICOM at all")
    assert "cannot be read" in client.get(f"/studies/{study_uid}/picture.png").text
    path.unlink()
    assert "has been removed" in client.get(f"/studies/{study_uid}/picture.png").text
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(picture_bytes())
    with node.other().write() as tx:
        tx.run("UPDATE results SET path = :path WHERE kind = 'SC'", path=str(outside))
    assert client.get(f"/studies/{study_uid}/picture.png").status_code == 404


def test_only_what_was_seen_is_acknowledged(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=False)
    node.result(study_uid, suspected=True)
    answer = client.post(f"/studies/{study_uid}/acknowledge?version=1", headers=HERE | {"accept": "application/json"})
    assert answer.status_code == 409 and "newer result" in answer.json()["said"]
    assert state(node, study_uid) is ItemState.UNREAD
    waiting = node.receive(2)
    assert client.post(f"/studies/{waiting}/acknowledge?version=0", headers=HERE).status_code == 409
    assert client.post("/studies/1.9/acknowledge", headers=HERE).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"origin": "http://localhost"}, 303),
    ],
)
def test_only_the_page_itself_may_change_anything(
    node: Node, client: TestClient, headers: dict[str, str], status: int
) -> None:
    study_uid = node.analysed(1, suspected=True)
    assert client.post(f"/studies/{study_uid}/acknowledge", headers=headers).status_code == status
    assert state(node, study_uid) is (ItemState.ACKNOWLEDGED if status == 303 else ItemState.UNREAD)
    assert client.get(f"/studies/{study_uid}/acknowledge").status_code in (404, 405)


def test_only_under_its_own_name_while_on_loopback(client: TestClient, tmp_path: Path) -> None:
    for host, status in (("evil.example", 400), ("localhost:8080", 200), ("127.0.0.1:1", 200), ("[::1]:8080", 200)):
        assert client.get("/", headers={"host": host}).status_code == status, host
    open_node = make_node(tmp_path / "open", host="0.0.0.0")
    app = build_app(open_node.database, open_node.archive, open_node.settings)
    with TestClient(app, base_url="http://triage.hospital.example") as everywhere:
        assert everywhere.get("/").status_code == 200
        assert "no login, and other machines can reach it" in everywhere.get("/status").text


def test_every_response_carries_the_security_headers(node: Node, client: TestClient) -> None:
    for path in ("/", "/status", "/health", "/nowhere", "/static/page.js"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';"), path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
    study_uid = node.analysed(1, suspected=True)
    for path in ("/", "/status", f"/studies/{study_uid}"):
        page = client.get(path).text
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script>|https?://", page), (
            "refused by the policy, or remote"
        )


def test_health_follows_the_signs_of_life(node: Node, client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 503 and sorted(answer.json()["missing"]) == ["node", "worker"]
    node.beat("node", "worker")
    assert (client.get("/health").status_code, client.get("/health").json()["healthy"]) == (200, True)
    node.beat("worker", seconds=-1)
    answer = client.get("/health")
    assert answer.status_code == 503 and answer.json()["missing"] == ["worker"]
    assert "studies arrive but are not analysed" in client.get("/").text


def test_status_says_why_nothing_arrives(node: Node, client: TestClient) -> None:
    text = text_of(client.get("/status").text)
    assert "No image has ever arrived." in text
    assert "The receiving process does not run" in text and "triage-node serve" in text
    assert "SCANNER (ct1), PACS (pacs), any program on this machine" in text
    now = clock.utc_now()
    with node.other().write() as tx:
        reason = "calling AE title 'CT_NEW' is no configured peer"
        for _ in range(3):
            processes.refuse(tx, processes.Refusal(now, "CT_NEW", "TRIAGE", "10.20.3.44", reason))
        processes.refuse(tx, processes.Refusal(now - timedelta(hours=5), "OLD", "TRIAGE", "10.20.3.45", "too many"))
    node.beat("node", "worker", "web")
    text = text_of(client.get("/status").text)
    assert "does not run" not in text
    assert (
        text.count("CT_NEW at 10.20.3.44: calling AE title 'CT_NEW' is no configured peer".replace("'", "&#39;")) == 1
    )
    assert "OLD at" not in text and "too many" in text


def test_status_shows_work_that_is_held_up(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    failed = node.receive(2)
    node.choose(failed, ChoiceKind.ANALYSE, "Head CT.")
    node.fail(failed, "MemoryError: none left")
    receiving = node.receive(3, minutes_ago=0.5, images=9)
    with node.other().write() as tx:
        sr, sc = deliveries.of_study(tx, study_uid)
        deliveries.postpone(tx, sr, "connection refused", 0, 1)
        deliveries.postpone(tx, sc, "connection refused", 0, 100)
    page = client.get("/status").text
    text = text_of(page)
    assert "Objects not delivered to pacs: 1; connection refused." in text
    assert "Analyses that failed: 1." in text and "MemoryError: none left" in text
    assert f'href="/studies/{receiving}"' in page and re.search(r"SCANNER ?CT ?9 ?30 s", text)
    assert re.search(r"The last image came 3\d s ago from SCANNER", text)


def test_watcher_sees_what_is_shown_and_nothing_else(node: Node) -> None:
    app = build_app(node.database, node.archive, node.settings)
    watcher: Watcher = app.state.watcher
    watcher.look()
    assert not watcher.look()
    node.beat("node")
    assert not watcher.look(), "a sign of life changes no row of the list"
    study_uid = node.analysed(1, suspected=True)
    assert watcher.look() and not watcher.look()
    with node.other().write() as tx:
        worklist.acknowledge(tx, study_uid, clock.utc_now())
    assert watcher.look()


def test_events_come_when_another_process_commits(node: Node) -> None:
    with serving(node) as (address, _), httpx2.stream("GET", f"{address}/events", timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line.startswith("event:"))
        assert next(lines) == "event: changed"
        assert next(lines) == "event: alive"
        node.analysed(1, suspected=True)
        assert "event: changed" in (next(lines), next(lines))


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the machine's time zone."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        ("UTC", "UTC.", "2026-07-03 21:30"),
        ("Europe/Berlin", "UTC+", "2026-07-03 23:30"),
        ("Asia/Kolkata", "IST (UTC+5:30)", "2026-07-04 03:00"),
        ("America/Sao_Paulo", "UTC-3.", "2026-07-03 18:30"),
    ],
)
def test_times_are_the_nodes_and_the_zone_is_named_once(
    node: Node, client: TestClient, in_zone: Callable[[str], None], name: str, said: str, shown: str
) -> None:
    in_zone(name)
    study_uid = node.analysed(1, suspected=True)
    with node.other().write() as tx:
        at = "2026-07-03T21:30:00.000+00:00"
        tx.run("UPDATE worklist SET state = 'acknowledged', acted_at = :at, reader = 'Dr A'", at=at)
        processes.refuse(tx, processes.Refusal(datetime.fromisoformat(at), "CT_NEW", "TRIAGE", "10.20.3.44", "no"))
    for path in ("/", f"/studies/{study_uid}", "/status", "/quality"):
        text = " ".join(text_of(client.get(path).text).split())
        assert f"All times are those of this node’s clock: {words.zone()}." in text and said in text
        named = text.replace("(Monday to Sunday, UTC)", "").count("UTC")
        assert named == words.zone().count("UTC"), path
        assert shown in text or path == "/quality", path


def test_a_moment_of_today_is_a_time_and_any_other_has_its_day() -> None:
    now = clock.utc_now()
    assert words.clock_time(now) == f"{now.astimezone():%H:%M}"
    assert words.clock_time(now - timedelta(days=2)) == f"{(now - timedelta(days=2)).astimezone():%Y-%m-%d %H:%M}"


DEVELOPERS_WORDS = re.compile(
    r"\b(Chosen|declined|superseded|queued|Lives|pipeline|peers?|lease|enum|null|None|True|False|stack trace)\b"
)


def test_no_page_speaks_in_developers_words(node: Node, client: TestClient) -> None:
    node.beat("node", "worker")
    studies = [node.analysed(1, suspected=True), node.analysed(2, suspected=False), node.receive(3)]
    declined, failed, spare = node.receive(4), node.receive(5), node.receive(6)
    node.choose(declined, ChoiceKind.DECLINED, "The images are not CT (MR); only CT is analysed.")
    node.choose(failed, ChoiceKind.ANALYSE, "Head CT.")
    node.fail(failed, "the worker stopped during the analysis")
    node.choose(spare, ChoiceKind.NOT_NEEDED, "")
    with node.other().write() as tx:
        for state in ("declined", "superseded", "queued"):
            tx.run(
                "INSERT INTO jobs (kind, study_uid, series_uid, revision, question, pipeline, rank, priority, state,"
                " error, created_at) VALUES ('analyse', :uid, :state, 1, 'haemorrhage', 'haemorrhage', 1, 0, :state,"
                " 'No whole head was found.', '2026-07-03T21:30:00+00:00')",
                uid=declined,
                state=state,
            )
        one, two = deliveries.of_study(tx, studies[0])
        tx.run("UPDATE deliveries SET state = 'withdrawn' WHERE delivery_id = :id", id=one.delivery_id)
        deliveries.postpone(tx, two, "refused with 0xA700 out of resources", 0, 1)
    pages = ["/", "/?show=all", "/status", "/quality", *(f"/studies/{each}" for each in (*studies, declined, failed))]
    for path in [*pages, f"/studies/{spare}", f"/studies/{studies[0]}/bar"]:
        said = text_of(re.sub(r"<(script|title).*?</\1>", "", client.get(path).text, flags=re.DOTALL))
        assert DEVELOPERS_WORDS.findall(said) == [], path


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("DOE^Jane^Mary", "DOE, Jane Mary"),
        ("DOE^Jane^^Dr.", "DOE, Jane"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("SINGLE", "SINGLE"),
        ("^^^", "No name"),
        ("", "No name"),
    ],
)
def test_patient_names(sent: str, shown: str) -> None:
    assert words.patient_name(Study("1", "1", sent, "", "", "", "", "")) == shown


@pytest.mark.parametrize(
    ("born", "sex", "shown"),
    [
        ("19561120", "F", "70 y F"),
        ("19561121", "M", "69 y M"),
        ("20260501", "M", "6 mo M"),
        ("20261110", "", "10 d"),
        ("", "O", "O"),
        ("20270101", "F", "F"),
        ("garbage", "F", "F"),
    ],
)
def test_age_on_the_day_of_the_study(born: str, sex: str, shown: str) -> None:
    assert words.age_and_sex(Study("1", "1", "", born, sex, "", "", "20261120")) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3900, "1 h 05 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert words.duration(seconds) == shown
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert words.since(now - timedelta(seconds=seconds), now) == shown

"""What waits for a destination, by command and by page: seen, sent now, revived, given up."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from test_web import text_of
from web_support import Node, make_node

from dicom_node import clock
from dicom_node.commands.main import main
from dicom_node.entities import Delivery, DeliveryState, SendProblem
from dicom_node.tables import deliveries
from dicom_node.web.app import build_app

WAITING, SENT, FAILED, WITHDRAWN = list(DeliveryState)
LONG_AFTER = 1e12
HERE = {"origin": "http://localhost"}
NOT_TAKEN = "the destination does not take SEG (no presentation context)"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Results for a PACS: one is stored, one waits for long, one is not taken; others for a PACS of former days."""
    made = make_node(tmp_path / "node")
    for number, destination in ((1, "pacs"), (2, "pacs"), (3, "old pacs")):
        study_uid = made.analysed(number, suspected=True)
        with made.other().write() as tx:
            tx.run("UPDATE deliveries SET destination = :name WHERE study_uid = :uid", name=destination, uid=study_uid)
    with made.other().write() as tx:
        sr, sc = deliveries.of_study(tx, "1.2.826.1")
        tx.run("UPDATE deliveries SET kind = 'SEG' WHERE delivery_id = :id", id=sr.delivery_id)
        deliveries.postpone(tx, sr, NOT_TAKEN, 0, 1, SendProblem.NOT_TAKEN)
        deliveries.postpone(tx, sc, "refused with 0xA700 (out of resources)", LONG_AFTER, 100)
    (tmp_path / "site.toml").write_text(
        f'[node]\ndata = "{tmp_path / "node"}"\n[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "192.0.2.10"\n'
        "port = 104\ndestination = true\n"
    )
    return made


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    """The node's page."""
    app = build_app(node.database, node.archive, node.settings)
    with TestClient(app, base_url="http://localhost", follow_redirects=False, headers=HERE) as client:
        yield client


@pytest.fixture
def run(tmp_path: Path, node: Node) -> Callable[..., Result]:
    """The commands of this node."""
    return lambda *arguments: CliRunner().invoke(main, ["--config", str(tmp_path / "site.toml"), *arguments])


def rows(node: Node, destination: str = "pacs") -> list[Delivery]:
    """What is meant for a destination."""
    with node.database.read() as tx:
        wanted = "SELECT * FROM deliveries WHERE destination = :name ORDER BY delivery_id"
        return tx.all(Delivery, wanted, name=destination)


def due(node: Node, destination: str = "pacs") -> int:
    """How many objects would be sent now."""
    with node.database.read() as tx:
        return tx.number(
            "SELECT count(*) FROM deliveries WHERE destination = :name AND state = 'waiting' AND next_at <= 1",
            name=destination,
        )


def test_list_as_table_and_json(node: Node, run: Callable[..., Result]) -> None:
    """One line a destination; one that is gone is named as such."""
    (pacs, old) = sorted(json.loads(run("outbox", "list", "--json").output), key=lambda each: not each["configured"])
    assert (pacs["destination"], pacs["waiting"], pacs["failed"], pacs["not_taken"]) == ("pacs", 3, 1, ["SEG"])
    assert old["configured"] is False and old["waiting"] == 2
    text = run("outbox", "list").output
    assert "old pacs (no longer configured)" in text and "0xA700" in text


def test_jobs_say_why(node: Node, run: Callable[..., Result]) -> None:
    """The same words as on the page and in the log."""
    entries = {each["what"]: each for each in json.loads(run("jobs", "--json").output)}
    assert entries["SEG to pacs"]["error"] == NOT_TAKEN and entries["SEG to pacs"]["state"] == "failed"


def test_send_now(node: Node, run: Callable[..., Result]) -> None:
    """What waits is due; what has failed only if that is asked for, and then as if new."""
    assert due(node) == 2
    assert "3" in run("outbox", "send-now", "pacs").output
    assert due(node) == 3 and rows(node)[0].state is FAILED
    assert "4" in run("outbox", "send-now", "--failed").output
    assert due(node) == 4 and rows(node)[0].attempts == 0 and rows(node)[1].attempts == 1


@pytest.mark.parametrize("name", ["nobody", "old pacs", "ct1"])
def test_send_now_to_none(run: Callable[..., Result], name: str) -> None:
    """Only a destination of the settings."""
    result = run("outbox", "send-now", name)
    assert result.exit_code == 1 and name in result.output and "pacs" in result.output


def test_retry_of_one_that_waits(node: Node, run: Callable[..., Result]) -> None:
    """It is due now, and its attempts go on counting."""
    number = rows(node)[1].delivery_id
    assert run("retry", f"D{number}").exit_code == 0
    assert due(node) == 3 and rows(node)[1].attempts == 1


def test_clear(node: Node, run: Callable[..., Result]) -> None:
    """Only what a removed destination will never get."""
    for name in ("pacs", "nobody"):
        assert run("outbox", "clear", name).exit_code == 1
    assert "2" in run("outbox", "clear", "old pacs").output
    assert {row.state for row in rows(node, "old pacs")} == {WITHDRAWN}
    assert [row.state for row in rows(node)] == [FAILED, WAITING, WAITING, WAITING]


def test_status_page_shows_and_does_it(node: Node, client: TestClient) -> None:
    """What is not taken, what waits, what is no longer configured, each with its button."""
    text = text_of(client.get("/status").text)
    assert "pacs does not take SEG" in text and "Does not take: SEG" in text
    assert "Objects for old pacs, which is no longer configured: 2." in text and "no longer configured" in text
    with capture_logs() as lines:
        answers = [
            client.post("/status/outbox", params={"destination": name, "do": do})
            for name, do in (("pacs", "send-now"), ("pacs", "retry"), ("old pacs", "clear"))
        ]
    assert {(each.status_code, each.headers["location"]) for each in answers} == {(303, "/status")}
    assert [(each["action"], each["objects"]) for each in lines] == [("send-now", 3), ("retry", 4), ("clear", 2)]
    assert due(node) == 4 and due(node, "old pacs") == 0
    assert "which is no longer configured" not in text_of(client.get("/status").text)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("destination=pacs&do=clear", 409),
        ("destination=pacs&do=dance", 400),
        ("destination=pacs", 400),
        ("do=send-now", 404),
        ("destination=nobody&do=retry", 404),
        ("destination=%00&do=clear", 404),
    ],
)
def test_what_the_buttons_do_not_do(node: Node, client: TestClient, query: str, status: int) -> None:
    """In words, and nothing changes."""
    before = rows(node) + rows(node, "old pacs")
    answer = client.post(f"/status/outbox?{query}")
    assert answer.status_code == status and rows(node) + rows(node, "old pacs") == before
    assert client.post("/status/outbox?destination=pacs&do=retry", headers={"origin": "http://x"}).status_code == 403


def test_study_page_says_that_it_was_delivered_in_part(node: Node, client: TestClient) -> None:
    """How many of how many, and which kind is not taken."""
    with node.other().write() as tx:
        deliveries.sent(tx, deliveries.of_study(tx, "1.2.826.1")[1], None, clock.utc_now())
    text = text_of(client.get("/studies/1.2.826.1").text)
    assert "pacs has 1 of 2 objects; it does not take SEG." in text and NOT_TAKEN in text and "not taken" in text
    assert "pacs has all 2 objects" not in text

"""The commands as people type them: help with an example, one clear line for an error, and its exit code."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from click import Group
from click.testing import CliRunner
from peers import own_port
from pydicom.uid import RLELossless
from series import Core, core, ct, head, listening, write

from dicom_node.clock import utc_now
from dicom_node.commands.main import main
from dicom_node.entities import ItemState, ResultObject, Urgency
from dicom_node.settings import load_settings
from dicom_node.tables import deliveries, processes, results, worklist
from dicom_node.tables.worklist import Part, Standing

COMMANDS = ["demo", "serve", "node", "worker", "web", "analyse", "submit", "worklist", "jobs", "retry", "echo"]
COMMANDS += ["backup", "restore"]
COMMANDS += ["feedback", "config check", "config show"]
COMMANDS += ["models list", "models install", "models use", "models remove", "models points", "models convert"]
COMMANDS += ["viewer install", "identity list", "identity apart", "identity one"]
COMMANDS += ["outbox list", "outbox send-now", "outbox clear", "scrub", "validate"]


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node's core whose settings file is site.toml beside it."""
    made = core(tmp_path / "data")
    (tmp_path / "site.toml").write_text(f'[node]\nhost = "127.0.0.1"\nport = 0\ndata = "{tmp_path / "data"}"\n')
    return made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`triage-node` in a process of its own, with the folder's site.toml where there is one."""
    options = ["--config", str(folder / "site.toml")] if (folder / "site.toml").exists() else []
    command = [sys.executable, "-m", "dicom_node", *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)


def error_line(result: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line that a command fails with."""
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: "), result.stderr
    assert result.stdout == ""
    return lines[0]


def test_help_of_every_command_has_an_example() -> None:
    """And the help says that this is no medical device."""
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0 and "not a medical device" in told.output
    groups = {name: command for name, command in main.commands.items() if isinstance(command, Group)}
    below = {f"{name} {command}" for name, group in groups.items() for command in group.commands}
    assert main.commands.keys() - groups.keys() | below == set(COMMANDS)
    for command in COMMANDS:
        told = CliRunner().invoke(main, [*command.split(), "--help"])
        assert told.exit_code == 0
        example = told.output.partition("Example: triage-node ")[2]
        assert command.split()[-1] in example.partition("\n")[0], command


def test_installed_command_runs() -> None:
    """The script that pip makes, not only the module."""
    script = Path(sys.executable).with_name("triage-node")
    result = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert result.returncode == 0 and "0." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["worklits"], "worklits"),
        (["worklist", "--jsno"], "--jsno"),
        (["--cofnig", "x", "worklist"], "--cofnig"),
        (["submit"], "PATH"),
        (["submit", "no/such/folder"], "no/such/folder"),
        (["analyse", "."], "--out"),
        (["retry"], "JOB_ID"),
        (["jobs", "--limit", "many"], "many"),
        (["echo", "nobody"], "nobody"),
        (["--config", "missing.toml", "worklist"], "missing.toml"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], named: str) -> None:
    """With the word that is wrong."""
    assert named in error_line(run(tmp_path, *arguments), 2)


@pytest.mark.parametrize("command", ["worklist", "config show", "config check", "serve", "worker"])
def test_unknown_setting_names_the_key(tmp_path: Path, command: str) -> None:
    """Whatever the command: nothing starts with wrong settings."""
    (tmp_path / "site.toml").write_text("[web]\nprot = 1\n")
    line = error_line(run(tmp_path, *command.split()), 2)
    assert "web.prot: there is no such setting" in line and "site.toml" in line


def test_what_fails_is_one_line_and_exit_code_1(tmp_path: Path, node: Core) -> None:
    """Right use, no success."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no node's database" in error_line(run(empty, "worklist"), 1)
    assert "no DICOM files" in error_line(run(tmp_path, "submit", str(empty)), 1)
    assert "A99" in error_line(run(tmp_path, "retry", "A99"), 1)
    assert "no node has run" in error_line(run(tmp_path, "echo"), 1)
    with node.database.write() as tx:
        processes.publish(tx, "dicom_port", str(port := own_port()))
    assert f"127.0.0.1:{port}" in error_line(run(tmp_path, "echo"), 1)
    assert f"127.0.0.1:{port}" in error_line(run(tmp_path, "submit", str(write([ct(0)], tmp_path / "ct")[0])), 1)


def test_config_show_is_a_settings_file(tmp_path: Path) -> None:
    """Every setting in force; loaded again it gives the same settings."""
    (tmp_path / "site.toml").write_text(
        '[node]\ndata = "a folder with \\"quotes\\" and ü"\n[access]\ncalled_aets = ["ONE", "TWO"]\n[web]\nport = 9\n'
        '[[peer]]\nname = "ct 1"\nae_title = "CT1"\n'
        '[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs.example"\nport = 104\ndestination = true\n'
        'kinds = ["SR", "SC"]\n'
    )
    shown = run(tmp_path, "config", "show")
    assert shown.returncode == 0
    (tmp_path / "again.toml").write_text(shown.stdout)
    assert load_settings(tmp_path / "again.toml") == load_settings(tmp_path / "site.toml")
    assert shown.stdout.count("=") > 40


def test_a_peer_can_be_added_to_what_config_show_says(tmp_path: Path) -> None:
    """No empty list stands in its way."""
    site = tmp_path / "site.toml"
    site.write_text("[web]\nport = 9\n")
    site.write_text(run(tmp_path, "config", "show").stdout + '\n[[peer]]\nname = "ct 1"\nae_title = "CT1"\n')
    assert [peer.name for peer in load_settings(site).peer] == ["ct 1"]


def test_empty_lists(tmp_path: Path, node: Core) -> None:
    """A node that nothing has come to yet."""
    for command in ("worklist", "jobs"):
        shown = run(tmp_path, command, "--json")
        assert (shown.returncode, json.loads(shown.stdout)) == (0, [])
        assert "empty" in run(tmp_path, command).stdout or "no jobs" in run(tmp_path, command).stdout


def test_worklist_and_jobs_as_json(tmp_path: Path, node: Core) -> None:
    """The documented fields; times are ISO 8601 in UTC; results are those of the last version."""
    node.receive(head(3))
    uid, now = str(ct(0).StudyInstanceUID), utc_now()
    with node.database.write() as tx:
        item = worklist.get(tx, uid)
        assert item is not None
        parts = (Part("haemorrhage", Standing.POSITIVE, Urgency.HIGH, version=2),)
        flagged = replace(item, parts=parts, urgency=Urgency.HIGH, state=ItemState.UNREAD, headline="Ä")
        worklist.put(tx, replace(flagged, flagged_at=now, version=2))
        for version in (1, 2):
            made = ResultObject("SR", f"1.2.{version}", "1.2", "1.3", tmp_path / "sr.dcm")
            results.add_object(tx, uid, "haemorrhage", version, made, now)
            deliveries.add(tx, uid, "pacs", made)
    (entry,) = json.loads(run(tmp_path, "worklist", "--json").stdout)
    fields = "study_uid accession patient_id urgency headline state received_at flagged_at results scanned_at"
    fields += " priors sent_uid contradiction missed_by"
    assert list(entry) == fields.split()
    assert entry | {"received_at": "", "flagged_at": ""} == {
        "study_uid": uid,
        "accession": "A1",
        "patient_id": "P1",
        "urgency": "HIGH",
        "headline": "Ä",
        "state": "unread",
        "received_at": "",
        "flagged_at": "",
        "results": ["1.2.2"],
        "scanned_at": entry["scanned_at"],
        "priors": [],
        "sent_uid": uid,
        "contradiction": "",
        "missed_by": "",
    }
    assert datetime.fromisoformat(entry["scanned_at"]).date().isoformat() == "2026-01-02"
    for name in ("received_at", "flagged_at"):
        moment = datetime.fromisoformat(entry[name])
        assert moment.utcoffset() is not None and not moment.utcoffset()
        assert abs((moment - now).total_seconds()) < 60
    listed = json.loads(run(tmp_path, "jobs", "--json", "--limit", "1").stdout)
    assert [(each["id"], each["state"]) for each in listed] == [("D2", "waiting")]
    assert "HIGH" in run(tmp_path, "worklist").stdout


def test_submit_and_echo_against_a_node(tmp_path: Path, node: Core) -> None:
    """C-STORE a folder; what is refused is named and the exit code is 1."""
    folder = tmp_path / "scan"
    write(head(3), folder)
    with listening(node) as server:
        with node.database.write() as tx:
            processes.publish(tx, "dicom_port", str(server.port))
        assert "answers" in run(tmp_path, "echo").stdout
        sent = run(tmp_path, "submit", str(folder))
        assert (sent.returncode, sent.stdout.strip()) == (0, "3 of 3 objects stored")
        wrong = ct(5)
        wrong.SeriesInstanceUID = "../up"
        write([wrong], tmp_path / "wrong")
        sent = run(tmp_path, "submit", str(tmp_path / "wrong"))
        assert sent.returncode == 1 and "0xC000" in sent.stderr
        assert sent.stdout.strip() == "0 of 1 objects stored"
    assert len(node.files()) == 3


def test_submit_names_what_it_cannot_send_and_sends_the_rest(tmp_path: Path, node: Core) -> None:
    """A compressed image that is cut off, one that lies about its syntax, one without preamble, and a letter."""
    slices = head(6)
    for dataset in slices[:3]:
        dataset.PixelData = random.Random(1).randbytes(len(dataset.PixelData))
        dataset.compress(RLELossless, generate_instance_uid=False)
    paths = write(slices, tmp_path / "scan")
    for cut, by in ((0, 20), (1, 4000)):
        paths[cut].write_bytes(paths[cut].read_bytes()[:-by])
    paths[3].write_bytes(paths[3].read_bytes()[132:])
    paths[4].write_bytes(paths[4].read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"))
    (tmp_path / "scan" / "notes.txt").write_text("a letter")
    with listening(node) as server:
        with node.database.write() as tx:
            processes.publish(tx, "dicom_port", str(server.port))
        sent = run(tmp_path, "submit", str(tmp_path / "scan"))
    assert sent.returncode == 1 and "Traceback" not in sent.stderr
    assert sent.stdout.strip() == "3 of 6 objects stored"
    for place in (0, 1, 4):
        assert f"{paths[place]}: " in sent.stderr
    assert "left out, no DICOM: notes.txt (1 file)" in sent.stderr
    assert len(node.files()) == 3

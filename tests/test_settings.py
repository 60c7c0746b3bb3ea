"""Settings come from three places, and what is wrong is named with its key, in one line."""

from pathlib import Path

import pytest

from dicom_node.errors import SettingsError
from dicom_node.settings import Settings, load_settings, site_file


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a settings file, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIAGE_NODE_CONFIG", raising=False)
    return tmp_path


def site(folder: Path, text: str) -> Path:
    """A site's file."""
    path = folder / "site.toml"
    path.write_text(text)
    return path


def wrong(folder: Path, text: str) -> str:
    """The error that a site's file gives."""
    with pytest.raises(SettingsError) as caught:
        load_settings(site(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_stand_alone() -> None:
    """No file, no environment, no account, no broker; and they are the documented ones."""
    settings = load_settings()
    assert (settings.node.ae_title, settings.node.port, settings.web.host) == ("TRIAGE", 11112, "127.0.0.1")
    assert (settings.complete.quiet_after_release_s, settings.complete.quiet_s) == (2.0, 15.0)
    assert settings.complete.stack_at_least_mm == 100.0
    assert (settings.worklist.ageing_cap_minutes, settings.worklist.leave_after_hours) == (60.0, 24.0)
    assert settings.access.any_caller_on_loopback and not settings.access.any_caller
    assert settings.destinations == () and settings.routes_path is None
    assert settings.database_path == settings.node.data / "node.sqlite"


def test_site_file_names_only_what_differs(nowhere: Path) -> None:
    """The rest stays."""
    settings = load_settings(site(nowhere, '[web]\nport = 9000\n[node]\nae_title = "HEADCT"\n'))
    assert (settings.web.port, settings.web.host, settings.node.ae_title) == (9000, "127.0.0.1", "HEADCT")


def test_environment_beats_the_file_and_changes_beat_both(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, text and lists from the environment."""
    path = site(nowhere, "[web]\nport = 9000\n[complete]\nquiet_s = 20\n")
    monkeypatch.setenv("TRIAGE_NODE__WEB__PORT", "9001")
    monkeypatch.setenv("TRIAGE_NODE__NODE__AE_TITLE", "FROMENV")
    monkeypatch.setenv("TRIAGE_NODE__ACCESS__CALLED_AETS", '["A", "B"]')
    monkeypatch.setenv("TRIAGE_NODE__COMPLETE__COUNT_AT_SENDER", "false")
    settings = load_settings(path, {"node": {"ae_title": "LAST"}})
    assert (settings.web.port, settings.complete.quiet_s, settings.node.ae_title) == (9001, 20.0, "LAST")
    assert settings.access.called_aets == ("A", "B") and not settings.complete.count_at_sender


def test_where_the_site_file_is_found(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one given, then the one in the environment, then the one in the folder."""
    assert site_file() is None or site_file() == Path("/etc/triage-node/triage-node.toml")
    here = nowhere / "triage-node.toml"
    here.write_text("[web]\nport = 1\n")
    assert load_settings().web.port == 1
    named = site(nowhere, "[web]\nport = 2\n")
    monkeypatch.setenv("TRIAGE_NODE_CONFIG", str(named))
    assert load_settings().web.port == 2
    assert load_settings(here).web.port == 1
    monkeypatch.setenv("TRIAGE_NODE_CONFIG", "missing.toml")
    with pytest.raises(SettingsError, match="missing"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[web]\nprot = 1", "web.prot"),
        ("[wbe]\nport = 1", "wbe"),
        ("port = 1", "port"),
        ("web = 3", "web"),
        ("[web]\nport = 65536", "web.port"),
        ("[web]\nport = -1", "web.port"),
        ('[web]\nport = "http"', "web.port"),
        ('[node]\nae_title = ""', "node.ae_title"),
        ('[node]\nae_title = "    "', "node.ae_title"),
        ('[node]\nae_title = "SEVENTEEN LETTERS"', "node.ae_title"),
        ('[node]\nae_title = "BACK\\\\SLASH"', "node.ae_title"),
        ('[node]\nae_title = "KÖLN"', "node.ae_title"),
        ('[access]\ncalled_aets = ["OK", ""]', "access.called_aets.1"),
        ("[complete]\nquiet_s = -1", "complete.quiet_s"),
        ("[complete]\nquiet_s = nan", "complete.quiet_s"),
        ("[deliver]\nattempts = 0", "deliver.attempts"),
        ('[analyse]\ndevice = "gpu"', "analyse.device"),
        ("[worklist]\nageing_cap_minutes = -5", "worklist.ageing_cap_minutes"),
        ("[retention]\nkeep_gb = 0", "retention.keep_gb"),
        ('[[peer]]\nname = "a"', "peer.0.ae_title"),
        ('[[peer]]\nname = "a"\nae_title = "A"\nport = 104\ndestination = true', "host and port"),
        ('[[peer]]\nname = "a"\nae_title = "A"\nhost = "h"\nquery = true', "host and port"),
        ('[[peer]]\nname = "a"\nae_title = "A"\nkinds = ["PDF"]', "peer.0.kinds.0"),
        ('[[peer]]\nname = "a"\nae_title = "A"\n[[peer]]\nname = "a"\nae_title = "B"', "used twice: a"),
        ("[web\nport = 1", "site.toml"),
    ],
)
def test_what_is_wrong_is_named(nowhere: Path, text: str, named: str) -> None:
    """With the file that says it."""
    told = wrong(nowhere, text)
    assert named in told and "site.toml" in told


def test_unknown_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistyped there, too."""
    monkeypatch.setenv("TRIAGE_NODE__WEB__PROT", "1")
    with pytest.raises(SettingsError, match=r"web\.prot: there is no such setting"):
        load_settings()


def test_file_that_cannot_be_read(nowhere: Path) -> None:
    """Missing, a folder, not UTF-8."""
    (nowhere / "latin.toml").write_bytes('[node]\nae_title = "K\xd6LN"'.encode("latin-1"))
    for path in (nowhere / "missing.toml", nowhere, nowhere / "latin.toml"):
        with pytest.raises(SettingsError) as caught:
            load_settings(path)
        assert str(path) in str(caught.value)


def test_peers(nowhere: Path) -> None:
    """A scanner that only sends needs no address; destinations get results."""
    settings = load_settings(Path(__file__).parents[1] / "config" / "peers.example.toml")
    assert [peer.name for peer in settings.peer] == ["ct1", "pacs"]
    assert [peer.name for peer in settings.destinations] == ["pacs"]
    assert settings.peer_named("ct1").host is None
    with pytest.raises(SettingsError, match="known: ct1, pacs"):
        settings.peer_named("ct2")


def test_settings_cannot_be_changed() -> None:
    """They are read once."""
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.web.port = 1
    assert isinstance(settings, Settings)

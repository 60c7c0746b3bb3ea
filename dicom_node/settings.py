"""Settings: embedded defaults, then the site's TOML file, then the environment. The only reader of either.

An unknown key, a wrong type or a peer without an address is a `SettingsError` that names the key.
"""

import os
import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from dicom_node.errors import SettingsError
from inference.input.bounds import Bounds

AeTitle = Annotated[  # PS3.5 6.2, VR AE: no backslash, no control character, not spaces alone
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
]
CodeString = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=1, max_length=16)]
UidRoot = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^(\*|[0-9]+(\.[0-9]+)*\.?)$")
]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
Kind = Literal["SEG", "SR", "SC", "KO"]
SITE_FILES = (Path("triage-node.toml"), Path("/etc/triage-node/triage-node.toml"))
GIB = 1 << 30
PREFIX = "TRIAGE_NODE__"
VIEWERS = ("node", "page", "weasis")  # anything else is a URL template
PLACEHOLDERS = ("study_uid", "accession", "patient_id")
HOST_FORM = r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
PUBLIC_URL = re.compile(  # a path that a browser would shorten ("..") is none
    rf"(?P<scheme>https?)://(?P<netloc>{HOST_FORM})(?P<path>(?:/(?!\.{{1,2}}(?:/|$))[A-Za-z0-9._~-]+)*)/?",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class SettingsSection(BaseModel):
    """Immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Node(SettingsSection):
    """[node]"""

    ae_title: AeTitle
    host: str
    port: Port
    data: Path
    max_associations: Annotated[int, Field(ge=1)]


class Network(SettingsSection):
    """[network]: what a connection may take of time and room (PS3.8 9.1.5 for ARTIM)."""

    artim_timeout_s: Annotated[float, Field(gt=0)]
    network_timeout_s: Annotated[float, Field(gt=0)]
    idle_timeout_s: Annotated[float, Field(gt=0)]
    connections_per_address: Annotated[int, Field(ge=1)]
    request_mib: Annotated[float, Field(gt=0)]
    object_gib: Annotated[float, Field(gt=0)]
    uncompressed_first: bool
    private_storage: tuple[UidRoot, ...]

    @property
    def object_bytes(self) -> int:
        """What an object may have."""
        return int(self.object_gib * GIB)


class Route(SettingsSection):
    """[route]"""

    rules: Path | None

    @field_validator("rules", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None


class Access(SettingsSection):
    """[access]"""

    called_aets: tuple[AeTitle, ...]
    any_called: bool
    any_caller_on_loopback: bool
    any_caller: bool


class Complete(SettingsSection):
    """[complete]"""

    quiet_after_release_s: Seconds
    stack_at_least_mm: Annotated[float, Field(ge=0)]
    quiet_s: Seconds
    quiet_after_abort_s: Seconds
    count_at_sender: bool


class Analyse(SettingsSection):
    """[analyse]"""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    threads: Annotated[int, Field(ge=0)]
    attempts: Annotated[int, Field(ge=1)]
    timeout_s: Annotated[float, Field(gt=0)]
    lease_s: Annotated[float, Field(gt=0)]


class Model(SettingsSection):
    """[model]"""

    sensitivity: Annotated[float, Field(ge=0, le=1)]
    prevalence: Annotated[float, Field(ge=0.001, le=0.9)]


class Report(SettingsSection):
    """[report]"""

    picture_for_negative: bool
    say_not_analysed: bool
    picture_for_not_analysed: bool
    omit_empty_frames: bool


class Deliver(SettingsSection):
    """[deliver]"""

    attempts: Annotated[int, Field(ge=1)]
    attempts_if_refused: Annotated[int, Field(ge=1)]
    first_wait_s: Seconds
    longest_wait_s: Seconds
    timeout_s: Annotated[float, Field(gt=0)]


class Worklist(SettingsSection):
    """[worklist]"""

    ageing_cap_minutes: Annotated[float, Field(ge=0)]
    overdue_first: bool
    leave_after_hours: Annotated[float, Field(gt=0)]
    modalities: Literal["auto"] | tuple[CodeString, ...]

    def lists(self, modality: str, may_take: Callable[[str], bool]) -> bool:
        """Whether a study with a series of this modality is on the list; `may_take` says what a rule could analyse."""
        if self.modalities == "auto":
            return may_take(modality)
        return not self.modalities or not modality.strip() or modality.strip().upper() in self.modalities


class Decoder(SettingsSection):
    """[decoder]: what one object may take that is inflated or decoded."""

    memory_gib: Annotated[float, Field(ge=0.125)]
    time_s: Annotated[float, Field(gt=0)]
    inflated_gib: Annotated[float, Field(gt=0)]
    inflated_ratio: Annotated[float, Field(ge=1)]

    @property
    def memory_bytes(self) -> int:
        """What a decoder may take beyond what it needs to start."""
        return int(self.memory_gib * GIB)

    @property
    def bounds(self) -> Bounds:
        """The bounds of a process of the node."""
        return Bounds(int(self.inflated_gib * GIB), self.inflated_ratio, self.memory_bytes)


class Web(SettingsSection):
    """[web]"""

    host: str
    port: Port
    public_url: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    connections_per_address: Annotated[int, Field(ge=4)]
    request_time_s: Annotated[float, Field(gt=0)]
    body_kib_per_s: Annotated[float, Field(ge=0)]

    @field_validator("public_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if url and not PUBLIC_URL.fullmatch(url):
            raise ValueError(f"{url!r} is no address such as https://triage.example.org or https://example.org/triage")
        return url


class Viewer(SettingsSection):
    """[viewer]: what a row of the worklist opens."""

    opens: str

    @field_validator("opens")
    @classmethod
    def _is_known(cls, opens: str) -> str:
        if opens not in VIEWERS:
            _check_template(opens)
        return opens


class Retention(SettingsSection):
    """[retention]"""

    keep_gb: Annotated[float, Field(gt=0)]
    every_minutes: Annotated[float, Field(gt=0)]


class Scrub(SettingsSection):
    """[scrub]"""

    every_hours: Annotated[float, Field(ge=0)]
    mb_per_s: Annotated[float, Field(gt=0)]


class Log(SettingsSection):
    """[log]"""

    level: Literal["debug", "info", "warning", "error"]
    file: Path | None
    max_mb: Annotated[float, Field(gt=0)]
    keep: Annotated[int, Field(ge=0)]

    @field_validator("file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None


class Peer(SettingsSection):
    """[[peer]]: a scanner or PACS. One that is sent to or asked needs an address."""

    name: Annotated[str, Field(pattern=r"^[\w. -]+$")]
    ae_title: AeTitle
    host: str | None = None
    port: Port | None = None
    destination: bool = False
    query: bool = False
    kinds: tuple[Kind, ...] = ("SEG", "SR", "SC", "KO")
    timeout_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _has_address(self) -> "Peer":
        if (self.destination or self.query) and (self.host is None or self.port is None):
            raise ValueError(f"peer {self.name!r} is a destination or is queried and so needs host and port")
        return self


class Settings(SettingsSection):
    """All settings of a node."""

    node: Node
    access: Access
    network: Network
    complete: Complete
    route: Route
    analyse: Analyse
    model: Model
    report: Report
    deliver: Deliver
    worklist: Worklist
    decoder: Decoder
    web: Web
    viewer: Viewer
    retention: Retention
    scrub: Scrub
    log: Log
    peer: tuple[Peer, ...] = ()

    @model_validator(mode="after")
    def _names_once(self) -> "Settings":
        names = [peer.name for peer in self.peer]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"peer name used twice: {', '.join(sorted(twice))}")
        return self

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.node.data / "node.sqlite"

    @property
    def routes_path(self) -> Path | None:
        """The site's own routing rules; None for the ones that come with the node."""
        return self.route.rules

    @property
    def destinations(self) -> tuple[Peer, ...]:
        """The peers that get results."""
        return tuple(peer for peer in self.peer if peer.destination)

    def timeout_of(self, peer: Peer) -> float:
        """How long each answer of a peer is waited for, in seconds."""
        return peer.timeout_s if peer.timeout_s is not None else self.deliver.timeout_s

    def peer_named(self, name: str) -> Peer:
        """The peer of that name; SettingsError when there is none."""
        for peer in self.peer:
            if peer.name == name:
                return peer
        known = ", ".join(peer.name for peer in self.peer) or "none is configured"
        raise SettingsError(f"no peer is called {name!r} (known: {known})")


def site_file(given: Path | None = None) -> Path | None:
    """The site's file: the one given, else $TRIAGE_NODE_CONFIG, else ./triage-node.toml, else the one in /etc."""
    if given is None and (named := os.environ.get("TRIAGE_NODE_CONFIG")):
        given = Path(named)
    if given is not None:
        if not given.is_file():
            raise SettingsError(f"there is no settings file {given}")
        return given
    return next((path for path in SITE_FILES if path.is_file()), None)


def load_settings(path: Path | None = None, changes: dict[str, Any] | None = None) -> Settings:
    """Read the settings; `changes` ({"web": {"port": 0}}) come last and win."""
    values = tomllib.loads(files("config").joinpath("default.toml").read_text())
    where = site_file(path)
    for source in (_read(where) if where else {}, _environment(), changes or {}):
        _merge(values, source)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_say(error, where)) from None


def _check_template(template: str) -> None:
    """ValueError where it is no URL, asks for what it is not given, or would be the same for every study."""
    scheme = template.partition(":")[0]
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"]+", template) or scheme.lower() in ("javascript", "data"):
        raise ValueError(f"{template!r} is none of {', '.join(VIEWERS)} and no URL")
    names = PLACEHOLDER.findall(template)
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    if unknown := [name for name in names if name not in PLACEHOLDERS]:
        raise ValueError(f"{{{unknown[0]}}} is not known in a viewer's address (known: {known})")
    if not names or set("{}") & set(PLACEHOLDER.sub("", template)):
        raise ValueError(f"a viewer's address holds at least one of {known}, and no other brace")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def _environment() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in os.environ.items():
        if name.startswith(PREFIX):
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            try:
                value = tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                value = text
            values.setdefault(section, {})[key] = value
    return values


def _merge(values: dict[str, Any], source: dict[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _say(error: ValidationError, where: Path | None) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        text = "there is no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{key}: {text}")
    return f"{where or 'settings'}: " + "; ".join(lines)

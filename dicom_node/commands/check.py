"""What `triage-node config check` looks at before a node is started: rules, data folder, ports, models and peers.

Models are checked by their cards and the hash of their weights, which takes no time; loading them is a wish.
"""

import errno
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.errors import CommandError
from dicom_node.models.store import open_store
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from inference.models.card import study_threshold

if TYPE_CHECKING:
    from dicom_node.models.store import ModelStore


def checked(settings: Settings, where: Path | None, load: bool) -> Iterator[str]:
    """What was found, line by line; SettingsError, ModelError or CommandError at the first thing that is wrong."""
    rules = load_rules(settings.routes_path)
    check_folder(settings.node.data)
    store = open_store(settings)
    rules.check_pipelines(store.pipelines())
    yield f"settings: {where or 'the embedded defaults'}"
    yield f"rules: {len(rules.rule)}"
    yield f"data: {settings.node.data.absolute()}"
    for pipeline in sorted(rules.pipelines):
        yield check_model(settings, store, pipeline, load)
    for peer in settings.peer:
        yield f"peer: {peer.name} {peer.ae_title} {f'{peer.host}:{peer.port}' if peer.host else 'only sends'}"
    for what, host, port in (
        ("DICOM", settings.node.host, settings.node.port),
        ("web", settings.web.host, settings.web.port),
    ):
        if trouble := port_trouble(host, port):
            yield f"note: the {what} port {port} {trouble}"


def check_folder(data: Path) -> None:
    """Make the data folder where it is missing; CommandError where nothing can be written there."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"\0")
    except FileExistsError:
        raise CommandError(f"node.data: {data.absolute()} is a file, and a folder is needed") from None
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"node.data: the folder {data.absolute()} cannot be written to: {reason}") from None


def check_model(settings: Settings, store: "ModelStore", pipeline: str, load: bool) -> str:
    """Which model answers for a pipeline; ModelError where its files are not whole or it cannot be loaded."""
    of_site = store.answering(pipeline)
    card = store.check(of_site, pipeline)
    study_threshold(card, settings.model.sensitivity)
    if load:
        from inference.engines.local import Engine

        Engine("cpu", models=store.card_for, sensitivity=settings.model.sensitivity).warm_up([pipeline])
    who = card.identity
    return f"model: {pipeline} {who.name} {who.version} ({of_site.model_id if of_site else 'built-in'})"


def port_trouble(host: str, port: int) -> str:
    """Why nothing can listen there now, in words; nothing where it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)  # refused while somebody listens there
    except UnicodeError:
        return f"cannot be opened: {host!r} is no address"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is in use: by this node if it runs, else by another program"
        return f"cannot be opened on {host}: {error.strerror or error}"
    return ""

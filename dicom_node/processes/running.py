"""What the commands know of a node that runs: its ports, its database, its page."""

import urllib.error
import urllib.request

from dicom_node.errors import CommandError
from dicom_node.settings import Peer, Settings
from dicom_node.tables import processes
from dicom_node.tables.database import Database, open_database

ANYWHERE = ("0.0.0.0", "::", "")


def dicom_port(settings: Settings) -> int:
    """The port the running node listens on."""
    if settings.node.port:
        return settings.node.port
    with database(settings).read() as tx:
        port = processes.published(tx, "dicom_port")
    if port is None:
        raise CommandError("no node has run on this data folder yet")
    return int(port)


def has_port(settings: Settings) -> bool:
    """Whether the running node has said which port it listens on."""
    with database(settings).read() as tx:
        return processes.published(tx, "dicom_port") is not None


def database(settings: Settings) -> Database:
    """The node's database; CommandError when there is none."""
    path = settings.database_path.absolute()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"there is no node's database at {path} (start one with serve)") from None
    except PermissionError:
        raise CommandError(f"{path} may not be read: run the command as the user that the node runs as") from None
    return open_database(path)


def answering_page(settings: Settings, database: Database) -> str | None:
    """The address of the worklist page, once it answers."""
    port = published(database, "web_port")
    return page_at(settings, int(port)) if port else None


def page_at(settings: Settings, port: int) -> str | None:
    """The address of the page at this port, if it answers, be it that it cannot be shown now."""
    host = "127.0.0.1" if settings.web.host in ANYWHERE else settings.web.host
    address = f"http://{host}:{port}/"
    try:
        with urllib.request.urlopen(address, timeout=2):
            return address
    except urllib.error.HTTPError as error:
        return address if error.code == 503 else None
    except OSError:
        return None


def published(database: Database, key: str) -> str | None:
    with database.read() as tx:
        return processes.published(tx, key)


def own_node(settings: Settings) -> Peer:
    """The running node as a peer, at the port it was given."""
    host = settings.node.host if settings.node.host not in ("0.0.0.0", "::", "") else "127.0.0.1"
    return Peer(name="this node", ae_title=settings.node.ae_title, host=host, port=dicom_port(settings))

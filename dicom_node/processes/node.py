"""Composition root: settings -> running processes. The only file, beside the commands, that knows everyone."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.dicom.decoding import Decoders
from dicom_node.entities import Incoming
from dicom_node.errors import OutOfResources, PeerError, plain, say_error
from dicom_node.faults import Faults, fault_of, say
from dicom_node.network import scu
from dicom_node.network.scp import StorageServer
from dicom_node.outbox import dicom
from dicom_node.processes.life import BEAT_EVERY_S, ENDING_S, Life, only_one, take_folder, try_again
from dicom_node.routes import Rules, load_rules
from dicom_node.settings import Peer, Settings
from dicom_node.steps.complete import ask_senders, complete_due
from dicom_node.steps.deliver import deliver_due
from dicom_node.steps.receive import Lists, Receiver, reconcile
from dicom_node.steps.requeue import expire_leases
from dicom_node.steps.retain import retain
from dicom_node.steps.route import route_due
from dicom_node.tables import instances, processes
from dicom_node.tables.database import Database, open_database

STUCK_S = 180.0
DECODE_S = 60.0  # a sender waits for its answer meanwhile
log = structlog.get_logger()


@contextmanager
def running_node(settings: Settings, supervisor: int | None = None) -> Iterator[tuple[StorageServer, Life]]:
    """The DICOM side: receives, completes, routes and delivers while the body runs."""
    take_folder(settings)
    with only_one(settings.node.data, "node"), Decoders(limit_s=DECODE_S) as decoders:
        database, archive = open_database(settings.database_path, at_once=False), Archive(settings.node.data)
        rules = load_rules(settings.routes_path)
        life = Life(database, "node", supervisor)
        ticker = clock.Ticker(life.faults.met)
        lists = partial(settings.worklist.lists, may_take=rules.may_take)
        receiver = Receiver(database, archive, decoders, lists)
        housekeeping = BackgroundScheduler(timezone="UTC")
        with life.lived():
            ticker.every(BEAT_EVERY_S, life.report, "report")

            def begin() -> None:
                with database.read() as tx:
                    rules.check_pipelines(questions_of_pipelines(tx))
                put_in_order(database, archive, decoders, lists)
                start_clock(settings, database, archive, receiver, rules, ticker, life, housekeeping)

            gate = Gate(begin, receiver.store, life.faults)
            gate.open()
            server = listen(settings, gate.store, receiver.ended, partial(note_refusal, database), life)
            ticker.every(BEAT_EVERY_S, lambda: show_life(life, ticker), "beat")  # from now on images can arrive
            ticker.every(BEAT_EVERY_S, gate.open, "begin")
            try:
                yield server, life
            finally:
                ticker.end()
                server.close()
                if housekeeping.running:
                    housekeeping.shutdown(wait=False)
                ticker.stop(ENDING_S)


class Gate:
    """Lets objects through to `store` once `begin`, the work before the first one, has been done.

    Until then, while the disk is full or the database locked, say, each is refused with 0xA700.
    """

    def __init__(self, begin: Callable[[], None], store: Callable[[Incoming], None], faults: Faults) -> None:
        self._begin, self._store, self._faults = begin, store, faults
        self._is_open = False

    def open(self) -> None:
        """Do the work, if that is possible now."""
        if self._is_open:
            return
        try:
            self._begin()
        except (sqlite3.Error, OSError) as error:
            if self._faults.met(error) is None:
                raise
        else:
            self._is_open = True

    def store(self, incoming: Incoming) -> None:
        """Store an object. OutOfResources while that is not possible."""
        if not self._is_open:
            why = "; ".join(map(say, self._faults.lasting()))
            raise OutOfResources(f"the node waits until it can work: {why}")
        self._store(incoming)


def put_in_order(database: Database, archive: Archive, decoders: Decoders, lists: Lists) -> None:
    """Mend what the last run has left half done, before anything is received."""
    with database.write():  # whether that can be at all, before every file is looked at
        archive.clear_incoming()
    adopted, lost = reconcile(database, archive, decoders, clock.utc_now(), lists)
    if adopted or lost:
        log.warning("files and rows differed at start", files_adopted=adopted, rows_dropped=lost)
    with database.write() as tx:
        instances.mark_all_aborted(tx)


def listen(
    settings: Settings,
    store: Callable[[Incoming], None],
    ended: Callable[[int, bool], None],
    refused: Callable[[str, str, str, str], None],
    life: Life,
) -> StorageServer:
    """Open the DICOM port; tried a few times, since the process before may be just ending."""
    server = try_again(lambda: StorageServer(settings, store, ended, refused))
    life.port = server.port
    log.info("listening", ae_title=settings.node.ae_title, host=settings.node.host, port=server.port)
    return server


def start_clock(
    settings: Settings,
    database: Database,
    archive: Archive,
    receiver: Receiver,
    rules: Rules,
    ticker: clock.Ticker,
    life: Life,
    housekeeping: BackgroundScheduler,
) -> None:
    """Everything that happens by time: what is urgent on the monotonic ticker, housekeeping on APScheduler."""
    explain = settings.report.picture_for_not_analysed
    counted = partial(count_at_sender, settings)
    sweep = partial(complete_due, database, settings.complete, is_sending=receiver.is_sending)
    ticker.every(0.2, lambda: sweep(clock.monotonic()), "complete")
    ticker.every(0.2, lambda: route_due(database, rules, clock.utc_now(), explain), "route")
    ticker.every(0.5, lambda: ask_senders(database, counted, settings.complete, clock.monotonic()), "ask senders")
    ticker.every(1.0, lambda: expire_leases(database, settings.analyse, clock.monotonic()), "leases")
    for peer in settings.destinations:
        ticker.every(0.2, partial(empty_outbox, settings, database, peer), f"deliver to {peer.name}")
    names = [peer.name for peer in settings.destinations]
    keep = partial(unless_known, life.faults, partial(retain, database, archive, settings.retention.keep_gb, names))
    housekeeping.add_job(keep, "interval", minutes=settings.retention.every_minutes)
    housekeeping.start()


def unless_known(faults: Faults, function: Callable[[], object]) -> None:
    """Call a function; an error that is a known fault is told elsewhere."""
    try:
        function()
    except (sqlite3.Error, OSError) as error:
        if faults.met(error) is None:
            raise


def empty_outbox(settings: Settings, database: Database, peer: Peer) -> None:
    """Send what is due for one destination."""
    send = partial(dicom.send, peer=peer, ae_title=settings.node.ae_title, timeout_s=settings.deliver.timeout_s)
    deliver_due(database, peer.name, send, settings.deliver, random.Random())


def count_at_sender(settings: Settings, calling_aet: str, study_uid: str, series_uid: str) -> int | None:
    """Ask the peer that sent a series how many images it has; None where it cannot be asked or does not say."""
    for peer in settings.peer:
        if peer.query and peer.ae_title == calling_aet:
            try:
                return scu.count_instances(
                    peer, settings.node.ae_title, settings.deliver.timeout_s, study_uid, series_uid
                )
            except PeerError as error:
                log.warning("the sender could not be asked how many images there are", error=str(error))
    return None


def note_refusal(database: Database, calling_aet: str, called_aet: str, address: str, reason: str) -> None:
    """Log a refused association or object and keep it for the status page, unless the disk is full."""
    reason = plain(reason)
    log.warning("refused", calling_aet=calling_aet, called_aet=called_aet, address=address, reason=reason)
    try:
        with database.write() as tx:
            processes.refuse(tx, processes.Refusal(clock.utc_now(), calling_aet, called_aet, address, reason))
    except (sqlite3.Error, OSError) as error:
        if fault_of(error, database.path) is None:
            log.error("the refusal could not be kept for the status page", error=say_error(error))


def show_life(life: Life, ticker: clock.Ticker) -> None:
    """A sign of life, unless a clock job hangs."""
    if stuck := ticker.stuck(STUCK_S):
        log.error("a clock job hangs", jobs=stuck)
    else:
        life.promise()

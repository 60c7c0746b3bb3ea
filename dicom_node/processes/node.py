"""Composition root: settings -> running processes. The only file, beside the commands, that knows everyone."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.dicom.decoding import Decoders
from dicom_node.entities import Incoming
from dicom_node.errors import OutOfResources, PeerError, TriageNodeError, plain, say_error
from dicom_node.faults import Faults, fault_of, say
from dicom_node.network import scu
from dicom_node.network.scp import StorageServer
from dicom_node.outbox import dicom
from dicom_node.processes.life import BEAT_EVERY_S, ENDING_S, Life, only_one, take_folder, try_again
from dicom_node.routes import Rules, load_rules
from dicom_node.settings import Peer, Settings
from dicom_node.spool import Spool
from dicom_node.steps.complete import ask_senders, complete_due
from dicom_node.steps.deliver import LONGEST_ANSWER_S, deliver_due
from dicom_node.steps.receive import Lists, Receiver, reconcile
from dicom_node.steps.requeue import expire_leases
from dicom_node.steps.retain import retain
from dicom_node.steps.route import route_due
from dicom_node.steps.scrub import recheck, scrub_slowly
from dicom_node.tables import instances, processes
from dicom_node.tables.database import Database, open_database
from inference.input.bounds import set_bounds

STUCK_S = 180.0
LOOK_EVERY_S = 0.02
SCRUB_AFTER_MINUTES = 5  # the start has other work to do
log = structlog.get_logger()


@contextmanager
def running_node(settings: Settings, supervisor: int | None = None) -> Iterator[tuple[StorageServer, Life]]:
    """The DICOM side: receives, completes, routes and delivers while the body runs."""
    take_folder(settings)
    set_bounds(settings.decoder.bounds)
    decoding = Decoders(limit_s=settings.decoder.time_s, memory_bytes=settings.decoder.memory_bytes)
    with only_one(settings.node.data, "node"), decoding as decoders:
        database, archive = open_database(settings.database_path, at_once=False), Archive(settings.node.data)
        rules = load_rules(settings.routes_path)
        life = Life(database, "node", supervisor)
        ticker = clock.Ticker(life.faults.met)
        lists = partial(settings.worklist.lists, may_take=rules.may_take)
        receiver = Receiver(database, archive, decoders, lists)
        housekeeping, stopping = BackgroundScheduler(timezone="UTC"), threading.Event()
        with life.lived():
            ticker.every(BEAT_EVERY_S, life.report, "report")

            def begin() -> None:
                with database.read() as tx:
                    rules.check_pipelines(questions_of_pipelines(tx))
                put_in_order(database, archive, decoders, lists)
                start_clock(settings, database, receiver, rules, ticker, decoders)
                start_housekeeping(housekeeping, settings, database, archive, life.faults, stopping)

            gate = Gate(begin, receiver.store, life.faults)
            ticker.every(BEAT_EVERY_S, gate.open, "begin")
            gate.wait()
            refused = partial(note_refusal, database)
            server = listen(settings, archive.spool, gate.store, receiver.ended, refused, life)
            ticker.every(BEAT_EVERY_S, lambda: show_life(life, ticker, settings), "beat")
            try:
                yield server, life
            finally:
                ticker.end()
                server.close()
                stopping.set()
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
        self._wrong: TriageNodeError | None = None  # what no waiting mends

    def open(self) -> None:
        """Do the work, if that is possible now."""
        if self._is_open or self._wrong:
            return
        try:
            self._begin()
        except (sqlite3.Error, OSError) as error:
            if self._faults.met(error) is None:
                raise
        except TriageNodeError as error:
            self._wrong = error
        else:
            self._is_open = True

    def wait(self) -> None:
        """Until the work is done, or a fault is known that may last. Raises what is wrong with the site's rules."""
        while not (self._is_open or self._wrong or self._faults.lasting()):
            time.sleep(LOOK_EVERY_S)
        if self._wrong:
            raise self._wrong

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
    spool: Callable[[int], Spool],
    store: Callable[[Incoming], None],
    ended: Callable[[int, bool], None],
    refused: Callable[[str, str, str, str], None],
    life: Life,
) -> StorageServer:
    """Open the DICOM port; tried a few times, since the process before may be just ending."""
    server = try_again(lambda: StorageServer(settings, spool, store, ended, refused))
    life.port = server.port
    log.info("listening", ae_title=settings.node.ae_title, host=settings.node.host, port=server.port)
    return server


def start_clock(
    settings: Settings,
    database: Database,
    receiver: Receiver,
    rules: Rules,
    ticker: clock.Ticker,
    decoders: Decoders,
) -> None:
    """What is urgent, by monotonic time."""
    explain = settings.report.picture_for_not_analysed
    counted = partial(count_at_sender, settings)
    sweep = partial(complete_due, database, settings.complete, is_sending=receiver.is_sending)
    ticker.every(0.2, lambda: sweep(clock.monotonic()), "complete")
    ticker.every(0.2, lambda: route_due(database, rules, clock.utc_now(), explain), "route")
    ticker.every(0.5, lambda: ask_senders(database, counted, settings.complete, clock.monotonic()), "ask senders")
    ticker.every(1.0, lambda: expire_leases(database, settings.analyse, clock.monotonic()), "leases")
    for peer in settings.destinations:
        ticker.every(0.2, partial(empty_outbox, settings, database, peer, decoders), deliver_job(peer))


def start_housekeeping(
    scheduler: BackgroundScheduler,
    settings: Settings,
    database: Database,
    archive: Archive,
    faults: Faults,
    stopping: threading.Event,
) -> None:
    """What may wait: room is made, all stored files are looked through now and then, the damaged ones more often."""
    names = [peer.name for peer in settings.destinations]
    keep = partial(retain, database, archive, settings.retention.keep_gb, names)
    scheduler.add_job(unless_known, "interval", [faults, keep], minutes=settings.retention.every_minutes)
    scheduler.add_job(unless_known, "interval", [faults, partial(recheck, database)], minutes=1)
    if settings.scrub.every_hours:
        first = clock.utc_now() + timedelta(minutes=SCRUB_AFTER_MINUTES)
        slowly = [faults, partial(scrub_slowly, database, settings.scrub.mb_per_s, stopping)]
        scheduler.add_job(unless_known, "interval", slowly, hours=settings.scrub.every_hours, next_run_time=first)
    scheduler.start()


def unless_known(faults: Faults, function: Callable[[], object]) -> None:
    """Call a function; an error that is a known fault is told elsewhere."""
    try:
        function()
    except (sqlite3.Error, OSError) as error:
        if faults.met(error) is None:
            raise


def deliver_job(peer: Peer) -> str:
    """The name of the clock job that empties a destination's outbox."""
    return f"deliver to {peer.name}"


def empty_outbox(settings: Settings, database: Database, peer: Peer, decoders: Decoders) -> None:
    """Send what is due for one destination."""
    ae_title, timeout_s = settings.node.ae_title, settings.timeout_of(peer)
    send = partial(dicom.send, peer=peer, ae_title=ae_title, timeout_s=timeout_s, decoders=decoders)
    find = partial(dicom.find_stored, peer=peer, ae_title=ae_title, timeout_s=timeout_s) if peer.query else None
    deliver_due(database, peer.name, send, settings.deliver, random.Random(), find=find, timeout_s=timeout_s)


def count_at_sender(settings: Settings, calling_aet: str, study_uid: str, series_uid: str) -> int | None:
    """Ask the peer that sent a series how many images it has; None where it cannot be asked or does not say."""
    for peer in settings.peer:
        if peer.query and peer.ae_title == calling_aet:
            try:
                return scu.count_instances(
                    peer, settings.node.ae_title, settings.timeout_of(peer), study_uid, series_uid
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


def show_life(life: Life, ticker: clock.Ticker, settings: Settings) -> None:
    """A sign of life, unless a clock job hangs; a delivery may wait for an answer as long as its destination may."""
    longest_s = max([LONGEST_ANSWER_S, *(settings.timeout_of(peer) for peer in settings.destinations)])
    delivering = {deliver_job(peer) for peer in settings.destinations}
    if stuck := {*ticker.stuck(STUCK_S)} - delivering | {*ticker.stuck(2 * STUCK_S + longest_s)}:
        log.error("a clock job hangs", jobs=sorted(stuck))
    else:
        life.promise()

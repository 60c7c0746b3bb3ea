"""Complete: which series have all their images?

A series is complete when its sender's association was released, its slices form a gap-free stack and nothing came for
a moment; or when nothing came for long; or when as many images are here as the sending PACS says there are
((0020,1209) by C-FIND). A PACS that forwards while it receives tells what it has so far: its count is believed when it
stands still and nobody sends the series. Only the sender knows for certain, so late images re-open the series, which
then waits twice as long; one that broke off is given time for its second try.
"""

from collections.abc import Callable

from dicom_node import clock
from dicom_node.entities import Series, SeriesState
from dicom_node.settings import Complete
from dicom_node.tables import instances
from dicom_node.tables.database import Database, Transaction
from inference.input.geometry import arriving_shape

BUSY_S = 60.0
AGAIN_S = 3.0
SAYS_THE_SAME = 2
LONGEST_QUIET_S = 600.0
Sending = Callable[[str, str], bool]  # whether anybody sends the series of this study: Study, Series Instance UID


def nobody(sent_uid: str, series_uid: str) -> bool:
    """What is known where no association is watched."""
    return False


def complete_due(database: Database, settings: Complete, now: float, is_sending: Sending = nobody) -> int:
    """Move every series that is complete on to the router; how many there were. `now` is monotonic seconds."""
    with database.read() as tx:
        receiving = instances.in_state(tx, SeriesState.RECEIVING)
        due = [series for series in receiving if is_complete(tx, series, settings, now, is_sending)]
    if not due:
        return 0
    with database.write() as tx:
        return sum(instances.move(tx, series, SeriesState.COMPLETE) for series in due)


def is_complete(tx: Transaction, series: Series, settings: Complete, now: float, is_sending: Sending = nobody) -> bool:
    """Whether the series can be taken as whole."""
    quiet_s = now - series.last_at
    if quiet_s >= long_quiet_s(series, settings):
        # a second try that sends the same again brings nothing new for long
        return not (series.aborted and quiet_s < LONGEST_QUIET_S and is_sending(*sent_uids(tx, series)))
    if series.expected is not None:
        if len(instances.of_series(tx, series.study_uid, series.series_uid)) < series.expected:
            return False
        if series.counted >= SAYS_THE_SAME and not is_sending(*sent_uids(tx, series)):
            return True
    if series.reopened or series.aborted or not series.released or quiet_s < settings.quiet_after_release_s:
        return False
    shape = arriving_shape(instances.geometry_of_series(tx, series.study_uid, series.series_uid))
    return shape.is_volume and not shape.gaps and shape.coverage_mm >= settings.stack_at_least_mm


def long_quiet_s(series: Series, settings: Complete) -> float:
    """How long nothing must have come, whatever else is known: twice as long each time that images came after all."""
    once = max(settings.quiet_s, settings.quiet_after_abort_s) if series.aborted else settings.quiet_s
    return max(once, min(once * 2.0 ** min(series.revision - 1, 10), LONGEST_QUIET_S))


def sent_uids(tx: Transaction, series: Series) -> tuple[str, str]:
    """Study and Series Instance UID as the images of a series state them."""
    study = instances.get_study(tx, series.study_uid)
    return study.sent_uid if study else series.study_uid, series.series_uid


def ask_senders(
    database: Database,
    count: Callable[[str, str, str], int | None],
    settings: Complete,
    now: float,
    busy_s: float = BUSY_S,
) -> int:
    """Ask the sender of each series that has paused how many images it has; how many were asked.

    `count(calling_aet, study_uid, series_uid)` gives None where the sender cannot be asked or does not say. Begins no
    further question after `busy_s`: many series of a dead peer must not look like a hanging clock job.
    """
    if not settings.count_at_sender:
        return 0
    with database.read() as tx:
        quiet_since = now - min(0.5, settings.quiet_after_release_s)
        paused = instances.uncounted(tx, quiet_since, now - AGAIN_S, SAYS_THE_SAME)
    until = clock.monotonic() + busy_s
    for asked, series in enumerate(paused, 1):
        with database.read() as tx:
            sent = sent_uids(tx, series)
        expected = count(series.calling_aet, *sent)
        with database.write() as tx:
            instances.set_expected(tx, series, expected, now)
        if clock.monotonic() >= until:
            return asked
    return len(paused)

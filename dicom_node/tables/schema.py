"""All tables, as migrations, oldest first.

A migration is named, runs once and is never changed after a release: databases remember its name. A new one goes at the
end, with the next number. All run in the transaction that opens the database, or none does.
"""

import sqlite3

from sqlite_utils import Database as SqliteDatabase
from sqlite_utils import Migrations

migrations = Migrations("triage-node")


def _migration(name: str, script: str) -> None:
    """The next migration: SQL statements, each ending with a semicolon at the end of its line."""

    def run(db: SqliteDatabase) -> None:
        statement = ""
        for line in script.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):  # a trigger holds semicolons of its own
                db.conn.execute(statement)
                statement = ""
        assert not statement.strip(), f"the last statement of {name} has no end"

    migrations(name=name)(run)


# 1: the first release
_migration(
    "first_tables",
    """
CREATE TABLE node (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE studies (
    study_uid TEXT PRIMARY KEY, patient_id TEXT NOT NULL, patient_name TEXT NOT NULL, birth_date TEXT NOT NULL,
    sex TEXT NOT NULL, accession TEXT NOT NULL, description TEXT NOT NULL, study_date TEXT NOT NULL,
    age TEXT NOT NULL);
CREATE TABLE series (
    series_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL REFERENCES studies, modality TEXT NOT NULL,
    calling_aet TEXT NOT NULL, called_aet TEXT NOT NULL, state TEXT NOT NULL, last_at REAL NOT NULL,
    released INTEGER NOT NULL DEFAULT 0, reopened INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 1,
    expected INTEGER, counted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX series_of_study ON series (study_uid);
CREATE INDEX series_receiving ON series (state) WHERE state <> 'routed';
CREATE TABLE instances (
    sop_uid TEXT NOT NULL, version INTEGER NOT NULL, current INTEGER NOT NULL DEFAULT 1,
    study_uid TEXT NOT NULL REFERENCES studies, series_uid TEXT NOT NULL REFERENCES series,
    sop_class_uid TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL, modality TEXT NOT NULL, path TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, geometry TEXT NOT NULL, received_at TEXT NOT NULL,
    calling_aet TEXT NOT NULL, called_aet TEXT NOT NULL, PRIMARY KEY (sop_uid, version)) WITHOUT ROWID;
CREATE INDEX instances_of_series ON instances (series_uid, current);
CREATE TABLE choices (
    series_uid TEXT PRIMARY KEY REFERENCES series, study_uid TEXT NOT NULL, revision INTEGER NOT NULL,
    kind TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL, pipeline TEXT, rank INTEGER NOT NULL);
CREATE INDEX choices_of_study ON choices (study_uid);
CREATE TABLE jobs (
    job_id INTEGER PRIMARY KEY, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, revision INTEGER NOT NULL,
    pipeline TEXT NOT NULL, rank INTEGER NOT NULL, priority INTEGER NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, lease_owner TEXT, lease_until REAL, not_before REAL NOT NULL DEFAULT 0,
    error TEXT, created_at TEXT NOT NULL, UNIQUE (series_uid, revision, pipeline));
CREATE INDEX jobs_queued ON jobs (priority DESC, job_id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_of_study ON jobs (study_uid);
CREATE TABLE analyses (
    study_uid TEXT NOT NULL, version INTEGER NOT NULL, series_uid TEXT NOT NULL, pipeline TEXT NOT NULL,
    suspected INTEGER NOT NULL, probability REAL NOT NULL, threshold REAL NOT NULL, findings TEXT NOT NULL,
    model_name TEXT NOT NULL, model_version TEXT NOT NULL, model_sha256 TEXT NOT NULL, warnings TEXT NOT NULL,
    seconds REAL NOT NULL, made_at TEXT NOT NULL, PRIMARY KEY (study_uid, version)) WITHOUT ROWID;
CREATE TABLE results (
    sop_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, series_uid TEXT NOT NULL, path TEXT NOT NULL, made_at TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX results_of_study ON results (study_uid, version);
CREATE TABLE deliveries (
    delivery_id INTEGER PRIMARY KEY, study_uid TEXT NOT NULL, destination TEXT NOT NULL, sop_uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0, error TEXT, sent_at TEXT,
    UNIQUE (sop_uid, destination));
CREATE INDEX deliveries_due ON deliveries (destination, next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_of_study ON deliveries (study_uid);
CREATE TABLE worklist (
    study_uid TEXT PRIMARY KEY REFERENCES studies, urgency TEXT NOT NULL, headline TEXT NOT NULL, state TEXT NOT NULL,
    received_at TEXT NOT NULL, waiting_since TEXT NOT NULL, flagged_at TEXT, acknowledged_at TEXT,
    version INTEGER NOT NULL DEFAULT 0);
CREATE INDEX worklist_open ON worklist (waiting_since) WHERE state <> 'closed';
CREATE TABLE refusals (
    refusal_id INTEGER PRIMARY KEY, at TEXT NOT NULL, calling_aet TEXT NOT NULL, called_aet TEXT NOT NULL,
    address TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE beats (
    process TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL, doing TEXT NOT NULL,
    PRIMARY KEY (process, pid)) WITHOUT ROWID;
""",
)

# 2: a site's own models, and which one answers for a pipeline
_migration(
    "model_tables",
    """
CREATE TABLE models (
    model_id TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, sha256 TEXT NOT NULL, kind TEXT NOT NULL,
    card_sha256 TEXT NOT NULL, installed_at TEXT NOT NULL, installed_by TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE models_in_use (
    pipeline TEXT PRIMARY KEY, model_id TEXT REFERENCES models, set_at TEXT NOT NULL, set_by TEXT NOT NULL)
    WITHOUT ROWID;
""",
)

# 3: who opened, acknowledged or read a study, and indices that give the reading order of any number of studies.
# A place is stage (to read 0, acknowledged 4, read 8) + kind (suspected 0, not analysed 1, in progress 2, negative 3).
_migration(
    "reading_states",
    """
ALTER TABLE worklist ADD COLUMN reader TEXT NOT NULL DEFAULT '';
ALTER TABLE worklist ADD COLUMN acted_at TEXT;
UPDATE worklist SET acted_at = acknowledged_at;
DROP INDEX worklist_open;
UPDATE worklist SET state = 'read' WHERE state = 'closed';
ALTER TABLE worklist ADD COLUMN place INTEGER GENERATED ALWAYS AS (
    CASE state WHEN 'read' THEN 8 WHEN 'acknowledged' THEN 4 ELSE 0 END
    + CASE WHEN urgency = 'HIGH' THEN 0 WHEN urgency = 'LOW' THEN 3 WHEN state = 'waiting' THEN 2 ELSE 1 END) VIRTUAL;
CREATE INDEX worklist_places ON worklist (place, waiting_since, study_uid);
CREATE INDEX worklist_of_reader ON worklist (reader, place, waiting_since, study_uid) WHERE reader <> '';
CREATE INDEX worklist_to_read ON worklist (waiting_since, study_uid, place) WHERE place < 4;
CREATE INDEX worklist_flagged ON worklist (flagged_at) WHERE place = 0;
""",
)

# 4: searching by word and by date, the newest arrival first, and a number that grows when the list changes
_migration(
    "search_tables",
    """
CREATE TABLE arrivals (number INTEGER PRIMARY KEY, study_uid TEXT NOT NULL UNIQUE, study_date TEXT NOT NULL);
INSERT INTO arrivals (study_uid, study_date)
    SELECT study_uid, study_date FROM worklist JOIN studies USING (study_uid) ORDER BY received_at, study_uid;
CREATE INDEX arrivals_by_date ON arrivals (study_date, number);
CREATE VIRTUAL TABLE words USING fts5 (accession, patient_id, patient_name, prefix = '1 2 3',
    tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO words (rowid, accession, patient_id, patient_name)
    SELECT a.number, s.accession, s.patient_id, s.patient_name FROM studies s JOIN arrivals a USING (study_uid);
CREATE TRIGGER study_is_listed AFTER INSERT ON worklist BEGIN
    INSERT INTO arrivals (study_uid, study_date)
        SELECT study_uid, study_date FROM studies WHERE study_uid = new.study_uid;
    INSERT INTO words (rowid, accession, patient_id, patient_name)
        SELECT a.number, s.accession, s.patient_id, s.patient_name FROM studies s JOIN arrivals a USING (study_uid)
        WHERE s.study_uid = new.study_uid;
END;
CREATE TRIGGER study_is_corrected AFTER UPDATE ON studies
WHEN (old.accession, old.patient_id, old.patient_name, old.study_date)
    IS NOT (new.accession, new.patient_id, new.patient_name, new.study_date) BEGIN
    UPDATE arrivals SET study_date = new.study_date WHERE study_uid = new.study_uid;
    UPDATE words SET accession = new.accession, patient_id = new.patient_id, patient_name = new.patient_name
        WHERE rowid = (SELECT number FROM arrivals WHERE study_uid = new.study_uid);
END;
CREATE TRIGGER study_is_unlisted AFTER DELETE ON worklist BEGIN
    DELETE FROM words WHERE rowid = (SELECT number FROM arrivals WHERE study_uid = old.study_uid);
    DELETE FROM arrivals WHERE study_uid = old.study_uid;
END;
CREATE TABLE changes (number INTEGER NOT NULL);
INSERT INTO changes VALUES (0);
CREATE TRIGGER change_by_arrival AFTER INSERT ON worklist BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER change_by_flag AFTER UPDATE ON worklist BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER change_by_removal AFTER DELETE ON worklist BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER change_by_correction AFTER UPDATE ON studies BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER change_by_delivery AFTER UPDATE OF state ON deliveries
WHEN (old.state = 'failed') <> (new.state = 'failed') BEGIN
    UPDATE changes SET number = number + 1;
END;
""",
)

# 5: what readers say of results; each row carries the result it is about, since studies leave the archive
_migration(
    "feedback_tables",
    """
CREATE TABLE feedback (
    feedback_id INTEGER PRIMARY KEY, study_uid TEXT NOT NULL, version INTEGER NOT NULL, result_made_at TEXT NOT NULL,
    verdict TEXT NOT NULL, right_types TEXT NOT NULL, comment TEXT NOT NULL, reader TEXT NOT NULL,
    given_at TEXT NOT NULL, pipeline TEXT NOT NULL, suspected INTEGER NOT NULL, probability REAL NOT NULL,
    threshold REAL NOT NULL, findings TEXT NOT NULL, model_name TEXT NOT NULL, model_version TEXT NOT NULL,
    model_sha256 TEXT NOT NULL);
CREATE INDEX feedback_of_study ON feedback (study_uid, version, result_made_at, reader, feedback_id);
""",
)

# 6: one row a study for the quality page, which stays when the study leaves the archive; filled from what is here
_migration(
    "quality_tables",
    """
CREATE TABLE equipment (
    series_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, manufacturer TEXT NOT NULL, model TEXT NOT NULL,
    station TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX equipment_of_study ON equipment (study_uid);
CREATE TABLE scanners (
    scanner_id INTEGER PRIMARY KEY, aet TEXT NOT NULL, manufacturer TEXT NOT NULL, model TEXT NOT NULL,
    station TEXT NOT NULL, UNIQUE (aet, manufacturer, model, station));
CREATE TABLE quality (
    study_uid TEXT PRIMARY KEY, week TEXT NOT NULL, scanner_id INTEGER NOT NULL REFERENCES scanners,
    outcome TEXT NOT NULL, turnaround_ms INTEGER, judged TEXT NOT NULL);
CREATE INDEX quality_counts ON quality (week, scanner_id, outcome, judged);
CREATE INDEX quality_turnarounds ON quality (week, scanner_id, turnaround_ms) WHERE turnaround_ms IS NOT NULL;
INSERT INTO scanners (aet, manufacturer, model, station) SELECT DISTINCT calling_aet, '', '', '' FROM series;
INSERT INTO quality SELECT study_uid, date(received_at, 'weekday 0', '-6 days'),
    (SELECT scanner_id FROM scanners JOIN series ON aet = calling_aet WHERE series.study_uid = known.study_uid LIMIT 1),
    CASE suspected WHEN 1 THEN 'flagged' WHEN 0 THEN 'negative' ELSE 'not_analysed' END,
    CASE WHEN suspected AND flagged_at >= waiting_since
        THEN round((julianday(flagged_at) - julianday(waiting_since)) * 86400000) END, ''
    FROM (SELECT *, (SELECT max(suspected) FROM analyses WHERE analyses.study_uid = worklist.study_uid) AS suspected
        FROM worklist WHERE EXISTS (SELECT 1 FROM series WHERE series.study_uid = worklist.study_uid)) AS known
    WHERE suspected IS NOT NULL OR state <> 'waiting';
""",
)

# 7: whose head was scanned when, so that a later scan is compared with it; what has grown is read first
_migration(
    "growth_tables",
    """
CREATE TABLE scans (
    study_uid TEXT NOT NULL, version INTEGER NOT NULL, patient_id TEXT NOT NULL, issuer TEXT NOT NULL,
    patient_name TEXT NOT NULL, birth_date TEXT NOT NULL, acquired_at TEXT, zone_stated INTEGER NOT NULL,
    compared TEXT NOT NULL, PRIMARY KEY (study_uid, version)) WITHOUT ROWID;
CREATE INDEX scans_of_patient ON scans (patient_id, issuer);
ALTER TABLE worklist ADD COLUMN grown INTEGER NOT NULL DEFAULT 0;
CREATE INDEX worklist_grown ON worklist (waiting_since, study_uid) WHERE grown;
""",
)

# 8: a study's objects, and studies in the order in which QIDO-RS pages through them
_migration(
    "dicomweb_indices",
    """
CREATE INDEX instances_of_study ON instances (study_uid, current);
CREATE INDEX studies_by_date ON studies (study_date DESC, study_uid);
CREATE INDEX studies_of_patient ON studies (patient_id);
CREATE INDEX studies_by_accession ON studies (accession);
""",
)

# 9: how many studies of a week and a scanner ended how, kept by triggers: any number is counted at once
_migration(
    "quality_sums",
    """
CREATE TABLE quality_sums (
    week TEXT NOT NULL, scanner_id INTEGER NOT NULL, outcome TEXT NOT NULL, judged TEXT NOT NULL,
    studies INTEGER NOT NULL, PRIMARY KEY (week, scanner_id, outcome, judged)) WITHOUT ROWID;
INSERT INTO quality_sums SELECT week, scanner_id, outcome, judged, count(*) FROM quality
    GROUP BY week, scanner_id, outcome, judged;
DROP INDEX quality_counts;
CREATE TRIGGER quality_is_counted AFTER INSERT ON quality BEGIN
    INSERT INTO quality_sums VALUES (new.week, new.scanner_id, new.outcome, new.judged, 1)
        ON CONFLICT (week, scanner_id, outcome, judged) DO UPDATE SET studies = studies + 1;
END;
CREATE TRIGGER quality_is_recounted AFTER UPDATE ON quality BEGIN
    UPDATE quality_sums SET studies = studies - 1 WHERE (week, scanner_id, outcome, judged)
        = (old.week, old.scanner_id, old.outcome, old.judged);
    INSERT INTO quality_sums VALUES (new.week, new.scanner_id, new.outcome, new.judged, 1)
        ON CONFLICT (week, scanner_id, outcome, judged) DO UPDATE SET studies = studies + 1;
END;
""",
)

# 10: results, choices, jobs, feedback and quality are kept for each question. What stands here was haemorrhage's:
# it was the only question. The row of a study keeps what its questions say as parts; the headline, which was its only
# words, is shown until the study's next change.
_migration(
    "questions",
    """
ALTER TABLE models ADD COLUMN question TEXT NOT NULL DEFAULT 'haemorrhage';
ALTER TABLE worklist ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
UPDATE worklist AS w SET parts = json_array(json_object(
    'question', 'haemorrhage', 'urgency', urgency, 'version', version,
    'growth_lowered', json(iif(grown, 'true', 'false')),
    'standing', CASE
        WHEN version AND urgency = 'HIGH' THEN iif((SELECT suspected FROM analyses a
            WHERE a.study_uid = w.study_uid AND a.version = w.version), 'positive', 'lowered')
        WHEN version THEN 'negative'
        WHEN state = 'waiting' THEN 'receiving'
        WHEN EXISTS (SELECT 1 FROM jobs j WHERE j.study_uid = w.study_uid AND j.state = 'failed'
            AND j.pipeline <> 'not analysed') THEN 'failed'
        ELSE 'not_analysed' END,
    'probability', (SELECT probability FROM analyses a WHERE a.study_uid = w.study_uid AND a.version = w.version),
    'raised_by', coalesce((SELECT max(version) FROM analyses a WHERE a.study_uid = w.study_uid
        AND a.version < w.version AND suspected), 0),
    'job_id', iif(version OR state = 'waiting', 0, coalesce((SELECT max(job_id) FROM jobs j
        WHERE j.study_uid = w.study_uid AND j.state = 'failed' AND j.pipeline <> 'not analysed'), 0)),
    'reason', iif(version, '', coalesce(
        (SELECT error FROM jobs j WHERE j.study_uid = w.study_uid AND j.state = 'failed'
            AND j.pipeline <> 'not analysed' AND w.state <> 'waiting' ORDER BY job_id DESC LIMIT 1),
        (SELECT reason FROM choices c WHERE c.study_uid = w.study_uid AND kind = 'declined'
            ORDER BY rank, series_uid LIMIT 1), ''))))
    WHERE version OR EXISTS (SELECT 1 FROM choices c WHERE c.study_uid = w.study_uid)
        OR EXISTS (SELECT 1 FROM jobs j WHERE j.study_uid = w.study_uid);

CREATE TABLE choices_by_question (
    series_uid TEXT NOT NULL REFERENCES series, study_uid TEXT NOT NULL, question TEXT NOT NULL,
    revision INTEGER NOT NULL, kind TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL, pipeline TEXT,
    rank INTEGER NOT NULL, instead TEXT NOT NULL DEFAULT '', PRIMARY KEY (series_uid, question)) WITHOUT ROWID;
INSERT INTO choices_by_question
    SELECT series_uid, study_uid, 'haemorrhage', revision, kind, rule, reason, pipeline, rank, '' FROM choices;
DROP TABLE choices;
ALTER TABLE choices_by_question RENAME TO choices;
CREATE INDEX choices_of_study ON choices (study_uid);

CREATE TABLE jobs_by_question (
    job_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
    revision INTEGER NOT NULL, question TEXT NOT NULL, pipeline TEXT NOT NULL, rank INTEGER NOT NULL,
    priority INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, lease_owner TEXT,
    lease_until REAL, not_before REAL NOT NULL DEFAULT 0, error TEXT, created_at TEXT NOT NULL,
    UNIQUE (series_uid, revision, question, pipeline, kind));
INSERT INTO jobs_by_question SELECT job_id, CASE pipeline WHEN 'not analysed' THEN 'explain' ELSE 'analyse' END,
    study_uid, series_uid, revision, 'haemorrhage', CASE pipeline WHEN 'not analysed' THEN '' ELSE pipeline END,
    rank, priority, state, attempts, lease_owner, lease_until, not_before, error, created_at FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_by_question RENAME TO jobs;
CREATE INDEX jobs_queued ON jobs (priority DESC, job_id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_of_study ON jobs (study_uid);

CREATE TABLE analyses_by_question (
    study_uid TEXT NOT NULL, question TEXT NOT NULL, version INTEGER NOT NULL, series_uid TEXT NOT NULL,
    pipeline TEXT NOT NULL, suspected INTEGER NOT NULL, probability REAL NOT NULL, threshold REAL NOT NULL,
    findings TEXT NOT NULL, model_name TEXT NOT NULL, model_version TEXT NOT NULL, model_sha256 TEXT NOT NULL,
    warnings TEXT NOT NULL, seconds REAL NOT NULL, made_at TEXT NOT NULL, PRIMARY KEY (study_uid, question, version))
    WITHOUT ROWID;
INSERT INTO analyses_by_question SELECT study_uid, 'haemorrhage', version, series_uid, pipeline, suspected, probability,
    threshold, findings, model_name, model_version, model_sha256, warnings, seconds, made_at FROM analyses;
DROP TABLE analyses;
ALTER TABLE analyses_by_question RENAME TO analyses;

ALTER TABLE results ADD COLUMN question TEXT NOT NULL DEFAULT 'haemorrhage';
DROP INDEX results_of_study;
CREATE INDEX results_of_study ON results (study_uid, question, version);

CREATE TABLE scans_by_question (
    study_uid TEXT NOT NULL, question TEXT NOT NULL, version INTEGER NOT NULL, patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL, patient_name TEXT NOT NULL, birth_date TEXT NOT NULL, acquired_at TEXT,
    zone_stated INTEGER NOT NULL, compared TEXT NOT NULL, PRIMARY KEY (study_uid, question, version)) WITHOUT ROWID;
INSERT INTO scans_by_question SELECT study_uid, 'haemorrhage', version, patient_id, issuer, patient_name, birth_date,
    acquired_at, zone_stated, compared FROM scans;
DROP TABLE scans;
ALTER TABLE scans_by_question RENAME TO scans;
CREATE INDEX scans_of_patient ON scans (patient_id, issuer);

ALTER TABLE feedback ADD COLUMN question TEXT NOT NULL DEFAULT 'haemorrhage';
DROP INDEX feedback_of_study;
CREATE INDEX feedback_of_study ON feedback (study_uid, question, version, result_made_at, reader, feedback_id);

DROP TRIGGER quality_is_counted;
DROP TRIGGER quality_is_recounted;
CREATE TABLE quality_by_question (
    study_uid TEXT NOT NULL, question TEXT NOT NULL, week TEXT NOT NULL,
    scanner_id INTEGER NOT NULL REFERENCES scanners, outcome TEXT NOT NULL, turnaround_ms INTEGER,
    judged TEXT NOT NULL, PRIMARY KEY (study_uid, question)) WITHOUT ROWID;
INSERT INTO quality_by_question
    SELECT study_uid, 'haemorrhage', week, scanner_id, outcome, turnaround_ms, judged FROM quality;
DROP TABLE quality;
ALTER TABLE quality_by_question RENAME TO quality;
CREATE INDEX quality_turnarounds ON quality (question, week, scanner_id, turnaround_ms)
    WHERE turnaround_ms IS NOT NULL;
CREATE TABLE sums_by_question (
    question TEXT NOT NULL, week TEXT NOT NULL, scanner_id INTEGER NOT NULL, outcome TEXT NOT NULL,
    judged TEXT NOT NULL, studies INTEGER NOT NULL, PRIMARY KEY (question, week, scanner_id, outcome, judged))
    WITHOUT ROWID;
INSERT INTO sums_by_question SELECT 'haemorrhage', week, scanner_id, outcome, judged, studies FROM quality_sums;
DROP TABLE quality_sums;
ALTER TABLE sums_by_question RENAME TO quality_sums;
CREATE TRIGGER quality_is_counted AFTER INSERT ON quality BEGIN
    INSERT INTO quality_sums VALUES (new.question, new.week, new.scanner_id, new.outcome, new.judged, 1)
        ON CONFLICT (question, week, scanner_id, outcome, judged) DO UPDATE SET studies = studies + 1;
END;
CREATE TRIGGER quality_is_recounted AFTER UPDATE ON quality BEGIN
    UPDATE quality_sums SET studies = studies - 1 WHERE (question, week, scanner_id, outcome, judged)
        = (old.question, old.week, old.scanner_id, old.outcome, old.judged);
    INSERT INTO quality_sums VALUES (new.question, new.week, new.scanner_id, new.outcome, new.judged, 1)
        ON CONFLICT (question, week, scanner_id, outcome, judged) DO UPDATE SET studies = studies + 1;
END;
""",
)

# 11: whose head was scanned was kept with the first letter of the name only, by which two people are not told apart
_migration(
    "whole_names",
    """
UPDATE scans SET patient_name = (SELECT patient_name FROM studies s WHERE s.study_uid = scans.study_uid)
    WHERE EXISTS (SELECT 1 FROM studies s WHERE s.study_uid = scans.study_uid
        AND substr(s.patient_name, 1, length(scans.patient_name)) = scans.patient_name);
""",
)

# 12: whose images they are. A series and an instance belong to their study: UIDs are not unique in the world, and the
# same one may come again in another study. Each image keeps the patient it was sent under. A study's `study_uid` is its
# Study Instance UID; of a second patient under the same one it is derived, and `sent_uid` is what the images say.
_migration(
    "identities",
    """
ALTER TABLE studies ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE studies ADD COLUMN sent_uid TEXT NOT NULL DEFAULT '';
UPDATE studies SET sent_uid = study_uid;
CREATE INDEX studies_as_sent ON studies (sent_uid);

CREATE TABLE series_in_study (
    study_uid TEXT NOT NULL REFERENCES studies, series_uid TEXT NOT NULL, modality TEXT NOT NULL,
    calling_aet TEXT NOT NULL, called_aet TEXT NOT NULL, state TEXT NOT NULL, last_at REAL NOT NULL,
    released INTEGER NOT NULL DEFAULT 0, reopened INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 1,
    expected INTEGER, counted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (study_uid, series_uid));
INSERT INTO series_in_study SELECT study_uid, series_uid, modality, calling_aet, called_aet, state, last_at, released,
    reopened, revision, expected, counted FROM series;
INSERT OR IGNORE INTO series_in_study (study_uid, series_uid, modality, calling_aet, called_aet, state, last_at)
    SELECT study_uid, series_uid, max(modality), max(calling_aet), max(called_aet), 'receiving', 0 FROM instances
    GROUP BY study_uid, series_uid;

CREATE TABLE instances_in_series (
    study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL, version INTEGER NOT NULL,
    current INTEGER NOT NULL DEFAULT 1, sop_class_uid TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL,
    modality TEXT NOT NULL, path TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,
    geometry TEXT NOT NULL, received_at TEXT NOT NULL, calling_aet TEXT NOT NULL, called_aet TEXT NOT NULL,
    patient_id TEXT NOT NULL DEFAULT '', issuer TEXT NOT NULL DEFAULT '', patient_name TEXT NOT NULL DEFAULT '',
    birth_date TEXT NOT NULL DEFAULT '', sex TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (study_uid, series_uid, sop_uid, version),
    FOREIGN KEY (study_uid, series_uid) REFERENCES series_in_study) WITHOUT ROWID;
INSERT INTO instances_in_series SELECT i.study_uid, series_uid, sop_uid, version,
    version = (SELECT max(version) FROM instances o WHERE (o.sop_uid, o.study_uid, o.series_uid)
        = (i.sop_uid, i.study_uid, i.series_uid)), sop_class_uid, transfer_syntax_uid, modality, path, bytes, sha256,
    geometry, received_at, calling_aet, called_aet, patient_id, issuer, patient_name, birth_date, sex
    FROM instances i JOIN studies s ON s.study_uid = i.study_uid;
UPDATE series_in_study AS s SET state = 'receiving', last_at = 0, revision = revision + 1, reopened = 1
    WHERE EXISTS (SELECT 1 FROM instances_in_series n JOIN instances o USING (path)
        WHERE n.current AND NOT o.current AND (n.study_uid, n.series_uid) = (s.study_uid, s.series_uid))
    OR (SELECT count(DISTINCT study_uid) FROM instances o WHERE o.series_uid = s.series_uid) > 1;

CREATE TABLE choices_in_study (
    study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, question TEXT NOT NULL, revision INTEGER NOT NULL,
    kind TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL, pipeline TEXT, rank INTEGER NOT NULL,
    instead TEXT NOT NULL DEFAULT '', PRIMARY KEY (study_uid, series_uid, question),
    FOREIGN KEY (study_uid, series_uid) REFERENCES series_in_study) WITHOUT ROWID;
INSERT INTO choices_in_study SELECT study_uid, series_uid, question, revision, kind, rule, reason, pipeline, rank,
    instead FROM choices;

DROP TABLE choices;
DROP TABLE instances;
DROP TABLE series;
ALTER TABLE series_in_study RENAME TO series;
ALTER TABLE instances_in_series RENAME TO instances;
ALTER TABLE choices_in_study RENAME TO choices;
CREATE INDEX series_receiving ON series (state) WHERE state <> 'routed';
CREATE INDEX instances_of_series ON instances (series_uid, current);
CREATE INDEX instances_by_sop ON instances (sop_uid);

CREATE TABLE jobs_in_study (
    job_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
    revision INTEGER NOT NULL, question TEXT NOT NULL, pipeline TEXT NOT NULL, rank INTEGER NOT NULL,
    priority INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, lease_owner TEXT,
    lease_until REAL, not_before REAL NOT NULL DEFAULT 0, error TEXT, created_at TEXT NOT NULL,
    UNIQUE (study_uid, series_uid, revision, question, pipeline, kind));
INSERT INTO jobs_in_study SELECT job_id, kind, study_uid, series_uid, revision, question, pipeline, rank, priority,
    state, attempts, lease_owner, lease_until, not_before, error, created_at FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_in_study RENAME TO jobs;
CREATE INDEX jobs_queued ON jobs (priority DESC, job_id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running';

CREATE TABLE equipment_in_study (
    study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, manufacturer TEXT NOT NULL, model TEXT NOT NULL,
    station TEXT NOT NULL, PRIMARY KEY (study_uid, series_uid)) WITHOUT ROWID;
INSERT INTO equipment_in_study SELECT study_uid, series_uid, manufacturer, model, station FROM equipment;
DROP TABLE equipment;
ALTER TABLE equipment_in_study RENAME TO equipment;

CREATE TABLE contradictions (
    sent_uid TEXT PRIMARY KEY, identities TEXT NOT NULL, noted_at TEXT NOT NULL, decision TEXT NOT NULL,
    decided_at TEXT, decided_by TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER change_by_contradiction AFTER INSERT ON contradictions BEGIN
    UPDATE changes SET number = number + 1;
END;
CREATE TRIGGER change_by_decision AFTER UPDATE ON contradictions BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER change_by_agreement AFTER DELETE ON contradictions BEGIN UPDATE changes SET number = number + 1; END;
""",
)

# 13: two scans are compared where the sex agrees, too
_migration(
    "scans_by_sex",
    """
ALTER TABLE scans ADD COLUMN sex TEXT NOT NULL DEFAULT '';
UPDATE scans SET sex = coalesce((SELECT sex FROM studies s WHERE s.study_uid = scans.study_uid), '');
""",
)

# 14: suspected rows are ordered by how much is suspected, too; when a study was scanned; what is stored and not listed.
# Place 12: not on the list. Tiers of a suspected row: 0 large (30 ml), 1 more likely than not (0.5) or suspected by an
# earlier result only, 2 the rest.
_migration(
    "tiers_and_scan_times",
    """
ALTER TABLE worklist ADD COLUMN tier INTEGER NOT NULL DEFAULT 2;
ALTER TABLE worklist ADD COLUMN scanned_at TEXT;
ALTER TABLE worklist ADD COLUMN listed INTEGER NOT NULL DEFAULT 1;
UPDATE worklist AS w SET scanned_at = (SELECT min(acquired_at) FROM scans WHERE scans.study_uid = w.study_uid);
UPDATE worklist AS w SET tier = CASE
    WHEN (SELECT total(json_extract(f.value, '$.volume_ml')) FROM analyses a, json_each(a.findings) f
        WHERE a.study_uid = w.study_uid AND a.suspected AND json_extract(f.value, '$.present') AND a.version =
            (SELECT max(version) FROM analyses WHERE study_uid = w.study_uid AND question = a.question)) >= 30 THEN 0
    WHEN EXISTS (SELECT 1 FROM json_each(w.parts) WHERE json_extract(value, '$.probability') >= 0.5
        OR json_extract(value, '$.standing') = 'lowered') THEN 1 ELSE 2 END
    WHERE urgency = 'HIGH';
DROP INDEX worklist_places;
DROP INDEX worklist_of_reader;
DROP INDEX worklist_to_read;
DROP INDEX worklist_flagged;
ALTER TABLE worklist DROP COLUMN place;
ALTER TABLE worklist ADD COLUMN place INTEGER GENERATED ALWAYS AS (
    CASE WHEN NOT listed THEN 12 ELSE CASE state WHEN 'read' THEN 8 WHEN 'acknowledged' THEN 4 ELSE 0 END
    + CASE WHEN urgency = 'HIGH' THEN 0 WHEN urgency = 'LOW' THEN 3 WHEN state = 'waiting' THEN 2 ELSE 1 END END)
    VIRTUAL;
CREATE INDEX worklist_places ON worklist (place, waiting_since, study_uid, tier, grown);
CREATE INDEX worklist_tiers ON worklist (tier, waiting_since, study_uid, grown) WHERE place = 0;
CREATE INDEX worklist_of_reader ON worklist (reader, place, waiting_since, study_uid) WHERE reader <> '';
CREATE INDEX worklist_to_read ON worklist (waiting_since, study_uid, place) WHERE place < 4;
CREATE INDEX worklist_flagged ON worklist (flagged_at) WHERE place = 0;
CREATE INDEX worklist_unlisted ON worklist (study_uid) WHERE NOT listed;
CREATE INDEX studies_of_person ON studies (patient_id, birth_date, study_date);
""",
)

# 15: a series whose sender broke off waits for its second try; the sender is asked for its count until that stands
# still; a result made of a part of the head says so
_migration(
    "interrupted_series",
    """
ALTER TABLE series ADD COLUMN aborted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN asked_at REAL NOT NULL DEFAULT 0;
ALTER TABLE analyses ADD COLUMN incomplete TEXT NOT NULL DEFAULT '';
""",
)

# 16: what a result's probability means; older results say the number alone
_migration(
    "bands",
    """
ALTER TABLE analyses ADD COLUMN band TEXT NOT NULL DEFAULT '';
""",
)

# 17: a study whose reader reports what no result suspected stands with the suspected ones (kind 0 of its place)
_migration(
    "reported_missed",
    """
ALTER TABLE worklist ADD COLUMN missed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE worklist ADD COLUMN missed_at TEXT;
DROP INDEX worklist_places;
DROP INDEX worklist_tiers;
DROP INDEX worklist_of_reader;
DROP INDEX worklist_to_read;
DROP INDEX worklist_flagged;
ALTER TABLE worklist DROP COLUMN place;
ALTER TABLE worklist ADD COLUMN place INTEGER GENERATED ALWAYS AS (
    CASE WHEN NOT listed THEN 12 ELSE CASE state WHEN 'read' THEN 8 WHEN 'acknowledged' THEN 4 ELSE 0 END
    + CASE WHEN urgency = 'HIGH' OR missed_by <> '' THEN 0 WHEN urgency = 'LOW' THEN 3
        WHEN state = 'waiting' THEN 2 ELSE 1 END END) VIRTUAL;
CREATE INDEX worklist_places ON worklist (place, waiting_since, study_uid, tier, grown);
CREATE INDEX worklist_tiers ON worklist (tier, waiting_since, study_uid, grown) WHERE place = 0;
CREATE INDEX worklist_of_reader ON worklist (reader, place, waiting_since, study_uid) WHERE reader <> '';
CREATE INDEX worklist_to_read ON worklist (waiting_since, study_uid, place) WHERE place < 4;
CREATE INDEX worklist_flagged ON worklist (max(coalesce(flagged_at, ''), coalesce(missed_at, ''))) WHERE place = 0;
""",
)

# 18: any part of an accession number is found
_migration(
    "parts_of_accessions",
    """
CREATE VIRTUAL TABLE accessions USING fts5 (accession, tokenize = 'trigram');
INSERT INTO accessions (rowid, accession) SELECT a.number, s.accession FROM studies s JOIN arrivals a USING (study_uid);
CREATE TRIGGER accession_is_listed AFTER INSERT ON arrivals BEGIN
    INSERT INTO accessions (rowid, accession) SELECT new.number, accession FROM studies WHERE study_uid = new.study_uid;
END;
CREATE TRIGGER accession_is_corrected AFTER UPDATE ON studies WHEN old.accession <> new.accession BEGIN
    UPDATE accessions SET accession = new.accession
        WHERE rowid = (SELECT number FROM arrivals WHERE study_uid = new.study_uid);
END;
CREATE TRIGGER accession_is_unlisted BEFORE DELETE ON arrivals BEGIN
    DELETE FROM accessions WHERE rowid = old.number;
END;
""",
)

# 19: why an object is not at its destination, as a value; the hash of a result's data set, by which its file is checked
# (empty where none was kept); the stored files that were found damaged
_migration(
    "delivery_problems_and_damages",
    """
ALTER TABLE deliveries ADD COLUMN problem TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN unanswered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE results ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
CREATE TABLE damages (
    path TEXT PRIMARY KEY, study_uid TEXT NOT NULL, sop_uid TEXT NOT NULL, kind TEXT NOT NULL, damage TEXT NOT NULL,
    found_at TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX damages_of_study ON damages (study_uid);
""",
)


# 20: the data folder may be moved: paths of its files are relative to it
@migrations(name="paths_within_the_data_folder")
def _paths_within_the_data_folder(db: SqliteDatabase) -> None:
    db.conn.create_function("within", 2, _within, deterministic=True)
    for table, folder in (("instances", "instances"), ("results", "results"), ("deliveries", "results")):
        db.conn.execute(f"UPDATE {table} SET path = within(path, ?) WHERE path LIKE '/%'", (folder,))


def _within(path: str, folder: str) -> str:
    """The path from this folder of the archive on; below it are UIDs, numbers and kinds only."""
    _, found, after = path.rpartition(f"/{folder}/")
    return f"{folder}/{after}" if found else path


# 21: what the rules never took for a study of the question does not count as not analysed; known by the rules' names
_migration(
    "outside_of_the_question",
    """
ALTER TABLE choices ADD COLUMN outside INTEGER NOT NULL DEFAULT 0;
UPDATE choices SET outside = 1 WHERE kind = 'declined' AND rule IN ('modality without a pipeline', 'localizer',
    'localizer by its description', 'no slice geometry', 'projection', 'other body part',
    'other region by its description', 'other region by the study''s description', 'longer than a head',
    'anything else');
UPDATE quality AS q SET outcome = 'outside' WHERE outcome = 'not_analysed'
    AND NOT EXISTS (SELECT 1 FROM jobs j
        WHERE (j.study_uid, j.question, j.kind) = (q.study_uid, q.question, 'analyse'))
    AND (SELECT min(outside) FROM choices c
        WHERE (c.study_uid, c.question) = (q.study_uid, q.question) AND kind <> 'ignored');
""",
)

# 22: which prevalence a result's probabilities assume; older results assume that of the model's own data
_migration(
    "assumed_prevalences",
    """
ALTER TABLE analyses ADD COLUMN prevalence REAL;
""",
)

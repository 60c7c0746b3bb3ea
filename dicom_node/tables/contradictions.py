"""Patients who contradict each other under one Study Instance UID, and what IT has decided about them."""

from dicom_node.entities import Contradiction
from dicom_node.tables.database import Transaction


def put(tx: Transaction, contradiction: Contradiction) -> None:
    """Record it; what was known under this Study Instance UID is replaced."""
    tx.put("contradictions", contradiction, key=("sent_uid",))


def get(tx: Transaction, sent_uid: str) -> Contradiction | None:
    """What is known under this Study Instance UID; None where nothing contradicts."""
    return tx.one(Contradiction, "SELECT * FROM contradictions WHERE sent_uid = :uid", uid=sent_uid)


def of_study(tx: Transaction, study_uid: str) -> Contradiction | None:
    """The contradiction that a study is part of."""
    wanted = "SELECT c.* FROM contradictions c JOIN studies s USING (sent_uid) WHERE s.study_uid = :uid"
    return tx.one(Contradiction, wanted, uid=study_uid)


def every(tx: Transaction) -> list[Contradiction]:
    """All of them, the undecided first, then the latest."""
    return tx.all(Contradiction, "SELECT * FROM contradictions ORDER BY decision <> '', noted_at DESC, sent_uid")


def forget(tx: Transaction, sent_uid: str) -> None:
    """Nothing contradicts any more."""
    tx.run("DELETE FROM contradictions WHERE sent_uid = :uid", uid=sent_uid)

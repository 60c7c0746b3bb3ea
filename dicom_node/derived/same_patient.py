"""Are two scans under one Patient ID those of one person? Anonymisers and emergency rooms put many under the same one.

They are compared where Patient ID, birth date and sex agree and none is empty or a placeholder, where the issuers of
the Patient ID are equal (none stated in both is equal), and where the names do not contradict.
"""

import re
import unicodedata
from datetime import date
from enum import StrEnum

from dicom_node.entities import Patient, Scan, Study

Person = Patient | Scan | Study
SEXES = ("F", "M", "O")  # Patient's Sex (PS3.3 C.7.1.1)
EARLIEST_BIRTH = 1850
NO_BIRTH_DATES = {  # what programs write where they know none: their own first day, or a form's
    "19000101",
    "19010101",
    "19700101",
}
NO_NAMES = """
anon anonym anonyme anonymi anonymise anonymised anonymisiert anonymized anonymous anonymus anoniem anonimo
anonimizado anonimizzato blank confidential deid deidentified de default demo desconhecido desconocido dummy empty
id identified identifier inconnu invalid missing na name nan nil no non none not null number okand onbekend patient
pat patientid pid redacted removed sconosciuto test tbd ukjent ukendt unassigned unbekannt undefined unidentified
unknown unnamed unspecified available applicable given specified
"""
REPEATED = r"0+|9{3,}|x+|(\d)\1{5,}"  # 0, 000000, 9999, XXXX, 111111
PLACEHOLDER = re.compile(f"{REPEATED}|({'|'.join(NO_NAMES.split())})+")  # also AnonymousPatient, NoID


class Obstacle(StrEnum):
    """Why a scan is not compared with another under the same Patient ID."""

    PATIENT_ID = "patient_id"  # a placeholder
    ISSUER = "issuer"  # only one of both is stated
    NO_BIRTH_DATE = "no_birth_date"
    BIRTH_DATE = "birth_date"  # a placeholder, or no date
    NO_SEX = "no_sex"
    OTHER_BIRTH_DATE = "other_birth_date"
    OTHER_SEX = "other_sex"
    OTHER_NAME = "other_name"

    @property
    def contradicts(self) -> bool:
        """Whether the two are known to be different, and not merely not known to be one."""
        return self in (Obstacle.OTHER_BIRTH_DATE, Obstacle.OTHER_SEX, Obstacle.OTHER_NAME)


def obstacle(one: Person, other: Person) -> Obstacle | None:
    """Why two who have the same Patient ID are not taken for one person; None where they are. The issuer is not asked.

    A contradiction is named before what is missing.
    """
    born, sexes = (birth_date(one), birth_date(other)), (sex(one), sex(other))
    if names_contradict(one.patient_name, other.patient_name):
        return Obstacle.OTHER_NAME
    if all(born) and born[0] != born[1]:
        return Obstacle.OTHER_BIRTH_DATE
    if all(sexes) and sexes[0] != sexes[1]:
        return Obstacle.OTHER_SEX
    if is_placeholder(one.patient_id):
        return Obstacle.PATIENT_ID
    if not all(born):
        stated = one.birth_date.strip() and other.birth_date.strip()
        return Obstacle.BIRTH_DATE if stated else Obstacle.NO_BIRTH_DATE
    return None if all(sexes) else Obstacle.NO_SEX


def is_placeholder(patient_id: str) -> bool:
    """Whether a Patient ID stands for nobody, whatever its case, accents, spaces and punctuation; empty ones do.

    "ANON-17" may be a pseudonym: a number beside the word tells people apart.
    """
    words = re.findall(r"[^\W_]+", _plain(patient_id))
    return all(map(PLACEHOLDER.fullmatch, words)) or PLACEHOLDER.fullmatch("".join(words)) is not None


def birth_date(person: Person) -> date | None:
    """The day on which a person was born; None where it is absent, a placeholder or no date."""
    digits = re.sub(r"[\s.:/-]", "", person.birth_date)  # ACR-NEMA wrote 1950.01.31
    if digits in NO_BIRTH_DATES or not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    return born if EARLIEST_BIRTH <= born.year < 9999 else None


def sex(person: Person) -> str:
    """F, M or O; empty for anything else."""
    stated = person.sex.strip().upper()
    return stated if stated in SEXES else ""


def names_contradict(one: str, other: str) -> bool:
    """Whether two names cannot be one person's; what is absent in either speaks for nothing."""
    groups = zip(one.split("="), other.split("="), strict=False)
    return any(_group_differs(mine, theirs) for mine, theirs in groups)


def _group_differs(one: str, other: str) -> bool:
    """Family and given name of one component group (PS3.5 6.2.1), whatever their case, accents and punctuation."""
    pairs = zip(one.split("^")[:2], other.split("^")[:2], strict=False)
    return any(a and b and a != b for a, b in ((_folded(mine), _folded(theirs)) for mine, theirs in pairs))


def _folded(name: str) -> str:
    return "".join(each for each in _plain(name) if each.isalnum())


def _plain(text: str) -> str:
    """In lower case without accents."""
    return "".join(each for each in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(each))

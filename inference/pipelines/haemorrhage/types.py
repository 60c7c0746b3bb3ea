"""The types of intracranial haemorrhage."""

from enum import StrEnum


class HaemorrhageType(StrEnum):
    """The five types of intracranial haemorrhage, in the order in which every list of findings has them."""

    EPIDURAL = "epidural"
    SUBDURAL = "subdural"
    SUBARACHNOID = "subarachnoid"
    INTRAPARENCHYMAL = "intraparenchymal"
    INTRAVENTRICULAR = "intraventricular"


INTRACRANIAL = "intracranial"

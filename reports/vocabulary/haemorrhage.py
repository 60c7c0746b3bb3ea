"""The words of "is there intracranial haemorrhage?".

Codes are SNOMED CT (SCT); the meanings are those of DICOM's context groups where one has the code. Colours are bright
on grey, and apart for readers who see red and green alike (after Okabe and Ito, 2008).
"""

from pydicom.sr.coding import Code

from inference.pipelines.haemorrhage.growth import GROWTH_ML, GROWTH_PERCENT, PERCENT_FROM_ML
from inference.pipelines.haemorrhage.regions import DEEP, EXTRA_AXIAL
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from reports import codes
from reports.vocabulary.terms import Alike, Term, Vocabulary

HAEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
MENINGES = Code("1231004", "SCT", "Meninges")
BRAIN_VENTRICLE = Code("35764002", "SCT", "Brain ventricle")
SUBARACHNOID_SPACE = Code("33930006", "SCT", "Cranial Subarachnoid Space")
INTRACRANIAL_HAEMORRHAGE = Code("1386000", "SCT", "Intracranial hemorrhage")
SUBARACHNOID_HAEMORRHAGE = Code("21454007", "SCT", "Subarachnoid hemorrhage")
INTRAPARENCHYMAL_HAEMORRHAGE = Code("274100004", "SCT", "Cerebral hemorrhage")
SUBDURAL_HAEMORRHAGE = Code("35486000", "SCT", "Subdural hemorrhage")
EPIDURAL_HAEMORRHAGE = Code("82999001", "SCT", "Epidural hemorrhage")

TERMS = {
    HaemorrhageType.EPIDURAL: Term(EPIDURAL_HAEMORRHAGE, MENINGES, (255, 159, 28), "EDH", "Epidural haemorrhage"),
    HaemorrhageType.SUBDURAL: Term(SUBDURAL_HAEMORRHAGE, MENINGES, (56, 189, 255), "SDH", "Subdural haemorrhage"),
    HaemorrhageType.SUBARACHNOID: Term(
        SUBARACHNOID_HAEMORRHAGE, SUBARACHNOID_SPACE, (250, 232, 70), "SAH", "Subarachnoid haemorrhage"
    ),
    HaemorrhageType.INTRAPARENCHYMAL: Term(
        INTRAPARENCHYMAL_HAEMORRHAGE, codes.BRAIN, (255, 92, 168), "IPH", "Intraparenchymal haemorrhage"
    ),
    # No single code says it; the site makes the difference.
    HaemorrhageType.INTRAVENTRICULAR: Term(
        INTRACRANIAL_HAEMORRHAGE, BRAIN_VENTRICLE, (64, 224, 140), "IVH", "Intraventricular haemorrhage"
    ),
    INTRACRANIAL: Term(
        INTRACRANIAL_HAEMORRHAGE, codes.BRAIN, (255, 128, 128), "ICH", "Intracranial haemorrhage"
    ),  # of a model that tells no types, or not well enough to state them
}

VOCABULARY = Vocabulary(
    question="haemorrhage",
    number=0,
    noun="haemorrhage",
    positive="Suspected intracranial haemorrhage",
    negative="No haemorrhage suspected",
    positive_lines=("AI: SUSPECTED", "INTRACRANIAL HAEMORRHAGE"),
    negative_lines=("AI: NO SUSPICION OF", "INTRACRANIAL HAEMORRHAGE"),
    terms=TERMS,
    whole=INTRACRANIAL,
    types=tuple(each.value for each in HaemorrhageType),
    all_together="all haemorrhage",
    growth=(
        f"GROWTH of {{what}} (more than {GROWTH_ML:g} ml, or more than {GROWTH_PERCENT:g} % from at "
        f"least {PERCENT_FROM_ML:g} ml) beyond the volume error."
    ),
    category=codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    property_type=HAEMORRHAGE,
    region=codes.BRAIN,
    procedure=codes.CT_OF_HEAD,
    alike=Alike((HaemorrhageType.EPIDURAL.value, HaemorrhageType.SUBDURAL.value), "extra-axial"),
    sites={EXTRA_AXIAL: MENINGES, DEEP: codes.BRAIN},
)

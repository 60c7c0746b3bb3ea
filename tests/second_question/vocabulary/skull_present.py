"""The words of the second question."""

from pydicom.sr.codedict import codes as standard

from reports import codes
from reports.vocabulary.terms import Term, Vocabulary

VOCABULARY = Vocabulary(
    question="skull_present",
    number=1,
    noun="skull",
    positive="Skull seen",
    negative="No skull seen",
    positive_lines=("AI: SKULL SEEN", ""),
    negative_lines=("AI: NO SKULL SEEN", ""),
    terms={"skull": Term(standard.SCT.Skull, standard.SCT.Head, (90, 200, 250), "SKL", "Skull")},
    whole="skull",
    types=(),
    all_together="skull",
    growth="",
    category=standard.SCT.AnatomicalStructure,
    property_type=standard.SCT.Skull,
    region=standard.SCT.Head,
    procedure=codes.CT_OF_HEAD,
)

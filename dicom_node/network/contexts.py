"""Which presentation contexts are accepted (PS3.8 9.3.2.2), and in which transfer syntax.

Accepted are Verification and storage: the standard's storage classes, those it may add later, and private ones that
the sender declares as storage (PS3.7 D.3.3.6) or whose UIDs have a known root. What the node does not serve is refused
as a context, so that a sender knows before it sends. Not stored are objects that belong to no patient (PS3.4 Annex GG),
since the archive is one of studies.
"""

from collections.abc import Collection, Sequence

from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu_primitives import A_ASSOCIATE, SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext

VERIFICATION, STORAGE_SERVICE = "1.2.840.10008.1.1", "1.2.840.10008.4.2"
STANDARD, STORAGE = "1.2.840.10008.", "1.2.840.10008.5.1.4.1.1."
STORAGE_ELSEWHERE = tuple(  # PS3.4 Table B.5-1 and its retired forms
    f"{STANDARD}5.1.{end}" for end in ("4.34.1", "4.34.7", "4.34.10", "1.29", "1.30")
)
OF_NO_PATIENT = tuple(f"{STORAGE}{end}" for end in ("200.1", "200.3", "200.7", "201.1"))
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
ANY = "*"


def is_accepted(sop_class_uid: str, private_roots: Sequence[str], declared: Collection[str] = ()) -> bool:
    """Whether a context for this SOP class is accepted; `private_roots` are those of private storage classes.

    `declared` are the classes that the sender says to be storage.
    """
    if sop_class_uid.startswith(STANDARD):
        return sop_class_uid == VERIFICATION or _is_standard_storage(UID(sop_class_uid))
    roots = [root.rstrip(".") for root in private_roots]
    return sop_class_uid in declared or any(root == ANY or f"{sop_class_uid}.".startswith(f"{root}.") for root in roots)


def supported(
    request: A_ASSOCIATE, private_roots: Sequence[str], uncompressed_first: bool
) -> list[PresentationContext]:
    """What to accept of the contexts that a sender proposes, one for each SOP class.

    Of several transfer syntaxes in one context the first of these is taken: the uncompressed ones or, without
    `uncompressed_first`, the one that the sender names first.
    """
    syntaxes: dict[str, list[str | UID]] = {}
    declared = {
        str(item.sop_class_uid)
        for item in request.user_information
        if isinstance(item, SOPClassCommonExtendedNegotiation) and item.service_class_uid == STORAGE_SERVICE
    }
    for context in request.presentation_context_definition_list:
        if context.abstract_syntax and is_accepted(context.abstract_syntax, private_roots, declared):
            syntaxes.setdefault(context.abstract_syntax, []).extend(context.transfer_syntax)
    return [
        build_context(sop_class_uid, _ordered(proposed) if uncompressed_first else list(dict.fromkeys(proposed)))
        for sop_class_uid, proposed in syntaxes.items()
        if proposed
    ]


def _ordered(proposed: list[str | UID]) -> list[str | UID]:
    once = list(dict.fromkeys(proposed))
    return [each for each in UNCOMPRESSED if each in once] + [each for each in once if each not in UNCOMPRESSED]


def _is_standard_storage(uid: UID) -> bool:
    if uid in STORAGE_ELSEWHERE:
        return True
    named = uid.name if uid.name != uid else ""  # '' for one that is newer than this list, or a retired one
    return uid.startswith(STORAGE) and uid not in OF_NO_PATIENT and ("Storage" in named or not named)

"""What scanners and people write of contrast medium and body parts, in the languages in which they write it."""

import pytest
from pydicom.dataset import Dataset

from dicom_node.dicom.body_part import body_part_of, names_head, names_other_part
from dicom_node.dicom.contrast import contrast_of, says_contrast, unclear_contrast_of
from dicom_node.dicom.wording import folded

NO_CONTRAST = """
    NON CONTRAST|NONE GIVEN|UNENHANCED|Nativ|NO_CONTRAST|N.A.|Kein KM|senza mdc|NONE|No|no contrast|without|N/A|NA|-|--
    0|0.0|0,0|0 ml|0cc|0ML|0.00 ml|00|w/o|WO|W/O|W/OUT CONTRAST|WO CONTRAST|HEAD WO|HEAD W/O CONTRAST|w/o iv contrast
    Brain without IV contrast 5mm|Without contrast medium|WITHOUT CM|without dye|NON-CON|NONCON|NONCONTRAST|Non-Contrast
    NON-ENHANCED CT|Non enhanced|no enhancement|Head unenhanced|NCCT|NECT|NC|plain|PLAIN HEAD|native|C-|-C|IV-|KM-|nil
    pre contrast|pre-contrast|before contrast|not used|Not Applied|no contrast given|none used|No IV contrast|FALSE
    CONTRAST: NONE|Contrast none|IV contrast: no|contrast agent not administered|ＮＯＮＥ
    ohne KM|ohne|ohne i.v. KM|ohne Kontrastmittel|o.KM|o. KM|keine KM-Gabe|keines|nicht gegeben|Schädel nativ|k.A.
    Kontrastmittel: nein|vor KM
    sans|sans injection|sans contraste|sans produit de contraste|sans IV|non injecté|NON INJECTE|CT CRANE SANS INJECTION
    aucun|avant injection
    sin contraste|sin|sin civ|S/C|s/contraste|TC CRÁNEO SIN CONTRASTE|CRÁNEO SIMPLE|ninguno|sem contraste|sem|não|nenhum
    senza|senza contrasto|senza mezzo di contrasto|nessuno|nativo|NATIVA
    zonder contrast|zonder|geen|geen contrast|blanco|n.v.t.
    uden kontrast|uden|uten kontrast|utan kontrast|utan|ingen|ingen kontrast|inget|u/k
    ilman varjoainetta|varjoaineeton|ei|natiivi
    bez kontrastu|bez|bez KL|bez k.l.|brak|nie podano|žádný|bez kontrasta|kontrastsız|yok|kontrast yok
    нет|без|без контраста|без КУ|нативное|нет контраста|χωρίς σκιαγραφικό|όχι
    平扫|无|未增强|无造影剂|非增强|単純|単純CT|造影なし|造影剤なし|なし|非造影|無し|비조영|없음|조영제 없음|조영전
"""
CONTRAST = """
    OMNIPAQUE 350|Omnipaque|iohexol|Iopamidol|ISOVUE-370|Ultravist|80 ml Ultravist|Visipaque 320|iodixanol|Iomeron 400
    Iomeprol|Joméron|Xenetix 350|Optiray 320|Gadovist|Iodine|iodinated contrast|Non-ionic 300|nonionic|350 mgI|300
    80 ml|100cc|IV|IV contrast|IV & ORAL|YES|CONTRAST|Contrast given|Contrast enhanced|with contrast|with i.v. contrast
    HEAD WITH CONTRAST|HEAD W CONTRAST|W/ CONTRAST|W/CONTRAST|HEAD POST CONTRAST|post IV contrast|HEAD C+|HEAD +C 5.0
    IV+|KM+|CECT|Head ce|Head enhanced|CTA HEAD 1.0|CTA COW|Angio Head|ANGIOGRAPHY|Perfusion 5.0|Head venous
    mit KM|KM|Ja|Kontrastmittel|Schädel mit KM|Kopf nach KM|m. KM|mKM|Arterielle Phase
    avec injection|CRANE AVEC CONTRASTE|injecté|oui|con contraste|C/C|c/ contraste|com contraste|con mdc|dopo mdc|venosa
    met contrast|na contrast|med kontrast|efter kontrast|m/k|z kontrastem|po podaniu kontrastu|s kontrastem|s k.l.
    с контрастом|после КУ|Омнипак|Ультравист 370|kontrastlı|με σκιαγραφικό
    增强|碘海醇|動脈期|造影|造影あり|造影後|オムニパーク300|조영증강|조영후
"""
UNCLEAR = """
    HEAD W/O & W CONTRAST|CT Head without and with contrast|W/WO CONTRAST|WO/W CONTRAST|w+w/o contrast|C-/C+
    with and without contrast|mit und ohne KM|con y sin contraste|с и без контраста
    nativ / nach KM|ohne und mit KM|sans et avec injection|pre and post contrast|平扫+增强|単純+造影
    0 ml Omnipaque|Omnipaque not given|oral|ORAL CONTRAST|saline|CM 3|UNKNOWN|SEE NOTES|1|MK
    post trauma|POST OP|nach Sturz|with MPR|mit Rekos|con ricostruzioni|HEAD 5.0|C-SPINE|Head 120 kV|3 cm|CONTROL
    ARTERIOSCLEROSIS|med EVD|バイオプシー
"""
HEAD = """
    HEAD|HEAD5.0|CT HEAD|BRAIN|SKULL|Neurocranium|NEURO|CEREBRAL|HEADNECK|cCT 5.0|KOPF|SCHÄDEL|SCHAEDEL|SCHADEL|Gehirn
    TÊTE|TETE|CRÂNE|CRANE|ENCÉPHALE|ENCEPHALE|CERVEAU|CABEZA|CRÁNEO|CRANEO|ENCÉFALO|CEREBRO|CABEÇA|CABECA|CRÂNIO
    TESTA|CRANIO|ENCEFALO|CERVELLO|HOOFD|Hersenen|schedel|HOVED|HODE|HJERNE|HUVUD|HJÄRNA|PÄÄ|PAA|AIVOT|GŁOWA|GLOWA|MÓZG
    HLAVA|MOZEK|GLAVA|koponya|ГОЛОВА|мозг|череп|KAFA|BEYİN|BEYIN|ΚΕΦΑΛΗ|εγκέφαλος|頭部|脳|头颅|颅脑|뇌|두부
"""
OTHER_PART = """
    NECK|CHEST|THORAX|ABDOMEN|PELVIS|CERVICAL SPINE|CSPINE|C-SPINE|LSPINE|ABDOMENPELVIS|SINUS|ORBIT|FACE|EAR|TMJ
    Facial bones|temporal bones|petrous|femoral head|KNEE|HAND|MANDIBLE|NEURO SPINE|NNH|HWS|HALS|BECKEN|Felsenbein
    Kehlkopf|Hüftkopf|Wirbelsäule|COU|RACHIS|GENOU|CUELLO|RODILLA|COLUMNA|SENOS PARANASALES|COLLO|TORACE|ADDOME|BUIK
    BRÖST|BRYST|KEUHKOT|KLATKA PIERSIOWA|HRUDNÍK
    ГРУДЬ|ОГК|ШЕЯ|GÖĞÜS|BOYUN|Θώρακας|胸部|颈椎|頸部|骨盤|副鼻腔|側頭骨|흉부|경추
"""
BOTH = "HEAD AND NECK|SKULL_AND_FACE|CT HEAD AND CERVICAL SPINE|HEAD ORBITS|Kopf/Hals|CRANIO E COLLO|頭頸部"
NEITHER = "AXIAL|XYZ|5.0 H31s|SKULL BASE|Schädelbasis|TRAUMA|STROKE|WHOLEBODY|FEET FIRST|HEAD FIRST SUPINE|PHANTOM||1"


def each_of(table: str) -> list[str]:
    """The wordings of a table."""
    return [wording.strip() for line in table.strip().split("\n") for wording in line.split("|")]


@pytest.mark.parametrize("text", each_of(NO_CONTRAST))
def test_none_was_given(text: str) -> None:
    assert says_contrast(text) is False


@pytest.mark.parametrize("text", each_of(CONTRAST))
def test_contrast_was_given(text: str) -> None:
    assert says_contrast(text) is True


@pytest.mark.parametrize("text", each_of(UNCLEAR))
def test_a_text_that_says_both_or_neither_decides_nothing(text: str) -> None:
    assert says_contrast(text) is None


@pytest.mark.parametrize("text", each_of(NO_CONTRAST + CONTRAST))
def test_case_accents_and_underscores_do_not_count(text: str) -> None:
    """As in a Code String, which knows upper case, spaces and underscores only."""
    assert says_contrast(folded(text).upper()) == says_contrast(text)
    if text not in each_of("HEAD W CONTRAST|w+w/o contrast"):
        assert says_contrast(text.replace(" ", "_")) == says_contrast(text)


@pytest.mark.parametrize(
    ("texts", "head", "other"),
    [(HEAD, True, False), (OTHER_PART, False, True), (BOTH, True, True), (NEITHER, False, False)],
    ids=["head", "other part", "both", "neither"],
)
def test_parts_of_the_body(texts: str, head: bool, other: bool) -> None:
    found = {text: (names_head(text), names_other_part(text)) for text in each_of(texts)}
    assert {text: said for text, said in found.items() if said != (head, other)} == {}


def test_a_text_without_end_is_read_in_no_time() -> None:
    """Patterns of the vocabularies never go back over what they have read."""
    for text in ("contrast iv " * 100_000, "kontrast kontrast " * 100_000, "a" * 1_000_000, "no " * 100_000):
        says_contrast(text), names_head(text), names_other_part(text)


def item(value: str, meaning: str, **elements: object) -> Dataset:
    """A coded item."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, "SCT", meaning
    for keyword, each in elements.items():
        setattr(ds, keyword, each)
    return ds


def header(**elements: object) -> Dataset:
    """A data set of these elements."""
    ds = Dataset()
    for keyword, each in elements.items():
        setattr(ds, keyword, each)
    return ds


IOHEXOL = [item("109218004", "Iohexol")]
ORAL = [item("26643006", "Oral route")]
FRAME_USED, FRAME_UNUSED = ([header(ContrastBolusAgentAdministered=said)] for said in ("YES", "NO"))


@pytest.mark.parametrize(
    ("elements", "given", "unclear"),
    [
        ({}, "", ""),
        ({"ContrastBolusAgent": ""}, "", ""),
        ({"ContrastBolusAgent": "OMNIPAQUE 350"}, "OMNIPAQUE 350", ""),
        ({"ContrastBolusAgent": "NONE GIVEN"}, "", ""),
        ({"ContrastBolusAgent": "Protocol 3"}, "", "Protocol 3"),
        ({"ContrastBolusAgent": "Protocol 3", "ContrastBolusVolume": "80"}, "80 ml", ""),
        ({"ContrastBolusAgent": "Protocol 3", "ContrastBolusVolume": "0"}, "", ""),
        ({"ContrastBolusAgent": "OMNIPAQUE 350", "ContrastBolusVolume": "0"}, "", ""),
        ({"ContrastBolusAgent": "OMNIPAQUE 350", "ContrastBolusVolume": "75"}, "OMNIPAQUE 350", ""),
        ({"ContrastBolusAgent": "NONE", "ContrastBolusVolume": "80"}, "", ""),
        ({"ContrastBolusVolume": "80"}, "80 ml", ""),
        ({"ContrastBolusTotalDose": "50"}, "50 ml", ""),
        ({"ContrastBolusIngredient": "IODINE"}, "IODINE", ""),
        ({"ContrastBolusAgent": "NONE", "ContrastBolusIngredient": "IODINE"}, "", ""),
        ({"ContrastBolusAgentSequence": IOHEXOL}, "Iohexol", ""),
        ({"ContrastBolusAgentSequence": [item("109218004", "")]}, "contrast given", ""),
        ({"ContrastBolusAgentSequence": IOHEXOL, "ContrastBolusAgent": "NONE"}, "Iohexol", ""),
        ({"ContrastBolusAgentSequence": [item("260413007", "None")], "ContrastBolusAgent": "IV"}, "", ""),
        ({"ContrastBolusAgentSequence": [item("99", "Something new")]}, "", "Something new"),
        ({"ContrastBolusAgentSequence": [item("99", "Iohexol", ContrastBolusVolume="0")]}, "", ""),
        ({"ContrastBolusAgent": "OMNIPAQUE", "ContrastBolusRoute": "ORAL"}, "", "OMNIPAQUE"),
        ({"ContrastBolusAgent": "OMNIPAQUE", "ContrastBolusRoute": "IV"}, "OMNIPAQUE", ""),
        ({"ContrastBolusAgent": "OMNIPAQUE", "ContrastBolusAdministrationRouteSequence": ORAL}, "", "OMNIPAQUE"),
        ({"ContrastBolusAgentSequence": IOHEXOL, "frame": FRAME_UNUSED}, "", ""),
        ({"ContrastBolusAgent": "NONE", "frame": FRAME_USED}, "contrast given", ""),
        ({"ContrastBolusAgentSequence": IOHEXOL, "frame": FRAME_USED}, "Iohexol", ""),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_header_says_what_was_given(elements: dict[str, object], given: str, unclear: str, shared: bool) -> None:
    """What is counted or coded goes before the text; what is not known is named."""
    usage = elements.get("frame")
    ds = header(**{keyword: each for keyword, each in elements.items() if keyword != "frame"})
    if usage is not None:
        groups = header(ContrastBolusUsageSequence=usage)
        ds.NumberOfFrames = 3
        ds.SharedFunctionalGroupsSequence = [groups if shared else Dataset()]
        ds.PerFrameFunctionalGroupsSequence = [Dataset() if shared else groups for _ in range(3)]
    assert (contrast_of(ds), unclear_contrast_of(ds)) == (given, unclear)
    assert given == "" or says_contrast(given), "the rules read what was given once more"


@pytest.mark.parametrize(
    ("stated", "code", "found"),
    [
        ("HEAD", None, "HEAD"),
        ("", None, ""),
        ("KOPF", ("69536005", "Head"), "KOPF"),
        ("", ("69536005", "Head"), "HEAD"),
        ("CHEST", ("69536005", "Head"), "HEAD"),
        ("HEAD", ("51185008", "Chest"), "Chest"),
        ("XYZ", ("12738006", ""), "BRAIN"),
        ("", ("T-A0100", "Brain"), "BRAIN"),
        ("T-D1100", None, "HEAD"),
        ("HEAD", ("99", "Something"), "HEAD"),
        ("XYZ", ("99", "Kopf"), "Kopf"),
    ],
)
@pytest.mark.parametrize("place", ["image", "frame"])
def test_the_code_of_the_region_goes_before_the_text(
    stated: str, code: tuple[str, str] | None, found: str, place: str
) -> None:
    """Where they contradict each other; else the words stay as they are, for a site's own rules."""
    region = [item(*code)] if code else []
    ds = header(BodyPartExamined=stated)
    if place == "image":
        ds.AnatomicRegionSequence = region
    else:
        ds.SharedFunctionalGroupsSequence = [header(FrameAnatomySequence=[header(AnatomicRegionSequence=region)])]
    assert body_part_of(ds) == found

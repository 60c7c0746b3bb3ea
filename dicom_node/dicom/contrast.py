"""Whether contrast medium was given, as a text or a header tells it: yes, no, or not known.

Free text decides nothing that it does not clearly say. A text that says both ("without and with contrast"), neither, or
that contrast went into the bowel, is not known; so the images themselves are asked. Of a header, what is coded or
counted goes before the text: Contrast/Bolus and Enhanced Contrast/Bolus (PS3.3 C.7.6.4, C.7.6.4b), Contrast/Bolus Usage
(C.7.6.16.2.12).
"""

import re

from pydicom.dataset import Dataset

from dicom_node.dicom.wording import any_of, folded, pattern
from inference.input import elements

MEDIA = """
    contrast contrasts contr contraste contrasti contrasto contraste* contrastmid* contrastvloei* contrastmed* con iv
    ev civ cte ctr cm km kl ku kontrast* kontras* mdc pdc pci medio meio mezzo produit medium media medi middel moyen
    agent agents injection* iniezione inyeccion injecao injektion* bolus varjoaine* tehosteaine* intraven* endoven*
    madde* ilac контраст* ку кв внутривен* вещества препарат* σκιαγραφ* 造影剤 造影剂 造影劑 对比剂 對比劑 対比剤
    조영제
"""
"""Words for contrast medium, its way into a vein, and its giving."""

DONE = """
    given administered administration applied application used injected enhanced enhancement yes ja j y oui si sim tak
    ano da evet true positive positiv gegeben verabreicht injecte injectee administrado administrada somministrato
    podano podan gabe verwendet utilise toegediend givet annettu да введен* дан ναι あり 有り 有 注射 已注射 예 있음
    投与
"""
"""Words that say that it was given, where the text is of nothing else."""

FILLERS = """
    any the of de di del do du la le il der die das ml cc and iodinated iodine iodado iode jodhaltig* iodato podaniu
    podani gabe von
"""

WITHOUT = """
    without wo wout no non none not nil nothing never not_applicable n_v_t k_a nein nicht kein* ohne o_km o_kontrast*
    okm o_k u_k u_kontrast* u_km sans aucun aucune pas_de senza nessun nessuno nessuna sin ningun ninguno ninguna sem
    nenhum nenhuma nao zonder geen niet nee uden uten utan ingen inget intet inte ikke nej nei ilman ei bez brak nie
    zadn* zaden ne fara nelkul nincs yok hayir degil без нет не б_к χωρις ανευ οχι s_c s_contraste s_cte s_civ s_contr
    unenhanced un_enhanced nonenhanced noncon* ncct nect nce nc plain native nativ* natif* natyw* natiiv* нативн*
    natyvi* blanco basal basale simple diretto unverstarkt unkontrast* kontrastfrei* kontrastlos* kontrastsiz*
    ilacsiz* varjoaineeton* varjoaineton* uncontrast* απλη* безконтраст* бесконтраст* pre precontrast* prekontrast*
    before vor avant antes prima voor innan ennen przed pred до πριν oncesi omitted refused contraindicated false
    negative negativ 平扫 平掃 单纯 單純 単純 非造影 未造影 无造影 無造影 造影なし 造影無し 造影無 造影前 造影せず
    なし 無し 无 無 没有 未注射 未增强 未增強 非增强 非增強 不增强 增强前 未使用 未用 否 비조영증강 비조영 무조영
    조영전 조영_전 단순 없음 없다 아니 안함
"""
"""Words that deny it, or say that it was before."""

JOINED = "and und et y e og och en i a ja ve or oder ou o bzw и или και"
"""Words between a denial and what affirms."""

WITH = """
    with w post after mit m nach n avec apres con c tras despues dopo com apos pos met na med efter etter jalkeen
    kanssa po z ze sa cu dupa с со после με μετα
"""
"""Words that say, before one for contrast medium, that it was given."""

GIVEN = """
    cta ctp ctv cow angio* *angiograph* *angiograf* venogra* phlebogra* perfusion* perfuzj* arterial* arteriel*
    arteriell* arterios arterioso arteriosa arterielle venous* venos venosa venoso venose veneux veneuse
    bolus_tracking enhanced ce cect enhancement contrast_enhance* contrast_given contrasted postcontrast*
    postkontrast* post_c postgad injecte injectee kontrastverstark* kontrastmittelverstark* kontrastli* ilacli* mkm
    kontrast_sonrasi potenziat* realzad* контрастн*_усил* контрастир* ангио* перфуз* артериальн* венозн* αγγειο* 造影
    增强 增強 强化 強化 动脉期 動脈期 静脉期 静脈期 灌注 血管成像 血管造影 조영증강 조영후 조영_후 조영 증강 혈관조영
    관류
"""
"""Words that say by themselves that contrast medium is in the vessels."""

AGENTS = """
    omnipa* iohex* joheks* accupaqu* isovue* iopam* jopam* iopamir* iopamiron* niopam* solutrast* scanlux* ultravist*
    iopro* jopro* visipa* iodix* jodix* iomer* iomep* jomer* jomep* imeron* xenetix* iobit* jobit* optiray* optirai*
    ioversol* oxilan* ioxilan* hexabrix* ioxag* ioxit* telebrix* conray* iothal* urograf* urovist* peritrast* diatri*
    amidotri* *ionic iodin* iodi iodum iode iodee iodo iodat* iodad* yodo yodad* jod jodhaltig* jodkontrast* jodi jodu
    jodov* iodur* gado* gadavist* dotarem* clariscan* magnevist* omniscan* prohance* multihance* primovist* lipiodol*
    iotrol* isovist* омнип* ультрав* визип* оптир* йогекс* йопро* йопам* йомерон* йод* ксенет* сканлюкс* юнигекс*
    тразограф* урограф* ιωδ* 碘 欧乃派克 欧乃影 优维显 威视派克 典迈伦 典比乐 イオパ イオヘ イオメ イオプロ イオベ
    イオジ イオキ ヨード オムニパーク オプチレイ プロスコープ イマジニール ウログラフイン ウログラフィン 옴니파크
    울트라비스트 비지파크 이오메론 제네틱스 옵티레이 요오드 이오헥 이오파 이오메 이오프 이오버 이오딕
"""
"""Contrast media by substance or trade name, and what they are made of."""

BOWEL = "oral* orale per_os po_kontrast rectal* rektal* enteral* peroral* barium* gastrograf* gastrolux* 口服 経口 경구"
"""Words for contrast medium that does not reach the head."""

AGENT_CODES = {
    *("7140000", "C-B0300", "109218004", "C-B0322", "109219007", "109222009", "353903006", "353962003", "409484007"),
    *("412228003", "353912008", "47192000", "12335007", "C-B0317", "44588005", "C-11400", "RID38696", "RID11585"),
}
"""Codes of iodinated media and of iodine (CID 12, 13, 3850; SCT, SRT, RADLEX); others are read by their meaning."""

CONCENTRATIONS = frozenset({240.0, 270.0, 300.0, 320.0, 350.0, 355.0, 370.0, 400.0})
"""Mg of iodine in a ml of the usual media: one alone, without a unit, is a medium."""

_START, _END = r"(?<![^\W\d_])", r"(?![^\W\d_])"
_NUMBER = r"(\d+(?:[.,]\d+)?)"
_AMOUNT = re.compile(rf"(?<![\w.,/]){_NUMBER}\s?(?:ml|cc|mgi|mg|g i|mmol|мл|毫升){_END}")
_ALONE = re.compile(rf"\s*{_NUMBER}\s*")
_NOTHING = re.compile(r"[\W_]*(?:x|na|null|[0.,]+)?[\W_]*")
_SIGNED = re.compile(rf"{_START}(?:c|ce|cm|iv|km|mdc|pdc|civ|contrast)([-\u2010-\u2013\u2212+])(?!\w)")
_SIGN_FIRST = re.compile(rf"((?<![^\s(,;/])-|\+)\s?(?:c|ce|cm|iv|km|mdc|contrast|kontrast){_END}")
_SPELLINGS = (
    (re.compile(rf"{_START}non[\W_]*ion(?=i)"), "ion"),
    (re.compile(rf"{_START}i\W{{0,2}}v{_END}\.?"), "iv"),
    (re.compile(rf"{_START}w\s?[/\\.]?\s?o(?:ut)?{_END}"), " without "),
    (re.compile(rf"{_START}n[./]\s?a{_END}\.?"), " none "),
    (re.compile(rf"{_START}k\W{{1,2}}([lm]){_END}"), r"k\1"),
    (re.compile(rf"{_START}(?:c/c(?:te|iv)?|m/k){_END}"), " with contrast "),
    (re.compile(rf"{_START}s[eo]?\s+k(?=ontrast|l{_END})"), " with k"),
)
_MEDIUM = f"{MEDIA} {DONE}"
_BESIDE = any_of(f"{_MEDIUM} {FILLERS}")
_DENIED = re.compile(rf"(?:(?!{any_of(WITHOUT)}){_BESIDE}[\W_]*+)*+{any_of(WITHOUT)}(?:[\W_]*+{_BESIDE})*+")
_EITHER = re.compile(rf"{any_of(WITH)}[\W_]*+(?:{any_of(JOINED)}[\W_]*+)?{any_of(WITHOUT)}")
_AFTER_WITH = rf"{any_of(WITH)}[\W_]*+(?:{any_of(FILLERS)}[\W_]++)*+{any_of(MEDIA)}"
_GIVEN = re.compile(f"{any_of(f'{GIVEN} {AGENTS}')}|{_AFTER_WITH}")
_MEDIUM_ALONE = re.compile(rf"(?:[\W_]*+{any_of(f'{_MEDIUM} {FILLERS} {BOWEL}')})++(?:[\W_]*+\d{{2,3}})?[\W_]*+")
_NAMED = pattern(_MEDIUM)
_BOWEL, _VEIN = pattern(BOWEL), pattern("iv ev civ intraven* endoven*")


def says_contrast(text: str) -> bool | None:
    """Whether a text says that contrast medium was given (True) or was not (False); None where it says neither or both.

    Denials are looked for first, with all words for contrast medium around them; what is left may affirm.
    """
    words = _spelt(folded(text))
    if _NOTHING.fullmatch(words):
        return False
    amounts = [float(each.replace(",", ".")) for each in _AMOUNT.findall(words)]
    signs = [*_SIGNED.findall(words), *_SIGN_FIRST.findall(words)]
    rest, denials = _DENIED.subn(" | ", _SIGN_FIRST.sub(" ", _SIGNED.sub(" ", words)))
    denied = denials > 0 or any(sign != "+" for sign in signs) or (bool(amounts) and not any(amounts))
    given = "+" in signs or any(amounts) or _affirms(rest, alone=not denied)
    if given == denied or _EITHER.search(words) or (given and _BOWEL.search(words) and not _VEIN.search(words)):
        return None
    return given


def _spelt(words: str) -> str:
    """Abbreviations as the vocabulary has them."""
    for spelling, replacement in _SPELLINGS:
        words = spelling.sub(replacement, words)
    return words


def _affirms(words: str, alone: bool) -> bool:
    """Whether the words say that it was given; `alone`: a text of nothing but contrast medium says so, too."""
    if _GIVEN.search(words):
        return True
    number = _ALONE.fullmatch(words)
    if number:
        return float(number[1].replace(",", ".")) in CONCENTRATIONS
    return alone and bool(_MEDIUM_ALONE.fullmatch(words) and _NAMED.search(words))


def contrast_of(ds: Dataset) -> str:
    """What contrast medium was given, in the header's words if they say it; '' where none was, or it is not known."""
    if not was_given(ds):
        return ""
    return next((each for each in _statements(ds) if says_contrast(each)), "contrast given")


def unclear_contrast_of(ds: Dataset) -> str:
    """The header's words about contrast medium where they leave open whether it was given; else ''."""
    return next(iter(_statements(ds)), "") if was_given(ds) is None else ""


def was_given(ds: Dataset) -> bool | None:
    """Whether the header says that contrast medium was given; None where it leaves that open.

    The first that speaks decides: whether it was administered to the middle frame, a volume of 0, a way into the bowel,
    the code of an agent or its meaning, the agent's text, a volume above 0, the ingredient.
    """
    used = elements.text(elements.frame_macro(ds, "ContrastBolusUsageSequence"), "ContrastBolusAgentAdministered")
    coded = elements.items(ds, "ContrastBolusAgentSequence")
    volumes = _volumes(ds, coded)
    if used.upper() in ("YES", "NO"):
        return used.upper() == "YES"
    if volumes and not any(volumes):
        return False
    if _went_into_bowel(ds, coded):
        return None
    text = " ".join(elements.texts(ds, "ContrastBolusAgent"))
    answers = [*map(_code_says, coded), says_contrast(text) if text else None]
    answers += [True if volumes else None, _ingredient_says(ds)]
    said = [answer for answer in answers if answer is not None]
    return said[0] if said else None if _statements(ds) else False


def _volumes(ds: Dataset, coded: tuple[Dataset, ...]) -> list[float]:
    """All volumes and doses that are stated, in ml."""
    keywords = ("ContrastBolusVolume", "ContrastBolusTotalDose")
    found = [elements.number(item, keyword) for item in (ds, *coded) for keyword in keywords]
    return [volume for volume in found if volume is not None]


def _went_into_bowel(ds: Dataset, coded: tuple[Dataset, ...]) -> bool:
    """Whether every route that is stated leads into the bowel."""
    routes = [elements.text(ds, "ContrastBolusRoute")]
    for item in (ds, *coded):
        codes = elements.items(item, "ContrastBolusAdministrationRouteSequence")
        routes += [elements.text(code, "CodeMeaning") for code in codes]
    stated = [folded(route) for route in routes if route]
    return bool(stated) and all(_BOWEL.search(route) for route in stated)


def _code_says(item: Dataset) -> bool | None:
    """What one coded agent says: that it was given, that none was, or nothing that is known."""
    if elements.text(item, "CodeValue").upper() in AGENT_CODES:
        return True
    meaning = elements.text(item, "CodeMeaning")
    return says_contrast(meaning) if meaning else None


def _ingredient_says(ds: Dataset) -> bool | None:
    """What Contrast/Bolus Ingredient says; None where it is empty."""
    ingredient = elements.text(ds, "ContrastBolusIngredient")
    return says_contrast(ingredient) if ingredient else None


def _statements(ds: Dataset) -> list[str]:
    """What the header says of the agent: its text, its codes' meanings, its ingredient, its volume."""
    coded = elements.items(ds, "ContrastBolusAgentSequence")
    said = [*elements.texts(ds, "ContrastBolusAgent"), *(elements.text(item, "CodeMeaning") for item in coded)]
    said += [elements.text(ds, "ContrastBolusIngredient"), *(f"{each:g} ml" for each in _volumes(ds, coded) if each)]
    return [each for each in said if each]

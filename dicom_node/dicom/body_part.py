"""Which part of the body a text or a header speaks of, as far as routing asks: the head, another part, or unknown.

The words are those of scanners and their users in some twenty languages; the codes are those of CID 4031 (PS3.16) and
annex L. What stands in no list is unknown, never another part.
"""

from pydicom.dataset import Dataset

from dicom_node.dicom.wording import folded, pattern
from inference.input import elements

HEAD_WORDS = """
    *head* *brain* *skull* *crani* *krani* *cerebr* *cerebel* *encephal* *encefal* *enkefal* *kopf* *schadel*
    *schaedel* *hirn* *schedel* *hoofd* *hersen* *crane* cerveau tete* *cabeza* *cabeca* testa cervell* hoved* hode
    hodet huvud* hovud* hjern* *hjarn* skalle* paa paan aivo* aivot kallo* cct glava glave galva galvos mozak mozga
    глава *راس* *دماغ* *ראש* *מוח* glowa glowy mozg* czaszk* hlava hlavy hlavu mozek mozku lebk* lebec* koponya*
    agykoponya kafa* beyin* kafatasi голов* мозг* череп* гм κεφαλ* εγκεφαλ* κρανι* 头 頭 颅 顱 脑 腦 脳 두부 뇌 머리
    두개
"""
"""Words that name the head, the brain or the skull."""

WEAK_HEAD_WORDS = "*neuro* *нейро* *νευρο* 神经 神経 신경"
"""Words that speak of the head where no other part is named: a neurological protocol may be one of the spine."""

NO_PART = """
    head_first* feet_first* foot_first* skull_base schadelbasis schaedelbasis base_du_crane base_de_craneo
    base_do_cranio base_del_cranio base_cranica basicran* schedelbasis skallbas* podstaw*_czaszki basis_cranii
    основан*_череп* 颅底 顱底 頭蓋底 두개저
"""
"""Phrases that name no part: how the patient lies, and the border of head and neck."""

OTHER_PARTS = """
    kehlkopf* huftkopf* hueftkopf* femurkopf* humeruskopf* oberschenkelkopf* radiuskopf* femoral_head* humeral_head*
    radial_head* head_of_pancreas pancrea*_head 股骨头 肱骨头 桡骨头 骨头 側頭骨 sinus sinuses paranas* pns nnh orbit*
    orbita* face facial* maxillo* maxill* mandib* jaw mid_face dental teeth tooth tmj temporal_bone* petrous* mastoid*
    inner_ear ear ears iac iacs parotid* neck* c_spine *spine cervical* cervico* thyroid* laryn* pharyn* trachea*
    chest* thora* torac* lung* pulmon* heart cardiac* coronar* mediastin* abdom* pelvi* liver kidney* renal colon*
    urogra* spinal lumba* lumbo* sacr* sacrum coccyx spleen pancrea* bowel bladder prostat* hip hips knee* knie*
    ankle* foot feet shoulder* elbow* wrist* hand hands finger* toe toes femur* femora* tibia* fibula* humer* forearm*
    aort* leg legs arm arms thigh* extremit* lower_limb* upper_limb* breast* rib ribs sternum clavic* scapul* kub
    gesicht* mittelgesicht* hals halses halswirbel* hws bws lws wirbels* brust* lunge* herz* bauch* becken* hufte*
    huefte* schulter* ellenbogen* ellbogen* fuss handgelenk* bein beine niere* leber felsenbein* nasennebenhohl*
    nasennebenhoehl* nebenhohl* nebenhoehl* unterkiefer* oberkiefer* kiefer* zahn* sprunggelenk* oberschenkel*
    unterschenkel* oberarm* unterarm* wade steissbein* kreuzbein* cou visage massif_facial rocher rochers poitrine
    poumon* coeur bassin foie rein reins rachis colonne lombaire* hanche* genou* epaule* coude* poignet* cheville*
    pied pieds jambe* cuisse* machoire* oreille* cervicaux cuello cara rostro senos* seios* orbitas torax pecho peito
    pulmao pulmoes corazon coracao pelve bacia higado figado rinon* rins columna coluna cadera* quadril* rodilla*
    joelho* hombro* ombro* codo cotovelo* muneca* punho* tobillo* tornozelo* pierna* perna* brazo* braco* mano manos
    penasco* oido oidos ouvido* pescoco* rosto collo faccia volto seni torace petto polmon* cuore addom* bacino fegato
    rene reni colonna rachide lombar* anca anche ginocch* spalla spalle gomito polso caviglia piede piedi gamba gambe
    braccio mascell* rocche nek aangezicht* gezicht* sinussen borst* longen buik* bekken* lever nier nieren wervel*
    cwk twk lwk heup* schouder* elleboog pols enkel* voet voeten kaak* rotsbeen* nakke* nacke* ansikt* ansigt* bihal*
    bihule* brost* bryst* lungor hjerte* hjarta* buk buken bakken backen baekken* lunger nyre* njur* rygg* ryg
    halsrygg* cervikal* hofte* hoft hoften knae kna albue* armbage* skulder* skuldra* haandled* fot fod ankel* kaula*
    kasvo* sivuontelo* rintakeha* rinta keuhko* sydan* vatsa* lantio* maksa* munuai* selka* lanneranka* lonkka* polvi*
    olkapaa* kyynarpaa* ranne nilkka* jalka* szyja szyi szyjn* twarz* zatok* oczodol* klatk* pluc* serce serca brzuch*
    jamy_brzuszn* miednic* watrob* nerk* kregoslup* ledzw* biodr* kolan* bark barku lokiec lokci* nadgarst* stopa
    stopy ramie ramien* krk krku krcni oblicej* dutin* ocnic* hrudnik* hrud* plic* srdce bricho bricha brisni panev
    panve jatra ledvin* pater* bedern* kycel* koleno* rameno* loket zapesti* kotnik* noha ruka nyak* arckoponya*
    mellkas* tudo* hasi medence* gerinc* csipo* terd* vall шея шеи шейн* лиц* пазух* ппн околонос* орбит* глазниц*
    груд* огк легк* сердц* живот* брюшн* обп таз таза печен* почк* позвон* пояснич* тазобедрен* колен* плеч* локт*
    стоп* голеностоп* челюст* пирамид* гортан* конечност* boyun* yuz paranazal* gogus* toraks* akciger* kalp karin
    batin* karaciger* bobrek* omurga* servikal* torakal* lomber* kalca* diz omuz* dirsek* ayak* temporal_kemik λαιμ*
    τραχηλ* αυχεν* προσωπ* παραρρινι* κογχ* θωρακ* πνευμον* καρδι* κοιλια* πυελ* ηπαρ* νεφρ* σπονδυλ* οσφυ* ισχι*
    γονατ* 颈 頸 頚 胸 肺 心脏 心臓 心臟 冠脉 腹 骨盆 盆腔 骨盤 肝 肾 腎 脊 椎 腰 髋 髖 股関節 膝 肩 肘 腕 踝 足部
    手部 手関節 足関節 面部 顔面 颌 顎 鼻窦 鼻竇 副鼻腔 眼眶 眼窩 颞骨 乳突 耳 喉 咽 四肢 上肢 下肢 경부 안면 부비동
    안와 측두골 흉부 가슴 심장 복부 골반 신장 척추 경추 요추 흉추 고관절 무릎 어깨 팔꿈치 손목 발목
"""
"""Words that name another part of the body than the head, or a part of it that holds no brain."""

HEAD_CODES = {
    "69536005": "HEAD",
    "T-D1100": "HEAD",
    "12738006": "BRAIN",
    "T-A0100": "BRAIN",
    "89546000": "SKULL",
    "T-11100": "SKULL",
    "774007": "HEADNECK",
    "T-D1000": "HEADNECK",
    "1101003": "HEAD",
    "T-D1400": "HEAD",
}
"""Codes for the head or the brain (SCT, SRT), with the Defined Term of Body Part Examined; others by their meaning."""

_NO_PART, _OTHER = pattern(NO_PART), pattern(OTHER_PARTS)
_HEAD, _WEAK = pattern(HEAD_WORDS), pattern(WEAK_HEAD_WORDS)


def names_other_part(text: str) -> bool:
    """Whether the text names another part of the body than the head."""
    return _OTHER.search(_NO_PART.sub(" ", folded(text))) is not None


def names_head(text: str) -> bool:
    """Whether the text names the head, the brain or the skull, alone or beside other parts."""
    words = _NO_PART.sub(" ", folded(text))
    if _HEAD.search(_OTHER.sub(" ", words)):
        return True
    return _WEAK.search(words) is not None and not _OTHER.search(words)


def body_part_of(ds: Dataset) -> str:
    """Body Part Examined; where the code of the anatomic region contradicts it or says more, that in its place."""
    stated = " ".join(elements.texts(ds, "BodyPartExamined"))
    for item in _regions(ds):
        coded = HEAD_CODES.get(elements.text(item, "CodeValue").upper()) or elements.text(item, "CodeMeaning")
        says = names_head(coded), names_other_part(coded)
        if any(says):
            return stated if says == (names_head(stated), names_other_part(stated)) else coded
    return HEAD_CODES.get(stated.upper(), stated)


def _regions(ds: Dataset) -> tuple[Dataset, ...]:
    """The items that code the region: those of the middle frame, else those of the image."""
    frame = elements.frame_macro(ds, "FrameAnatomySequence")
    return elements.items(frame, "AnatomicRegionSequence") or elements.items(ds, "AnatomicRegionSequence")

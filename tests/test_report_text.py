"""What reports say, sentence by sentence, English and German: each with the verdict that a reader would give."""

import pytest

from inference.training.validation.report_text import Verdict, conclude, judge, read_report

PRESENT = {
    # English
    "There is an acute subdural hematoma along the left convexity.": "subdural",
    "Acute left subdural haematoma measuring 8 mm.": "subdural",
    "Small amount of subarachnoid hemorrhage in the right sylvian fissure.": "subarachnoid",
    "Large intraparenchymal hemorrhage in the left basal ganglia with intraventricular extension.": (
        "intraparenchymal intraventricular"
    ),
    "Right frontal intracerebral haemorrhage.": "intraparenchymal",
    "EDH over the right temporal lobe.": "epidural",
    "Extradural haematoma with mass effect.": "epidural",
    "SAH in the basal cisterns.": "subarachnoid",
    "There is an acute subdural on the left.": "subdural",
    "Blood in the occipital horn of the left lateral ventricle.": "intraventricular",
    "There is blood within the ventricles.": "intraventricular",
    "Subdural and subarachnoid haemorrhage on the right.": "subdural subarachnoid",
    "No fracture, but there is a small subdural hematoma.": "subdural",
    "No epidural hematoma but a thin subdural hematoma is seen.": "subdural",
    "No subarachnoid hemorrhage; however, there is a left SDH.": "subdural",
    "Subdural hematoma without midline shift.": "subdural",
    "No change in the left subdural hematoma.": "subdural",
    "No significant increase in the known intraparenchymal hemorrhage.": "intraparenchymal",
    "Known subdural hematoma, unchanged in size.": "subdural",
    "Known left SDH has increased in size.": "subdural",
    "Hemorrhagic contusion in the left frontal lobe.": "intraparenchymal",
    "There is hemorrhagic transformation of the infarct.": "",
    "Apart from a small SDH there is no haemorrhage.": "subdural",
    "No hemorrhage other than a tiny subarachnoid bleed.": "subarachnoid",
    "No midline shift, small left subdural hematoma.": "subdural",
    "New subarachnoid hemorrhage compared to the prior study.": "subarachnoid",
    "65-year-old man with acute subdural hematoma.": "subdural",
    "No hydrocephalus from the intraventricular haemorrhage.": "intraventricular",
    "No mass effect from the subdural hematoma.": "subdural",
    "Scalp hematoma and acute epidural hematoma.": "epidural",
    "Chronic subdural hematoma on both sides.": "subdural",
    "Intraventricular hemorrhage is present.": "intraventricular",
    "Bilateral subdurals.": "subdural",
    # German
    "Akutes Subduralhämatom links.": "subdural",
    "Nachweis einer intrazerebralen Blutung rechts.": "intraparenchymal",
    "Es zeigt sich eine frische Subarachnoidalblutung.": "subarachnoid",
    "SAB in den basalen Zisternen.": "subarachnoid",
    "ICB links in den Stammganglien mit Ventrikeleinbruch.": "intraparenchymal intraventricular",
    "Epiduralhämatom rechts temporal, 12 mm breit.": "epidural",
    "Große Stammganglienblutung links.": "intraparenchymal",
    "Ventrikeleinblutung beidseits.": "intraventricular",
    "Blut in den Hinterhörnern beider Seitenventrikel.": "intraventricular",
    "Hyperdenses SDH links ohne Mittellinienverlagerung.": "subdural",
    "Keine Fraktur, aber schmales subdurales Hämatom rechts.": "subdural",
    "Keine SAB, jedoch Nachweis eines SDH.": "subdural",
    "Keine Größenzunahme des bekannten SDH.": "subdural",
    "Das bekannte Subduralhämatom ist unverändert.": "subdural",
    "Bekannte ICB, größenprogredient.": "intraparenchymal",
    "Keine Mittellinienverlagerung bei SDH links.": "subdural",
    "Kontusionsblutungen frontobasal beidseits.": "intraparenchymal",
    "Alter Infarkt links, frische ICB rechts.": "intraparenchymal",
    "Z. n. Trauma mit Subduralhämatom rechts.": "subdural",
    "Bis auf ein kleines SDH links keine Blutung.": "subdural",
    "Hämatocephalus internus.": "intraventricular",
    "Kleine Einblutung in das Infarktareal.": "",
    "Galeahämatom links und darunter akutes Epiduralhämatom.": "epidural",
    "Chronisches SDH beidseits.": "subdural",
    "Keine Liquorzirkulationsstörung bei bekannter SAB, die unverändert ist.": "subarachnoid",
    "Kein Hydrozephalus, kleine SAB links.": "subarachnoid",
}
ABSENT = (
    # English
    "No intracranial hemorrhage.",
    "No evidence of acute intracranial haemorrhage.",
    "There is no evidence of intracranial hemorrhage, mass or infarct.",
    "No mass, midline shift, or hemorrhage.",
    "No subdural, epidural or subarachnoid haemorrhage.",
    "Without acute hemorrhage.",
    "No acute bleed.",
    "Negative for hemorrhage.",
    "Intracranial haemorrhage is ruled out.",
    "Hemorrhage has been excluded.",
    "Haemorrhage is not seen.",
    "A subdural hematoma is not identified.",
    "SDH or SAH not seen.",
    "Neither haemorrhage nor infarct.",
    "Hemorrhage: none.",
    "ICH: negative.",
    "No suspicion of intracranial haemorrhage.",
    "The study does not show haemorrhage.",
    "No SDH, EDH, SAH or IVH.",
    "No hyperdensity to suggest acute hemorrhage.",
    "Old infarct but no haemorrhage.",
    "No hemorrhage, infarct cannot be excluded.",
    "No acute intracranial abnormality.",
    "Normal head CT.",
    "Free of haemorrhage.",
    "Scalp hematoma without intracranial hemorrhage.",
    "There is a subgaleal hematoma but no intracranial hemorrhage.",
    "Absence of blood in the ventricles.",
    # German
    "Keine intrakranielle Blutung.",
    "Kein Nachweis einer intrakraniellen Blutung.",
    "Kein Anhalt für eine Blutung.",
    "Keine Blutung, keine Raumforderung.",
    "Ohne Nachweis einer frischen Blutung.",
    "Ausschluss einer intrakraniellen Blutung.",
    "Ausschluss Blutung.",
    "Blutung ausgeschlossen.",
    "Eine Blutung ist nicht nachweisbar.",
    "Eine intrakranielle Blutung lässt sich nicht abgrenzen.",
    "Eine Blutung liegt nicht vor.",
    "Hinweise auf eine Blutung finden sich nicht.",
    "Eine Blutung ist, soweit beurteilbar, nicht nachweisbar.",
    "Blutung: nein.",
    "Kein V. a. Blutung.",
    "Kein Verdacht auf SAB.",
    "Weder Blutung noch Ischämie.",
    "Keine Fraktur oder Blutung.",
    "Kein epi- oder subdurales Hämatom.",
    "Kein SDH, keine SAB.",
    "Keine akute Blutung oder Raumforderung.",
    "Blutungsfreies CCT: keine Blutung.",
    "Unauffälliges CCT.",
    "Galeahämatom rechts, keine intrakranielle Blutung.",
    "Keine Hinweise auf akute intrakranielle Pathologie.",
    "Kein Nachweis von Blut in den Ventrikeln.",
)
UNCLEAR = (
    "Possible small subdural hematoma on the left.",
    "Suspected subarachnoid hemorrhage.",
    "Subarachnoid hemorrhage cannot be excluded.",
    "A small SDH can not be ruled out.",
    "Hyperdensity in the sulcus, may represent subarachnoid hemorrhage.",
    "Calcification versus hemorrhage.",
    "Questionable tiny SAH.",
    "Hyperdensity, likely hemorrhage.",
    "SDH is suspected.",
    "Subdural hematoma?",
    "No fracture, possible subdural hematoma.",
    "V. a. kleine SAB.",
    "V.a. SDH links.",
    "Verdacht auf intrazerebrale Blutung.",
    "Fragliche Blutung rechts frontal.",
    "Eine kleine SAB ist nicht auszuschließen.",
    "Eine Blutung kann nicht sicher ausgeschlossen werden.",
    "Hyperdensität, DD Blutung.",
    "Verkalkung, DD: Einblutung.",
    "Am ehesten kleine Blutung.",
    "Möglicherweise schmales SDH.",
    "Hyperdense Struktur, die einer Blutung entsprechen könnte, fragliche Blutung.",
    "Keine Fraktur, fragliche SAB.",
    "Teilweise resorbiert ist das SDH, das fraglich noch besteht.",
)
HISTORY = (
    "History of subdural hematoma.",
    "Old subdural hematoma.",
    "Status post evacuation of a subdural hematoma.",
    "Prior intracerebral hemorrhage.",
    "Subdural hematoma has resolved.",
    "The subarachnoid hemorrhage is no longer visible.",
    "Known intracerebral haemorrhage.",
    "No new hemorrhage.",
    "Z. n. SDH links.",
    "Zustand nach ICB.",
    "Z.n. Entlastung eines SDH rechts.",
    "Das SDH ist vollständig resorbiert.",
    "Die SAB ist nicht mehr nachweisbar.",
    "Bekannte ICB links.",
    "Keine neue Blutung.",
    "Alte Blutung rechts parietal.",
    "Stattgehabte Blutung im Marklager.",
)
EXTRACRANIAL = (
    "Left parietal scalp hematoma.",
    "Subgaleal haematoma.",
    "Large hematoma of the scalp.",
    "Orbital hematoma on the left.",
    "Periorbital soft tissue hematoma.",
    "Galeahämatom links.",
    "Subgaleales Hämatom rechts parietal.",
    "Kopfschwartenhämatom hochparietal.",
    "Monokelhämatom rechts.",
    "Brillenhämatom.",
    "Hämatom der Weichteile links frontal.",
    "Spinal epidural hematoma.",
)
NOTHING = (
    "The ventricles are of normal size.",
    "Subdural hygroma on both sides.",
    "The subarachnoid spaces are age-appropriate.",
    "Non-hemorrhagic infarct in the left MCA territory.",
    "CT to rule out hemorrhage.",
    "Zum Ausschluss einer Blutung.",
    "Erhöhtes Blutungsrisiko unter Antikoagulation.",
    "Blood pressure was high.",
    "Fraktur des Os temporale links.",
    "Äußere Liquorräume altersentsprechend weit.",
    "Ich danke für die Zuweisung.",
)
FURTHER = {  # written after the rules stood
    Verdict.PRESENT: """
Redemonstration of the left holohemispheric subdural hematoma, measuring 9 mm, previously 7 mm.
Interval decrease in size of the right frontal hematoma.
Stable appearance of the bilateral subdural hematomas.
There is layering hemorrhage in the occipital horns.
Hyperdense blood products along the tentorium, consistent with subdural hemorrhage.
Multifocal subarachnoid blood, most pronounced in the left Sylvian fissure.
Unchanged IVH.
Small hemorrhagic contusions in the right temporal lobe without mass effect.
Acute on chronic subdural hematoma.
Diffuse SAH with hydrocephalus.
No new infarct, evolving hemorrhage in the left basal ganglia.
Residual blood in the resection cavity.
Akute Blutung im Kleinhirn rechts mit Kompression des 4. Ventrikels.
Raumforderndes akutes SDH rechts mit Mittellinienverlagerung um 9 mm.
Im Verlauf größenkonstante ICB links.
Rückläufige SAB.
Traumatische SAB hochfrontal rechts sowie Schädelfraktur.
Nachweis von Blut im Subarachnoidalraum.
Verdacht auf Aneurysma bei SAB.
Schmales, bis 4 mm messendes subdurales Hämatom entlang der Falx.
Regrediente Blutung im Vergleich zur Voruntersuchung.
Hyperdense Blutung in den Stammganglien, am ehesten hypertensiv bedingt.
""",
    Verdict.ABSENT: """
No acute intracranial hemorrhage, mass effect, or midline shift is identified.
There is no intra- or extra-axial hemorrhage.
No CT evidence of acute intracranial bleeding.
No extra-axial fluid collection or hemorrhage.
Negative CT for acute hemorrhage.
No intraparenchymal, subarachnoid, subdural, or epidural blood is seen.
Gray-white differentiation is preserved without evidence of hemorrhage.
Intracranial bleed excluded.
No large territorial infarct and no hemorrhage.
No definite hemorrhage.
Kein Hinweis auf eine frische intrakranielle Blutung oder demarkierte Ischämie.
Intrakranielle Blutungen sind nicht nachweisbar.
Kein Nachweis intrakranieller Blutungen.
Eine frische Blutung kann ausgeschlossen werden.
Keine intra- oder extraaxiale Blutung.
Blutungsausschluss.
Kein Hinweis für eine Blutung, Raumforderung oder Liquorzirkulationsstörung.
Subdurale oder epidurale Hämatome kommen nicht zur Darstellung.
Es zeigt sich kein Hinweis auf eine Blutung.
CT-morphologisch keine Blutung.
Nativ-CT ohne Blutungsnachweis.
Keine Blutung abgrenzbar, keine Fraktur, kein Hämatom.
""",
    Verdict.UNCLEAR: """
Subtle hyperdensity along the falx, possibly representing a thin subdural hematoma.
Cannot rule out small subarachnoid hemorrhage.
Findings are suspicious for subarachnoid hemorrhage.
Artifact versus tiny subdural hematoma.
Trace hyperdensity may reflect hemorrhage or calcification.
Kleine SAB möglich.
Eine diskrete SAB ist nicht sicher auszuschließen.
V.a. diskrete Kontusionsblutung rechts frontal.
Partialvolumeneffekt, DD kleine Blutung.
Verdächtig auf eine kleine Blutung.
Eine Einblutung ist nicht ausgeschlossen.
""",
    Verdict.HISTORY: """
Status post right craniotomy for subdural hematoma evacuation.
Interval resolution of the subarachnoid hemorrhage.
Encephalomalacia from remote hemorrhage.
Prior left thalamic hemorrhage.
Vollständige Resorption der vorbeschriebenen Blutung.
Zustand nach Kraniotomie und Entlastung eines Subduralhämatoms.
Defekt nach alter Stammganglienblutung.
Keine erneute Blutung.
""",
    Verdict.EXTRACRANIAL: """
Right frontal scalp swelling and hematoma.
Soft tissue hematoma overlying the left parietal bone.
Preseptal hematoma of the left orbit.
Ausgedehntes Weichteilhämatom frontal rechts.
Subkutanes Hämatom über dem Os occipitale.
Retrobulbäres Hämatom links.
""",
    Verdict.NOTHING: """
The patient is anticoagulated; please evaluate for bleed.
Ventricular drain in place.
Subdural drain removed.
Extracerebral CSF spaces are wide.
Mild microangiopathic changes.
""",
}
EXPECTED = [
    *((text, verdict) for verdict, lines in FURTHER.items() for text in lines.strip().splitlines()),
    *((text, Verdict.PRESENT) for text in PRESENT),
    *((text, Verdict.ABSENT) for text in ABSENT),
    *((text, Verdict.UNCLEAR) for text in UNCLEAR),
    *((text, Verdict.HISTORY) for text in HISTORY),
    *((text, Verdict.EXTRACRANIAL) for text in EXTRACRANIAL),
    *((text, Verdict.NOTHING) for text in NOTHING),
]


@pytest.mark.parametrize(("text", "verdict"), EXPECTED, ids=[text for text, _ in EXPECTED])
def test_a_sentence(text: str, verdict: Verdict) -> None:
    """Also without its full stop, and with line breaks in it."""
    assert judge(text).verdict is verdict
    assert judge(text.removesuffix(".")).verdict is verdict
    assert judge(text.replace(" ", "\n  ")).verdict is verdict


@pytest.mark.parametrize(("text", "types"), PRESENT.items())
def test_types_of_a_sentence(text: str, types: str) -> None:
    """In the order of the types."""
    assert set(judge(text).types) == set(types.split())


def test_there_are_enough_sentences() -> None:
    """In both languages, none twice."""
    assert len({text for text, _ in EXPECTED}) == len(EXPECTED) >= 240


REPORT = """CT head without contrast

Clinical history: 70-year-old, fall from a ladder, known SAH?
Technique: 5 mm axial slices, no contrast, please exclude bleed.

Findings: There is no evidence of acute infarction or
hemorrhage. Scalp hematoma on the left (3.5 cm).
No midline shift

Impression: 1. No intracranial hemorrhage.
"""
BEFUND = """Fragestellung: Blutung?
Klinische Angaben: Z.n. Sturz, V.a. ICB.

Befund: Nach Sturz v. a. links frontal, ca. 3 mm breites SDH, kein Nachweis einer weiteren intrakraniellen
Blutung. Altersentsprechende Liquorräume.
Beurteilung:
- Schmales SDH links.
"""


def test_a_whole_report() -> None:
    """The question says nothing; wrapped lines are one sentence; abbreviations and numbers end none."""
    sentences = read_report(REPORT)
    verdicts = {each.text: each.verdict for each in sentences}
    assert verdicts["Findings: There is no evidence of acute infarction or hemorrhage."] is Verdict.ABSENT
    assert verdicts["Scalp hematoma on the left (3.5 cm)."] is Verdict.EXTRACRANIAL
    assert verdicts["Clinical history: 70-year-old, fall from a ladder, known SAH?"] is Verdict.NOTHING
    assert conclude(sentences).haemorrhage is False


def test_a_whole_report_in_german() -> None:
    """A bleed beside the denial of a further one; its type."""
    said = conclude(read_report(BEFUND))
    assert (said.haemorrhage, said.types) == (True, ("subdural",))


@pytest.mark.parametrize(
    ("report", "haemorrhage"),
    [
        ("Old SDH. No acute hemorrhage.", False),
        ("Known SDH. No new haemorrhage.", None),
        ("No haemorrhage. Tiny SAH cannot be excluded.", None),
        ("Suspected SAH. There is an acute SDH.", True),
        ("Fraktur links.", None),
        ("", None),
        ("Indikation: SDH?\nKeine Blutung.", False),
        ("Klinik: bekanntes SDH.\nEs besteht ein SDH links.", True),
    ],
)
def test_sentences_together(report: str, haemorrhage: bool | None) -> None:
    """What is there counts most, then what is not sure; an old bleed alone says nothing of today."""
    said = conclude(read_report(report))
    assert said.haemorrhage is haemorrhage
    assert (said.haemorrhage is None) is bool(said.reason)


def test_the_words_that_decided_are_told() -> None:
    """The negation, and what it denies."""
    assert judge("There is no subdural hematoma.").words == ("no", "hematoma")

r"""The words by which reports are read: tables of regular expressions, English and German, compared without case.

`(?-i:...)` compares with case: German "ich" is no ICH. They are compared with sentences whose white space is one blank
each. How they are used is in `report_text`.
"""

import re

TYPES = {
    "epidural": r"\b(epidural|extradural)\w*|\b(?-i:EDH|EDB)s?\b",
    "subdural": r"\bsubdural\w*|\b(?-i:SDH|SDB)s?\b",
    "subarachnoid": r"\bsub ?arachnoid\w*|\b(?-i:SAH|SAB|aSAB|aSAH|tSAH|tSAB)s?\b",
    "intraparenchymal": (
        r"\b(intra ?parenchym|intra ?cerebral|intra ?zerebral|intraaxial|intra-axial|lobar|kontusionsblut|hirnblut|"
        r"kleinhirnblut|stammganglienblut|thalamusblut|ponsblut|marklagerblut)\w*|\b(?-i:ICB|IPH)s?\b|"
        r"\bha?emorrhagic contusions?|\bhämorrhagische\w* kontusion\w*|\bparenchymal\w*|\bparenchymblut\w*"
    ),
    "intraventricular": (
        r"\bintra ?ventri[ck]ul\w*|\b(?-i:IVH|IVB)s?\b|\bventrikel(ein)?(blut|bruch)\w*|\bh[aä]e?mato[cz]ephalus\w*|"
        r"\bha?emocephalus\b"
    ),
}
# Where blood lies in or about one of these, when its word says no type.
PLACES = {
    "intraventricular": r"\b(ventricles?|ventricular|\w*ventrikel\w*|(vorder|hinter|seiten)h[oö]rn\w*)\b",
    "subarachnoid": r"\b(sulci|sulcus|sulcal|cisterns?|cisternal|zisternen?|sulkal\w*)\b",
}

BLOOD = (
    r"\b\w*ha?emorrhag\w*|\b\w*hämorrhag\w*|\b\w*ha?ematom\w*|\b\w*hämatom\w*|\b(re|micro)?bleed(s|ing|ings)?\b|"
    r"\bblood\b|\b\w*blutung\w*|\b\w*eingeblutet\w*|\bblut\b|\b(?-i:[at]?SAH|[at]?SAB|SDH|EDH|ICB|ICH|IVH|IPH|"
    r"IVB)s?\b|"
    r"\bh[aä]e?mato[cz]ephalus\w*|\bha?emocephalus\b"
)
# "an acute subdural": the type stands alone, as a noun.
TYPE_AS_NOUN = (
    r"\b(?:acute|subacute|chronic|small|large|thin|a|an|the|bilateral|left|right) ((?:sub|epi|extra)durals?)\b"
)
NO_NOUN = r"^\W*(\w+ )?(hygrom\w*|space\w*|fluid|effusion\w*|empyem\w*|abs[cz]es\w*|air|catheter|drain\w*|grid\w*)"
# Words with blood in them that say nothing of blood; they are taken out before anything is read.
NO_BLOOD = (
    r"\bblutungs(risiko|neigung|quelle|anamnese|ursache)\w*|\bnon[- ]?ha?emorrhagic\w*|"
    r"\b(nicht|un)[- ]?hämorrhagisch\w*|"
    r"\bbleeding (risk|diathesis|disorder|source)\w*|\brisk (of|for) (further )?(bleeding|ha?emorrhage)|"
    r"\bha?emorrhag(e|ic) (risk|shock)|\bblood (vessel|pressure|flow|supply|volume|sugar|thinner|test|count)\w*|"
    r"\b(?-i:ICH) score|\bhämorrhagische\w* schock"
)

EXTRACRANIAL = (
    r"\b(scalp|sub ?gale\w*|gale\w*|ce?phalo?ha?ematom\w*|(k|c)ephal\w*hämatom\w*|extra[ck]ran\w*|peri ?orbita\w*|"
    r"retro ?orbita\w*|retro ?bulb\w*|orbit\w*|soft[- ]tissues?|weichteil\w*|kopfschwart\w*|monokel\w*|brillen\w*|"
    r"lid\w*|eyelids?|forehead|stirn\w*|facial|face|cheek|wangen\w*|gesichts\w*|nasal|nasen\w*|sinus\w*|"
    r"subcutaneous\w*|"
    r"subkutan\w*|cutaneous|retinal?\w*|vitreous|glaskörper\w*|spinal\w*|retroperiton\w*|cervical|zervikal\w*|"
    r"nuchal\w*|prell\w*|temporalis|chin|ear|middle ear|mastoid\w*)"
)

SPLIT = (
    r";|\bbut\b|\bhowever\b|\balthough\b|\bthough\b|\bwhereas\b|\bwhile\b|\byet\b|\bexcept( for)?\b|\bapart from\b|"
    r"\bother than\b|\bwith the exception of\b|\baber\b|\bjedoch\b|\ballerdings\b|\bhingegen\b|\bdagegen\b|"
    r"\bsondern\b|"
    r"\bwährend\b|\baußer\b|\bausser\b|\bbis auf\b|\babgesehen von\b|\bdafür\b| [-–—] "
)

ASKED = (
    r"(?<!cannot )(?<!not )(?<!can't )\b(rule|rules|ruling) out\b|\br/o\b|\bto exclude\b|\bplease exclude\b|"
    r"\bevaluate for\b|\bassess for\b|\bquery\b|"
    r"\bconcern for\b.*\?|\bzum (sicheren )?(blutungs)?ausschlu(ss|ß)\b|\b(bitte um|erbeten) ausschlu(ss|ß)\b|"
    r"\bz\. ?a\.|\bfrage nach\b"
)
# No change in a bleed, or no more of it: the bleed is there.
NO_CHANGE = (
    r"\b(no|without|not|kein|keine|keinen|keiner|ohne|nicht)( \w+)?( \w+)? (change\w*|increas\w*|decreas\w*|"
    r"enlarg\w*|"
    r"expan\w*|progress\w*|growth|extension|resol\w*|evacuat\w*|änderung\w*|veränder\w*|zunahme|zunehmend\w*|"
    r"größenzunahme|grössenzunahme|größenänderung|progredien\w*|größenprogredien\w*|progression|vergrößer\w*|"
    r"ausdehnung|abnahme|regredien\w*|resor\w*)"
)

NEGATION = (
    r"\b(no|not|without|none|negative( \w+)? for|free of|absence of|absent|lack of|lacks|neither|nor|never|denies|"
    r"doesn't|isn't|don't|kein|keine|keinen|keiner|keinem|keines|keinerlei|ohne|nicht|weder|frei von|fehlend\w*|"
    r"verneint\w*|ausschlu(ss|ß)( von| einer| eines)?|ruled out|excludes?)\b"
)
FAR = (
    r"\b(no|without|negative( \w+)? for|free of|absence of|lack of|neither|nor|kein\w*|ohne|weder|frei von|"
    r"ausschlu(ss|ß))\b"
)
NEW = (
    r"\b(new|further|additional|recurrent|neu|neue\w*|erneute?\w*|weitere\w*|zusätzlich\w*|rezidiv\w*|nachblut\w*|"
    r"rebleed\w*)\b"
)
AFTER = (
    r"\b(not|nicht)( \w+)? (seen|identified|present|demonstrated|detected|visible|visuali[sz]ed|evident|apparent|"
    r"noted|"
    r"found|shown|observed|nachweisbar\w*|nachgewiesen|nachzuweisen|zur darstellung|erkennbar|abgrenzbar|"
    r"abzugrenzen|sichtbar|"
    r"vorhanden|zu sehen|darstellbar|dargestellt|gesehen|festgestellt|feststellbar|vor|zu erkennen|auszumachen)\b|"
    r"\b(findet|finden|zeigt|zeigen|liegt|liegen|lässt|lassen|ergibt|ergeben|besteht|bestehen) (sich )?"
    r"(aktuell |derzeit |hier |heute |somit |damit )?(nicht|kein)\b|\bausgeschlossen\b|\b(is|are|was|were) (absent|"
    r"excluded)\b|\b(ruled out|excluded|none|absent|negative|nein|negativ|verneint)\b|: ?(no|keine?|nicht)\b|"
    r"\bnegative?\b|ausschlu(ss|ß)\b|\bfehlt\b|\bfehlen\b"
)
# Between a negation and a word of blood: the negation ends here.
BREAK = (
    r"\b(there (is|are)|is seen|are seen|shows|demonstrates|reveals|zeigt|zeigen|findet sich|finden sich|besteht|"
    r"bestehen|bei|durch|due to|from|caused by|secondary to|despite|trotz|aufgrund|infolge|related to|around|"
    r"surrounding|adjacent to|associated with|neben|underlying|accompanying)\b"
)
NEAR_BREAK = r"\b(with|mit|and|und)\b"
AFFIRMED = (
    r"(?:,|\band\b|\bund\b|\bwith\b|\bmit\b) (?:(?:a|an|eine?|einem|einer|einen|now|jetzt|dann|there is|known|"
    r"bekannte\w*|possible|suspected|questionable|fragliche\w*|mögliche\w*|thin|small|large|tiny|minimal|little|"
    r"focal|schmale\w*|kleine\w*|große\w*|geringe\w*|frische\w*|"
    r"diskrete\w*|status post|history of|prior|old|alte\w*)\b|(?:z|st)\. ?n\.)"
)
SIDED = r"\b(left|right|bilateral|links\w*|rechts\w*|bds|beidseits|li|re|\d+([.,]\d+)? ?[mc]m)\b"
ALTERNATIVE = r"\b(or|nor|oder|noch|bzw|respectively|sowie)\b"

UNSURE_ANYWHERE = (
    r"\b(cannot|can not|can't|could not|couldn't|not)( be)?( \w+)? (exclude\w*|ruled? out)|\bnot (entirely|"
    r"completely|"
    r"definitely|definitively|confidently) excluded|\b(difficult|hard) to (exclude|rule out)|"
    r"\bnicht( \w+)?( \w+)? (auszuschlie(ß|ss)en|ausschlie(ß|ss)bar|ausgeschlossen|ausschlie(ß|ss)en)|"
    r"\bkann nicht( \w+)? ausgeschlossen|\b(?-i:DD)\b:?|\bdifferential\b|\bdifferen[tz]ial ?diagnos\w*|\bversus\b|"
    r"\bvs\b|\bquestionable\b|\bequivocal\b|\bindeterminate\b|\bfraglich\w*|\bunklar\w*|\bzweifelhaft\w*|"
    r"\bpossible\b|"
    r"\bmöglich\b|\bnicht eindeutig\b|\bnot (clearly|definite)\b|\bnicht sicher\b|\buncertain\b|\bunclear\b"
)
UNSURE_BEFORE = (
    r"\b(possib\w*|probabl\w*|suspect\w*|suspicio\w*|concern\w*|likely|presumed|presumabl\w*|perhaps|maybe|may|might|"
    r"could|would|suggest\w*|apparent|favou?red|verdacht\w*|verdächtig\w*|suspekt\w*|möglich\w*|vermutlich\w*|"
    r"wahrscheinlich\w*|eventuell\w*|evtl|denkbar\w*|am ehesten|könnte\w*|hinweisend auf|vereinbar mit|"
    r"compatible with|consistent with|artefact or|artifact or)\b|\bv\. ?a\.|\ba\. ?e\.|\bv\.d\."
)
UNSURE_AFTER = (
    r"\b(is|are|was|were|remains?) (suspected|possible|likely|probable|considered|questioned)\b|"
    r"\b(vermutet|möglich|denkbar|wahrscheinlich|verdächtigt|zu diskutieren|zu erwägen|in betracht)\b|\?"
)
EASILY_DENIED = r"\b(compatible with|consistent with|vereinbar mit|suggest\w*|verdächtig\w*|suspicio\w*|suspekt\w*)\b"

HISTORY_BEFORE = (
    r"(?<!year[- ])(?<!jahre )(?<!years )\bold\b|\b(prior|previous|previously|history of|h/o|s/p|status post|"
    r"post(operative)? evacuation|known|remote|zustand nach|stattgehabt\w*|vorbekannt\w*|bekannt\w*|alte[rsnm]?|"
    r"ältere\w*|anamnestisch\w*|ehemalig\w*|(?<!partial )resolution of|(?<!teilweise )resorption|resolved|"
    r"resorbed|resorbierte\w*|früher\w*|evacuated)\b|\b(z|st)\. ?n\.|"
    r"\b(?-i:ZN|Zn)\b"
)
NO_HISTORY = (
    r"\b(compar\w*|vergleich\w*)[^,;]*?\b(prior|previous\w*|old|vor\w*|frühere\w*)\b( (study|studies|ct|scan|exam\w*|"
    r"imaging|head|mri|image\w*))*|\bprior (study|studies|ct|scan\w*|exam\w*|imaging|head ct)\b|"
    r"\bprevious (study|studies|ct|scan\w*|exam\w*|imaging|head ct)\b|\b(not|nicht) (previously|"
    r"vorbekannt)\w*( seen)?|"
    r"\bpreviously (un|not )\w+"
)
PARTLY = (
    r"\b(nearly|almost|partially|partly|incompletely|largely|mostly|not|teilweise|weitgehend|fast|partiell|nahezu|"
    r"noch nicht)( \w+)? (resol\w*|resor\w*|rückgebildet\w*)"
)
NO_LONGER = r"\b(no longer|nicht mehr)\b"
RESOLVED_AFTER = (
    r"\b(resolved|has cleared|have cleared|resorbed|resorbiert\w*|rückgebildet|"
    r"complete resolution|evakuiert|evacuated)\b"
)
HERE = (  # of a bleed with a history: it is in these images
    r"\b(unchanged|stable|persist\w*|residual|increas\w*|enlarg\w*|decreas\w*|smaller|larger|evolving|expan\w*|grown|"
    r"worsen\w*|improv\w*|unverändert\w*|konstant\w*|stabil\w*|zunehmend\w*|progredient\w*|größenprogredient\w*|"
    r"rückläufig\w*|regredient\w*|abnehmend\w*|residuell\w*|restliche\w*|größenkonstant\w*|vergrößert\w*|"
    r"größenregredient\w*|again seen|redemonstrat\w*|weiterhin|nach wie vor|again)\b|\b(?-i:Rest)\w*"
)

NORMAL = (
    r"\bno (acute |evidence of (an )?(acute )?)?(intra ?cranial|intra ?cerebral) (abnormalit\w*|patholog\w*|process|"
    r"finding\w*|injur\w*|lesion\w*)|\bnormal (unenhanced |non-?contrast |plain )?(head|brain|cranial)? ?"
    r"(ct|scan|study)|"
    r"\b(unremarkable|normal) (ct|head|brain)|\bno acute (abnormalit\w*|finding\w*|patholog\w*)|"
    r"\bunauffällige\w* (nativ\w* )?(cct|ct|schädel\w*|kopf\w*|befund|nativ\w*)|"
    r"\b(cct|ct) (ist )?(altersentsprechend )?unauffällig|"
    r"\bkein\w* (hinweise? auf |anhalt für |nachweis einer )?(eine )?(akute\w* )?(intra[ck]rani\w*|"
    r"intrazerebral\w*) (pathologie|verletzung\w*|traumafolge\w*|auffälligkeit\w*)|\bregelrechte\w* (cct|ct|befund)"
)

ASKED_SECTION = (
    r"^\W*(indications?|clinical (history|information|indication|question|data|details)|history|reason for (the )?"
    r"(exam\w*|study|scan)|question|comparison|technique|procedure|exam(ination)?|request|rechtfertigende indikation|"
    r"fragestellung|indikation|klinik|klinische (angaben?|fragestellung|informationen?|daten)|anamnese|angaben|"
    r"vergleich|voruntersuchung\w*|technik|methode|untersuchung|anforderung)\s*(:|$)"
)
SAID_SECTION = (
    r"^\W*(findings?|impressions?|conclusions?|report|results?|assessment|opinion|summary|interpretation|befunde?|"
    r"beurteilung|zusammenfassung|ergebnis\w*|diagnose)\s*(:|$)"
)

ABBREVIATIONS = (
    r"\b(v\. ?a|z\. ?n|st\. ?n|a\. ?e|z\. ?b|d\. ?h|u\. ?a|i\. ?v|s\. ?o|o\. ?g|z\. ?a|e\. ?g|i\. ?e|v\.d|ca|bds|bzw|"
    r"ggf|evtl|insb|re|li|dr|vs|approx|sog|max|min|pat|path|mr|mrs|ms|prof|vgl|inkl|resp|dd|etc|d|m)\.(?=\s*[\w(,])"
)
LAST_OF_A_LINE = (
    r"\b(no|of|a|an|the|in|on|to|and|or|with|without|for|is|are|not|any|kein|keine|keinen|einer|eines|eine|der|"
    r"die|das|"
    r"des|im|in|auf|und|oder|mit|ohne|für|von|nach|am|vom|zum|zur|sich|nicht)$|,$"
)


def words(pattern: str) -> re.Pattern[str]:
    """A table as it is compared."""
    return re.compile(pattern, re.IGNORECASE)

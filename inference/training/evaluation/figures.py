"""What a run found, as it is written to evaluation.json: plain dataclasses whose names are the file's keys."""

import datetime
from dataclasses import dataclass

from inference.findings import Band
from inference.training.evaluation.metrics import Estimate, Level
from inference.training.evaluation.records import AnswerOutcome, RunKey

RESEARCH = "Research use only, not a medical device."


@dataclass(frozen=True, slots=True)
class TypeFigures:
    """One type at study level. `flagged`: studies with it that were flagged at all; `sensitivity` and `specificity` are
    of naming it. `confusion`: of the studies with it, how many were given each of the five names."""

    name: str
    studies: int
    auc: Estimate
    flagged: Estimate
    sensitivity: Estimate
    specificity: Estimate
    confusion: tuple[int, ...]
    dice: Estimate


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """Studies of patients of at least `low` and less than `high` years (inf: no bound)."""

    label: str
    low: float
    high: float
    auc: Estimate
    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class SizeBin:
    """Studies whose bleed is at least `low` and less than `high` (inf: no bound), in ml or mm."""

    label: str
    low: float
    high: float
    sensitivity: Estimate


@dataclass(frozen=True, slots=True)
class VolumePair:
    """One study's volume on the voxels that readers outlined or judged free."""

    study_id: str
    true_ml: float
    predicted_ml: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Outlines:
    """Agreement with outlines in studies with outlined blood. Errors are predicted minus true, ml (Bland, Altman 1986).

    `false_ml` is the mean predicted volume of studies in which readers outlined nothing because nothing is there.
    """

    studies: int
    slices: int
    dice: Estimate
    pooled_dice: Estimate
    bias_ml: Estimate
    absolute_error_ml: Estimate
    limit_low_ml: Estimate
    limit_high_ml: Estimate
    false_ml: Estimate
    pairs: tuple[VolumePair, ...]


@dataclass(frozen=True, slots=True)
class BandFigures:
    """Studies whose probability lies in a band; `share`: of them with haemorrhage."""

    band: Band
    with_haemorrhage: int
    without: int
    share: Estimate


@dataclass(frozen=True, slots=True)
class VolumeFigures:
    """Bleeds of one size or type: the share whose drawn volume is at least half and at most twice the outlined one, and
    the median of drawn over outlined."""

    label: str
    within_factor_2: Estimate
    ratio: Estimate


@dataclass(frozen=True, slots=True)
class BodyFigures:
    """Outlined bodies of one name: the share on which something is drawn, and of these that which is named rightly."""

    name: str
    bodies: int
    drawn: Estimate
    named: Estimate


@dataclass(frozen=True, slots=True)
class Drawings:
    """What is drawn and named, in studies with outlined blood. A missed one counts with a Dice of 0 and a drawn volume
    of 0 ml; `volumes` is of bleeds from LARGE_ML on, `bodies` of all types together.

    `types_exact_flagged` and `types_exact`: of studies that are flagged, and of all, given exactly their types.
    `in_range`: outlined volumes that lie in the range that the card gives with the drawn one. `peak_inside` and
    `peak_near`: of flagged studies, the network's surest voxel within the outline, and at most NEAR_MM from it.
    """

    dice_slice: Estimate
    dice_patient: Estimate
    dice_patient_median: Estimate
    volumes: VolumeFigures
    volumes_by_size: tuple[VolumeFigures, ...]
    volumes_by_type: tuple[VolumeFigures, ...]
    in_range: Estimate
    types_exact_flagged: Estimate
    types_exact: Estimate
    bodies: BodyFigures
    bodies_by_type: tuple[BodyFigures, ...]
    peak_inside: Estimate
    peak_near: Estimate


@dataclass(frozen=True, slots=True)
class Drawer:
    """Who drew, on the slices with outlined blood alone; places are extra-axial, intraparenchymal, intraventricular."""

    name: str
    dice_slice: Estimate
    dice_patient: Estimate
    dice_patient_median: Estimate
    volumes: VolumeFigures
    places: BodyFigures
    by_place: tuple[BodyFigures, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model and a peer, which is not shipped and was made from other data, on the same slices."""

    studies: int
    slices: int
    model: Drawer
    peer: Drawer


@dataclass(frozen=True, slots=True)
class Unanalysed:
    """A study without an answer; `haemorrhage` is None where its labels could not be had either."""

    study_id: str
    outcome: AnswerOutcome
    reason: str
    haemorrhage: bool | None


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The rates if every study without an answer had been answered wrongly, and those with unknown labels twice."""

    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer. `volume_ml` is the outlined volume where it is known; `picture` is a file in studies/."""

    study_id: str
    patient_id: str
    types: tuple[str, ...]
    types_complete: bool
    probability: float
    threshold: float
    slices_marked: int | None
    volume_ml: float | None
    types_named: tuple[str, ...]
    predicted_ml: float
    picture: str | None


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One analysed study: what was said and what is true, for whoever wants to compute figures of their own."""

    study_id: str
    patient_id: str
    haemorrhage: bool
    suspected: bool
    probability: float
    threshold: float
    types: tuple[str, ...]
    types_named: tuple[str, ...]
    volume_ml: float
    series_uid: str
    series_name: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds for each study: reading it, and analysing it."""

    read_median: float
    analyse_median: float
    analyse_p95: float
    analyse_longest: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there were."""

    studies: int
    patients: int
    analysed: int
    analysed_patients: int
    not_analysed: int
    errors: int
    failed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything a run found. `slices` is None where no reader labelled slices, `outlines` and `drawings` where none
    drew, `comparison` where no peer's labels are given; `bands` are empty where the model's card is not known."""

    statement: str
    date: datetime.date
    run: RunKey
    seed: int
    rounds: int
    device: str
    counts: Counts
    study_thresholds: tuple[float, float]
    slice_thresholds: tuple[float, float]
    study: Level
    slices: Level | None
    types: tuple[TypeFigures, ...]
    ages: tuple[AgeGroup, ...]
    sizes_ml: tuple[SizeBin, ...]
    sizes_mm: tuple[SizeBin, ...]
    bands: tuple[BandFigures, ...]
    outlines: Outlines | None
    drawings: Drawings | None
    comparison: Comparison | None
    worst_case: WorstCase
    false_negatives: tuple[Mistake, ...]
    false_positives: tuple[Mistake, ...]
    not_analysed: tuple[Unanalysed, ...]
    timings: Timings | None
    warnings: tuple[tuple[str, int], ...]
    studies: tuple[StudyLine, ...]

"""Findings -> one Segmentation (PS3.3 A.51), BINARY, Explicit VR Little Endian, on the source slices' own grid.

Built from the source slices themselves, so tilted and unevenly spaced series keep their geometry; frame by frame it
names the source image that it lies on. One segment per type found.
"""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from inference.findings import Finding
from reports import codes
from reports.context import Kind
from reports.identity import Identity, hashed_uid, plain
from reports.patient import finish
from reports.prepared import Prepared


def tracking_uid(who: Identity, finding: Finding) -> str:
    """Names one finding of one result, in the segmentation and in the report alike."""
    return hashed_uid("finding", who.sop_uid, finding.name)


def build_seg(prepared: Prepared) -> Dataset | None:
    """The segmentation, or None for a study that is not suspected or has no mask."""
    findings, vocabulary, options = prepared.segmented, prepared.vocabulary, prepared.options
    if not findings:
        return None
    who = prepared.who(Kind.SEG)
    slices, frames = prepared.headers, prepared.stack.frames
    sources = _stand_ins(slices, frames) if prepared.multiframe else list(slices)
    made = Segmentation(
        source_images=sources,
        pixel_array=_pixels([each.mask for each in findings if each.mask is not None]),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(prepared, who),
        **who.in_series,
        manufacturer=options.manufacturer,
        manufacturer_model_name=who.model_name,
        software_versions=who.software_versions,  # type: ignore[arg-type]  # highdicom means any length
        device_serial_number=options.device_serial_number,
        content_label=vocabulary.noun.upper()[:16],
        content_description=f"{vocabulary.positive}, not for diagnostic use"[:64],
        content_creator_name="",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=options.omit_empty_frames,
    )
    if prepared.multiframe:
        _restore_references(made, sources, slices, frames)
    _fix_dimension_uid(made, who)
    return finish(made, prepared.sources[0], who, options)


def _descriptions(prepared: Prepared, who: Identity) -> list[SegmentDescription]:
    result, findings, vocabulary = prepared.result, prepared.segmented, prepared.vocabulary
    model = result.model
    algorithm = AlgorithmIdentificationSequence(
        name=plain(model.name)[:64],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=plain(model.version)[:64],
        source=plain(prepared.options.manufacturer)[:64],
        parameters={"weights_sha256": model.sha256, "threshold": f"{result.threshold:.4g}"},
    )
    terms = [vocabulary.terms[each.name] for each in findings]
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=term.title,
            segmented_property_category=vocabulary.category,
            segmented_property_type=vocabulary.property_type,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=tracking_uid(who, finding),
            tracking_id=term.title,
            anatomic_regions=[vocabulary.region],
            display_color=CIELabColor.from_rgb(*term.colour),
        )
        for number, (finding, term) in enumerate(zip(findings, terms, strict=True), start=1)
    ]


def _pixels(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """One label per pixel where no types overlap, which is written twice as fast; else a last axis of types."""
    labels = np.zeros(masks[0].shape, np.uint8)
    for number, mask in enumerate(masks, start=1):
        if labels[mask].any():
            return np.stack(masks, axis=-1).astype(np.uint8)
        labels[mask] = number
    return labels


def _stand_ins(slices: Sequence[Dataset], frames: Sequence[int]) -> list[Dataset]:
    """Each frame as an image of its own: highdicom takes only one multi-frame image, and only all of its frames."""
    result = []
    for header, frame in zip(slices, frames, strict=True):
        stand_in = deepcopy(header)
        stand_in.SOPClassUID = CTImageStorage
        stand_in.SOPInstanceUID = hashed_uid("frame", header.SOPInstanceUID, str(frame))
        result.append(stand_in)
    return result


def _restore_references(
    made: Dataset, stand_ins: Sequence[Dataset], slices: Sequence[Dataset], frames: Sequence[int]
) -> None:
    """Name the frames that the stand-ins stood for."""
    meant = {each.SOPInstanceUID: pair for each, pair in zip(stand_ins, zip(slices, frames, strict=True), strict=True)}
    # highdicom shares these items between the segments, so each is renamed once.
    items = {
        id(source): source
        for group in made.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for source in derivation.SourceImageSequence
    }
    for item in items.values():
        header, frame = meant[item.ReferencedSOPInstanceUID]
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        item.ReferencedFrameNumber = frame
    instances = []
    for header in {str(each.SOPInstanceUID): each for each in slices}.values():
        instance = Dataset()
        instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        instances.append(instance)
    made.SourceImageSequence = instances
    made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances


def _fix_dimension_uid(made: Dataset, who: Identity) -> None:
    """Not a new one at each run: the same job done again makes the same object."""
    uid = hashed_uid("dimensions", who.sop_uid)
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in made.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid

"""The key slices of a suspected study -> Key Object Selection "Of Interest" (PS3.3 A.35.4, PS3.16 TID 2010)."""

from highdicom import sr
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from reports import codes, words
from reports.context import Kind
from reports.observer import observer_context
from reports.patient import finish
from reports.prepared import Prepared


def build_ko(prepared: Prepared) -> Dataset | None:
    """The selection, or None where no slice stands out."""
    keys, options = prepared.result.key_slices, prepared.options
    if not keys:
        return None
    who = prepared.who(Kind.KO)
    selected = [prepared.headers[i] for i in keys]
    content = KeyObjectSelection(
        document_title=codes.OF_INTEREST,
        referenced_objects=selected,
        observer_device_context=observer_context(who, options),
        description=f"{words.with_disclaimer(words.summary(prepared.result))}. {words.RESEARCH}",
    )
    if prepared.multiframe:
        _name_frames(content[0], [prepared.stack.frames[i] for i in keys])
    made = KeyObjectSelectionDocument(
        evidence=list({str(each.SOPInstanceUID): each for each in selected}.values()),
        content=content,
        **who.in_series,
        manufacturer=options.manufacturer,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    return finish(made, prepared.sources[0], who, options)


def _name_frames(root: Dataset, frames: list[int]) -> None:
    """highdicom selects whole images; of a multi-frame image only these frames are meant."""
    images = [each for each in root.ContentSequence if each.ValueType == sr.ValueTypeValues.IMAGE.value]
    for image, frame in zip(images, frames, strict=True):
        image.ReferencedSOPSequence[0].ReferencedFrameNumber = frame

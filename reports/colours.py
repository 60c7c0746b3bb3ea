"""The colour of each type of haemorrhage, the same in the picture and in the segmentation (PS3.3 C.10.7.1.1).

Bright on grey, and apart for readers who see red and green alike (after Okabe and Ito, 2008); one more is for
haemorrhage whose type is not told.
"""

from inference.findings import INTRACRANIAL, HaemorrhageType

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    HaemorrhageType.EPIDURAL: (255, 159, 28),
    HaemorrhageType.SUBDURAL: (56, 189, 255),
    HaemorrhageType.SUBARACHNOID: (250, 232, 70),
    HaemorrhageType.INTRAPARENCHYMAL: (255, 92, 168),
    HaemorrhageType.INTRAVENTRICULAR: (64, 224, 140),
    INTRACRANIAL: (255, 128, 128),
}

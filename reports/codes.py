"""Every code that result objects share, each once (PS3.16; SCT is SNOMED CT, UCUM the units); those of a question stand
in its vocabulary.

The meanings are those of DICOM's context groups where one has the code. The tests hold each against pydicom's tables.
"""

from pydicom.sr.coding import Code

MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN = Code("12738006", "SCT", "Brain")

SUSPECTED = Code("415684004", "SCT", "Suspected")
ABSENT = Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
BILATERAL = Code("51440002", "SCT", "Right and left")
MIDLINE = Code("261129000", "SCT", "Midline")
CT_OF_HEAD = Code("303653007", "SCT", "Computed tomography of head")

VOLUME = Code("118565006", "SCT", "Volume")
PROBABILITY = Code("122157", "DCM", "Probability")
UPPER_UNCERTAINTY = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER_UNCERTAINTY = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
CUBIC_CENTIMETRE = Code("cm3", "UCUM", "cubic centimeter")
NO_UNITS = Code("1", "UCUM", "no units")

DIFFERENCE_IN_SIZE = Code("442714003", "SCT", "Difference in size")
INCREASE_IN_SIZE = Code("15454001", "SCT", "Increase in size")
DECREASE_IN_SIZE = Code("19776001", "SCT", "Decrease in size")
PRIOR_REPORT = Code("122075", "DCM", "Prior report for current patient")

COMMENT = Code("121106", "DCM", "Comment")
CONCLUSION = Code("121077", "DCM", "Conclusion")
CONCLUSIONS = Code("121076", "DCM", "Conclusions")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic imaging report")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
DEVICE = Code("121007", "DCM", "Device")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")

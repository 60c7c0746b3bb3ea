"""The program as the observer of what it reports (PS3.16 TID 1002, TID 1004)."""

from highdicom import sr

from reports import codes
from reports.context import ReportOptions
from reports.identity import Identity, hashed_uid, plain, program_version


def observer_context(who: Identity, options: ReportOptions) -> sr.ObserverContext:
    """A device, which has the same UID for every object it makes."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=hashed_uid("device", options.manufacturer, options.device_serial_number),
        name=plain(f"{options.manufacturer} {program_version()}"),
        manufacturer_name=plain(options.manufacturer),
        model_name=who.model_name,
        serial_number=options.device_serial_number,
    )
    return sr.ObserverContext(observer_type=sr.CodedConcept(*codes.DEVICE[:3]), observer_identifying_attributes=device)

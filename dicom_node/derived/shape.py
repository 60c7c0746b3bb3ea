"""The shape of a series: the geometry of the images that are here, as it was stored."""

import json

from dicom_node.entities import Instance
from dicom_node.tables import instances
from dicom_node.tables.database import Transaction
from inference.input.geometry import SliceGeometry


def geometry_of(instance: Instance) -> list[SliceGeometry]:
    """The geometry of an instance's frames as it was stored."""
    return [
        SliceGeometry(
            position=tuple(frame["position"]),
            orientation=tuple(frame["orientation"]),
            slice_thickness_mm=frame["slice_thickness_mm"],
            instance_number=frame["instance_number"],
        )
        for frame in json.loads(instance.geometry)
    ]


def known_images(tx: Transaction, series_uid: str) -> list[SliceGeometry]:
    """The geometry of all current images of a series."""
    return [frame for instance in instances.of_series(tx, series_uid) for frame in geometry_of(instance)]

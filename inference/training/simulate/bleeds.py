"""Simulated bleeds of all five types, each in its own anatomy and of the volume that is asked for.

Comes in: the anatomy of a normal head, a type, a volume. Goes out: a `Lesion`, which scene.py puts into the head.
Everything follows from the random generator.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate import epidural, parenchyma, subarachnoid, subdural, ventricular
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.lesions import Lesion

__all__ = ["VOLUMES_ML", "Lesion", "lesion"]

VOLUMES_ML: Mapping[HaemorrhageType, tuple[float, float]] = MappingProxyType(
    {
        HaemorrhageType.EPIDURAL: epidural.VOLUMES_ML,
        HaemorrhageType.SUBDURAL: subdural.VOLUMES_ML,
        HaemorrhageType.SUBARACHNOID: subarachnoid.VOLUMES_ML,
        HaemorrhageType.INTRAPARENCHYMAL: parenchyma.VOLUMES_ML,
        HaemorrhageType.INTRAVENTRICULAR: ventricular.VOLUMES_ML,
    }
)

_MAKERS: Mapping[HaemorrhageType, Callable[[Anatomy, float, np.random.Generator], Lesion | None]] = MappingProxyType(
    {
        HaemorrhageType.EPIDURAL: epidural.epidural,
        HaemorrhageType.SUBDURAL: subdural.subdural,
        HaemorrhageType.SUBARACHNOID: subarachnoid.subarachnoid,
        HaemorrhageType.INTRAPARENCHYMAL: parenchyma.intraparenchymal,
        HaemorrhageType.INTRAVENTRICULAR: ventricular.intraventricular,
    }
)


def lesion(body: Anatomy, kind: HaemorrhageType, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """One bleed of this kind and volume; None where the volume is none of the kind's or this anatomy has no place."""
    least, most = VOLUMES_ML[kind]
    if not least <= volume_ml <= most:
        return None
    return _MAKERS[kind](body, volume_ml, rng)

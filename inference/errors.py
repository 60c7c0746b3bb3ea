"""What inference raises on purpose when it cannot work; `findings.NotAnalysable` speaks of the images instead.

InferenceError
├── ModelError             a model card or its weights are missing, damaged or do not belong together
├── UnknownPipelineError   no pipeline of that name exists
└── DeviceError            the device that was asked for is not there
"""


class InferenceError(Exception):
    """Root; the message is one line for the person who runs the node."""


class ModelError(InferenceError):
    """A model card or its weights are missing, damaged or do not belong together; the message names the file."""


class UnknownPipelineError(InferenceError):
    """No pipeline of that name exists; the message lists those that do."""


class DeviceError(InferenceError):
    """The device that was asked for is not there."""

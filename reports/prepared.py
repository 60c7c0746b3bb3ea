"""What all writers of a result's objects need, made once: sources in order, their headers, the findings with a mask."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from inference.findings import Finding, Result
from inference.input.stack import SliceStack
from reports.context import Kind, ReportContext, ReportOptions
from reports.headers import ordered_sources, slice_headers
from reports.identity import Identity, identify
from reports.vocabulary.terms import Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A result ready to be written.

    `sources` and `headers` have one entry for each slice of the stack, in its order; of a multi-frame series, whose
    slices are frames that a reference has to name, the sources repeat. `segmented` are the findings that get a segment,
    in the order of their segment numbers, which count from 1.
    """

    context: ReportContext
    options: ReportOptions
    sources: tuple[Dataset, ...]
    headers: tuple[Dataset, ...]
    multiframe: bool
    segmented: tuple[Finding, ...]

    @property
    def stack(self) -> SliceStack:
        """The slices that were analysed."""
        return self.context.stack

    @property
    def result(self) -> Result:
        """What was found in them."""
        return self.context.result

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of the question that was answered."""
        return self.context.vocabulary

    def who(self, kind: Kind) -> Identity:
        """The identity of one of the objects."""
        return identify(kind, self.context)


def prepare(context: ReportContext, options: ReportOptions) -> Prepared:
    """Everything that more than one writer needs."""
    sources = ordered_sources(context.sources, context.stack)
    return Prepared(
        context=context,
        options=options,
        sources=sources,
        headers=slice_headers(sources, context.stack),
        multiframe="PerFrameFunctionalGroupsSequence" in sources[0],
        segmented=segmented(context.result),
    )


def segmented(result: Result) -> tuple[Finding, ...]:
    """The findings that get a segment: present in a suspected study, with a mask that is not empty."""
    if not result.suspected:
        return ()
    return tuple(each for each in result.findings if each.present and each.mask is not None and each.mask.any())

"""Published numbers beside measured ones: which protocol each is of, and why the two are, or are not, comparable."""

from collections.abc import Sequence
from functools import cache

from tokzoo import registry
from tokzoo.evaluation.protocol import Protocol, Published, list_protocols, load_protocol
from tokzoo.evaluation.results import Result
from tokzoo.registry import Score

__all__ = ["protocols_of", "published_lines", "registered_scores"]


def registered_scores(name: str | None) -> tuple[Score, ...]:
    """The published scores of a registered model; none of a model without a name, or of another's."""
    try:
        weights = registry.find(name)[1] if name is not None else None
    except KeyError:
        return ()
    return weights.scores if weights is not None else ()


def protocols_of(score: Score) -> list[str]:
    """The names of the shipped protocols that say that they measure a registered score."""
    return [protocol.name for protocol in _shipped() if _entry(protocol, score) is not None]


def published_lines(result: Result, protocol: Protocol, scores: Sequence[Score], *, unlike: str = "") -> list[str]:
    """Published numbers beside the measured ones; where the two cannot be compared, a line that says why.

    Args:
        unlike: why what was evaluated is not what the scores are of, if so.
    """
    lines = []
    for score in scores:
        said = f"published {score.metric} {score.value:g} ({score.protocol})"
        entry = _entry(protocol, score)
        ours = None if entry is None else result.scores.get(entry.scores[score.metric])
        if entry is None:
            named = ", ".join(protocols_of(score)) or "none that has a name"
            lines.append(f"{said}: another protocol than {protocol.name}, not comparable: {named}")
        elif entry.unknown:
            lines.append(f"{said}: not comparable, for nobody says {'; '.join(entry.unknown)}")
        elif unlike or result.departures:
            lines.append(f"{said}: not comparable, for this run has {unlike or '; '.join(result.departures)}")
        elif ours is None:
            lines.append(f"{said}: not measured here")
        else:
            known = protocol.images.sha256 if protocol.reference == "images" else protocol.reference_sha256
            unsure = "" if known else ", if these are its images: the protocol has no hash of them"
            lines.append(f"{said}: measured {ours.value:.4g}{unsure}")
    return lines


def _entry(protocol: Protocol, score: Score) -> Published | None:
    """What a protocol says of a registered score."""
    return next((each for each in protocol.published if each.covers(score.metric, score.protocol)), None)


@cache
def _shipped() -> tuple[Protocol, ...]:
    return tuple(load_protocol(name) for name in list_protocols())

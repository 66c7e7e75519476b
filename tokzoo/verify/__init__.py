"""Whether a model is what it is said to be, on this very device: golden cases, weights, known answers.

Each check says what it has proven, and what nobody has proven is said as well.
"""

from tokzoo.verify.answers import record
from tokzoo.verify.checks import Check, Report
from tokzoo.verify.model import verify

__all__ = ["Check", "Report", "record", "verify"]

"""A web page of what tokenizers keep of a photo, how many tokens that takes, and what generators make of tokens."""

from tokzoo.demo.page import write_demo
from tokzoo.demo.results import DemoResult, PhotoResult, Prefix

__all__ = ["DemoResult", "PhotoResult", "Prefix", "write_demo"]

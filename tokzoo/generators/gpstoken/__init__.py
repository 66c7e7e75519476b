"""The generator of GPSToken, arXiv:2509.01109."""

from tokzoo.generators.gpstoken.config import GpsSitConfig

__all__ = ["GpsSitConfig"]

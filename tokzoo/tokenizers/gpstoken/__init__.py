"""GPSToken, arXiv:2509.01109."""

from tokzoo.tokenizers.gpstoken.config import GpsTokenConfig

__all__ = ["GpsTokenConfig"]

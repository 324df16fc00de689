"""Column types that several tables share."""

from typing import Annotated

from sqlalchemy import BigInteger, Double, String
from sqlalchemy.orm import mapped_column

Seconds = Annotated[int, mapped_column(BigInteger)]  # whole seconds since the epoch
Moment = Annotated[float, mapped_column(Double)]  # seconds since the epoch, with milliseconds or better
Digest = Annotated[str, mapped_column(String(64))]  # SHA-256 in hexadecimal

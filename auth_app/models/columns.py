"""The kinds of columns that several tables have."""

from typing import Annotated

from sqlalchemy import BigInteger, Double, String
from sqlalchemy.orm import mapped_column

Seconds = Annotated[int, mapped_column(BigInteger)]  # since the epoch
Moment = Annotated[float, mapped_column(Double)]  # seconds since the epoch, to the millisecond or finer
Digest = Annotated[str, mapped_column(String(64))]  # SHA-256 in hexadecimal

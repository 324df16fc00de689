"""What the authorization server remembers."""

import uuid

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from auth_app.database import Base


class User(Base):
    """Somebody who logs in with a name and a password."""

    __tablename__ = "users"

    # Never changes and is never used again, unlike the name: the `sub` of the user's tokens.
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    username: Mapped[str] = mapped_column(String(128), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    roles: Mapped[list[str]] = mapped_column(JSON)
    is_disabled: Mapped[bool] = mapped_column(default=False)

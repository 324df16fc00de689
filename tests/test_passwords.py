"""Password hashes, and the same work where there is none."""

from argon2 import extract_parameters

from auth_app import passwords


def test_hash_is_argon2id_at_the_minimum_of_owasp_or_above() -> None:
    found = extract_parameters(passwords.hash_password("x"))

    assert found.type.name == "ID"
    assert found.memory_cost >= 19 * 1024
    assert found.time_cost >= 2
    assert found.parallelism == 1


def test_password_is_verified_against_its_own_hash_only() -> None:
    hashed = passwords.hash_password("right")

    assert passwords.verify_password(hashed, "right")
    assert not passwords.verify_password(hashed, "wrong")
    assert not passwords.verify_password("no hash", "right")


def test_missing_hash_costs_a_full_verification_and_opens_to_no_password() -> None:
    """The decoy has the parameters of a real hash, and its own password is refused too."""
    decoy = passwords._decoy()

    assert extract_parameters(decoy) == extract_parameters(passwords.hash_password("x"))
    assert passwords._HASHER.verify(decoy, "")
    assert not passwords.verify_password(None, "")
    assert not passwords.verify_password(None, "x")

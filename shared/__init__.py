"""What every service needs that accepts access tokens: it verifies them and never signs."""

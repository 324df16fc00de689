"""Tests of running servers, commands and scripts, as users start them."""

"""Inputs that a program makes up: thousands of requests to each service."""

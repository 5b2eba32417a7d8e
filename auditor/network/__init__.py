"""Addresses of servers: read strictly, connected to with TLS and time-outs."""

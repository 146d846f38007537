"""Servers that every site has, started on loopback, and the processes that they are."""
